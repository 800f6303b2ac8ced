package shim_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/shim"
	"github.com/truesize/truesize/test/freshdev"
)

// A world is a libc and an architecture to run programs in.
type world struct {
	name   string
	goarch string
	cc     string   // compiler
	runner []string // before the program; empty when the machine runs it itself
}

func worlds() []world {
	return []world{
		{name: "glibc", goarch: "amd64", cc: "x86_64-linux-gnu-gcc"},
		{name: "musl", goarch: "amd64", cc: "musl-gcc"},
		{name: "arm64", goarch: "arm64", cc: "aarch64-linux-gnu-gcc",
			runner: []string{"qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"}},
	}
}

// inWorlds runs test in every world.
func inWorlds(t *testing.T, test func(t *testing.T, w world)) {
	for _, w := range worlds() {
		t.Run(w.name, func(t *testing.T) { test(t, w) })
	}
}

// need skips the test when a program is missing; in CI it fails.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			skip(t, "%v: install the packages of test/packages.txt", err)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "needs root, for a mount namespace")
	}
}

func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// built holds the programs that tests have compiled, until the last test ends.
var built struct {
	sync.Mutex
	dir string
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "truesize-shim-")
	if err != nil {
		panic(err)
	}
	built.dir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// compile builds testdata/source into a program, and returns its path.
func (w world) compile(t *testing.T, source string, flags ...string) string {
	t.Helper()
	need(t, w.cc)
	built.Lock()
	defer built.Unlock()
	args := append([]string{"-O1", "-Wall", "-Werror", filepath.Join("testdata", source)}, flags...)
	out := filepath.Join(built.dir, shim.Hash([]byte(w.cc+strings.Join(args, " "))))
	if _, err := os.Stat(out); err != nil {
		run(t, exec.Command(w.cc, append(args, "-o", out)...))
	}
	return out
}

// run returns what a command prints, and fails the test when it fails.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// install writes the shim where every user may read it, and returns its path.
func (w world) install(t *testing.T) string {
	t.Helper()
	return writeShared(t, "libtruesize.so", object(t, w.goarch))
}

// writeShared writes a file that programs of other users reach.
func writeShared(t *testing.T, name string, data []byte) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "truesize-shim-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// A box is what a program finds around it, as in a container.
type box struct {
	page  string            // host path of the size page, empty for none
	env   []string          // beside LD_PRELOAD
	files map[string]string // contents by path, mounted over what is there
	// cgroup is the content of /sys/fs/cgroup by path below it.
	cgroup  map[string]string
	preload string // the shim, empty for none
}

// command returns program to be run in the box: in a mount namespace of its
// own, which ends with it.
func (w world) command(t *testing.T, b box, program string, args ...string) *exec.Cmd {
	t.Helper()
	needRoot(t)
	need(t, "unshare")
	env := append([]string{"PATH=" + os.Getenv("PATH")}, b.env...)
	if b.preload != "" {
		env = append(env, "LD_PRELOAD="+b.preload)
	}
	line := append(w.launch(t, env), append([]string{program}, args...)...)
	script := "set -e\n" + b.mounts(t) + `exec "$@"`
	return exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, "sh"}, line...)...)
}

// launch returns the words that start a program with that environment alone.
func (w world) launch(t *testing.T, env []string) []string {
	if len(w.runner) == 0 {
		return append([]string{"env", "-i"}, env...)
	}
	need(t, w.runner[0])
	line := append([]string{"env", "-i"}, w.runner...)
	for _, e := range env {
		line = append(line, "-E", e)
	}
	return line
}

// mounts returns the shell lines that furnish the box.
func (b box) mounts(t *testing.T) string {
	var s strings.Builder
	s.WriteString(freshdev.Script)
	if b.page != "" {
		fmt.Fprintf(&s, "if [ -d %[1]s ]; then mkdir %[2]s; else touch %[2]s; fi\nmount --bind -o ro %[1]s %[2]s\n",
			b.page, registry.SizePagePath)
	}
	for path, content := range b.files {
		fmt.Fprintf(&s, "mount --bind %s %s\n", writeShared(t, "file", []byte(content)), path)
	}
	if b.cgroup != nil {
		s.WriteString("mount -t tmpfs tmpfs /sys/fs/cgroup\n")
	}
	for path, content := range b.cgroup {
		fmt.Fprintf(&s, "mkdir -p $(dirname /sys/fs/cgroup/%[1]s)\nprintf %[2]q > /sys/fs/cgroup/%[1]s\n", path, content)
	}
	return s.String()
}

// A probe is a running testdata/probe.c.
type probe struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

// probe starts the probe program in a box, with the shim preloaded.
func (w world) probe(t *testing.T, b box) *probe {
	t.Helper()
	b.preload = w.install(t)
	return w.bareProbe(t, b)
}

// bareProbe starts the probe program as the box says.
func (w world) bareProbe(t *testing.T, b box) *probe {
	t.Helper()
	return startProbe(t, w.command(t, b, w.compile(t, "probe.c", "-pthread")))
}

func startProbe(t *testing.T, cmd *exec.Cmd) *probe {
	t.Helper()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && !t.Failed() {
			t.Errorf("probe: %v", err)
		}
	})
	return &probe{t, in, bufio.NewScanner(out)}
}

// ask returns the answer to a command.
func (p *probe) ask(command string) string {
	p.t.Helper()
	fmt.Fprintln(p.in, command)
	if !p.out.Scan() {
		p.t.Fatalf("%s: the probe ended: %v", command, p.out.Err())
	}
	return p.out.Text()
}

// want asks, and reports any other answer than the one expected.
func (p *probe) want(command string, answer any) {
	p.t.Helper()
	if got := p.ask(command); got != fmt.Sprint(answer) {
		p.t.Errorf("%s: got %s, want %v", command, got, answer)
	}
}
