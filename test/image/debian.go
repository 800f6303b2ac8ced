package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/truesize/truesize/deploy/image/oci"
)

// A recipe is all that decides what is in an image, besides the packages'
// versions in the archive.
type recipe struct {
	Version  int // of the code that makes it
	Suite    string
	Packages []string
	Drop     []string // directories and files left out
	Applets  []string
	From     string // the key of the image it takes from
}

// suite is the Debian release of the images: that of the nodes in use. The
// next one has what is newer.
const (
	suite      = "bookworm"
	newerSuite = "trixie"
)

// debianRecipe describes the image of buildDebian.
var debianRecipe = recipe{
	Version: 1,
	Suite:   suite,
	Packages: []string{
		"busybox-static", "mawk", "nodejs", "openjdk-17-jre-headless", "procps", "python3-minimal", "util-linux",
	},
	Drop: []string{
		"dev/*", "run/*", "tmp/*", "var/cache/*", "var/lib/apt/*", "var/log/*",
		"usr/share/doc/*", "usr/share/info/*", "usr/share/locale/*", "usr/share/man/*",
		"usr/lib/jvm/java-17-openjdk-*/lib/ct.sym",
		"usr/lib/jvm/java-17-openjdk-*/lib/server/classes_nocoops.jsa",
	},
}

// runtimesRecipe describes the image of every runtime whose answers are
// compared. nginx and Erlang come without their daemons' packages.
var runtimesRecipe = recipe{
	Version: 2,
	Suite:   suite,
	Packages: []string{
		"busybox", "erlang-base", "libgomp1", "libopenblas0-pthread", "libstdc++6", "musl", "nginx-light", "nodejs",
		"openjdk-17-jdk-headless", "perl", "php-cli", "procps", "python3", "python3-psutil", "ruby", "util-linux",
	},
	Drop: append([]string{"usr/lib/jvm/java-17-openjdk-*/jmods/*"}, debianRecipe.Drop...),
}

// newerRecipe describes the image of the runtimes' later versions.
var newerRecipe = recipe{
	Version:  1,
	Suite:    newerSuite,
	Packages: []string{"musl", "openjdk-21-jdk-headless", "openjdk-25-jre-headless", "procps", "python3-minimal"},
	Drop: append([]string{
		"usr/lib/jvm/java-21-openjdk-amd64/jmods/*", "usr/lib/jvm/java-21-openjdk-arm64/jmods/*",
		"usr/lib/jvm/java-*-openjdk-*/lib/server/classes_*.jsa",
	}, debianRecipe.Drop...),
}

// JavaClassPath is the directory in the Debian image that holds the class
// Processors, which prints availableProcessors().
const JavaClassPath = "/usr/local/share/truesize"

