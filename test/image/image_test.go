package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/deploy/image/oci"
)

func TestDebianSources(t *testing.T) {
	const targets = `Debian|main|http://mirror.example/debian/|bookworm
Debian|main|http://mirror.example/debian/|bookworm-updates
Debian|main|http://mirror.example/debian-security/|bookworm-security
Debian|contrib|http://mirror.example/debian/|bookworm
Debian|main|http://mirror.example/debian/|sid
nodejs|main|https://deb.example/node|nodistro
Vendor|main|https://deb.example/vendor|bookworm
|main|https://deb.example/never-fetched|bookworm

broken line
`
	got := sourcesList(suite, mirrors(suite, targets))
	want := strings.Join([]string{
		`deb [signed-by="` + keyring + `"] http://mirror.example/debian/ bookworm main`,
		`deb [signed-by="` + keyring + `"] http://mirror.example/debian/ bookworm-updates main`,
		`deb [signed-by="` + keyring + `"] http://mirror.example/debian-security/ bookworm-security main`,
	}, "\n") + "\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for release, want := range map[string][]string{
		"sid":    {"http://mirror.example/debian/ sid"},
		"trixie": {"http://mirror.example/debian/ trixie", "http://mirror.example/debian/ trixie-updates", "http://mirror.example/debian-security/ trixie-security"},
	} {
		if got := mirrors(release, targets); !slices.Equal(got, want) {
			t.Errorf("of %s: %q, want %q", release, got, want)
		}
	}
	// A node of another release has no source for the image's.
	for _, targets := range []string{"", "Debian|main|http://mirror.example/debian/|trixie\n",
		"Debian|main|http://mirror.example/debian/|bookworm-updates\n"} {
		if got := sourcesList(suite, mirrors(suite, targets)); !strings.Contains(got, " http://deb.debian.org/debian bookworm main\n") {
			t.Errorf("targets %q: got\n%s", targets, got)
		}
	}
}

func TestDropped(t *testing.T) {
	for name, want := range map[string]bool{
		"usr/share/doc/libc6/copyright":                      true,
		"usr/share/doc":                                      false,
		"usr/share/docs/x":                                   false,
		"usr/lib/jvm/java-17-openjdk-amd64/lib/ct.sym":       true,
		"usr/lib/jvm/java-17-openjdk-amd64/lib/modules":      false,
		"usr/lib/jvm/java-17-openjdk-arm64/lib/ct.sym":       true,
		"var/lib/dpkg/status":                                false,
		"var/lib/apt/lists/deb.debian.org_dists_bookworm_Re": true,
	} {
		if got := debianRecipe.dropped(name); got != want {
			t.Errorf("dropped(%q) = %t", name, got)
		}
	}
	for name, want := range map[string]bool{
		"usr/lib/jvm/java-17-openjdk-amd64/jmods/java.base.jmod": true,
		"usr/lib/jvm/java-17-openjdk-arm64/jmods/java.base.jmod": true,
		"usr/lib/jvm/java-17-openjdk-amd64/jmods":                false,
		"usr/lib/jvm/java-17-openjdk-amd64/lib/jmods":            false,
		"usr/share/doc/libc6/copyright":                          true,
	} {
		if got := runtimesRecipe.dropped(name); got != want {
			t.Errorf("of the runtimes' image: dropped(%q) = %t", name, got)
		}
	}
}

// TestCopyLayer checks what becomes of the entries of a root file system.
func TestCopyLayer(t *testing.T) {
	var in, out bytes.Buffer
	tw := tar.NewWriter(&in)
	for _, h := range []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "./usr/bin/java", Typeflag: tar.TypeSymlink, Linkname: "../x"},
		{Name: "./usr/bin/su", Typeflag: tar.TypeReg, Mode: 0o4755, Uname: "root", ModTime: time.Unix(5, 0)},
		{Name: "./usr/bin/hard", Typeflag: tar.TypeLink, Linkname: "./usr/bin/su"},
		{Name: "./usr/share/man/man1/x", Typeflag: tar.TypeReg},
		{Name: "./dev/null", Typeflag: tar.TypeChar},
	} {
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	tw = tar.NewWriter(&out)
	if err := errors.Join(copyLayer(debianRecipe, tw, &in), tw.Close()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for tr := tar.NewReader(&out); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(oci.Epoch()) || h.Uname != "" {
			t.Errorf("%s: time %v, owner %q", h.Name, h.ModTime, h.Uname)
		}
		if h.Name == "usr/bin/su" && h.Mode != 0o4755 {
			t.Errorf("mode of su: %o", h.Mode)
		}
		got = append(got, h.Name+"->"+h.Linkname)
	}
	want := []string{"usr/->", "usr/bin/java->../x", "usr/bin/su->", "usr/bin/hard->usr/bin/su"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := copyLayer(debianRecipe, tar.NewWriter(io.Discard), strings.NewReader("no tar")); err == nil {
		t.Error("a broken stream is no error")
	}
}

// TestReadFromImage checks that a file is found in an archive.
func TestReadFromImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "small.tar")
	l, err := oci.NewLayer(t.TempDir(), func(tw *tar.Writer) error { return fillSmall(tw, []byte("busybox"), []byte("pause")) })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = oci.Replace(path, func(w io.Writer) error {
		a, err := oci.NewArchive(w)
		if err != nil {
			return err
		}
		return errors.Join(a.Add(described(Small, "/bin/sh"), l), a.Add(described(Pause, "/pause"), l), a.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	if busybox, err := readFromImage(path, "bin/busybox"); err != nil || string(busybox) != "busybox" {
		t.Errorf("busybox: %q, %v", busybox, err)
	}
	if _, err := readFromImage(path, "bin/none"); err == nil {
		t.Error("a file that is not there was found")
	}
}

// TestKey checks that a change of the recipe is another image.
func TestKey(t *testing.T) {
	changed := debianRecipe
	changed.Packages = append(slices.Clone(changed.Packages), "ruby")
	if changed.key() == debianRecipe.key() {
		t.Error("the key does not follow the recipe")
	}
}
