package state

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newDir(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var key = Key{Network: "lan", ContainerID: "c1", IfName: "eth0"}

func record(d *Dir, k Key) *Attachment {
	return &Attachment{Key: k, Phase: Adding, BootID: d.BootID, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.9.0.2/24")}}
}

func TestRecord(t *testing.T) {
	d := newDir(t)
	if _, err := d.Get(key); !errors.Is(err, ErrNotFound) {
		t.Errorf("no record: %v", err)
	}
	long := Key{Network: "lan", ContainerID: strings.Repeat("x", 400), IfName: "net1"}
	for _, k := range []Key{key, long} {
		if err := d.Put(record(d, k)); err != nil {
			t.Fatal(err)
		}
		got, err := d.Get(k)
		if err != nil || got.Key != k || got.Prefixes[0].String() != "10.9.0.2/24" {
			t.Errorf("%v, %v", got, err)
		}
	}
	keys, err := d.List("lan")
	if err != nil || len(keys) != 2 || keys[0] != key && keys[1] != key || keys[0] != long && keys[1] != long {
		t.Errorf("listed %v, %v", keys, err)
	}
	for _, k := range []Key{key, long, key} {
		if err := d.Remove(k); err != nil {
			t.Error(err)
		}
	}
	if keys, _ := d.List("lan"); len(keys) != 0 {
		t.Errorf("left %v", keys)
	}
}

// TestLease: the record of a delegated IPAM's lease survives the run
// directory.
func TestLease(t *testing.T) {
	d := newDir(t)
	a := record(d, key)
	a.IPAM.Type = "dhcp"
	if err := d.Put(a); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(d.Run); err != nil {
		t.Fatal(err)
	}
	got, err := d.Get(key)
	if err != nil || got.IPAM.Type != "dhcp" {
		t.Errorf("%v, %v", got, err)
	}
	if n, _ := d.Networks(); len(n) != 1 || n[0] != "lan" {
		t.Errorf("networks %v", n)
	}
}

func TestClaims(t *testing.T) {
	d, a := newDir(t), netip.MustParseAddr("10.9.0.2")
	other := Key{Network: "lan", ContainerID: "c2", IfName: "eth0"}
	put := func(k Key, boot string) {
		t.Helper()
		r := record(d, k)
		r.BootID = boot
		if err := d.Put(r); err != nil {
			t.Fatal(err)
		}
	}
	claim := func(k Key, want error) {
		t.Helper()
		if err := d.Claim(k, a, false); !errors.Is(err, want) {
			t.Errorf("claim by %s: %v, want %v", k, err, want)
		}
	}
	put(key, d.BootID)
	claim(key, nil)
	claim(key, nil)
	claim(other, ErrClaimed)
	if err := d.Claim(other, a, true); err != nil || !d.Claimed(other, a) {
		t.Errorf("an owner's claim: %v", err)
	}
	if err := d.Claim(key, a, true); err != nil {
		t.Error(err)
	}
	d.Unclaim(other, a)
	if !d.Claimed(key, a) {
		t.Error("another ended the claim")
	}
	put(key, "an earlier boot")
	claim(other, nil)
	if err := d.Remove(key); err != nil {
		t.Fatal(err)
	}
	claim(key, nil) // other has no record
	if d.UnclaimOrphan("lan", a, "c2@eth0") || !d.Claimed(key, a) {
		t.Error("the claim of an orphan's successor was ended")
	}
	if d.UnclaimOrphan("lan", a, "c1@eth0") != true {
		t.Error("an orphan's claim stays")
	}
}

func TestUse(t *testing.T) {
	d := newDir(t)
	other := Key{Network: strings.Repeat("n", 100), ContainerID: strings.Repeat("c", 190), IfName: "eth0"}
	for _, k := range []Key{key, other} {
		if err := d.Put(record(d, k)); err != nil {
			t.Fatal(err)
		}
		if err := d.Use(k, "ts-eth0"); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := d.Unuse(key, "ts-eth0"); n != 1 || err != nil {
		t.Errorf("%d left, %v", n, err)
	}
	if err := d.PruneUsers("ts-eth0"); err != nil || !d.Used("ts-eth0") {
		t.Errorf("a recorded user was pruned: %v", err)
	}
	if err := d.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := d.PruneUsers("ts-eth0"); err != nil || d.Used("ts-eth0") {
		t.Errorf("an unrecorded user stays: %v", err)
	}
}

func TestTidy(t *testing.T) {
	d := newDir(t)
	if err := d.Put(record(d, key)); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"c1", "dead", "busy"} {
		k := Key{Network: "lan", ContainerID: id, IfName: "eth0"}
		l, err := d.LockAttachment(k, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.Run, "attachments/lan/."+id+"@eth0.tmp"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if id == "busy" {
			defer l.Release(false)
		} else {
			l.Release(true)
		}
	}
	if err := d.Tidy("lan"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"locks/lan/c1@eth0": true, "locks/lan/dead@eth0": false, "locks/lan/busy@eth0": true,
		"attachments/lan/.c1@eth0.tmp": false, "attachments/lan/.dead@eth0.tmp": false, "attachments/lan/.busy@eth0.tmp": true,
		"attachments/lan/c1@eth0": true,
	} {
		if _, err := os.Stat(filepath.Join(d.Run, path)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"network":"lan","containerID":"c1","ifname":"eth0","phase":"ready","prefixes":["10.9.0.2/24"],"host":{"kind":"shim"}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseRecord(data)
		if err == nil && (a.Network == "" || a.ContainerID == "" || a.IfName == "") {
			t.Errorf("%s: accepted without a key", data)
		}
	})
}

func TestBootTime(t *testing.T) {
	if b := BootTime(); time.Since(b) <= 0 || b.IsZero() {
		t.Errorf("booted at %v", b)
	}
}