// buildDebian makes an image of a recipe with mmdebstrap, which runs in mount
// and pid namespaces of its own: killed at any moment, it leaves no mount
// and no process.
func buildDebian(ctx context.Context, r recipe, ref, dst string, progress func(string)) (err error) {
	work := workDir(dst)
	// What a killed build has left: the cache's lock says that none runs.
	if err := os.RemoveAll(work); err != nil {
		return fmt.Errorf("clean up after an earlier build: %w", err)
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return fmt.Errorf("create work directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	progress("building an image of Debian " + r.Suite + ": fetching and unpacking packages (about a minute)")
	layer, err := oci.NewLayer(work, func(tw *tar.Writer) error { return debootstrap(ctx, r, work, tw, progress) })
	if err != nil {
		return err
	}
	defer layer.Close()
	progress("building an image of Debian " + r.Suite + ": writing the archive")
	return oci.Replace(dst, func(w io.Writer) error {
		a, err := oci.NewArchive(w)
		if err != nil {
			return err
		}
		return errors.Join(a.Add(described(ref, "/bin/sh"), layer), a.Close())
	})
}

// workDir returns the build directory of the cache that dst is in. It is not
// in the cache, which may be in a home directory that apt's user cannot enter.
func workDir(dst string) string {
	sum := sha256.Sum256([]byte(filepath.Dir(dst)))
	return fmt.Sprintf("/var/tmp/truesize-image-%x", sum[:6])
}

// debootstrap runs mmdebstrap and copies what it makes to tw.
func debootstrap(ctx context.Context, r recipe, work string, tw *tar.Writer, progress func(string)) error {
	sources, err := Sources(ctx, r.Suite)
	if err != nil {
		return err
	}
	args := []string{
		"--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"mmdebstrap", "--mode=root", "--format=tar", "--variant=essential",
		"--include=" + strings.Join(r.Packages, ","),
		`--aptopt=APT::Install-Recommends "false"`,
	}
	for _, opt := range proxyOptions(ctx) {
		args = append(args, "--aptopt="+opt)
	}
	cmd := exec.CommandContext(ctx, "unshare", append(args, r.Suite, "-", "-")...)
	cmd.Env = append(os.Environ(), "TMPDIR="+work, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", oci.Epoch().Unix()))
	// A group of its own: an interrupt from the terminal reaches it through
	// ctx alone. Its end follows ours even if we are killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stdin = strings.NewReader(sources)
	messages := &steps{progress: progress}
	cmd.Stderr = messages
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start mmdebstrap: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start mmdebstrap (make deps installs it): %w", err)
	}
	copyErr := copyLayer(r, tw, out)
	// A copy that failed leaves mmdebstrap writing to nobody.
	_, drainErr := io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("mmdebstrap: %w\n%s", err, messages.tail())
	}
	if err := errors.Join(copyErr, drainErr); err != nil {
		return err
	}
	return addOwn(tw)
}

// copyLayer copies a root file system from a tar stream, less what the
// recipe drops, with the same time on every file.
func copyLayer(r recipe, tw *tar.Writer, in io.Reader) error {
	tr := tar.NewReader(in)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read root file system: %w", err)
		}
		if h.Name = strings.TrimPrefix(path.Clean(h.Name), "./"); h.Name == "." || r.dropped(h.Name) {
			continue
		}
		if h.Typeflag == tar.TypeLink {
			h.Linkname = strings.TrimPrefix(path.Clean(h.Linkname), "./")
		}
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		h.ModTime, h.AccessTime, h.ChangeTime = oci.Epoch(), time.Time{}, time.Time{}
		h.Uname, h.Gname, h.Format = "", "", tar.FormatPAX
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s: %w", h.Name, err)
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return fmt.Errorf("write %s: %w", h.Name, err)
		}
	}
}

// dropped says whether the recipe leaves name out. A pattern that ends in
// "/*" drops everything below the directories it matches, at any depth.
func (r recipe) dropped(name string) bool {
	for _, pattern := range r.Drop {
		if dir, ok := strings.CutSuffix(pattern, "/*"); ok {
			if isBelow(name, dir) {
				return true
			}
		} else if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// isBelow says whether a directory above name matches pattern.
func isBelow(name, pattern string) bool {
	for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
		if ok, _ := path.Match(pattern, dir); ok {
			return true
		}
	}
	return false
}

// addOwn adds the files that come from no package.
func addOwn(tw *tar.Writer) error {
	dir := strings.TrimPrefix(JavaClassPath, "/")
	return errors.Join(
		oci.WriteDir(tw, dir, 0o755),
		oci.WriteFile(tw, filepath.Join(dir, "Processors.class"), 0o644, javaProcessors()),
	)
}

// steps turns mmdebstrap's messages ("I: running apt-get update...") into
// progress and keeps the last of its output for an error.
type steps struct {
	progress func(string)
	last     bytes.Buffer
}

func (s *steps) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if msg, ok := strings.CutPrefix(line, "I: "); ok && strings.HasSuffix(msg, "...\n") {
			s.progress("  " + strings.TrimSpace(msg))
		}
	}
	if s.last.Len() > 64<<10 {
		s.last.Next(s.last.Len() - 16<<10)
	}
	return s.last.Write(p)
}

// tail returns the last lines of output.
func (s *steps) tail() string {
	lines := strings.Split(strings.TrimSpace(s.last.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
