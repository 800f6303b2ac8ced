package view

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/registry"
)

// The load averages reach the page of a container that has one, and nothing is
// made for one that has none.
func TestPublishLoads(t *testing.T) {
	dir, err := registry.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	entry := &registry.Container{ID: "c"}
	entry.Decision.Size.CPUs, entry.Decision.Size.Memory = 1, 1
	if err := dir.Put(entry); err != nil {
		t.Fatal(err)
	}
	c := newContainer(&View{reg: dir}, "c")
	c.load.Add(4, time.Hour) // for so long that every average is 4
	if err := c.publishLoads(); err != nil {
		t.Error(err)
	}
	path, err := dir.SizePageFile("c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("made a page: %v", err)
	}

	if err := dir.KeepSizePage(entry, 1); err != nil {
		t.Fatal(err)
	}
	if err := c.publishLoads(); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// shim/src/page.h: load_time, loads[3].
	if now := binary.NativeEndian.Uint64(page[56:]); now == 0 {
		t.Error("no time of the loads")
	}
	for i := range 3 {
		if load := float64(binary.NativeEndian.Uint32(page[64+4*i:])) / 65536; load < 3.9 || load > 4 {
			t.Errorf("load %d is %.2f, want 4", i, load)
		}
	}

	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	if err := c.publishLoads(); !errors.Is(err, registry.ErrCorrupt) {
		t.Errorf("a page cut short: %v", err)
	}
}
