package runtimes

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

// TestResizeWithoutRestart checks that programs that run, a JVM and a C
// program, report a new size after their container was resized.
func TestResizeWithoutRestart(t *testing.T) {
	probes := programs(t)
	c := start(t, stack.Spec{
		Image: image.Runtimes, CPUMilli: 1000, Memory: 512 * mib,
		Mounts: []stack.Mount{{Source: probes, Target: "/probes", ReadOnly: true}},
	})
	out, err := c.Shell(t.Context(), `set -e
		javac -d /tmp /probes/Watch.java 2>&1
		setsid java -cp /tmp Watch </dev/null >/tmp/java.log 2>&1 &
		setsid /probes/watch </dev/null >/tmp/c.log 2>&1 &`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lastLine := func(log, want string) {
		t.Helper()
		var got string
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			got, err = c.Shell(t.Context(), "tail -n 1 "+log)
			if _, size, _ := strings.Cut(got, " "); err == nil && size == want {
				return
			}
		}
		t.Fatalf("%s ends with %q, %v: want a pid and %s", log, got, err, want)
	}
	for _, to := range []struct{ cpus, mib int64 }{{1, 512}, {2, 1024}, {1, 768}} {
		if err := c.Resize(t.Context(), to.cpus*1000, to.mib*mib); err != nil {
			t.Fatal(err)
		}
		lastLine("/tmp/java.log", fmt.Sprint(to.cpus))
		lastLine("/tmp/c.log", fmt.Sprintf("%d %d %d", to.cpus, to.cpus, to.mib))
	}
	for _, log := range []string{"/tmp/java.log", "/tmp/c.log"} {
		pids, err := c.Shell(t.Context(), "cut -d ' ' -f 1 "+log+" | uniq | wc -l")
		if err != nil || pids != "1" {
			t.Errorf("%s processes wrote %s, %v: want 1, without a restart", pids, log, err)
		}
	}
}
