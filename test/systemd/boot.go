// Package systemd gives a test binary a host of its own: systemd as the first
// process of namespaces for mounts, processes, names and the network, in
// cgroups of its own, on a machine whose own first process may be anything.
// /run, /etc/systemd and /proc are that host's; of /proc/sys what holds for the
// whole machine is not to be written. Whatever runs on it ends with it.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The binary plays parts, told by roleVar.
const (
	roleVar = "TRUESIZE_HOST_ROLE"
	// joinRole enters cgroups and namespaces, bootRole becomes systemd in
	// them, testRole runs the tests beside it.
	joinRole, bootRole, testRole = "join", "boot", "test"

	cgroupVar = "TRUESIZE_HOST_CGROUP"
	dirVar    = "TRUESIZE_HOST_DIR"
)

// Main boots a host, has inside run on it, and ends the process with its
// status. It is for TestMain: the host's parts are played by this binary.
// A signal that asks to end is passed on to inside, which is then awaited.
func Main(inside func(context.Context) (status int, err error)) {
	status, err := 0, error(nil)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	switch os.Getenv(roleVar) {
	case joinRole:
		err = join()
	case bootRole:
		err = becomeInit()
	case testRole:
		status, err = onHost(ctx, inside)
	default:
		status, err = outside(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "host:", err)
		status = 1
	}
	os.Exit(status)
}

// onHost runs inside where the test binary was started.
func onHost(ctx context.Context, inside func(context.Context) (int, error)) (int, error) {
	if err := os.Unsetenv(roleVar); err != nil {
		return 1, err
	}
	if err := os.Chdir(os.Getenv(dirVar)); err != nil {
		return 1, err
	}
	return inside(ctx)
}

// outside boots a host and runs the tests in it. It returns their exit status.
func outside(ctx context.Context) (status int, err error) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			return 1, errors.New("needs root")
		}
		fmt.Println("skipped: needs root")
		return 0, nil
	}
	if err := sweepCgroups(); err != nil {
		return 1, err
	}
	cgroup := fmt.Sprint(cgroupPrefix, os.Getpid())
	dirs, err := makeCgroups(cgroup)
	defer func() { err = errors.Join(err, removeCgroups(dirs)) }()
	if err != nil {
		return 1, err
	}
	init, stop, err := boot(cgroup)
	if err != nil {
		return 1, err
	}
	defer stop()
	return runInside(ctx, init, cgroup)
}

// runInside runs this binary again on the host of that first process.
func runInside(ctx context.Context, init int, cgroup string) (int, error) {
	dir, err := os.Getwd()
	if err != nil {
		return 1, err
	}
	// Nothing may reach through to the machine: all its namespaces are its own.
	cmd := exec.Command("nsenter", append([]string{
		"--target", strconv.Itoa(init), "--mount", "--pid", "--uts", "--ipc", "--net", "/proc/self/exe"}, os.Args[1:]...)...)
	exe, err := os.Executable()
	if err != nil {
		return 1, err
	}
	cmd.Args[len(cmd.Args)-len(os.Args)] = exe
	cmd.Env = append(os.Environ(), roleVar+"="+testRole, dirVar+"="+dir, cgroupVar+"="+cgroup)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// A group of its own: what ends this process must not end those there
	// before they have cleaned up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	defer context.AfterFunc(ctx, func() { interrupt(cmd.Process.Pid) })()
	err = cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// interrupt asks the child of nsenter, which only waits for it, to end.
func interrupt(nsenter int) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", nsenter))
	if err != nil {
		return
	}
	for _, child := range strings.Fields(string(children)) {
		if pid, err := strconv.Atoi(child); err == nil {
			_ = unix.Kill(pid, unix.SIGTERM)
		}
	}
}

// boot starts systemd as the first process of namespaces of its own, in the
// cgroup of that name, and returns its pid here.
func boot(cgroup string) (init int, stop func(), err error) {
	var root int
	runtime.LockOSThread() // whose end would be the signal below
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVar+"="+joinRole, cgroupVar+"="+cgroup)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	stop = func() {
		if root != 0 { // and with the first process all others
			_ = syscall.Kill(root, syscall.SIGKILL)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
		if err != nil {
			break
		}
		init, err := strconv.Atoi(strings.TrimSpace(string(children)))
		if err != nil {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/run/systemd/private", init)); err == nil {
			root = init
			return init, stop, nil
		}
	}
	stop()
	return 0, nil, errors.New("systemd does not come up: apt-get install systemd")
}

// join enters the cgroups and becomes the parent of a first process.
func join() error {
	dirs, err := cgroupDirs(os.Getenv(cgroupVar))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0); err != nil {
			return err
		}
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(roleVar, bootRole); err != nil {
		return err
	}
	return unix.Exec(unshare, []string{"unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child", exe}, os.Environ())
}

// mountHost makes the mount namespace a host's: its own /run, /etc/systemd,
// /proc and /sys, and cgroup hierarchies that are the machine's, on a file
// system that is not, because systemd changes that. What holds for the whole
// machine is not to be written.
func mountHost() error {
	script := `set -e
mount --make-rprivate /
mount -t proc proc /proc
for d in kernel fs vm; do
	mount --bind /proc/sys/$d /proc/sys/$d
	mount -o remount,bind,ro /proc/sys/$d
done
new=$(mktemp -d /run/truesize-host.XXXXXX)
mount -t tmpfs -o mode=755 tmpfs $new
mkdir $new/cgroup $new/run $new/etc
mount -t tmpfs -o mode=755 tmpfs $new/cgroup
for d in /sys/fs/cgroup/*; do
	if mountpoint -q $d; then
		mkdir $new/cgroup/${d##*/}
		mount --bind $d $new/cgroup/${d##*/}
	fi
done
for c in cpu,cpuacct net_cls,net_prio perf_event hugetlb cpu cpuacct cpuset memory devices freezer blkio pids; do
	mkdir -p $new/cgroup/$c
	mountpoint -q $new/cgroup/$c || mount -t tmpfs none $new/cgroup/$c
done
mount -t sysfs sysfs /sys
if mountpoint -q -- "$new/cgroup/unified" || mountpoint -q -- "$new/cgroup/systemd"; then
	mount --rbind $new/cgroup /sys/fs/cgroup
else
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
mount -t tmpfs -o mode=755 tmpfs /etc/systemd
umount -l $new
rmdir $new
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system /run/lock /etc/systemd/system
mount --make-rshared /
ip link set lo up
`
	return run("sh", "-c", script)
}

// becomeInit makes this process systemd, with the few units it needs.
func becomeInit() error {
	if err := mountHost(); err != nil {
		return err
	}
	for _, target := range []string{"default", "basic", "sysinit", "shutdown"} {
		unit := "[Unit]\nDescription=" + target + "\nDefaultDependencies=no\n"
		if err := os.WriteFile("/etc/systemd/system/"+target+".target", []byte(unit), 0o644); err != nil {
			return err
		}
	}
	// Neither the clock nor the machine is this systemd's to set.
	argv := []string{"setpriv", "--pdeathsig=KILL", "--bounding-set=-sys_time,-sys_boot", "/lib/systemd/systemd", "--system", "--log-target=null"}
	setpriv, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "container=test", "SYSTEMD_UNIT_PATH=/run/systemd/system:/etc/systemd/system"}
	return unix.Exec(setpriv, argv, env)
}

// run runs a command; an error has its output.
func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}
