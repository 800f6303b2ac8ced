package integration

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/truesize/truesize/test/stack"
)

// TestUnified: what the view takes from the files of a cgroup v2, where the
// node has no hierarchy of v1.
func TestUnified(t *testing.T) {
	needGuest(t)
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		t.Fatal(err)
	}
	spec := small()
	spec.CPUMilli = 500
	c := run(t, spec)
	wantSh(t, c, "cat /proc/self/cgroup", "0::/")

	t.Run("io.stat", func(t *testing.T) {
		sh(t, c, "dd if=/dev/zero of=/file bs=1M count=4 conv=fsync 2>/dev/null")
		eventually(t, func() error {
			// Field 10 is sectors of 512 bytes written.
			written := number(t, c, "awk '$3 == \"vda\" {print $10}' /proc/diskstats")
			if written < 4<<20/512 || written > 64<<20/512 {
				return fmt.Errorf("%d sectors written, of 4 MiB", written)
			}
			return nil
		})
	})
	t.Run("cpu.stat", func(t *testing.T) {
		const user, steal = "awk '/^cpu / {print $2+$4}' /proc/stat", "awk '/^cpu / {print $9}' /proc/stat"
		used, stolen := number(t, c, user), number(t, c, steal)
		sh(t, c, "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done") // of half a CPU
		eventually(t, func() error {
			u, s := number(t, c, user)-used, number(t, c, steal)-stolen
			if u <= 0 || s <= 0 {
				return fmt.Errorf("%d ticks used, %d stolen by the limit", u, s)
			}
			return nil
		})
	})
	t.Run("memory.stat", func(t *testing.T) {
		const cached = "awk '/^Cached:/ {print $2}' /proc/meminfo"
		before := number(t, c, cached)
		sh(t, c, "dd if=/dev/zero of=/cached bs=1M count=16 2>/dev/null")
		eventually(t, func() error {
			if now := number(t, c, cached); now-before < 12<<10 || now > 256<<10 {
				return fmt.Errorf("%d kB cached, %d before 16 MiB were written", now, before)
			}
			return nil
		})
	})
	t.Run("memory.swap.max", func(t *testing.T) {
		// The runtime allows no swap beside the limit, and the node has none.
		wantSh(t, c, "awk '/^SwapTotal:/ {print $2}' /proc/meminfo; tail -n +2 /proc/swaps | grep -c . || true", "0\n0")
	})
}

// number runs a command line that prints a number.
func number(t *testing.T, c *stack.Container, line string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(sh(t, c, line)), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return n
}
