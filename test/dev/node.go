package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/truesize/truesize/test/stack"
)

// nodeCommand is the hidden command by which dev runs a command line on the
// node with the image's programs.
const nodeCommand = "on-node"

// A node runs the image's programs on the node itself, outside any
// container: the node need not have Node.js or Java, and all columns of the
// table come from the same programs.
type node struct {
	self   string // this program
	rootfs string // the plain container's root file system
}

// newNode returns a node with the programs of container c.
func newNode(c *stack.Container) (*node, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return &node{self: self, rootfs: c.RootFS()}, nil
}

// Shell runs a command line on the node and returns what it prints.
func (n *node) Shell(ctx context.Context, line string) (string, error) {
	cmd := exec.CommandContext(ctx, n.self, nodeCommand, n.rootfs, "sh", "-c", line)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// onNode becomes command in the root file system at rootfs with the node's
// /proc, /sys and /dev. It runs in a mount namespace of its own, so its
// mounts go with it.
func onNode(rootfs string, command []string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	root := "/mnt"
	if err := syscall.Mount(rootfs, root, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", rootfs, err)
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if err := syscall.Mount(dir, filepath.Join(root, dir), "", syscall.MS_BIND|syscall.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
	}
	if err := syscall.Chroot(root); err != nil {
		return fmt.Errorf("chroot %s: %w", root, err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, command, os.Environ())
}
