package cni_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/truesize/truesize/cni/internal/nettest"
)

// TestDamagedState: files that a crash or a hand has damaged.
func TestDamagedState(t *testing.T) {
	lan := nettest.NewLAN(t)
	for _, garbage := range []string{"", "{", "\x00\x00\x00\x00", `{"network":"other","containerID":"x","ifname":"y"}`, `[]`, `null`} {
		t.Run(fmt.Sprintf("%q", garbage), func(t *testing.T) {
			n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
			conf := n.with("hostAccess", true, "sticky", "1h")
			p := newPod(t, "c1").named("default", "web-0")
			n.add(p, conf)
			for _, f := range []string{
				"run/attachments/lan/c1@eth0", "state/networks/lan/sticky.json", "state/networks/lan/conflicts.json",
				"state/networks/lan/boot", "ipam/lan/.truesize.released", "ipam/lan/last_reserved_ip.0",
			} {
				must(os.WriteFile(filepath.Join(n.dir, f), []byte(garbage), 0o600))
			}
			if _, err := n.call("STATUS", nil, conf); err != nil {
				t.Errorf("STATUS: %v", err)
			}
			q := newPod(t, "c2").named("default", "web-1")
			n.add(q, conf)
			n.del(p, conf)
			n.del(q, conf)
			gc(t, n, conf)
			wantNothingLeft(t, n, p, q)
		})
	}
}

// TestFullDisk: with no space left an ADD fails and takes all back; a DEL
// works.
func TestFullDisk(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"}, "10.9.0.200/24")
	disk := filepath.Join(n.dir, "disk")
	must(os.Mkdir(disk, 0o755))
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=64", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", disk).Run() })
	for _, d := range []string{"run", "state", "ipam"} {
		must(os.Mkdir(filepath.Join(disk, d), 0o755))
		must(os.Symlink(filepath.Join("disk", d), filepath.Join(n.dir, d)))
	}
	conf := n.with("hostAccess", true, "sticky", "1h")
	p, q := newPod(t, "c1").named("default", "web-0"), newPod(t, "c2").named("default", "web-1")
	n.add(p, conf)
	for _, full := range []string{"blocks", "inodes"} {
		t.Run(full, func(t *testing.T) {
			fill(t, disk, full)
			_, err := n.tryAdd(q, conf)
			wantCode(t, err, 5)
			if q.Has("eth0") {
				t.Error("the failed ADD left its link")
			}
			n.del(p, conf)
			empty(disk)
			n.del(q, conf)
			wantNothingLeft(t, n, p, q)
			n.add(p, conf)
		})
	}
}

// fill uses up the disk's blocks or inodes.
func fill(t *testing.T, disk, what string) {
	if what == "blocks" {
		err := os.WriteFile(filepath.Join(disk, "filler"), make([]byte, 1<<20), 0o600)
		if err == nil {
			t.Fatal("the disk did not get full")
		}
		return
	}
	for i := 0; ; i++ {
		if err := os.WriteFile(filepath.Join(disk, fmt.Sprintf("filler%d", i)), nil, 0o600); err != nil {
			return
		}
	}
}

func empty(disk string) {
	files, _ := filepath.Glob(filepath.Join(disk, "filler*"))
	for _, f := range files {
		os.Remove(f)
	}
}

// TestGarbageCalls feeds the program what no runtime sends: it must answer
// with a CNI error and make nothing.
func TestGarbageCalls(t *testing.T) {
	lan := nettest.NewLAN(t)
	n := newNode(t, lan, "node", []string{"10.9.0.0/24"})
	p := newPod(t, "c1")
	whole, _ := json.Marshal(n.with("hostAccess", true, "prevResult", map[string]any{}))
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		b := append([]byte(nil), whole...)
		switch i % 3 {
		case 0:
			b = b[:rng.IntN(len(b))]
		case 1:
			b[rng.IntN(len(b))] ^= byte(1 << rng.IntN(8))
		case 2:
			b = append(b[:rng.IntN(len(b))], byte(rng.IntN(256)))
		}
		cmd := n.contained(n.command([]string{"ADD", "DEL", "CHECK", "GC", "STATUS"}[i%5], p, nil))
		cmd.Stdin = bytes.NewReader(b)
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := n.Run(cmd); err == nil {
			n.del(p, n.conf)
		} else if !json.Valid(out.Bytes()) {
			t.Errorf("%q: %v, and stdout %q", b, err, out.String())
		}
	}
	n.del(p, n.conf)
}

// contained returns cmd so that it can write below the node's directory only: a
// damaged configuration names others.
func (n *node) contained(cmd *exec.Cmd) *exec.Cmd {
	n.t.Helper()
	script := `set -e
mount --bind "$0" "$0"
for dir in / /run /tmp /var; do
	if mountpoint -q $dir; then mount -o remount,bind,ro $dir; fi
done
exec "$@"`
	in := exec.Command("unshare", append([]string{"--mount", "--propagation", "private", "sh", "-c", script, n.dir}, cmd.Args...)...)
	in.Env = cmd.Env
	return in
}
