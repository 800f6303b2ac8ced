package lifecycle

import (
	"slices"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/registry"
	"github.com/truesize/truesize/pkg/size"
)

func TestForgetEarlierBoots(t *testing.T) {
	b := started(t)
	for _, c := range []registry.Container{
		{ID: "earlier", BootID: "another", Via: "nri"},
		{ID: "earlier-by-hand", BootID: "another", Via: "cli"},
		{ID: "now-by-hand", BootID: bootID, Via: "cli"},
	} {
		c.CreatedAt, c.Decision.Size = time.Now(), size.Size{CPUs: 1, Memory: 1 << 20}
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
