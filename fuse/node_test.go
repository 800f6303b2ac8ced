package fuse

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A script renders what it is told to.
type script struct {
	mu   sync.Mutex
	data string
	err  error
	n    atomic.Int64
	wait chan struct{} // if set, a render ends when it is closed
}

func (s *script) Render(dst []byte, _ int) ([]byte, error) {
	s.n.Add(1)
	if s.wait != nil {
		<-s.wait
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(dst, s.data...), s.err
}

func (s *script) set(data string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data, s.err = data, err
}

func content(n *node) string {
	buf := make([]byte, 1<<16)
	copied, _ := n.read(buf, 0, true)
	return string(buf[:copied])
}

func TestSnapshotOncePerBound(t *testing.T) {
	s := &script{data: "one\n"}
	n := &node{freshness: 50 * time.Millisecond, content: s}
	now := time.Now()
	first, err := n.current(now)
	if err != nil || first.size != 4 || first.fresh != 50*time.Millisecond {
		t.Fatalf("%+v, %v", first, err)
	}
	s.set("two\n", nil)
	again, _ := n.current(now.Add(49 * time.Millisecond))
	if again.mtime != first.mtime || again.fresh != time.Millisecond || content(n) != "one\n" {
		t.Errorf("within the bound: %+v, %q", again, content(n))
	}
	next, _ := n.current(now.Add(50 * time.Millisecond))
	if next.mtime <= first.mtime || content(n) != "two\n" {
		t.Errorf("after the bound: %+v, %q", next, content(n))
	}
	if s.n.Load() != 2 {
		t.Errorf("%d renders", s.n.Load())
	}
}

// A content that has not changed keeps its mtime, so the kernel its pages.
func TestUnchangedSnapshotKeepsMtime(t *testing.T) {
	n := &node{freshness: time.Millisecond, content: &script{data: "same\n"}}
	now := time.Now()
	first, _ := n.current(now)
	if next, _ := n.current(now.Add(time.Second)); next.mtime != first.mtime {
		t.Error("mtime changed")
	}
}

// The kernel tells snapshots apart by mtime alone, also when the clock stands
// still or is set back.
func TestMtimeGrowsWhenTheClockDoesNot(t *testing.T) {
	s := &script{}
	n := &node{freshness: time.Nanosecond, content: s}
	now, last := time.Now(), int64(0)
	for i := range 3 {
		s.set(fmt.Sprintf("%d\n", i), nil)
		n.at = time.Time{}
		st, _ := n.current(now.Add(-time.Duration(i) * time.Hour))
		if st.mtime <= last {
			t.Errorf("snapshot %d: mtime %d after %d", i, st.mtime, last)
		}
		last = st.mtime
	}
}

func TestFailedRenderShowsTheLast(t *testing.T) {
	s := &script{err: errors.New("no cgroup")}
	n := &node{freshness: time.Millisecond, content: s}
	now := time.Now()
	if st, err := n.current(now); err == nil || st.size != 0 {
		t.Errorf("with nothing to show: %+v, %v", st, err)
	}
	s.set("good\n", nil)
	n.current(now.Add(time.Second))
	for i, err := range []error{errors.New("gone"), nil} { // nil: rendered to nothing
		s.set("", err)
		st, err := n.current(now.Add(time.Duration(2+i) * time.Second))
		if err == nil || st.size != 5 || content(n) != "good\n" {
			t.Errorf("%+v, %v, %q", st, err, content(n))
		}
	}
}

// Whoever asks while a snapshot is made waits for that one.
func TestSingleFlight(t *testing.T) {
	s := &script{data: "x\n", wait: make(chan struct{})}
	n := &node{freshness: time.Hour, content: s}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if st, err := n.current(time.Now()); err != nil || st.size != 2 {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
	close(s.wait)
	wg.Wait()
	if s.n.Load() != 1 {
		t.Errorf("%d renders", s.n.Load())
	}
}

// A READ does not wait for a render.
func TestReadDuringRender(t *testing.T) {
	s := &script{data: "old\n"}
	n := &node{freshness: time.Millisecond, content: s}
	now := time.Now()
	n.current(now)
	s.wait = make(chan struct{})
	done := make(chan struct{})
	go func() {
		n.current(now.Add(time.Second))
		close(done)
	}()
	for s.n.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	if got := content(n); got != "old\n" {
		t.Errorf("got %q", got)
	}
	close(s.wait)
	<-done
}

func TestReadAt(t *testing.T) {
	data := strings.Repeat("0123456789abcdef", 300) // 4800 bytes
	n := &node{freshness: time.Hour, content: &script{data: data}}
	n.current(time.Now())
	for _, c := range []struct {
		off, size int
		exact     bool
		want      string
	}{
		{0, 4096, false, data[:4096]},
		{4096, 4096, false, data[4096:] + strings.Repeat(" ", 8192-4800)},
		{0, 8192, false, data + strings.Repeat(" ", 8192-4800)},
		{0, 1 << 16, true, data},
		{4000, 100, false, data[4000:4100]},
		{4799, 10, true, data[4799:]},
		{4799, 10, false, data[4799:] + strings.Repeat(" ", 9)},
		{4800, 10, false, strings.Repeat(" ", 10)},
		{1 << 40, 10, false, strings.Repeat(" ", 10)},
		{4800, 10, true, ""},
		{1 << 40, 10, true, ""},
		{0, 0, false, ""},
	} {
		buf := bytes.Repeat([]byte{0xff}, c.size)
		copied, ok := n.read(buf, uint64(c.off), c.exact)
		if got := string(buf[:copied]); got != c.want || !ok {
			t.Errorf("%+v: got %d bytes %.40q", c, len(got), got)
		}
	}
}

func TestRemovedNodeWaitsForItsRender(t *testing.T) {
	s := &script{data: "x\n", wait: make(chan struct{})}
	n := &node{freshness: time.Hour, content: s}
	go n.current(time.Now())
	for s.n.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	removed := make(chan struct{})
	go func() {
		n.remove()
		close(removed)
	}()
	select {
	case <-removed:
		t.Error("removed under a render")
	case <-time.After(20 * time.Millisecond):
	}
	close(s.wait)
	<-removed
	if _, err := n.current(time.Now()); err != errRemoved || s.n.Load() != 1 {
		t.Errorf("rendered after the end: %v", err)
	}
}

// What does not change is kept as it is, not copied.
func TestStaticContentIsShared(t *testing.T) {
	shared := sharedContent(bytes.Repeat([]byte("x"), 100))
	n := &node{content: shared}
	st, err := n.current(time.Now())
	if err != nil || st.fresh != staticFor || &n.data[0] != &shared[0] {
		t.Errorf("%+v, %v", st, err)
	}
}

type sharedContent []byte

func (c sharedContent) Render(dst []byte, _ int) ([]byte, error) {
	if dst == nil {
		return c, nil
	}
	return append(dst, c...), nil
}
