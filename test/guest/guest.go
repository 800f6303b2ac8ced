// Package guest boots a virtual machine with a kernel of Debian's and runs one
// command in it, for the tests that need another kernel than the node's, or one
// with more in it: 5.10, 6.1, 802.1Q, AppArmor, a cgroup v2 of its own.
//
// The machine is qemu's, emulated (TCG): it needs no KVM and no root, and is
// ten to twenty times slower than the node. So it shows that something is
// right, not how fast. It has two serial ports, the kernel's console and the
// command's output, one disk made for this boot, and no network.
package guest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// A Machine says what to boot and what to run in it.
type Machine struct {
	// Cache is the directory of kernels and of the boot's own files.
	Cache string
	// Release of Debian whose newest kernel is booted; "" is the node's own.
	Release string
	// CPUs of the machine.
	CPUs int
	// Memory of the machine in MiB.
	Memory int
	// Modules are kernel modules to load, by name. What they need is loaded too.
	Modules []string
	// Files are on the disk, beside directories, /etc/passwd and the like.
	Files []File
	// Command runs as root, with Env (beside PATH and HOME), in Dir.
	Command []string
	Env     []string
	Dir     string
}

// A File is a regular file of the node in the machine.
type File struct {
	Host  string // path on the node
	Guest string // absolute path in the machine
}

// A Result is how the command ended.
type Result struct {
	Status int    // its exit status, 128 and the signal's number if one ended it
	Output string // what it wrote to standard output and standard error
}

// The modules that every machine needs, for its disk.
var diskModules = []string{"virtio_pci", "virtio_blk"}

// freeSpace is what the disk has beside its files, in bytes. It is a hole in
// the image until the machine writes to it.
const freeSpace = 2 << 30

// Run boots the machine, runs its command and ends it. Progress is called with
// a line for each step, and each line the command writes, as it comes. A status
// other than 0 is no error; a machine that did not get to tell one is, with the
// end of its console.
func (m *Machine) Run(ctx context.Context, progress func(string)) (Result, error) {
	kernel, err := Fetch(ctx, m.Cache, m.Release, progress)
	if err != nil {
		return Result{}, err
	}
	end := "end-of-" + strings.ToLower(rand.Text())
	progress(fmt.Sprintf("making the disk of a machine with Linux %s", kernel.Release))
	disk, err := m.makeDisk(ctx, job{Command: m.Command, Env: m.Env, Dir: m.Dir, End: end})
	if err != nil {
		return Result{}, fmt.Errorf("make the machine's disk: %w", err)
	}
	defer disk.Close()
	initrd, err := m.makeInitrd(ctx, kernel)
	if err != nil {
		return Result{}, fmt.Errorf("make the machine's initrd: %w", err)
	}
	defer initrd.Close()
	console, err := nameless(m.Cache)
	if err != nil {
		return Result{}, err
	}
	defer console.Close()

	progress(fmt.Sprintf("booting it with %d CPUs and %d MiB", m.CPUs, m.Memory))
	out := &output{end: end, progress: progress}
	err = m.qemu(ctx, kernel, initrd, disk, console, out)
	out.flush()
	if !out.ended {
		err = errors.Join(err, errors.New("the machine ended before its command did"))
	}
	if err != nil {
		return Result{Output: out.text.String()}, fmt.Errorf("%w; its console:\n%s", err, tail(console))
	}
	return Result{Status: out.status, Output: out.text.String()}, nil
}

// nameless returns a file that nobody needs to remove.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".machine-")
	if err != nil {
		return nil, fmt.Errorf("create a file of the machine: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("unlink a file of the machine: %w", err), f.Close())
	}
	return f, nil
}

// tail returns the last lines of the console.
func tail(console *os.File) string {
	data, err := io.ReadAll(io.NewSectionReader(console, 0, 1<<20))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(data), "\r", "")), "\n")
	return strings.Join(lines[max(0, len(lines)-80):], "\n")
}
