package layout

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// write renders lines of the given lengths (without newline), each of a letter
// of its own.
func write(l *Layout, lengths []int) ([]byte, bool) {
	w := l.Write(nil)
	for i, n := range lengths {
		for range n {
			w.B = append(w.B, byte('a'+i%26))
		}
		w.End()
	}
	return w.Done(), w.Cut()
}

func TestLayout(t *testing.T) {
	tests := []struct {
		name   string
		widths []int
		size   int
	}{
		{"empty", nil, 0},
		{"one line", []int{1}, 1},
		{"one page", []int{4095, 1}, 4096},
		{"a line that does not fit moves to the next page", []int{4095, 2}, 4098},
		{"exact pages", []int{4096, 4096}, 8192},
		{"three pages", []int{3000, 3000, 3000, 1000}, 12192},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := New(tt.widths)
			if err != nil {
				t.Fatal(err)
			}
			if l.Size() != tt.size {
				t.Errorf("size %d, want %d", l.Size(), tt.size)
			}
			checkSnapshots(t, tt.widths)
		})
	}
	for _, widths := range [][]int{{0}, {-1}, {4097}, {10, 5000}} {
		if _, err := New(widths); err == nil {
			t.Errorf("%v: no error", widths)
		}
	}
}

// checkSnapshots renders the layout full, empty and in between, and expects of
// each what the package promises.
func checkSnapshots(t *testing.T, widths []int) {
	t.Helper()
	l, err := New(widths)
	if err != nil {
		t.Fatal(err)
	}
	full, none, some := slices.Clone(widths), make([]int, len(widths)), slices.Clone(widths)
	for i := range widths {
		full[i]--
		some[i] = full[i] * (i % 3) / 2
	}
	var pages [][]byte
	for _, lengths := range [][]int{full, none, some} {
		data, cut := write(l, lengths)
		if cut {
			t.Errorf("cut lines that fit")
		}
		if len(data) != l.Size() {
			t.Fatalf("%d bytes, want %d", len(data), l.Size())
		}
		lines := bytes.SplitAfter(data, []byte("\n"))
		if len(lines) != len(widths)+1 {
			t.Fatalf("%d lines, want %d", len(lines)-1, len(widths))
		}
		var perPage []byte // number of lines on each page, as letters
		count := 0
		for i, at := 0, 0; i < len(widths); i++ {
			want := strings.Repeat(string(rune('a'+i%26)), lengths[i])
			if got := strings.TrimRight(string(lines[i]), " \n"); got != want {
				t.Fatalf("line %d is %.20q, want %.20q", i, got, want)
			}
			if at/PageSize != (at+len(lines[i])-1)/PageSize {
				t.Fatalf("line %d at %d of %d bytes crosses a page", i, at, len(lines[i]))
			}
			at += len(lines[i])
			if count++; at%PageSize == 0 || i == len(widths)-1 {
				perPage, count = append(strconv.AppendInt(perPage, int64(count), 10), ','), 0
			}
		}
		pages = append(pages, perPage)
	}
	if !bytes.Equal(pages[0], pages[1]) || !bytes.Equal(pages[0], pages[2]) {
		t.Errorf("lines per page differ: %q", pages)
	}
}

// A line may take what earlier lines of its page left; the lines behind it
// keep what is theirs.
func TestLineOverReservation(t *testing.T) {
	l, err := New([]int{10, 10, 10})
	if err != nil {
		t.Fatal(err)
	}
	if got, cut := write(l, []int{4, 14, 9}); cut || string(got) != "aaaa\nbbbbbbbbbbbbbb\nccccccccc\n" {
		t.Errorf("got %q, cut %v", got, cut)
	}
	if got, cut := write(l, []int{30, 9, 9}); !cut || string(got) != "aaaaaaaaa\nbbbbbbbbb\nccccccccc\n" {
		t.Errorf("got %q, cut %v", got, cut)
	}
	if got, cut := write(l, []int{1, 1, 1, 1}); !cut || len(got) != 30 {
		t.Errorf("a line too many: got %q, cut %v", got, cut)
	}
	if got, cut := write(l, []int{1}); cut || string(got) != "a\n\n"+strings.Repeat(" ", 26)+"\n" {
		t.Errorf("lines missing: got %q, cut %v", got, cut)
	}
}

func TestWriterAppends(t *testing.T) {
	l, _ := New([]int{8, 8})
	w := l.Write([]byte("before"))
	w.String("x")
	w.End()
	if got := string(w.Done()); got != "beforex\n"+strings.Repeat(" ", 13)+"\n" {
		t.Errorf("got %q", got)
	}
}

func TestNumbers(t *testing.T) {
	l, _ := New([]int{100})
	w := l.Write(nil)
	for _, v := range []uint64{0, 7, 999, 1000, math.MaxUint64} {
		w.Uint(v, 3)
		w.String("|")
		w.PadUint(v, 3)
		w.String(" ")
	}
	w.Uint(math.MaxUint64, 20)
	if got, want := string(w.B), "0|  0 7|  7 999|999 999|999 999|999 18446744073709551615"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzLayout takes two bytes per line, its width and its length in units of
// 16 bytes.
func FuzzLayout(f *testing.F) {
	f.Add([]byte{1, 0, 255, 255, 0, 9})
	f.Add(bytes.Repeat([]byte{100, 99}, 50))
	f.Fuzz(func(t *testing.T, data []byte) {
		var widths, lengths []int
		for i := 0; i+1 < len(data); i += 2 {
			widths = append(widths, 1+int(data[i])*16)
			lengths = append(lengths, int(data[i+1])*16)
		}
		checkSnapshots(t, widths)
		l, _ := New(widths)
		got, _ := write(l, lengths)
		if len(got) != l.Size() || bytes.Count(got, []byte("\n")) != len(widths) {
			t.Errorf("%d bytes and %d lines, want %d and %d", len(got), bytes.Count(got, []byte("\n")), l.Size(), len(widths))
		}
	})
}
