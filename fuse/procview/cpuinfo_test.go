package procview

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestCPUInfoGolden(t *testing.T) {
	for _, kernel := range []string{"6.18-x86", "6.1-x86", "5.10-x86", "arm64", "arm", "riscv"} {
		for _, n := range []int{1, 3} {
			name := fmt.Sprintf("cpuinfo-%s-%d", kernel, n)
			t.Run(name, func(t *testing.T) {
				got, err := CPUInfo(nil, host(t, kernel, "cpuinfo"), n)
				if err != nil {
					t.Fatal(err)
				}
				golden(t, name, got)
			})
		}
	}
}

// Of as many CPUs as the host has in one socket, nothing changes.
func TestCPUInfoOfTheHost(t *testing.T) {
	for kernel, n := range map[string]int{"6.18-x86": 2, "arm64": 4, "arm": 2} {
		h := host(t, kernel, "cpuinfo")
		if got, err := CPUInfo(nil, h, n); err != nil || !bytes.Equal(got, h) {
			t.Errorf("%s: %v, got\n%s", kernel, err, got)
		}
	}
}

func TestCPUInfoTopology(t *testing.T) {
	got, err := CPUInfo(nil, host(t, "6.18-x86", "cpuinfo"), 7)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(strings.TrimSuffix(string(got), "\n\n"), "\n\n")
	if len(blocks) != 7 {
		t.Fatalf("%d blocks", len(blocks))
	}
	for i, b := range blocks {
		for _, line := range []string{
			fmt.Sprintf("processor\t: %d\n", i), "physical id\t: 0\n", "siblings\t: 7\n",
			fmt.Sprintf("core id\t\t: %d\n", i), "cpu cores\t: 7\n",
			fmt.Sprintf("apicid\t\t: %d\n", i), fmt.Sprintf("initial apicid\t: %d\n", i),
		} {
			if !strings.Contains(b, line) {
				t.Errorf("block %d has no %q", i, line)
			}
		}
	}
}

func TestCPUInfoUnknown(t *testing.T) {
	for name, in := range map[string][]byte{"s390x": host(t, "s390x", "cpuinfo"), "empty": nil, "text": []byte("no colon\n\n")} {
		if got, err := CPUInfo([]byte("x"), in, 2); !errors.Is(err, ErrFormat) || string(got) != "x" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := CPUInfo(nil, host(t, "arm64", "cpuinfo"), 0); err == nil {
		t.Error("0 CPUs: no error")
	}
}

func FuzzCPUInfo(f *testing.F) {
	for _, kernel := range []string{"6.18-x86", "arm64", "arm", "riscv", "s390x"} {
		f.Add(host(f, kernel, "cpuinfo"), 3)
	}
	f.Add([]byte("processor\t: 0"), 2)
	f.Add([]byte(":\n\nprocessor:\n\n\n\n"), 2)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		n %= 16
		got, err := CPUInfo(nil, data, n)
		if err != nil {
			return
		}
		for i := range n {
			if !bytes.Contains(got, fmt.Appendf(nil, ": %d\n", i)) {
				t.Errorf("no CPU %d of %d in %q", i, n, got)
			}
		}
	})
}

func BenchmarkCPUInfo(b *testing.B) {
	h := host(b, "6.18-x86", "cpuinfo")
	dst := make([]byte, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := CPUInfo(dst, h, 16); err != nil {
			b.Fatal(err)
		}
	}
}
