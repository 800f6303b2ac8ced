package join

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/truesize/truesize/pkg/logs/parse"
)

type collect struct{ recs []Record }

func (c *collect) Emit(r *Record) {
	k := *r
	k.Text = slices.Clone(r.Text)
	c.recs = append(c.recs, k)
}

func (c *collect) texts() []string {
	var s []string
	for _, r := range c.recs {
		t := string(r.Text)
		if r.Continued {
			t = "<" + t
		}
		if r.Split {
			t += ">"
		}
		s = append(s, r.Stream.String()[3:4]+":"+t)
	}
	return s
}

// line reads "oP text" or "eF text" at offset i.
func line(s string, file uint64, i int) *Line {
	l := &Line{Pos: Pos{file, int64(i)}}
	l.Text = []byte(s[3:])
	l.Partial = s[1] == 'P'
	if s[0] == 'e' {
		l.Stream = parse.Stderr
	}
	l.Time = int64(i)
	return l
}

func TestPartials(t *testing.T) {
	for name, tc := range map[string]struct {
		max  int
		in   []string
		want []string
	}{
		"whole":            {100, []string{"oF a", "eF b", "oF "}, []string{"o:a", "e:b", "o:"}},
		"joined":           {100, []string{"oP a", "oP b", "oF c"}, []string{"o:abc"}},
		"streams apart":    {100, []string{"oP a", "eP x", "oF b", "eF y"}, []string{"o:ab", "e:xy"}},
		"other stream":     {100, []string{"oP a", "eF x", "oF b"}, []string{"e:x", "o:ab"}},
		"empty end":        {100, []string{"oP a", "oF "}, []string{"o:a"}},
		"flushed at end":   {100, []string{"oP a", "eP b"}, []string{"o:a", "e:b"}},
		"split at a line":  {4, []string{"oP abc", "oP def", "oF g"}, []string{"o:abc>", "o:<defg"}},
		"exactly the most": {4, []string{"oP ab", "oF cd", "oF efgh"}, []string{"o:abcd", "o:efgh"}},
		"split in a line":  {2, []string{"oF abcde"}, []string{"o:ab>", "o:<cd>", "o:<e"}},
		"split, then more": {2, []string{"oP abc", "oF d", "oF x"}, []string{"o:ab>", "o:<cd", "o:x"}},
	} {
		t.Run(name, func(t *testing.T) {
			var c collect
			j := New(tc.max, nil, &c)
			for i, s := range tc.in {
				j.Add(line(s, 1, i*10))
			}
			j.Flush()
			if got := c.texts(); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if n, any := j.Holding(); any {
				t.Errorf("still holds %d bytes", n)
			}
		})
	}
}

func TestSafe(t *testing.T) {
	var c collect
	j := New(100, nil, &c)
	safe := func(file uint64, off int64) [2]int64 {
		return [2]int64{j.Safe(file, parse.Stdout, off), j.Safe(file, parse.Stderr, off)}
	}
	j.Add(line("oF a", 1, 0))
	if got := safe(1, 10); got != [2]int64{10, 10} {
		t.Errorf("nothing held: %v", got)
	}
	j.Add(line("oP b", 1, 10))
	j.Add(line("eF c", 1, 20))
	if got := safe(1, 30); got != [2]int64{10, 30} {
		t.Errorf("a partial of stdout: %v", got)
	}
	// The file is rotated in the middle of the line.
	j.Add(line("oP d", 2, 0))
	j.Add(line("oP d", 2, 10))
	if got := safe(1, 30); got != [2]int64{10, 30} {
		t.Errorf("the older file: %v", got)
	}
	if got := safe(2, 20); got != [2]int64{0, 20} {
		t.Errorf("the newer file: %v", got)
	}
	j.Add(line("oF e", 2, 20))
	if got := safe(1, 30); got != [2]int64{30, 30} {
		t.Errorf("complete: %v", got)
	}
	if last := c.recs[len(c.recs)-1]; last.Pos != (Pos{1, 10}) || string(last.Text) != "bdde" {
		t.Errorf("the joined record is %+v", last)
	}
}

