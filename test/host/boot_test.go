package host

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary plays parts, told by roleVar.
const (
	roleVar = "TRUESIZE_HOST_ROLE"
	// joinRole enters cgroups and namespaces, bootRole becomes systemd in
	// them, testRole runs the tests beside it.
	joinRole, bootRole, testRole = "join", "boot", "test"

	cgroupVar = "TRUESIZE_HOST_CGROUP"
	dirVar    = "TRUESIZE_HOST_DIR"
)

const (
	cgroupRoot   = "/sys/fs/cgroup"
	cgroupPrefix = "truesize-host-" // then the pid of whose they are
)

// outside boots a host and runs the tests in it. It returns their exit status.
func outside() (status int, err error) {
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
	err = cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
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

// hierarchies returns where the machine's cgroup hierarchies are mounted.
func hierarchies() (points []string, err error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if strings.HasPrefix(fields[2], "cgroup") && strings.HasPrefix(fields[1], cgroupRoot) {
			points = append(points, fields[1])
		}
	}
	return points, lines.Err()
}

func cgroupDirs(name string) (dirs []string, err error) {
	points, err := hierarchies()
	for _, p := range points {
		dirs = append(dirs, filepath.Join(p, name))
	}
	return dirs, err
}

func makeCgroups(name string) (dirs []string, err error) {
	if dirs, err = cgroupDirs(name); err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return dirs, err
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // of v1: nobody may enter before
			all, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, file), all, 0)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return dirs, err
			}
		}
	}
	return dirs, nil
}

// sweepCgroups removes what an earlier run left that was killed.
func sweepCgroups() error {
	dirs, err := cgroupDirs(cgroupPrefix + "*")
	if err != nil {
		return err
	}
	var left []string
	for _, pattern := range dirs {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, dir := range found {
			pid := strings.TrimPrefix(filepath.Base(dir), cgroupPrefix)
			if _, err := os.Stat("/proc/" + pid); errors.Is(err, fs.ErrNotExist) {
				left = append(left, dir)
			}
		}
	}
	return removeCgroups(left)
}

// removeCgroups removes cgroups with those in them. What was killed in them
// may take a moment to go.
func removeCgroups(dirs []string) (err error) {
	for range 200 {
		err = nil
		for _, dir := range dirs {
			var list []string
			_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					list = append(list, path)
				}
				return nil
			})
			for i := len(list) - 1; i >= 0; i-- {
				if rm := unix.Rmdir(list[i]); rm != nil && rm != unix.ENOENT {
					err = fmt.Errorf("remove cgroup %s: %w", list[i], rm)
				}
			}
		}
		if err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}
