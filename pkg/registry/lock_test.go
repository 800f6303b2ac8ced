package registry

import (
	"sync"
	"testing"
)

// No change is lost of those that make theirs to an entry at the same time.
func TestLock(t *testing.T) {
	d := open(t)
	put(t, d, entry("a", 1))
	const writers, each = 4, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				unlock := d.lock("a", generous)
				c, err := d.Get("a")
				if err == nil {
					c.Decision.Size.CPUs++
					err = d.Update(c)
				}
				unlock()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if c, err := d.Get("a"); err != nil || c.Decision.Size.CPUs != 1+writers*each {
		t.Errorf("got %+v, %v; want %d changes", c, err, writers*each)
	}
}

// Who holds a lock for ever is not waited for for ever, and there need not be
// anything to lock.
func TestLockIsNotAwaitedForEver(t *testing.T) {
	d := open(t)
	put(t, d, entry("a", 1))
	defer d.lock("a", generous)()
	for _, id := range []string{"a", "unknown", "../bad"} {
		d.Lock(id)()
	}
}
