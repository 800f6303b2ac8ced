package registry

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/size"
)

// newPageDir returns a registry with a container "c".
func newPageDir(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &Container{ID: "c"}
	c.Decision.Size.CPUs, c.Decision.Size.Memory = 1, 1
	if err := d.Put(c); err != nil {
		t.Fatal(err)
	}
	return d
}

func readPage(t *testing.T, d *Dir) []byte {
	t.Helper()
	path, err := d.SizePageFile("c")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The bytes are a contract with the shims that running containers have
// loaded, older ones among them.
func TestSizePageFormat(t *testing.T) {
	d := newPageDir(t)
	page := SizePage{CPUs: 2, InjectedCPUs: 3, UsableCPUs: 4, PossibleCPUs: 5, FirstCPU: 6, Memory: 7 << 40, Swap: 8, Start: 9 * time.Second}
	if err := d.PutSizePage("c", page); err != nil {
		t.Fatal(err)
	}
	m, err := d.MapSizePage("c")
	if err != nil {
		t.Fatal(err)
	}
	m.SetLoads([3]float64{1, 0.5, 2}, 10*time.Second)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	want := []byte("TRUESIZE" + // magic
		"\x01\x00\x00\x00" + "\x02\x00\x00\x00" + // version, CPUs
		"\x03\x00\x00\x00" + "\x04\x00\x00\x00" + // injected, usable
		"\x05\x00\x00\x00" + "\x06\x00\x00\x00" + // possible, first
		"\x00\x00\x00\x00\x00\x07\x00\x00" + "\x08\x00\x00\x00\x00\x00\x00\x00" + // memory, swap
		"\x09\x00\x00\x00\x00\x00\x00\x00" + "\x0a\x00\x00\x00\x00\x00\x00\x00" + // start, load time
		"\x00\x00\x01\x00" + "\x00\x80\x00\x00" + "\x00\x00\x02\x00") // loads
	want = append(want, make([]byte, 4096-len(want))...)
	if got := readPage(t, d); !bytes.Equal(got, want) {
		t.Errorf("got  % x\nwant % x", got[:80], want[:80])
	}
}

func TestPutSizePageInPlace(t *testing.T) {
	d := newPageDir(t)
	first := SizePage{CPUs: 2, InjectedCPUs: 2, UsableCPUs: 8, PossibleCPUs: 64, FirstCPU: FirstCPU("c"), Memory: 1 << 30, Start: time.Minute}
	if err := d.PutSizePage("c", first); err != nil {
		t.Fatal(err)
	}
	m, err := d.MapSizePage("c") // as the container's programs have it
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := m.SizePage(); got != first {
		t.Errorf("got %+v, want %+v", got, first)
	}
	second := first
	second.CPUs, second.Memory, second.Swap, second.Start = 4, 2<<30, 1<<20, 0
	if err := d.PutSizePage("c", second); err != nil {
		t.Fatal(err)
	}
	second.Start = time.Minute // 0 left it
	if got := m.SizePage(); got != second {
		t.Errorf("after the change: got %+v, want %+v", got, second)
	}
}

func TestKeepSizePage(t *testing.T) {
	own := func(v string) *string { return &v }
	for _, tt := range []struct {
		name     string
		env      []string
		numCPUs  *string
		injected int
	}{
		{"injected", []string{"LD_PRELOAD", "NUM_CPUS"}, nil, 2},
		{"not injected", []string{"LD_PRELOAD"}, nil, 0},
		{"the container's own", nil, own("3"), 3},
		{"garbage of its own", nil, own("two"), 0},
		{"too many of its own", nil, own("8193"), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newPageDir(t)
			c, err := d.Get("c")
			if err != nil {
				t.Fatal(err)
			}
			c.Env, c.Input.NumCPUs = tt.env, tt.numCPUs
			c.Input.Host.CPUs, c.Input.Limits.CPUSet = 16, 4
			c.Decision.Size = size.Size{CPUs: 2, Memory: 1 << 30, Swap: 5}
			if err := d.KeepSizePage(c, 32); err != nil {
				t.Fatal(err)
			}
			c.Decision.Size.CPUs, c.Input.Limits.CPUSet, c.StartTicks = 8, 0, 12345 // resized, and started
			if err := d.KeepSizePage(c, 32); err != nil {
				t.Fatal(err)
			}
			m, err := d.MapSizePage("c")
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			want := SizePage{CPUs: 8, InjectedCPUs: tt.injected, UsableCPUs: 16, PossibleCPUs: 32, FirstCPU: FirstCPU("c"),
				Memory: 1 << 30, Swap: 5, Start: 123 * time.Second}
			if got := m.SizePage(); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestKeepSizePageTakesTheCPUSet(t *testing.T) {
	d := newPageDir(t)
	c, err := d.Get("c")
	if err != nil {
		t.Fatal(err)
	}
	c.Input.Host.CPUs, c.Input.Limits.CPUSet = 16, 4
	if err := d.KeepSizePage(c, 32); err != nil {
		t.Fatal(err)
	}
	m, err := d.MapSizePage("c")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := m.SizePage().UsableCPUs; got != 4 {
		t.Errorf("got %d usable CPUs, want the cpuset's 4", got)
	}
}

func TestPutSizePageRefuses(t *testing.T) {
	d := newPageDir(t)
	for _, p := range []SizePage{
		{CPUs: 0, Memory: 1}, {CPUs: -1, Memory: 1}, {CPUs: 8193, Memory: 1}, {CPUs: 1, Memory: 0},
		{CPUs: 1, Memory: 1, InjectedCPUs: -1}, {CPUs: 1, Memory: 1, UsableCPUs: -1},
		{CPUs: 1, Memory: 1, PossibleCPUs: -1}, {CPUs: 1, Memory: 1, Start: -1},
	} {
		if err := d.PutSizePage("c", p); err == nil {
			t.Errorf("PutSizePage(%+v): no error", p)
		}
	}
	if _, err := d.MapSizePage("c"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got error %v, want ErrNotFound: nothing was written", err)
	}
	good := SizePage{CPUs: 1, Memory: 1}
	if err := d.PutSizePage("../c", good); !errors.Is(err, ErrBadID) {
		t.Errorf("id ../c: got error %v, want ErrBadID", err)
	}
	if err := d.PutSizePage("unknown", good); err == nil {
		t.Error("a container without an entry: no error")
	}
}

// A file that is no page of this version is neither written nor mapped.
func TestMapSizePageRefuses(t *testing.T) {
	d := newPageDir(t)
	if err := d.PutSizePage("c", SizePage{CPUs: 1, Memory: 1}); err != nil {
		t.Fatal(err)
	}
	good := readPage(t, d)
	for name, edit := range map[string]func(p []byte) []byte{
		"empty":         func(p []byte) []byte { return nil },
		"cut short":     func(p []byte) []byte { return p[:4095] },
		"too long":      func(p []byte) []byte { return append(p, 0) },
		"newer version": func(p []byte) []byte { p[8]++; return p },
		"no magic":      func(p []byte) []byte { p[0] = 'X'; return p },
	} {
		t.Run(name, func(t *testing.T) {
			data := edit(bytes.Clone(good))
			path, _ := d.SizePageFile("c")
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := d.PutSizePage("c", SizePage{CPUs: 2, Memory: 2}); !errors.Is(err, ErrCorrupt) {
				t.Errorf("got error %v, want ErrCorrupt", err)
			}
			if got := readPage(t, d); !bytes.Equal(got, data) {
				t.Error("the file was written")
			}
		})
	}
	t.Run("symbolic link", func(t *testing.T) {
		path, _ := d.SizePageFile("c")
		target := filepath.Join(t.TempDir(), "target")
		if err := errors.Join(os.WriteFile(target, good, 0o644), os.Remove(path), os.Symlink(target, path)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.MapSizePage("c"); err == nil {
			t.Error("no error: the file behind a link is not the registry's")
		}
	})
}

func TestSetLoadsClamps(t *testing.T) {
	d := newPageDir(t)
	if err := d.PutSizePage("c", SizePage{CPUs: 1, Memory: 1}); err != nil {
		t.Fatal(err)
	}
	m, err := d.MapSizePage("c")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.SetLoads([3]float64{-1, 1e9, math.NaN()}, time.Second)
	for i, want := range []uint32{0, math.MaxUint32, 0} {
		if got := m.load32(offLoads + 4*i); got != want {
			t.Errorf("load %d: got %d, want %d", i, got, want)
		}
	}
}

// Readers of a page that is written over and over see each field as one of
// the values it was given.
func TestSizePageIsNeverTorn(t *testing.T) {
	d := newPageDir(t)
	small := SizePage{CPUs: 1, Memory: 0x11111111_11111111}
	large := SizePage{CPUs: 0x1fff, Memory: 0x22222222_22222222}
	if err := d.PutSizePage("c", small); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		for i := range 500 {
			p := small
			if i%2 == 0 {
				p = large
			}
			if err := d.PutSizePage("c", p); err != nil {
				done <- err
				return
			}
		}
		close(done)
	}()
	m, err := d.MapSizePage("c")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for {
		p := m.SizePage()
		if p.CPUs != small.CPUs && p.CPUs != large.CPUs || p.Memory != small.Memory && p.Memory != large.Memory {
			t.Fatalf("got %d CPUs and %#x bytes", p.CPUs, p.Memory)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
}

func TestFirstCPUSpreads(t *testing.T) {
	const containers, cpus = 4000, 64
	var landed [cpus]int
	for i := range containers {
		landed[FirstCPU(fmt.Sprintf("%064x", i))%cpus]++
	}
	for cpu, n := range landed {
		if n < containers/cpus/2 || n > containers/cpus*2 {
			t.Errorf("%d of %d containers begin at CPU %d of %d", n, containers, cpu, cpus)
		}
	}
}
