package host

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/registry"
)

// The node reboots, with a run directory that outlives that: no process of
// Truesize or of a container is there any more, and the kernel has another
// boot id. What the registry says of containers is stale, whoever wrote it,
// and the view is mounted anew.
func TestReboot(t *testing.T) {
	if err := node.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.KillAgent)
	reg, err := registry.Open(filepath.Join(node.RunDir(), "containers"))
	if err != nil {
		t.Fatal(err)
	}
	c := startPod(t, small())
	entry, err := reg.Get(c.ID)
	if err != nil {
		t.Fatal(err)
	}
	byHand := *entry // no runtime will tell that it is gone
	byHand.ID, byHand.Via = "by-hand", "cli"
	if err := reg.Put(&byHand); err != nil {
		t.Fatal(err)
	}
	node.KillAgent()
	removePod(t, c)
	st := status(t)
	if err := syscall.Kill(st.KeeperPID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	kill(t, st.SparePID, st.ServerPID, st.KeeperPID)
	const bootID = "11111111-2222-3333-4444-555555555555"
	rebooted := filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(rebooted, []byte(bootID+"\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	const target = "/proc/sys/kernel/random/boot_id"
	if err := unix.Mount(rebooted, target, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })

	if err := node.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids, err := reg.IDs()
	if err != nil || slices.Contains(ids, c.ID) || slices.Contains(ids, byHand.ID) {
		t.Errorf("registered: %v, %v; want neither %s nor %s", ids, err, c.ID, byHand.ID)
	}
	await(t, "one view", func() bool {
		mounts, err := os.ReadFile("/proc/self/mounts")
		entries, lsErr := os.ReadDir(filepath.Join(node.RunDir(), "view"))
		return err == nil && lsErr == nil && !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == byHand.ID }) &&
			countLines(string(mounts), filepath.Join(node.RunDir(), "view")+" ") == 1
	})
	spec := small()
	next := startPod(t, spec)
	await(t, "size of a container", func() bool { return sized(t, next, spec) })
	if entry, err := reg.Get(next.ID); err != nil || entry.BootID != bootID || time.Since(entry.CreatedAt) > generous {
		t.Errorf("its entry: %+v, %v", entry, err)
	}
}
