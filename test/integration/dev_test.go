package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// dev returns the command of bin/dev, which make run is.
func dev(t *testing.T, command string) *exec.Cmd {
	t.Helper()
	repo, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(repo, "bin", "dev"), command)
	cmd.Dir = repo
	return cmd
}

// TestMakeRun checks the table of make run, and the records behind it.
func TestMakeRun(t *testing.T) {
	out, err := dev(t, "run").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	checkArrivals(t, string(out))
	cells := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		if row := strings.Split(strings.Trim(line, "|\n"), "|"); len(row) == 4 {
			for i := range row {
				row[i] = strings.TrimSpace(row[i])
			}
			cells[row[0]] = row[1:]
		}
	}
	nodeCPUs, nodeMiB := hostSh(t, "nproc"), hostSh(t, "free -m | awk '/^Mem:/ {print $2}'")
	for what, want := range map[string][]string{
		"/proc/cpuinfo processors":   {nodeCPUs, nodeCPUs, "1"},
		"free -m, total":             {nodeMiB, nodeMiB, "256"},
		"top, CPUs listed":           {nodeCPUs, nodeCPUs, "1"},
		"Node.js os.cpus().length":   {nodeCPUs, nodeCPUs, "1"},
		"Node.js os.totalmem(), MiB": {nodeMiB, nodeMiB, "256"},
	} {
		if got := cells[what]; strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	if got := cells["Java availableProcessors()"]; len(got) != 3 || got[2] != "1" {
		t.Errorf("Java availableProcessors(): got %q", got)
	}
	if got := cells["uptime"]; len(got) != 3 || got[2] != "up 0 minutes" {
		t.Errorf("uptime: got %q", got)
	}
	if got := cells["nproc"]; len(got) != 3 || got[0] != nodeCPUs {
		t.Errorf("nproc: got %q", got)
	}
}

// checkArrivals checks that what both containers print has come out of the
// broker, in the default format and, for each stream, in order.
func checkArrivals(t *testing.T, output string) {
	t.Helper()
	got := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^logs/\d+@\d+ (\S+) (\{.*\})$`).FindAllStringSubmatch(output, -1) {
		var r struct{ App, Pod, Container, Stream, Level, Message string }
		if err := json.Unmarshal([]byte(m[2]), &r); err != nil {
			t.Errorf("record %s: %v", m[2], err)
		}
		if want := "default/" + r.Pod + "/" + r.Container; m[1] != want || r.App != "shop" {
			t.Errorf("key %s, want %s; app %s, want shop", m[1], want, r.App)
		}
		got[r.Pod+" "+r.Stream] = append(got[r.Pod+" "+r.Stream], r.Level+": "+r.Message)
	}
	for pod, cpus := range map[string]string{"plain": hostSh(t, "nproc"), "sized": "1"} {
		stdout := []string{
			"info: INFO starting, nproc says " + cpus,
			`warn: {"level":"warn","msg":"no configuration, defaults are used"}`,
		}
		if !slices.Equal(got[pod+" stdout"], stdout) {
			t.Errorf("stdout of %s: got %q, want %q", pod, got[pod+" stdout"], stdout)
		}
		if want := []string{": cannot reach the database"}; !slices.Equal(got[pod+" stderr"], want) {
			t.Errorf("stderr of %s: got %q, want %q", pod, got[pod+" stderr"], want)
		}
	}
}

// TestInterrupted interrupts make run in each of its phases and checks that
// it leaves nothing. A kill leaves what the next command removes.
func TestInterrupted(t *testing.T) {
	tests := []struct {
		at  string // the step that is under way
		sig syscall.Signal
	}{
		{"starting a private containerd", syscall.SIGINT},
		{"loading the images", syscall.SIGTERM},
		{"starting the agent", syscall.SIGHUP},
		{"starting two containers", syscall.SIGINT},
		{"asking", syscall.SIGTERM},
		{"starting two containers", syscall.SIGKILL},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s %s", test.sig, test.at), func(t *testing.T) {
			id := interrupt(t, test.at, test.sig)
			if test.sig == syscall.SIGKILL {
				if leftovers(t, id) == "" {
					t.Error("a kill leaves nothing: the check sees nothing")
				}
				if out, err := dev(t, "down").CombinedOutput(); err != nil {
					t.Errorf("down: %v\n%s", err, out)
				}
			}
			if left := leftovers(t, id); left != "" {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
}

// interrupt starts make run and sends sig when the step begins. It returns
// the id of the stack that it started.
func interrupt(t *testing.T, step string, sig syscall.Signal) string {
	t.Helper()
	cmd := dev(t, "run")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	seen := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), step) && !seen {
			seen = true
			cmd.Process.Signal(sig)
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Errorf("make run ended well in spite of the signal")
	}
	if !seen {
		t.Errorf("no step %q", step)
	}
	return stackID(t, all.String())
}

// stackID finds the id of a stack in what dev prints.
func stackID(t *testing.T, output string) string {
	t.Helper()
	m := regexp.MustCompile(`truesize-dev-([0-9a-f]{6})`).FindStringSubmatch(output)
	if m == nil {
		t.Fatalf("no stack in %q", output)
	}
	return m[1]
}

// leftovers names what is on the node of a stack.
func leftovers(t *testing.T, id string) string {
	t.Helper()
	name := "truesize-dev-" + id
	var left []string
	for _, pattern := range []string{
		"/var/tmp/*" + name, "/sys/fs/cgroup/*/" + name, "/sys/fs/cgroup/" + name,
		"/sys/class/net/ts-" + id, "/var/lib/cni/results/" + name + "-*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	lists, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range append(lists, "/proc/self/mountinfo") {
		data, _ := os.ReadFile(list) // a process may have ended
		for line := range strings.Lines(strings.ReplaceAll(string(data), "\x00", " ")) {
			if strings.Contains(line, name) {
				left = append(left, list+": "+line)
			}
		}
	}
	return strings.Join(left, "\n")
}

// TestUpDown checks that up's stack outlives it, is described by dev.env,
// and that down removes it.
func TestUpDown(t *testing.T) {
	up, err := dev(t, "up").CombinedOutput()
	if err != nil {
		t.Fatalf("up: %v\n%s", err, up)
	}
	if leftovers(t, stackID(t, string(up))) == "" {
		t.Error("nothing is up")
	}
	const pod = `{"metadata": {"name": "mine", "namespace": "default", "uid": "1"},
		"linux": {"cgroup_parent": "/'$(basename "${CONTAINERD_ADDRESS%/*}")'/mine"}}`
	// The caller's crictl is for another runtime, and he may start another stack.
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `set -eu; . run/dev.env
		crictl images | grep -c truesize/debian
		crictl runp <(echo '`+pod+`') >&2
		bin/dev run </dev/null >&2
		crictl pods -q --name mine | wc -l
		truesize status >/dev/null
		truesize doctor >&2 && echo ok`)
	cmd.Dir = dev(t, "up").Dir
	cmd.Env = append(os.Environ(), "CONTAINER_RUNTIME_ENDPOINT=unix:///none")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || string(out) != "1\n1\nok\n" {
		t.Errorf("use of dev.env: %v\n%s%s", err, out, &stderr)
	}
	if out, err := dev(t, "down").CombinedOutput(); err != nil {
		t.Fatalf("down: %v\n%s", err, out)
	}
	if left := leftovers(t, stackID(t, string(up))); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
	if _, err := os.Stat(filepath.Join(cmd.Dir, "run", "dev.env")); err == nil {
		t.Error("run/dev.env outlives down")
	}
}
