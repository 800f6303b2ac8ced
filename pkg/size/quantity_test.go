package size

import "testing"

func TestParseQuantity(t *testing.T) {
	tests := []struct {
		in   string
		want uint64 // rounded up
	}{
		{"0", 0}, {"1", 1}, {"1.", 1}, {".5", 1}, {"1.5", 2}, {"007", 7},
		{"1n", 1}, {"1u", 1}, {"1m", 1}, {"1000m", 1}, {"1001m", 2},
		{"1k", 1000}, {"1M", 1e6}, {"1G", 1e9}, {"1T", 1e12}, {"1P", 1e15}, {"1E", 1e18},
		{"1Ki", 1 << 10}, {"1Mi", 1 << 20}, {"1Gi", 1 << 30}, {"1Ti", 1 << 40}, {"1Pi", 1 << 50}, {"1Ei", 1 << 60},
		{"0.5Ki", 512}, {"0.1Ki", 103},
		{"1e3", 1000}, {"1E3", 1000}, {"1e+3", 1000}, {"1500e-3", 2},
	}
	for _, tt := range tests {
		q, err := parseQuantity(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if got, ok := ceil(q); !ok || got != tt.want {
			t.Errorf("%q: got %d, want %d", tt.in, got, tt.want)
		}
	}
	for _, in := range []string{"", "+1", "-1", "1K", "1ki", "1mi", "1e", "1e+", "1e+-3", "1e--3", "1e21", "1.1.1", ".", "Mi", "1 Mi", "1Mi ", "0x10", "1_000", "1e3Mi", "1/2", "١"} {
		if q, err := parseQuantity(in); err == nil {
			t.Errorf("%q: got %v, want an error", in, q)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 512 << 20: "512 MiB",
		4 << 30: "4 GiB", 25276502016: "23.5 GiB", 1<<64 - 1: "16.0 EiB",
	} {
		if got := FormatBytes(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func FuzzParseQuantity(f *testing.F) {
	for _, s := range []string{"1", "1.5Gi", "100m", "1e3", "1E-3", "1E", "9223372036854775807", "..", "e5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := parseQuantity(s)
		if err == nil && q.Sign() < 0 {
			t.Errorf("%q: negative %v", s, q)
		}
	})
}
