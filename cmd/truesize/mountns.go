package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// enter executes this program anew in the mount namespace at path, with the
// same arguments: in a pod with hostPID, /proc/1/ns/mnt is the node's, where
// the agent's directories, containerd and runc are under their own paths. In
// that namespace already, it does nothing; else it returns with an error only.
//
// The program need not be in that namespace: /proc/self/exe is more than
// a name. It is static, so nothing else of the pod's is needed.
func enter(path string) error {
	ns, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("enter the node's mount namespace (does the pod have hostPID, and is it privileged?): %w", err)
	}
	defer ns.Close()
	if same, err := isOwnNS(ns); err != nil || same {
		return err
	}
	runtime.LockOSThread() // the thread that enters is the one that executes
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the file system attributes of a thread: %w", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the mount namespace %s: %w", path, err)
	}
	return fmt.Errorf("execute in the mount namespace %s: %w", path,
		unix.Exec("/proc/self/exe", os.Args, os.Environ()))
}

// isOwnNS reports whether a namespace is this process's mount namespace.
func isOwnNS(ns *os.File) (bool, error) {
	there, err := ns.Stat()
	if err != nil {
		return false, err
	}
	here, err := os.Stat("/proc/self/ns/mnt")
	return err == nil && os.SameFile(there, here), err
}
