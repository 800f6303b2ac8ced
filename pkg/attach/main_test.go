package attach

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/truesize/truesize/pkg/procfs"
	"golang.org/x/sys/unix"
)

// The test binary plays three parts: the tests, a view's server, and the init
// of a container. The last two are subprocesses: a process must not read a
// FUSE mount that it serves, nor change its own namespaces.
const roleVar = "ATTACH_TEST_ROLE"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleVar) {
	case "":
		if os.Getuid() == 0 {
			os.Exit(apart())
		}
		os.Exit(m.Run())
	case "tests":
		if err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err == nil {
			os.Exit(m.Run())
		}
	case "view":
		err = playView(os.Args[1])
	case "container":
		err = playContainer(os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// apart runs the tests in a mount namespace of their own, and returns their exit
// status: a mistake in what they test must not mount over the machine's /proc.
func apart() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), roleVar+"=tests")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root")
}

// playView serves two containers' files on dir until its input ends.
func playView(dir string) error {
	opts := &fs.Options{MountOptions: fuse.MountOptions{
		FsName: Source(filepath.Dir(dir)), Name: "truesize", AllowOther: true, DirectMount: true,
		Options: []string{"default_permissions"},
	}}
	server, err := fs.Mount(dir, &viewRoot{}, opts)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return server.Unmount()
}

type viewRoot struct{ fs.Inode }

var _ = (fs.NodeOnAdder)((*viewRoot)(nil))

// viewFiles are the files of a container in the test's view.
var viewFiles = []string{"/proc/meminfo", "/proc/pressure/cpu", "/sys/devices/system/cpu/online"}

func (r *viewRoot) OnAdd(ctx context.Context) {
	for _, id := range []string{"c1", "c2"} {
		for _, f := range viewFiles {
			dir := &r.Inode
			parts := strings.Split(id+f, "/")
			for _, name := range parts[:len(parts)-1] {
				next := dir.GetChild(name)
				if next == nil {
					next = dir.NewPersistentInode(ctx, &fs.Inode{}, fs.StableAttr{Mode: syscall.S_IFDIR})
					dir.AddChild(name, next, false)
				}
				dir = next
			}
			content := &fs.MemRegularFile{Data: []byte(id + " " + f + "\n"), Attr: fuse.Attr{Mode: 0o444}}
			dir.AddChild(parts[len(parts)-1], dir.NewPersistentInode(ctx, content, fs.StableAttr{}), false)
		}
	}
}

// playContainer makes the mount namespace it was started in its own and does
// what its input says, a verb and arguments a line, until the input ends.
func playContainer(kind string) error {
	if kind == "private" {
		if err := errors.Join(
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("proc", "/proc", "proc", 0, ""),
			unix.Mount("sysfs", "/sys", "sysfs", 0, ""),
		); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		answer, err := obey(strings.Fields(in.Text()))
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Printf("%q\n", answer)
	}
	return nil
}

func obey(f []string) (string, error) {
	switch f[0] {
	case "read":
		data, err := os.ReadFile(f[1])
		return string(data), err
	case "tmpfs":
		return "", unix.Mount("tmpfs", f[1], "tmpfs", 0, "")
	case "procfs":
		return "", unix.Mount("proc", f[1], "proc", 0, "")
	case "bind":
		return "", unix.Mount(f[1], f[2], "", unix.MS_BIND, "")
	case "shared":
		return "", unix.Mount("", f[1], "", unix.MS_REC|unix.MS_SHARED, "")
	case "umount":
		return "", unix.Unmount(f[1], unix.MNT_DETACH)
	case "mkdir":
		return "", os.MkdirAll(f[1], 0o755)
	case "write":
		return "", os.WriteFile(f[1], []byte("forged\n"), 0o644)
	case "symlink":
		return "", os.Symlink(f[1], f[2])
	case "chroot":
		return "", pivot(f[1])
	case "hang":
		return "", hang(f[1], f[2], 0o40000)
	case "hangfile":
		return "", hang(f[1], "other", 0o100000)
	}
	return "", fmt.Errorf("unknown verb %q", f[0])
}

