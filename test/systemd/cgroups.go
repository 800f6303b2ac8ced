package systemd

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/test/cgroups"
)

const (
	cgroupRoot   = "/sys/fs/cgroup"
	cgroupPrefix = "truesize-host-" // then the pid of whose they are
)

// Cgroup returns, on the host, the name of the cgroup that it is in, at the top
// of every hierarchy.
func Cgroup() string { return os.Getenv(cgroupVar) }

// Hierarchies returns where the machine's cgroup hierarchies are mounted.
func Hierarchies() (points []string, err error) {
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
	points, err := Hierarchies()
	for _, p := range points {
		dirs = append(dirs, filepath.Join(p, name))
	}
	return dirs, err
}

func makeCgroups(name string) (dirs []string, err error) {
	byController, err := cgroups.Create(name)
	for _, dir := range byController {
		dirs = append(dirs, dir)
	}
	return dirs, err
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
