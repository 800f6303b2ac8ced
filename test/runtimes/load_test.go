package runtimes

import (
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

// sysinfoLoads prints the load averages of sysinfo(2), by libc, as
// /proc/loadavg has them, and then those of the file.
const sysinfoLoads = `import ctypes
class Info(ctypes.Structure):
	_fields_ = [("uptime", ctypes.c_long), ("loads", ctypes.c_ulong * 3), ("rest", ctypes.c_char * 256)]
info = Info()
ctypes.CDLL(None).sysinfo(ctypes.byref(info))
print(" ".join("%.2f" % (load / 65536) for load in info.loads))
print(" ".join(open("/proc/loadavg").read().split()[:3]))`

// TestLoadAverages checks that sysinfo and /proc/loadavg tell the same of the
// container: the view's server publishes what it counts.
func TestLoadAverages(t *testing.T) {
	c := start(t, stack.Spec{Image: image.Runtimes, CPUMilli: 1000, Memory: 512 * mib,
		Command: []string{"sh", "-c", "while :; do :; done"}})
	var got string
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		got, err = c.Exec(t.Context(), "python3", "-c", sysinfoLoads)
		function, file, _ := strings.Cut(got, "\n")
		if err == nil && function == file && !strings.HasPrefix(file, "0.00") {
			t.Logf("load averages %s", file)
			return
		}
	}
	t.Errorf("sysinfo, then /proc/loadavg: %v\n%s", err, got)
}
