package guest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestDepends(t *testing.T) {
	for modinfo, want := range map[string][]string{
		"license=GPL\x00depends=virtio,virtio_ring\x00name=virtio_blk\x00": {"virtio", "virtio_ring"},
		"depends=\x00":                         nil,
		"":                                     nil,
		"description=depends=x\x00depends=llc": {"llc"},
	} {
		if got := depends(modinfo); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", modinfo, got, want)
		}
	}
}

// FuzzDepends: a .modinfo is the kernel package's.
func FuzzDepends(f *testing.F) {
	f.Add("depends=a,b\x00depends=c\x00")
	f.Add("depends=,,\x00\x00=")
	f.Fuzz(func(t *testing.T, modinfo string) {
		for _, name := range depends(modinfo) {
			if name == "" || strings.ContainsAny(name, ",\x00") || !strings.Contains(modinfo, name) {
				t.Errorf("%q of %q", name, modinfo)
			}
		}
	})
}

// TestOutput: the status is told wherever the port's bytes are cut, and only by
// the line that has the word.
func TestOutput(t *testing.T) {
	const text = "one\n\nno end-of-x here\nunfinishedend-of-x 3\n"
	for cut := range len(text) {
		var shown []string
		o := &output{end: "end-of-x", progress: func(line string) { shown = append(shown, line) }}
		for _, part := range []string{text[:cut], text[cut:]} {
			if n, err := o.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		o.flush()
		if !o.ended || o.status != 3 || o.text.String() != "one\n\nno end-of-x here\nunfinished\n" || len(shown) != 4 {
			t.Fatalf("cut at %d: %+v, shown %q", cut, o, shown)
		}
	}
	o := &output{end: "end-of-x", progress: func(string) {}}
	o.Write([]byte("panic"))
	o.flush()
	if o.ended || o.text.String() != "panic\n" {
		t.Errorf("%+v", o)
	}
}

// TestLibraries: a program that is linked to libraries gets them and its
// loader, a static one none.
func TestLibraries(t *testing.T) {
	files, err := Programs("awk")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, f := range files {
		if _, err := os.Stat(f.Host); err != nil || !strings.HasPrefix(f.Guest, "/usr/") {
			t.Errorf("%+v: %v", f, err)
		}
		paths = append(paths, filepath.Base(f.Guest))
	}
	for _, want := range []string{"awk", "libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"} {
		if !slices.Contains(paths, want) {
			t.Errorf("no %s in %q", want, paths)
		}
	}
	if _, err := Programs("no-such-program"); err == nil {
		t.Error("a program that is not there is no error")
	}
}

// TestNoKernel: a release that the node's mirrors do not serve is an error that
// says what to do.
func TestNoKernel(t *testing.T) {
	_, err := Fetch(t.Context(), t.TempDir(), "no-such-release", progress(t))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"apt/sources.list do not serve Debian's no-such-release", "add a source to the node's apt"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want it to say %q", err, want)
		}
	}
}

// TestArchive: entries begin at multiples of four bytes, and the trailer ends
// them.
func TestArchive(t *testing.T) {
	var b bytes.Buffer
	c := cpio{w: &b}
	c.add("dir", modeDir|0o755, nil)
	c.add("file", modeFile|0o644, []byte("12345"))
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	want := "070701" + "00000001" + "000041ED" + "00000000" + "00000000" + "00000002" + "00000000" + "00000000" +
		strings.Repeat("00000000", 4) + "00000004" + "00000000" + "dir\x00\x00\x00" +
		"070701" + "00000002" + "000081A4" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005" +
		strings.Repeat("00000000", 4) + "00000005" + "00000000" + "file\x00\x00" + "12345\x00\x00\x00"
	if got := b.String(); !strings.HasPrefix(got, want) || !strings.Contains(got[len(want):], "TRAILER!!!\x00") || len(got)%4 != 0 {
		t.Errorf("got %q", got)
	}
}
