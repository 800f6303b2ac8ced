package lifecycle

import (
	"slices"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/registry"
)

func TestForgetEarlierBoots(t *testing.T) {
	b := started(t)
	for _, c := range []registry.Container{
		{ID: "earlier", BootID: "another", Via: "nri"},
		{ID: "earlier-by-hand", BootID: "another", Via: "cli"},
		{ID: "now-by-hand", BootID: bootID, Via: "cli"},
	} {
		c.CreatedAt = time.Now()
		if err := b.dir.Put(&c); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.ForgetEarlierBoots(); err != nil {
		t.Fatal(err)
	}
	ids, err := b.dir.IDs()
	slices.Sort(ids)
	want := []string{idA, "now-by-hand"}
	slices.Sort(want)
	if err != nil || !slices.Equal(ids, want) {
		t.Errorf("left %v, %v; want %v", ids, err, want)
	}
}
