// Command shim measures what the preloaded object costs a container's
// programs: against no preload, and against the same in Go (cgo, c-shared), in
// one run, taking turns. It prints its section of docs/benchmarks.md and the
// figures that were missed, as they are on a busy machine; with -strict it then
// exits 1.
//
// It runs as root, in a mount namespace of its own with a size page at the
// container's path. The page says what the machine has: programs do the same
// with it as without. Build the shim first: make shim.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/test/freshdev"
)

// inside marks the process that has the mount namespace.
const inside = "TRUESIZE_BENCH_INSIDE"

func main() {
	execs := flag.Int("execs", 1000, "starts of /bin/true per variant")
	starts := flag.Int("jvm-starts", 300, "starts of a JVM per variant; 0 leaves the JVM out")
	object := flag.String("shim", "", "the object (default bin/libtruesize-<goarch>.so of the repository)")
	strict := flag.Bool("strict", false, "fail when a figure is missed")
	out := flag.String("out", "", "file to write the section to")
	flag.Parse()
	err := run(*object, *out, *execs, *starts)
	if missed := (*missedError)(nil); errors.As(err, &missed) && !*strict {
		fmt.Println(missed)
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench shim:", err)
		os.Exit(1)
	}
}

func run(object, out string, execs, starts int) error {
	if os.Getenv(inside) == "" {
		return again()
	}
	work, err := os.MkdirTemp("", "truesize-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := furnish(); err != nil {
		return err
	}
	b, err := build(object, work)
	if err != nil {
		return err
	}
	r, err := b.measure(execs, starts)
	if err != nil {
		return err
	}
	fmt.Println(r)
	if out != "" {
		if err := os.WriteFile(out, []byte(r.String()), 0o644); err != nil {
			return err
		}
	}
	if len(r.missed) > 0 {
		return &missedError{r.missed}
	}
	return nil
}

// again runs this program in a mount namespace of its own.
func again() error {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		os.Exit(exit.ExitCode()) // it has said why
	}
	if err != nil {
		return fmt.Errorf("in a mount namespace (root is needed): %w", err)
	}
	return nil
}

// furnish puts a size page of the machine's size where a container has it.
func furnish() error {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return fmt.Errorf("sysinfo: %w", err)
	}
	cpus, memory := runtime.NumCPU(), info.Totalram*uint64(info.Unit)
	if out, err := exec.Command("sh", "-ec", freshdev.Script).CombinedOutput(); err != nil {
		return fmt.Errorf("make a /dev: %w: %s", err, out)
	}
	dir := filepath.Dir(registry.SizePagePath)
	d, err := registry.Open(filepath.Join(dir, "registry"))
	if err != nil {
		return err
	}
	c := &registry.Container{ID: "bench"}
	c.Decision.Size.CPUs, c.Decision.Size.Memory = cpus, memory
	if err := d.Put(c); err != nil {
		return err
	}
	if err := d.PutSizePage("bench", registry.SizePage{CPUs: cpus, InjectedCPUs: cpus, Memory: memory}); err != nil {
		return err
	}
	page, err := d.SizePageFile("bench")
	if err != nil {
		return err
	}
	return os.Symlink(page, registry.SizePagePath)
}

// A bench has the programs to run, by variant.
type bench struct {
	preload  map[string]string // variant → object, empty for none
	calls    string            // calls.c, built
	classDir string            // of Calls.class, empty without a JDK
}

// The variants, in the order they take turns.
var variants = []string{"none", "truesize", "cgo"}

func build(object, work string) (*bench, error) {
	if object == "" {
		object = filepath.Join("..", "..", "..", "bin", "libtruesize-"+runtime.GOARCH+".so")
	}
	object, err := filepath.Abs(object)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(object); err != nil {
		return nil, fmt.Errorf("%w: run make shim, and this in its own directory", err)
	}
	b := &bench{calls: filepath.Join(work, "calls"), classDir: work}
	cgo := filepath.Join(work, "libcgo.so")
	b.preload = map[string]string{"none": "", "truesize": object, "cgo": cgo}
	if err := command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", cgo, "./cshared"); err != nil {
		return nil, err
	}
	if err := command("cc", "-O2", "-o", b.calls, filepath.Join("testdata", "calls.c")); err != nil {
		return nil, err
	}
	if _, err := exec.LookPath("javac"); err != nil {
		b.classDir = ""
		return b, nil
	}
	return b, command("javac", "-d", work, filepath.Join("testdata", "Calls.java"))
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}
