package viewd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// initDir is the /proc of the host's first process: this process is on
	// the host, or in a pod with hostPID.
	initDir = "/proc/1"
	// unitDir is where units of this boot are: the containers do not outlive
	// it either.
	unitDir = "run/systemd/system"
	// systemctlWithin bounds one call of systemctl: a start may take as long
	// as the unit's own limits say.
	systemctlWithin = 100 * time.Second
)

// A systemd is the service manager of the host.
type systemd struct {
	init string // /proc directory of its process
}

// hostSystemd returns the host's systemd, and whether it has one: whether its
// first process is that (sd_booted(3)).
func hostSystemd(init string) (systemd, bool) {
	comm, err := os.ReadFile(filepath.Join(init, "comm"))
	if err != nil || strings.TrimSpace(string(comm)) != "systemd" {
		return systemd{}, false
	}
	info, err := os.Stat(filepath.Join(init, "root", unitDir))
	return systemd{init}, err == nil && info.IsDir()
}

func (s systemd) unitPath(name string) string { return filepath.Join(s.init, "root", unitDir, name) }

// start installs a unit and starts it. One that is active is reloaded.
func (s systemd) start(ctx context.Context, name, text string) error {
	path := s.unitPath(name)
	if have, err := os.ReadFile(path); err != nil || string(have) != text {
		if err := writeUnit(path, text); err != nil {
			return fmt.Errorf("install %s: %w", name, err)
		}
		if err := s.ctl(ctx, "daemon-reload"); err != nil {
			return err
		}
	}
	return s.ctl(ctx, "reload-or-restart", name)
}

// writeUnit writes a unit whole or not at all.
func writeUnit(path, text string) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new") // none to systemd
	err := os.WriteFile(temp, []byte(text), 0o644)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}

// remove stops a unit and removes it. Where there is none, nothing is done.
func (s systemd) remove(ctx context.Context, name string) error {
	path := s.unitPath(name)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := s.ctl(ctx, "stop", name); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	_ = s.ctl(ctx, "reset-failed", name) // that it once failed; an error says that it did not
	return s.ctl(ctx, "daemon-reload")
}

// ctl runs systemctl on the host.
func (s systemd) ctl(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, systemctlWithin)
	defer cancel()
	return inMountNS(filepath.Join(s.init, "ns/mnt"), func() error {
		program, err := findSystemctl()
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, program, append([]string{"--no-ask-password", "--quiet"}, args...)...)
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
		return nil
	})
}

// findSystemctl looks where distributions have it: the PATH is the pod's.
func findSystemctl() (string, error) {
	for _, path := range []string{"/usr/bin/systemctl", "/bin/systemctl", "/run/current-system/sw/bin/systemctl"} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", errors.New("the host runs systemd and has no systemctl")
}

// inMountNS calls f in a mount namespace, on a thread of its own that ends
// with it. What f starts is there, too.
func inMountNS(path string, f func() error) error {
	if same, err := sameNS(path, "/proc/self/ns/mnt"); err != nil {
		return err
	} else if same {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread must not serve others
		done <- func() error {
			ns, err := os.Open(path)
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare the file system attributes of a thread: %w", err)
			}
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("enter the host's mount namespace %s: %w", path, err)
			}
			return f()
		}()
	}()
	return <-done
}

// sameNS reports whether two links of /proc name one namespace.
func sameNS(a, b string) (bool, error) {
	x, err := os.Readlink(a)
	if err != nil {
		return false, fmt.Errorf("find the host's namespace (does the pod have hostPID, and may it look?): %w", err)
	}
	y, err := os.Readlink(b)
	return x == y, err
}

// RemoveUnit stops the view of a run directory where it is a unit of the
// host's systemd, and removes that. Where it is none, it does nothing.
func RemoveUnit(ctx context.Context, runDir string) error {
	manager, ok := hostSystemd(initDir)
	if !ok {
		return nil
	}
	return manager.remove(ctx, unitName(runDir))
}
