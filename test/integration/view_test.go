package integration

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// TestFiles checks every file of the view in one container of 1 CPU and 256
// MiB, by the invariants that programs rely on.
func TestFiles(t *testing.T) {
	c := run(t, small())
	checks := map[string]func(content string) error{
		"/proc/cpuinfo":                  checkCPUInfo,
		"/proc/meminfo":                  checkMemInfo,
		"/proc/stat":                     checkStat,
		"/proc/uptime":                   checkUptime,
		"/proc/loadavg":                  checkLoadAvg,
		"/proc/swaps":                    checkSwaps,
		"/proc/diskstats":                checkDiskStats,
		"/sys/devices/system/cpu/online": checkOnline,
	}
	for path, check := range checks {
		t.Run(path, func(t *testing.T) {
			content := sh(t, c, "cat "+path+"; grep -c ' "+path+" fuse.truesize ro,nosuid,nodev,noexec,' /proc/self/mounts")
			content, mounted, _ := cutLast(content, "\n")
			if mounted != "1" {
				t.Errorf("%s is mounted read-only %s times in the container", path, mounted)
			}
			if strings.Contains(content, "\x00") {
				t.Errorf("NUL bytes in %q", content)
			}
			if err := check(content + "\n"); err != nil {
				t.Errorf("%v in\n%s", err, content)
			}
		})
	}
}

func checkCPUInfo(s string) error {
	if n := strings.Count("\n"+s, "\nprocessor\t"); n != 1 {
		return fmt.Errorf("%d processors", n)
	}
	return nil
}

func checkMemInfo(s string) error {
	value := map[string]int64{}
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasSuffix(f[0], ":") {
			return fmt.Errorf("line %q", line)
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
		value[strings.TrimSuffix(f[0], ":")] = n
	}
	const total = 256 << 10
	if value["MemTotal"] != total {
		return fmt.Errorf("MemTotal %d, want %d", value["MemTotal"], total)
	}
	for _, name := range []string{"MemFree", "MemAvailable", "Cached", "Active", "Inactive"} {
		if n, ok := value[name]; !ok || n < 0 || n > total {
			return fmt.Errorf("%s %d, present %t", name, n, ok)
		}
	}
	if value["MemFree"] == 0 {
		return fmt.Errorf("an idle container without free memory")
	}
	return nil
}

func checkStat(s string) error {
	names := map[string]bool{}
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue // padding
		}
		names[f[0]] = true
		for _, n := range f[1:] {
			if _, err := strconv.ParseUint(n, 10, 64); err != nil {
				return fmt.Errorf("line %q: %w", line, err)
			}
		}
	}
	for _, name := range []string{"cpu", "cpu0", "intr", "ctxt", "btime", "processes", "procs_running", "procs_blocked"} {
		if !names[name] {
			return fmt.Errorf("no line %s", name)
		}
	}
	if names["cpu1"] {
		return fmt.Errorf("a second CPU")
	}
	return nil
}

func checkUptime(s string) error {
	var up, idle float64
	if _, err := fmt.Sscan(s, &up, &idle); err != nil {
		return err
	}
	// The node has been up for longer than it took to get here.
	if up < 0 || up > 60 || idle < 0 || idle > up+1 {
		return fmt.Errorf("up %.2f s, idle %.2f s on one CPU, of a container just started", up, idle)
	}
	return nil
}

func checkLoadAvg(s string) error {
	f := strings.Fields(s)
	if len(f) != 5 {
		return fmt.Errorf("%d fields", len(f))
	}
	running, total, ok := strings.Cut(f[3], "/")
	r, rerr := strconv.Atoi(running)
	n, nerr := strconv.Atoi(total)
	if !ok || rerr != nil || nerr != nil || r > n || n > 20 {
		return fmt.Errorf("tasks %q in a container with a few", f[3])
	}
	for _, load := range f[:3] {
		if _, err := strconv.ParseFloat(load, 64); err != nil {
			return err
		}
	}
	return nil
}

func checkSwaps(s string) error {
	if !strings.HasPrefix(s, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n") {
		return fmt.Errorf("no heading")
	}
	return nil
}

func checkDiskStats(s string) error {
	for line := range strings.Lines(s) {
		if f := strings.Fields(line); len(f) != 0 && len(f) < 14 {
			return fmt.Errorf("line %q", line)
		}
	}
	return nil
}

func checkOnline(s string) error {
	if strings.TrimSpace(s) != "0" {
		return fmt.Errorf("online %q, want 0", s)
	}
	return nil
}

// TestTwoContainers checks that each sees its own size, not the last one's.
func TestTwoContainers(t *testing.T) {
	one := run(t, small())
	spec := small()
	spec.CPUMilli, spec.Memory = 1500, 512<<20
	two := run(t, spec)
	wantSize(t, one, 1, 256)
	wantSize(t, two, 2, 512)
	wantSize(t, one, 1, 256)
}

// TestNoLimit checks that a container without limits has the node's size.
func TestNoLimit(t *testing.T) {
	spec := small()
	spec.CPUMilli, spec.Memory = 0, 0
	c := run(t, spec)
	wantSh(t, c, countCPUs, hostSh(t, countCPUs))
	wantSh(t, c, memTotal, hostSh(t, memTotal))
}

// TestRuntimes checks what unmodified programs say, on a size that only
// Truesize can tell them: it is larger than the limits.
func TestRuntimes(t *testing.T) {
	spec := debian()
	spec.Annotations = map[string]string{"truesize.dev/cpus": "7", "truesize.dev/memory": "4Gi"}
	c := run(t, spec)
	wantSize(t, c, 7, 4096)
	wantSh(t, c, "free -m | awk '/^Mem:/ {print $2}'", "4096")
	wantSh(t, c, "top -b -n 1 -1 -w 512 | grep -o '%Cpu[0-9]' | wc -l", "7")
	wantSh(t, c, "node -p 'os.cpus().length'", "7")
	wantSh(t, c, "node -p 'os.totalmem()'", fmt.Sprint(4<<30))
	wantSh(t, c, javaProcessors, "7")
	wantSh(t, c, "echo $NUM_CPUS", "7")
}

// cutLast cuts s around the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}
