package threads

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Every thread gets the slice and keeps its policy and its nice value, and so
// do threads that are started afterwards.
func TestSoon(t *testing.T) {
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := Soon(); err != nil {
		t.Fatal(err)
	}
	started, done := make(chan struct{}), make(chan struct{})
	defer close(done)
	for range 4 {
		go func() {
			runtime.LockOSThread()
			started <- struct{}{}
			<-done
		}()
	}
	for range 4 {
		<-started
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) < 4 {
		t.Fatal(tasks, err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(task.Name())
		attr, err := unix.SchedGetAttr(tid, 0)
		if err != nil {
			t.Fatal(err)
		}
		if attr.Policy != before.Policy || attr.Nice != before.Nice {
			t.Errorf("thread %d: policy %d, nice %d; they were %d, %d", tid, attr.Policy, attr.Nice, before.Policy, before.Nice)
		}
		// 0 is what a kernel says that has one slice for all.
		if attr.Runtime != 0 && attr.Runtime != uint64(shortSlice) {
			t.Errorf("thread %d: slice %d ns, want %d", tid, attr.Runtime, shortSlice)
		}
	}
}

func TestNice(t *testing.T) {
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := before.Nice + 1
	if err := Nice(int(want)); err != nil {
		t.Fatal(err)
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil || len(tasks) < 2 {
		t.Fatal(tasks, err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(task.Name())
		if attr, err := unix.SchedGetAttr(tid, 0); err != nil || attr.Nice != want {
			t.Errorf("thread %d: nice %v, %v; want %d", tid, attr, err, want)
		}
	}
}
