//go:build cgo && (amd64 || arm64)

package csource

import (
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/truesize/truesize/pkg/registry"
)

// FuzzNumCPUs compares with strconv: a plain decimal number from 1 to 8192.
func FuzzNumCPUs(f *testing.F) {
	for _, s := range []string{"", "0", "1", "2", "007", "8192", "8193", "-1", "+1", " 1", "1 ", "1e9", "two", "4294967297",
		"18446744073709551617", "99999999999999999999999", "1\x002", "２"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := 0
		if c, _, _ := strings.Cut(s, "\x00"); strings.Trim(c, "0123456789") == "" {
			if n, err := strconv.Atoi(c); err == nil && n <= 8192 {
				want = n
			}
		}
		if got := NumCPUs(s); got != want {
			t.Errorf("NumCPUs(%q) = %d, want %d", s, got, want)
		}
	})
}

// FuzzNumber compares with strconv: digits, then a newline. The last nine
// numbers of 64 bits are not told from an overflow.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"", "\n", "0\n", "1", "268435456\n", "max\n", "-1\n", "1 2\n", "18446744073709551615\n",
		"18446744073709551606\n", "18446744073709551605\n", "1844674407370955161\n", "99999999999999999999\n", "12\nx"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		line, _, newline := strings.Cut(string(text), "\n")
		want, err := strconv.ParseUint(line, 10, 64)
		ok := newline && err == nil
		if ok && want > 1<<64-20 {
			t.Skip("at the edge")
		}
		if got, gotOK := Number(text); gotOK != ok || ok && got != want {
			t.Errorf("Number(%q) = %d, %t, want %d, %t", text, got, gotOK, want, ok)
		}
	})
}

func TestLoads(t *testing.T) {
	fixture, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := Loads(fixture); !ok {
		t.Errorf("this machine's %q is refused", fixture)
	}
	for text, want := range map[string][3]float64{
		"0.00 0.01 0.05 1/123 4567\n":     {0, 0.01, 0.05},
		"12.25 3.50 1024.07 0/1 1\n":      {12.25, 3.5, 1024.07},
		"1 2 3 ":                          {1, 2, 3},
		"999999999999999 0.5 .5 \x00\xff": {999999999999999, 0.5, 0.5},
	} {
		if got, ok := Loads([]byte(text)); !ok || got != want {
			t.Errorf("Loads(%q) = %v, %t, want %v", text, got, ok, want)
		}
	}
}

// FuzzLoads compares with strconv: three numbers, each with a space behind.
func FuzzLoads(f *testing.F) {
	for _, s := range []string{"0.00 0.01 0.05 1/123 4567\n", "", " ", ".", ". . . ", "1", "1 2", "1 2 3", "1 2 3 ", "1..2 1 1 ",
		"1.2.3 1 1 ", "-1 1 1 ", "1e3 1 1 ", "nan inf 0 ", "1  2 3 ", "1234567890123456 1 1 "} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		loads, ok := Loads(text)
		fields := strings.SplitN(string(text), " ", 4)
		want := len(fields) == 4
		for i := 0; i < 3 && want; i++ {
			digits := strings.Count(fields[i], ".") <= 1 && strings.Trim(fields[i], "0123456789.") == ""
			v, err := strconv.ParseFloat(fields[i], 64)
			want = digits && err == nil && len(strings.Replace(fields[i], ".", "", 1)) <= 15
			if want && ok && (loads[i] > v*(1+1e-15) || loads[i] < v*(1-1e-15)) {
				t.Errorf("Loads(%q)[%d] = %v, want %v", text, i, loads[i], v)
			}
		}
		if ok != want {
			t.Errorf("Loads(%q): got %t, want %t", text, ok, want)
		}
	})
}

// FuzzMask checks what holds for every mask: a mask kept is a part of it with
// n CPUs at most, begins where it should, and one extended contains it.
func FuzzMask(f *testing.F) {
	f.Add(uint64(0b1111), uint64(0), 2, uint32(3))
	f.Add(uint64(0), uint64(0), 1, uint32(0))
	f.Add(^uint64(0), ^uint64(0), 128, uint32(1<<31))
	f.Add(uint64(1)<<63, uint64(1), 1, uint32(1))
	f.Fuzz(func(t *testing.T, low, high uint64, n int, first uint32) {
		n = 1 + (n&0x7fffffff)%200
		mask := []uint64{low, high}
		count := bits.OnesCount64(low) + bits.OnesCount64(high)
		if got := CountCPUs(mask); got != count {
			t.Fatalf("CountCPUs(%x) = %d, want %d", mask, got, count)
		}
		kept := slices.Clone(mask)
		KeepCPUs(kept, n, first)
		if kept[0]&^low != 0 || kept[1]&^high != 0 || CountCPUs(kept) != min(n, count) {
			t.Errorf("KeepCPUs(%x, %d, %d) = %x", mask, n, first, kept)
		}
		if count > n && !has(kept, nth(mask, int(first%uint32(count)))) {
			t.Errorf("KeepCPUs(%x, %d, %d) = %x: not from that position on", mask, n, first, kept)
		}
		more := slices.Clone(mask)
		ExtendCPUs(more, n)
		if low&^more[0] != 0 || high&^more[1] != 0 || CountCPUs(more) != max(count, min(n, 128)) {
			t.Errorf("ExtendCPUs(%x, %d) = %x", mask, n, more)
		}
		if got, want := AnyBelow(mask, n), count > 0 && nth(mask, 0) < n; got != want {
			t.Errorf("AnyBelow(%x, %d) = %t", mask, n, got)
		}
	})
}

func has(mask []uint64, cpu int) bool { return mask[cpu/64]>>(cpu%64)&1 == 1 }

// nth returns the CPU at a position of a mask that has it.
func nth(mask []uint64, position int) int {
	for cpu := 0; ; cpu++ {
		if has(mask, cpu) {
			if position == 0 {
				return cpu
			}
			position--
		}
	}
}

// A mask kept goes round: the same number of containers gets each CPU.
func TestKeepCPUsIsFair(t *testing.T) {
	var landed [16]int
	for first := range uint32(16) {
		mask := []uint64{0xffff}
		KeepCPUs(mask, 3, first)
		for cpu := range landed {
			if has(mask, cpu) {
				landed[cpu]++
			}
		}
	}
	for cpu, n := range landed {
		if n != 3 {
			t.Errorf("CPU %d is in %d of 16 masks, want 3", cpu, n)
		}
	}
}

// TestDecideReadsTheRegistrysPage shows the format of pkg/registry and that of
// the C source to be the same.
func TestDecideReadsTheRegistrysPage(t *testing.T) {
	d, err := registry.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &registry.Container{ID: "c"}
	c.Decision.Size.CPUs, c.Decision.Size.Memory = 1, 1
	if err := d.Put(c); err != nil {
		t.Fatal(err)
	}
	if err := d.PutSizePage("c", registry.SizePage{CPUs: 300, InjectedCPUs: 4, Memory: 1}); err != nil {
		t.Fatal(err)
	}
	path, _ := d.SizePageFile("c")
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for env, want := range map[string]int{"": 300, "4": 300, "5": 5, "five": 300} {
		if got := Decide(page, env); got != want {
			t.Errorf("NUM_CPUS=%q: got %d, want %d", env, got, want)
		}
	}
	page[8]++
	if got := Decide(page, "4"); got != 4 {
		t.Errorf("page of a newer version: got %d, want 4", got)
	}
}
