package lifecycle

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/cgroup"
	"github.com/truesize/truesize/pkg/procfs"
	"github.com/truesize/truesize/test/cgroups"
)

// created returns a bench with a container that was created, and whose process
// nobody has told, at a clock that the test sets.
func created(t *testing.T) (b *bench, clock *time.Time) {
	t.Helper()
	b, clock = newBench(t), new(time.Time)
	*clock = time.Unix(1e9, 0)
	b.now = func() time.Time { return *clock }
	if _, err := b.Create(t.Context(), testSpec(idA)); err != nil {
		t.Fatal(err)
	}
	return b, clock
}

func TestLocate(t *testing.T) {
	b, clock := created(t)
	for _, tt := range []struct {
		name string
		pid  int
		age  time.Duration
		err  error
		want int
	}{
		{"no cgroup yet", 0, 0, cgroup.ErrGone, 0},
		{"not started", 0, 0, nil, 0},
		{"perhaps a helper of the runtime", 42, settled - 1, nil, 0},
		{"one that has ended meanwhile", 43, settled, nil, 0},
		{"its process", 42, settled, nil, 42},
		{"another one later", 44, time.Hour, nil, 42},
	} {
		*clock = clock.Add(maxLookAgain)
		b.kernel.first, b.kernel.firstAge, b.kernel.firstErr = tt.pid, tt.age, tt.err
		b.Locate(t.Context())
		if c := b.get(t, idA); c.PID != tt.want {
			t.Errorf("%s: pid %d, want %d", tt.name, c.PID, tt.want)
		}
	}
	if c := b.get(t, idA); c.StartTicks != 4200 || c.Cgroup[""] != "/real" || len(c.Mounts) == 0 {
		t.Errorf("%+v", c)
	}
	if b.kernel.looks != 5 {
		t.Errorf("%d looks, the last one was for a process that was known", b.kernel.looks)
	}
	b.wantErrors(t, map[string]int{})
}

// Of a container that is not started it is looked less and less often.
func TestLocateLosesPatience(t *testing.T) {
	b, clock := created(t)
	b.kernel.firstErr = errTest
	for range 600 {
		*clock = clock.Add(time.Second)
		b.Locate(t.Context())
	}
	if n := b.kernel.looks; n < 20 || n > 40 {
		t.Errorf("%d looks in ten minutes", n)
	}
	b.wantErrors(t, map[string]int{"process": 1})
}

// It is not looked for what is gone, or what the runtime has told of.
func TestLocateNot(t *testing.T) {
	for name, end := range map[string]func(*bench) error{
		"removed": func(b *bench) error { return b.Remove(idA) },
		"told": func(b *bench) error {
			s := testSpec(idA)
			s.PID = 42
			return b.Refresh(s)
		},
	} {
		b, _ := created(t)
		if err := end(b); err != nil {
			t.Fatal(err)
		}
		b.Locate(t.Context())
		if b.kernel.looks != 0 {
			t.Errorf("%s: looked for", name)
		}
	}
	// Removed while it was looked for.
	b, _ := created(t)
	s := b.awaited.due(b.now())[idA]
	if err := b.Remove(idA); err != nil {
		t.Fatal(err)
	}
	b.kernel.first, b.kernel.firstAge = 42, settled
	b.look(idA, s)
	if ids, err := b.dir.IDs(); err != nil || len(ids) != 0 {
		t.Errorf("entries %v, %v", ids, err)
	}
}

// An abandoned container runs, too.
func TestLocateAbandoned(t *testing.T) {
	b, _ := created(t)
	b.awaited = awaited{}
	b.Abandon(idA)
	b.kernel.first, b.kernel.firstAge = 42, settled
	b.Locate(t.Context())
	if c := b.get(t, idA); c.PID != 42 {
		t.Errorf("pid %d", c.PID)
	}
}

// The init is the oldest process of a container, wherever below its cgroup.
func TestFirst(t *testing.T) {
	f, err := cgroup.Detect(cgroups.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := Node{FS: f, Proc: "/proc"}
	outer := cgroups.Make(t, "outer")
	inner := cgroups.Make(t, "outer/inner")
	if pid, _, err := n.First(idA, outer); pid != 0 || err != nil {
		t.Errorf("empty: %d, %v", pid, err)
	}
	// The shell's child may be of its own tick.
	init := shellIn(t, inner, "sleep 3600 & echo; wait")
	if pid, age, err := n.First(idA, outer); pid != init || age < 0 || age > time.Minute || err != nil {
		t.Errorf("pid %d, want %d; age %v, %v", pid, init, age, err)
	}
	time.Sleep(2 * procfs.Tick)
	shellIn(t, outer, "echo; exec sleep 3600")
	if pid, _, err := n.First(idA, outer); pid != init || err != nil {
		t.Errorf("beside a younger one: pid %d, want %d; %v", pid, init, err)
	}
	gone := maps.Clone(outer)
	for c := range gone {
		gone[c] += "-gone"
	}
	if _, _, err := n.First(idA, gone); err == nil {
		t.Error("no error of a cgroup that does not exist")
	}
}

// shellIn runs a script in a cgroup, and returns its pid when it has written a
// line. It ends with the test.
func shellIn(t *testing.T, paths map[string]string, script string) (pid int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "read line; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range procsOf(t, paths) {
			if proc, err := os.FindProcess(p); err == nil {
				_ = proc.Kill()
			}
		}
		_ = cmd.Wait()
	})
	cgroups.Enter(t, paths, cmd.Process.Pid)
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func procsOf(t *testing.T, paths map[string]string) []int {
	t.Helper()
	f, err := cgroup.Detect(cgroups.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := f.Processes(paths, maxProcesses)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Where nobody tells the cgroup its name does.
func TestFirstByName(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	stat := func(parent int, start string) string {
		return strings.NewReplacer(" S 1 ", fmt.Sprintf(" S %d ", parent), "987654", start).Replace(statFile)
	}
	n := node(t, map[string]string{
		"proc/6/stat": stat(8, "400"), "proc/6/cgroup": "0::/pods/" + id + "\n", // a child, of the same tick
		"proc/7/stat": stat(1, "500"), "proc/7/cgroup": "0::/pods/" + id + "\n",
		"proc/8/stat": stat(1, "400"), "proc/8/cgroup": "0::/pods.slice/cri-containerd-" + id + ".scope/init\n",
		"proc/9/stat": stat(1, "300"), "proc/9/cgroup": "0::/pods/other\n",
		"proc/self/stat": "",
	})
	for range 20 {
		if pid, _, err := n.First(id, nil); pid != 8 || err != nil {
			t.Errorf("pid %d, %v; want 8", pid, err)
		}
	}
	if _, _, err := n.First("other", nil); err == nil {
		t.Error("looked for a name that anything may have")
	}
}
