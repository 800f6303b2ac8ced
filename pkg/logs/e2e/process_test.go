package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/logs"
)

// bin is where TestMain built the programs.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "truesize-logs-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	build := exec.Command("go", "build", "-o", dir+"/", "../../../test/logsd", "../../../test/kafkad")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		return 1
	}
	return m.Run()
}

// long says whether the counts of the specification are run, or smaller ones.
func long() bool { return os.Getenv("TRUESIZE_LONG") != "" }

// scale returns the count for this run.
func scale(short, full int) int {
	if long() {
		return full
	}
	return short
}

// A process is a program that a test starts, kills, and starts again.
type process struct {
	t    testing.TB
	args []string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	// A test that dies takes what it started with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(p.log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.done = make(chan struct{})
	go func(c *exec.Cmd, done chan struct{}) { _ = c.Wait(); close(done) }(p.cmd, p.done)
}

// end sends a signal and waits for the end.
func (p *process) end(sig syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(sig)
	<-p.done
	p.cmd = nil
}

func (p *process) kill() { p.end(syscall.SIGKILL) }

// rss returns the resident memory in bytes.
func (p *process) rss() int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	p.t.Fatal("no VmRSS")
	return 0
}

// A stack is a broker and a reader with their directories.
type stack struct {
	t      testing.TB
	dir    string
	root   string // of the logs
	addr   string // of the brokers
	broker *process
	agent  *process
}

// ports hands out ports below those that the kernel gives to clients: a broker
// that is killed finds its own free when it comes back.
var ports atomic.Int32

func freePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(15000 + (os.Getpid()*41+int(ports.Add(1)))%15000)
		if ln, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			ln.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

// newStack prepares both processes and starts neither. The configuration is
// the default one with more lines (YAML) behind it.
func newStack(t testing.TB, brokers int, brokerArgs []string, kafkaYAML, yaml string) *stack {
	t.Helper()
	s := &stack{t: t, dir: t.TempDir()}
	s.root = filepath.Join(s.dir, "pods")
	if err := os.Mkdir(s.root, 0o755); err != nil {
		t.Fatal(err)
	}
	var ports, addrs []string
	for range brokers {
		p := freePort(t)
		ports, addrs = append(ports, p), append(addrs, "127.0.0.1:"+p)
	}
	s.addr = strings.Join(addrs, ",")
	config := fmt.Sprintf("sources: [{kind: pods, root: %s}]\n%s\nkafka:\n  brokers: [%q]\n%s\n", s.root, yaml, addrs[0], kafkaYAML)
	path := filepath.Join(s.dir, "config.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.broker = &process{t: t, log: filepath.Join(s.dir, "broker.log"),
		args: append([]string{bin + "/kafkad", "-ports", strings.Join(ports, ","), "-data", filepath.Join(s.dir, "kafka")}, brokerArgs...)}
	s.agent = &process{t: t, log: filepath.Join(s.dir, "agent.log"),
		args: []string{bin + "/logsd", "-config", path, "-state-dir", filepath.Join(s.dir, "state"), "-run-dir", s.dir}}
	t.Cleanup(func() {
		s.agent.kill()
		s.broker.kill()
		if t.Failed() {
			for _, p := range []*process{s.agent, s.broker} {
				if data, err := os.ReadFile(p.log); err == nil {
					t.Logf("%s:\n%s", filepath.Base(p.log), tail(data, 6000))
				}
			}
		}
	})
	return s
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// startBroker starts the broker and waits until it answers.
func (s *stack) startBroker() {
	s.t.Helper()
	s.broker.start()
	for i := 0; ; i++ {
		c, err := net.Dial("tcp", strings.Split(s.addr, ",")[0])
		if err == nil {
			c.Close()
			return
		}
		if i > 1000 {
			s.t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *stack) status() logs.Status {
	s.t.Helper()
	var out logs.Status
	for i := 0; ; i++ {
		c, err := net.Dial("unix", filepath.Join(s.dir, "logs.sock"))
		if err == nil {
			data, rerr := io.ReadAll(bufio.NewReader(c))
			c.Close()
			if rerr == nil && json.Unmarshal(data, &out) == nil {
				return out
			}
			err = rerr
		}
		if i > 500 {
			s.t.Fatalf("status: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// nothingLost fails the test when the reader counts losses.
func (s *stack) nothingLost() {
	s.t.Helper()
	if st := s.status(); len(st.Lost) != 0 {
		s.t.Errorf("counted as lost: %+v", st.Lost)
	}
}