// hang mounts a FUSE file system that never answers.
func hang(target, source string, rootMode int) error {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	opts := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,allow_other", fd, rootMode)
	return unix.Mount(source, target, FSType, 0, opts)
}

// pivot makes dir the root of the namespace.
func pivot(dir string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	return unix.Unmount(".", unix.MNT_DETACH)
}

// A part is a running subprocess of the tests.
type part struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t *testing.T, role, arg string, attr *syscall.SysProcAttr, prefix ...string) *part {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(slices.Clone(prefix), exe, arg)
	p := &part{t: t, cmd: exec.Command(argv[0], argv[1:]...)}
	p.cmd.SysProcAttr = attr
	p.cmd.Env = append(os.Environ(), roleVar+"="+role)
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in, p.out = in, bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	if !p.out.Scan() || p.out.Text() != "ready" {
		t.Fatalf("%s did not come up: %q", role, p.out.Text())
	}
	return p
}

func (p *part) stop() {
	p.cmd.Process.Kill() // with no chance to unmount
	p.in.Close()
	p.cmd.Wait()
}

// do has a container obey, and returns its answer.
func (p *part) do(line string) string {
	p.t.Helper()
	fmt.Fprintln(p.in, line)
	if !p.out.Scan() {
		p.t.Fatalf("container died at %q", line)
	}
	var answer string
	if _, err := fmt.Sscanf(p.out.Text(), "%q", &answer); err != nil {
		p.t.Fatalf("container said %q to %q: %v", p.out.Text(), line, err)
	}
	return answer
}

// must has a container obey a line that may not fail.
func (p *part) must(line string) {
	p.t.Helper()
	if a := p.do(line); a != "" {
		p.t.Fatalf("%s: %s", line, a)
	}
}

func (p *part) process() Process {
	p.t.Helper()
	pid := p.cmd.Process.Pid
	if children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)); len(children) > 0 { // nsenter's
		pid, _ = strconv.Atoi(strings.TrimSpace(string(children)))
	}
	stat, err := procfs.ReadStat("/proc", pid)
	if err != nil {
		p.t.Fatal(err)
	}
	return Process{PID: pid, StartTicks: stat.Start}
}

const containerFlags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC

// startContainer runs a container with a /proc and /sys of its own.
func startContainer(t *testing.T) *part {
	t.Helper()
	return start(t, "container", "private", &syscall.SysProcAttr{Cloneflags: containerFlags})
}

// startUserContainer runs one in a user namespace.
func startUserContainer(t *testing.T) *part {
	t.Helper()
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
	return start(t, "container", "private", &syscall.SysProcAttr{
		Cloneflags: containerFlags | syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids,
	})
}

// startNested runs a container in a container, in a user namespace of its own:
// the mounts that it inherits are locked.
func startNested(t *testing.T, in *part) *part {
	t.Helper()
	return start(t, "container", "nested", &syscall.SysProcAttr{},
		"nsenter", "--target", strconv.Itoa(in.cmd.Process.Pid), "--mount", "--pid",
		"unshare", "--user", "--map-root-user", "--mount")
}

// startSharing runs a container that keeps the host's mounts and their
// propagation.
func startSharing(t *testing.T) *part {
	t.Helper()
	return start(t, "container", "sharing", &syscall.SysProcAttr{Cloneflags: containerFlags})
}

// startView serves a view on a directory of its own.
func startView(t *testing.T) (dir string, server *part) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "view")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir, start(t, "view", dir, &syscall.SysProcAttr{})
}

// attacherOf returns an attacher of the view on dir.
func attacherOf(dir string) *Attacher { return New(Options{RunDir: filepath.Dir(dir)}) }

// filesOf returns the files of container id in the view on dir.
func filesOf(dir, id string) []File {
	var list []File
	for _, f := range viewFiles {
		list = append(list, File{Source: filepath.Join(dir, id, f), Target: f})
	}
	return list
}
