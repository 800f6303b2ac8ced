package fault

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/truesize/truesize/fuse/keeper"
	"github.com/truesize/truesize/test/reads"
)

// Upgrades and downgrades of the server under the running keeper.
func TestUpgrade(t *testing.T) {
	n := newNode(t, 5)
	n.start()
	r := n.startReaders(8, time.Millisecond)
	keeperPID := n.status().KeeperPID
	var moments []int64
	for i := range scaled(10, 100) {
		version := []string{"v2", "v1"}[i%2]
		at := reads.Now()
		st, err := n.ask(keeper.Request{Op: keeper.OpUpgrade, Binary: viewd(t, version)})
		if err != nil {
			t.Fatal(err)
		}
		moments = append(moments, at)
		if st.KeeperPID != keeperPID || st.Binary != viewd(t, version) {
			t.Errorf("now %+v", st)
		}
		n.await("the new version", func() bool {
			data, err := os.ReadFile(n.path("view/.truesize/version"))
			return err == nil && strings.HasPrefix(string(data), version)
		})
		time.Sleep(50 * time.Millisecond)
	}
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, moments, n.counted())
	if c := n.status().Counters; c["deaths"] != 0 || c["degraded"] != 0 {
		t.Errorf("counted %v", c)
	}
}

// A binary that does not come up changes nothing.
func TestUpgradeRefused(t *testing.T) {
	n := newNode(t, 2)
	n.start()
	r := n.startReaders(4, time.Millisecond)
	before := n.status()
	for _, binary := range []string{"/bin/false", "/nonexistent", n.dir, "/bin/true"} {
		if _, err := n.ask(keeper.Request{Op: keeper.OpUpgrade, Binary: binary}); err == nil {
			t.Errorf("%s was taken", binary)
		}
	}
	if _, err := n.ask(keeper.Request{Op: "nonsense"}); err == nil {
		t.Error("an unknown operation was taken")
	}
	after := n.status()
	if after.ServerPID != before.ServerPID || after.Binary != before.Binary || after.Counters["upgrades_refused"] != 4 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	r.Stop().Clean(t)
}

// Keepers that take over from each other, of one version and the other, and
// servers killed in between: every pair of keeper and server meets.
func TestTakeover(t *testing.T) {
	n := newNode(t, 5)
	n.start()
	r := n.startReaders(8, time.Millisecond)
	var moments []int64
	for i := range scaled(6, 50) {
		before := n.status()
		version := []string{"v2", "v1"}[i%2]
		n.binary = viewd(t, version)
		moments = append(moments, reads.Now())
		n.spawn("--takeover")
		n.await("the new keeper and its server", func() bool {
			st := n.status()
			return st.KeeperPID != before.KeeperPID && st.ServerPID != before.ServerPID && st.Version == version && st.Serving
		})
		if !gone(before.KeeperPID) {
			n.await("the old keeper's end", func() bool { return gone(before.KeeperPID) })
		}
		if i%3 == 0 { // an older server, and then its own choice of keeper
			if _, err := n.ask(keeper.Request{Op: keeper.OpUpgrade, Binary: viewd(t, []string{"v1", "v2"}[i%2])}); err != nil {
				t.Fatal(err)
			}
			n.kill(n.status().KeeperPID, syscall.SIGKILL)
			n.answers()
		}
		n.kill(n.server(), syscall.SIGKILL)
		n.answers()
	}
	p := r.Stop()
	p.Clean(t)
	p.Figures(t, moments, n.counted())
}

// There is one view per run directory.
func TestTwoAtOnce(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	for range 3 {
		cmd := n.command()
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "another truesize-viewd serves this directory") {
			t.Errorf("a second one: %v, %s", err, out)
		}
		n.kill(n.status().KeeperPID, syscall.SIGKILL) // the lock is the server's as well
	}
	n.answers()
}

// The control socket is root's.
func TestControlSocketIsPrivate(t *testing.T) {
	n := newNode(t, 1)
	n.start()
	info, err := os.Stat(n.path("keeper.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	if err := os.Chmod(n.path("keeper.sock"), 0o666); err != nil { // as on a file system without modes
		t.Fatal(err)
	}
	for dir := n.dir; dir != "/"; dir = filepath.Dir(dir) {
		if dir != os.TempDir() {
			if err := os.Chmod(dir, 0o755); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		if dir == os.TempDir() {
			break
		}
	}
	out, err := asNobody(viewd(t, "v1"), "--run-dir", n.dir, "--status").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "may not") {
		t.Errorf("nobody asked: %v, %s", err, out)
	}
}
