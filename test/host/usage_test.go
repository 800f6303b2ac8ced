package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A usage is what a process holds.
type usage struct {
	Descriptors int
	Goroutines  int // 0 of a process that does not tell
	Threads     int
	Watches     int // of inotify
	Mounts      int // that it sees
	Mappings    int // of memory
	KiB         int // of anonymous resident memory
}

func (u usage) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, %d threads, %d watches, %d mounts, %d mappings, %d KiB",
		u.Descriptors, u.Goroutines, u.Threads, u.Watches, u.Mounts, u.Mappings, u.KiB)
}

// preparer is the process of the view that is started when there is something
// to prepare for the first time.
const preparer = "prepare"

// usages are those of Truesize's processes, by what they are.
type usages map[string]usage

func (all usages) String() string {
	var list []string
	for name, u := range all {
		list = append(list, name+" "+u.String())
	}
	slices.Sort(list)
	return strings.Join(list, "; ")
}

// What a process may have more at one time than at another: a connection and
// the goroutines of it, threads of the Go runtime and what it maps for them,
// and memory that it has not collected yet.
const (
	slackDescriptors = 3
	slackGoroutines  = 4
	slackThreads     = 6
	slackMappings    = 20
)

// grown returns in what the processes hold more than before.
func (all usages) grown(before usages) (list []string) {
	for name, u := range all {
		b, ok := before[name]
		if !ok {
			if name != preparer {
				list = append(list, fmt.Sprintf("there is a new %s: %v", name, u))
			}
			continue
		}
		for what, n := range map[string][2]int{
			"descriptors":    {u.Descriptors, b.Descriptors + slackDescriptors},
			"goroutines":     {u.Goroutines, b.Goroutines + slackGoroutines},
			"threads":        {u.Threads, b.Threads + slackThreads},
			"watches":        {u.Watches, b.Watches},
			"mounts":         {u.Mounts, b.Mounts},
			"mappings":       {u.Mappings, b.Mappings + slackMappings},
			"KiB, by a half": {u.KiB, b.KiB + b.KiB/2},
		} {
			if n[0] > n[1] {
				list = append(list, fmt.Sprintf("the %s has more %s: %v, before %v", name, what, u, b))
			}
		}
	}
	return list
}

// measure returns what Truesize's processes hold.
func measure(t *testing.T, agent int) usages {
	t.Helper()
	all := make(usages)
	view := viewProcesses(t)
	view["agent"] = agent
	for name, pid := range view {
		all[name] = usageOf(t, pid)
	}
	told := agentMetrics(t)
	for name, metric := range map[string]string{"agent": "go_goroutines", "server": "truesize_viewd_goroutines"} {
		u := all[name]
		u.Goroutines = value(t, told, metric)
		all[name] = u
	}
	return all
}

// viewProcesses waits until all processes of the view are there, and returns
// them.
func viewProcesses(t *testing.T) (pids map[string]int) {
	t.Helper()
	await(t, "keeper, server and spare", func() bool {
		st := status(t)
		pids = map[string]int{"keeper": st.KeeperPID, "server": st.ServerPID, "spare": st.SparePID}
		return st.Serving && st.SparePID != 0
	})
	all, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if comm, _ := os.ReadFile(path); string(comm) != "truesize-viewd\n" || slices.Contains(slices.Collect(maps.Values(pids)), pid) {
			continue
		}
		name := fmt.Sprint("process ", pid)
		if line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline")); bytes.Contains(line, []byte("\x00"+preparer+"\x00")) {
			name = preparer
		}
		pids[name] = pid
	}
	return pids
}

func usageOf(t *testing.T, pid int) (u usage) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", pid)
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	field := func(text, name string) int {
		_, rest, _ := strings.Cut(text, name)
		n, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			t.Fatalf("%s of %s: %v", name, dir, err)
		}
		return n
	}
	status := read("status")
	u.KiB, u.Threads = field(status, "RssAnon:"), field(status, "Threads:")
	u.Mounts = strings.Count(read("mounts"), "\n")
	u.Mappings = strings.Count(read("maps"), "\n")
	open, err := os.ReadDir(filepath.Join(dir, "fdinfo"))
	if err != nil {
		t.Fatal(err)
	}
	u.Descriptors = len(open)
	for _, fd := range open {
		info, _ := os.ReadFile(filepath.Join(dir, "fdinfo", fd.Name())) // it may be closed by now
		u.Watches += strings.Count(string(info), "inotify wd:")
	}
	return u
}

// agentGet fetches a path of the agent's HTTP server, by its socket.
func agentGet(path string) (body string, ok bool) {
	client := http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(node.RunDir(), "agent.sock"))
		}},
	}
	resp, err := client.Get("http://agent" + path)
	if err != nil {
		return "", false
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return string(data), err == nil && resp.StatusCode == http.StatusOK
}

// agentMetrics returns the agent's metrics, with the view's among them.
func agentMetrics(t *testing.T) (text string) {
	t.Helper()
	await(t, "metrics of the agent", func() (ok bool) {
		text, ok = agentGet("/metrics")
		return ok
	})
	return text
}

// value returns that of a metric without labels.
func value(t *testing.T, text, name string) int {
	t.Helper()
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
	}
	t.Fatalf("no %s in %s", name, text)
	return 0
}
