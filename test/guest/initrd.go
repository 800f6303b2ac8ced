package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// initPackage is the machine's first program.
const initPackage = "github.com/truesize/truesize/test/guest/init"

// makeInitrd returns an archive with the machine's init and its modules, which
// init loads in the order of their names.
func (m *Machine) makeInitrd(ctx context.Context, k Kernel) (*os.File, error) {
	modules, err := order(k.Modules, append(diskModules, m.Modules...))
	if err != nil {
		return nil, err
	}
	program, err := buildInit(ctx, m.Cache)
	if err != nil {
		return nil, err
	}
	f, err := nameless(m.Cache)
	if err != nil {
		return nil, err
	}
	a := cpio{w: f}
	for _, dir := range []string{"dev", "modules", "proc", "root", "sys"} {
		a.add(dir, modeDir|0o755, nil)
	}
	a.add("init", modeFile|0o755, program)
	for i, path := range modules {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		a.add(fmt.Sprintf("modules/%03d-%s", i, filepath.Base(path)), modeFile|0o644, data)
	}
	if err := a.close(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// buildInit compiles init and returns the program.
func buildInit(ctx context.Context, dir string) ([]byte, error) {
	work, err := os.MkdirTemp(dir, ".init-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	path := filepath.Join(work, "init")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, initPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build init: %w: %s", err, out)
	}
	return os.ReadFile(path)
}

// The types of a cpio entry's mode: S_IFDIR and S_IFREG.
const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

// cpio writes an archive of the format "newc", as the kernel reads it
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	w     io.Writer
	inode int
	err   error
}

// add adds a file or directory. An error is kept for close.
func (c *cpio) add(name string, mode uint32, data []byte) {
	c.inode++
	links := 1
	if mode&modeDir != 0 {
		links = 2
	}
	// Magic, inode, mode, uid, gid, links, mtime, size, four device numbers,
	// the name's length with its NUL, and a checksum that this format has not.
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		c.inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	c.write(header + name + "\x00")
	c.pad(len(header) + len(name) + 1)
	c.write(string(data))
	c.pad(len(data))
}

// pad fills up to a multiple of four bytes.
func (c *cpio) pad(n int) { c.write(strings.Repeat("\x00", (4-n%4)%4)) }

func (c *cpio) write(s string) {
	if c.err == nil {
		_, c.err = io.WriteString(c.w, s)
	}
}

func (c *cpio) close() error {
	c.add("TRAILER!!!", 0, nil)
	return c.err
}