func TestCut(t *testing.T) {
	var c collect
	j := New(100, nil, &c)
	j.Add(line("oP a", 1, 0))
	j.Add(line("eP x", 1, 10))
	j.Cut()
	if n, any := j.Holding(); any {
		t.Errorf("holds %d bytes", n)
	}
	j.Add(line("oF b", 1, 20))
	j.Add(line("oF c", 1, 30))
	j.Add(line("eF y", 1, 40))
	if got, want := c.texts(), []string{"o:a>", "e:x>", "o:<b", "o:c", "e:<y"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A cut within a line must not make reading start again within it.
func TestSafeAtCut(t *testing.T) {
	var c collect
	j := New(2, nil, &c)
	j.Add(line("oP abcde", 1, 10))
	if got := j.Safe(1, parse.Stdout, 20); got != 10 {
		t.Errorf("safe at %d, want the line's start 10", got)
	}
	j.Add(line("oF f", 1, 20))
	if got := j.Safe(1, parse.Stdout, 30); got != 30 {
		t.Errorf("safe at %d, want 30", got)
	}
	var offs []int64
	for _, r := range c.recs {
		offs = append(offs, r.Pos.Offset)
	}
	if want := []int64{10, 12, 14}; !slices.Equal(offs, want) {
		t.Errorf("records at %v, want %v", offs, want)
	}
}

func TestMultiline(t *testing.T) {
	java := `INFO start
ERROR failed
java.lang.IllegalStateException: no
	at a.B.c(B.java:1)
	... 3 more
Caused by: java.io.IOException: gone
	at d.E.f(E.java:2)
INFO next
  indented text`
	python := `INFO start
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    f()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3
ValueError: y
INFO next`
	golang := `starting
panic: no [recovered]
	panic: no

goroutine 1 [running]:
main.main()
	/x/main.go:5 +0x1d
created by main.x in goroutine 1
	/x/y.go:1
exit status 2
next`
	for name, tc := range map[string]struct {
		rule, in string
		want     []int // lines in each record
	}{
		"java":    {"java", java, []int{1, 6, 1, 1}},
		"python":  {"python", python, []int{11, 1}},
		"go":      {"go", golang, []int{1, 9, 1}},
		"start":   {"start:^[A-Z]+ ", "INFO a\nb\nc\nWARN d\nERROR e\n f", []int{3, 1, 2}},
		"no head": {"start:^[A-Z]+ ", "b\nc\nWARN d", []int{2, 1}},
		"none":    {"none", "a\n b", []int{1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			rule, err := NewRule(tc.rule)
			if err != nil {
				t.Fatal(err)
			}
			var c collect
			j := New(1<<20, rule, &c)
			for i, s := range strings.Split(tc.in, "\n") {
				j.Add(line("oF "+s, 1, i*10))
			}
			j.Flush()
			var got []int
			var texts []string
			for _, r := range c.recs {
				got = append(got, strings.Count(string(r.Text), "\n")+1)
				texts = append(texts, string(r.Text))
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("lines per record %v, want %v: %q", got, tc.want, texts)
			}
			if strings.Join(texts, "\n") != tc.in {
				t.Errorf("text changed: %q", texts)
			}
		})
	}
	for _, bad := range []string{"perl", "start:(", "start"} {
		if _, err := NewRule(bad); err == nil {
			t.Errorf("rule %q: no error", bad)
		}
	}
}

func TestTick(t *testing.T) {
	rule, _ := NewRule("start:^A")
	var c collect
	j := New(100, rule, &c)
	j.Add(line("oF A", 1, 0))
	j.Add(line("eP A", 1, 10))
	for range 2 {
		j.Tick(2, 3)
	}
	if len(c.recs) != 0 {
		t.Fatalf("too early: %q", c.texts())
	}
	j.Tick(2, 3)
	if got := c.texts(); !slices.Equal(got, []string{"o:A"}) {
		t.Fatalf("after 3 ticks %q", got)
	}
	for range 4 {
		j.Tick(2, 3)
	}
	if got := c.texts(); !slices.Equal(got, []string{"o:A", "e:A"}) {
		t.Fatalf("after 7 ticks %q", got)
	}
}

// Whatever comes in goes out, in order for each stream, within the bound.
func TestNothingLost(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var rule Rule
		if seed%2 == 1 {
			rule, _ = NewRule("start:^a")
		}
		max := 1 + r.IntN(20)
		var c collect
		j := New(max, rule, &c)
		var want [2]string
		for i := range 200 {
			s := strings.Repeat(string(rune('a'+r.IntN(3))), r.IntN(12))
			l := line(fmt.Sprintf("%c%c %s", "oe"[r.IntN(2)], "PF"[r.IntN(2)], s), uint64(i/50), i*100)
			want[l.Stream] += s
			j.Add(l)
			if r.IntN(20) == 0 {
				j.Tick(1, 2)
			}
		}
		j.Flush()
		var got [2]string
		seen := map[Pos]bool{}
		for _, rec := range c.recs {
			if len(rec.Text) > max {
				t.Fatalf("seed %d: %d bytes, bound %d", seed, len(rec.Text), max)
			}
			if seen[rec.Pos] {
				t.Fatalf("seed %d: two records at %v", seed, rec.Pos)
			}
			seen[rec.Pos] = true
			got[rec.Stream] += strings.ReplaceAll(string(rec.Text), "\n", "")
		}
		if got != want {
			t.Fatalf("seed %d: got %q, want %q", seed, got, want)
		}
	}
}
