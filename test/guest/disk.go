package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A job is what the machine's init does: see test/guest/init, which reads it
// from jobFile.
type job struct {
	Command []string
	Env     []string
	Dir     string
	End     string // begins the line that tells the status
}

const jobFile = "job.json"

// The directories of an empty root, and its small files.
var (
	rootDirs  = []string{"dev", "etc", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "var/tmp"}
	rootFiles = map[string]string{
		"etc/group":       "root:x:0:\nnogroup:x:65534:\n",
		"etc/hostname":    "guest\n",
		"etc/hosts":       "127.0.0.1 localhost\n",
		"etc/passwd":      "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"etc/resolv.conf": "",
	}
)

// makeDisk returns the image of an ext4 file system with the machine's files.
func (m *Machine) makeDisk(ctx context.Context, j job) (*os.File, error) {
	root, err := os.MkdirTemp(m.Cache, ".root-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	if err := fillRoot(root, m.Files, j); err != nil {
		return nil, err
	}
	var size int64 = freeSpace
	for _, f := range m.Files {
		fi, err := os.Stat(f.Host)
		if err != nil {
			return nil, err
		}
		size += fi.Size()
	}
	disk, err := nameless(m.Cache)
	if err != nil {
		return nil, err
	}
	if err := makeExt4(ctx, disk, root, size); err != nil {
		return nil, errors.Join(err, disk.Close())
	}
	return disk, nil
}

// fillRoot fills the directory that becomes the machine's root.
func fillRoot(root string, files []File, j job) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	errs := []error{os.Chmod(root, 0o755)}
	for _, dir := range rootDirs {
		errs = append(errs, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	errs = append(errs, os.Chmod(filepath.Join(root, "tmp"), 0o777|os.ModeSticky))
	for _, link := range topLinks {
		errs = append(errs, os.Symlink("usr/"+link, filepath.Join(root, link)))
	}
	for name, text := range rootFiles {
		errs = append(errs, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	errs = append(errs, os.WriteFile(filepath.Join(root, jobFile), data, 0o644))
	for _, f := range files {
		errs = append(errs, place(f.Host, filepath.Join(root, f.Guest)))
	}
	return errors.Join(errs...)
}

// place puts a file at dst: the file itself where both are on one file system,
// for mkfs only reads it, else a copy. A file that is there is the same one, a
// library of two programs.
func place(src, dst string) error {
	real, err := filepath.EvalSymlinks(src)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return err
	}
	err = os.Link(real, dst)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err == nil || !errors.Is(err, unix.EXDEV) {
		return err
	}
	return copyFile(real, dst)
}

func copyFile(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fi.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// makeExt4 makes a file system of so many bytes with the content of root.
func makeExt4(ctx context.Context, disk *os.File, root string, size int64) error {
	if err := disk.Truncate(size); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1,root_owner=0:0",
		"-d", root, "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{disk}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	return nil
}
