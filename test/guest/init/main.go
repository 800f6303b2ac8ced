// Command init is the first process of the machines of test/guest: it loads the
// kernel's modules, makes the disk the root, mounts what a Linux system has,
// runs the one command it is given, tells its status and turns the machine off.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A job is the command: package guest writes it, and says what is what.
type job struct {
	Command []string
	Env     []string
	Dir     string
	End     string
}

func main() {
	if err := run(); err != nil {
		fmt.Println("init:", err) // on the console
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	if err := mountAll(early); err != nil {
		return err
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	if err := enterDisk("/dev/vda"); err != nil {
		return err
	}
	if err := errors.Join(mountAll(late), delegate(), loopbackUp()); err != nil {
		return err
	}
	data, err := os.ReadFile("/job.json")
	if err != nil {
		return err
	}
	var j job
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("read /job.json: %w", err)
	}
	return do(j)
}

// loadModules loads those in dir in the order of their names.
func loadModules(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load module %s: %w", path, err)
		}
	}
	return nil
}

// enterDisk makes the disk, which the kernel may still look for, the root.
func enterDisk(device string) error {
	var err error
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = unix.Mount(device, "/root", "ext4", unix.MS_NOATIME, ""); err == nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("mount the disk %s: %w", device, err)
		}
	}
	for _, m := range early {
		if err := unix.Mount(m.target, "/root"+m.target, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s to the disk: %w", m.target, err)
		}
	}
	// The initial root cannot be left by pivot_root; what is on it stays, and
	// is covered.
	err = errors.Join(unix.Chdir("/root"), unix.Mount(".", "/", "", unix.MS_MOVE, ""), unix.Chroot("."), unix.Chdir("/"))
	if err != nil {
		return fmt.Errorf("make the disk the root: %w", err)
	}
	return nil
}

// do runs the command, with the second serial port as its output, and then
// writes its status there.
func do(j job) error {
	port, err := openPort("/dev/ttyS1")
	if err != nil {
		return err
	}
	defer port.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	status := 127
	p, err := os.StartProcess(j.Command[0], j.Command, &os.ProcAttr{
		Dir:   j.Dir,
		Env:   append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}, j.Env...),
		Files: []*os.File{null, port, port},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		fmt.Fprintf(port, "init: %v\n", err)
	} else {
		status = reap(p.Pid)
	}
	fmt.Fprintf(port, "%s %d\n", j.End, status)
	return drain(port)
}

// reap waits for the process and returns its exit status, as a shell tells it.
// Whatever else ends meanwhile is an orphan.
func reap(pid int) int {
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 127
		case got == pid && ws.Exited():
			return ws.ExitStatus()
		case got == pid && ws.Signaled():
			return 128 + int(ws.Signal())
		}
	}
}

// openPort opens a serial port that passes on bytes as they are.
func openPort(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err == nil {
		t.Oflag &^= unix.OPOST
		t.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
		err = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set %s to raw: %w", path, err), f.Close())
	}
	return f, nil
}

// drain waits until all is written.
func drain(port *os.File) error {
	if err := unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1); err != nil {
		return fmt.Errorf("drain the serial port: %w", err)
	}
	return nil
}

// delegate makes every controller of the cgroups available below the root.
func delegate() error {
	data, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		return err
	}
	var enable strings.Builder
	for name := range strings.FieldsSeq(string(data)) {
		enable.WriteString("+" + name + " ")
	}
	return os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte(enable.String()), 0)
}
