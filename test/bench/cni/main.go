// Command cni measures truesize-macvlan against the reference macvlan plugin
// with host-local, both built in the same run, in network namespaces of its
// own: a bridge as the switch and one node for each plugin.
//
//	go run . [-n 200] [-parallel 100] [-mb 2048] [-out FILE]
//
// It needs root. The last lines say whether the project's goals are met; it
// ends with status 1 if one is not. The file is a section of docs/benchmarks.md.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	n := flag.Int("n", 200, "serial ADDs and DELs of each plugin")
	parallel := flag.Int("parallel", 100, "ADDs and DELs at once")
	mb := flag.Int("mb", 2048, "megabytes of a throughput run")
	out := flag.String("out", "", "file to write the figures to, in Markdown")
	flag.Parse()
	ok, err := run(*n, *parallel, *mb, *out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cni bench:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// A bench is one run's namespaces, programs and directories.
type bench struct {
	dir    string // programs, state, pools: on disk
	run    string // run directories: in memory, as /run is on a node
	prefix string // of the namespaces' names
	mu     sync.Mutex
	made   []string
	ids    int
}

func run(n, parallel, mb int, out string) (ok bool, err error) {
	b := &bench{prefix: fmt.Sprintf("ts-cni-%d-", os.Getpid())}
	// The namespaces must go whatever ends the run: a closed pipe on stdout
	// makes writes fail, not the program end, and an interrupt cleans up.
	signal.Ignore(syscall.SIGPIPE)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-stop
		b.clean()
		os.Exit(130)
	}()
	defer b.clean()
	if err := b.prepare(); err != nil {
		return false, err
	}
	ours, err := b.node("ours", filepath.Join(b.dir, "truesize-macvlan"), 1)
	if err != nil {
		return false, err
	}
	ref, err := b.node("reference", filepath.Join(b.dir, "macvlan"), 2)
	if err != nil {
		return false, err
	}
	goals := &goals{}
	if err := b.serial(goals, ours, ref, n); err != nil {
		return false, err
	}
	if err := b.atOnce(goals, ours, ref, parallel); err != nil {
		return false, err
	}
	if err := b.dualStack(goals, ours, ref); err != nil {
		return false, err
	}
	if err := b.traffic(goals, ours, ref, mb); err != nil {
		return false, err
	}
	if out != "" {
		if err := os.WriteFile(out, goals.markdown(n, parallel, mb), 0o644); err != nil {
			return false, err
		}
	}
	return goals.print(), nil
}

// prepare builds the programs and makes the switch.
func (b *bench) prepare() (err error) {
	if b.dir, err = os.MkdirTemp("", "ts-cni-bench-"); err != nil {
		return err
	}
	if b.run, err = os.MkdirTemp("/dev/shm", "ts-cni-bench-"); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.dir+"/",
		"github.com/containernetworking/plugins/plugins/main/macvlan",
		"github.com/containernetworking/plugins/plugins/ipam/host-local")
	own := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.dir+"/", "./cmd/truesize-macvlan")
	own.Dir = "../../.."
	for _, c := range []*exec.Cmd{build, own} {
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w: %s", err, out)
		}
	}
	if err := b.netns("switch"); err != nil {
		return err
	}
	return b.ip("switch", "link add br0 up type bridge")
}

func (b *bench) clean() {
	b.mu.Lock() // never unlocked: nothing is made after this
	var wg sync.WaitGroup
	for _, name := range b.made {
		wg.Go(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	}
	wg.Wait()
	for _, d := range []string{b.dir, b.run} {
		if d != "" {
			os.RemoveAll(d)
		}
	}
}

func (b *bench) netns(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if out, err := exec.Command("ip", "netns", "add", b.prefix+name).CombinedOutput(); err != nil {
		return fmt.Errorf("make namespace: %w: %s", err, out)
	}
	b.made = append(b.made, b.prefix+name)
	return b.ip(name, "link set lo up")
}

// ip runs ip(8) in a namespace.
func (b *bench) ip(ns, line string) error {
	cmd := exec.Command("sh", "-c", "exec ip -n "+b.prefix+ns+" "+line)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", line, err, out)
	}
	return nil
}

func (b *bench) path(ns string) string { return "/run/netns/" + b.prefix + ns }

// in runs f on a thread in the namespace.
func (b *bench) in(ns string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		fd, err := unix.Open(b.path(ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// pools are the networks' names and the third octets of their first addresses.
var pools = map[string]int{"serial": 10, "access": 15, "parallel": 20, "dual": 30, "traffic": 40}

// A node is a namespace with a plugin.
type node struct {
	b    *bench
	name string
	prog string
	net  int // second octet of its network, and part of its IPv6 one
}

func (b *bench) node(name, prog string, net int) (*node, error) {
	if err := b.netns(name); err != nil {
		return nil, err
	}
	n := &node{b, name, prog, net}
	for _, c := range [][2]string{
		{"switch", fmt.Sprintf("link add p%d type veth peer name eth0 netns %s%s", net, b.prefix, name)},
		{"switch", fmt.Sprintf("link set p%d up master br0", net)},
		{name, "link set eth0 up"},
		{name, fmt.Sprintf("addr add 10.%d.0.1/16 dev eth0", net)},
	} {
		if err := b.ip(c[0], c[1]); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// conf is the node's configuration. Pools are named so that runs do not share
// them; each has addresses of its own.
func (n *node) conf(pool string, v6 bool, more map[string]any) []byte {
	ranges := []any{[]any{map[string]any{"subnet": fmt.Sprintf("10.%d.0.0/16", n.net), "rangeStart": fmt.Sprintf("10.%d.%d.0", n.net, pools[pool])}}}
	if v6 {
		ranges = append(ranges, []any{map[string]any{"subnet": fmt.Sprintf("fd%02d::/64", n.net)}})
	}
	c := map[string]any{
		"cniVersion": "1.0.0", "name": pool, "type": filepath.Base(n.prog), "master": "eth0",
		"ipam":   map[string]any{"type": "host-local", "dataDir": filepath.Join(n.b.dir, n.name), "ranges": ranges},
		"runDir": filepath.Join(n.b.run, n.name), "stateDir": filepath.Join(n.b.dir, n.name+"-state"),
	}
	for k, v := range more {
		c[k] = v
	}
	data, _ := json.Marshal(c)
	return data
}

// pods makes namespaces to attach.
func (b *bench) pods(n int) ([]string, error) {
	var names []string
	for range n {
		b.ids++
		name := fmt.Sprintf("pod%d", b.ids)
		if err := b.netns(name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// call runs a verb and returns how long it took and what it printed.
func (n *node) call(verb, pod string, conf []byte) (time.Duration, []byte, error) {
	took, _, out, err := n.measure(verb, pod, conf)
	return took, out, err
}

// measure is call with the processor time of the plugin and its children.
func (n *node) measure(verb, pod string, conf []byte) (took, cpu time.Duration, _ []byte, _ error) {
	cmd := exec.Command(n.prog)
	cmd.Env = []string{"CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + pod, "CNI_NETNS=" + n.b.path(pod),
		"CNI_IFNAME=eth0", "CNI_PATH=" + n.b.dir, "PATH=" + os.Getenv("PATH")}
	cmd.Stdin = bytes.NewReader(conf)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := n.b.in(n.name, func() error {
		start := time.Now()
		err := cmd.Run()
		took = time.Since(start)
		return err
	})
	if err != nil {
		err = fmt.Errorf("%s by %s: %w: %s", verb, n.name, err, out.String())
	}
	if cmd.ProcessState != nil {
		cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	return took, cpu, out.Bytes(), err
}

// serial measures one call after the other, the plugins in turn and each as
// often first as second and third, so that all see the same machine: a call
// also pays for what the kernel does late for the one before it.
func (b *bench) serial(g *goals, ours, ref *node, n int) error {
	times := map[string][]time.Duration{}
	ways := []struct {
		name string
		*node
		conf []byte
	}{
		{"ours", ours, ours.conf("serial", false, nil)},
		{"reference", ref, ref.conf("serial", false, nil)},
		{"access", ours, ours.conf("access", false, map[string]any{"hostAccess": true})},
	}
	const batch = 50
	for done := 0; done < n; done += batch {
		pods, err := b.pods(len(ways) * batch)
		if err != nil {
			return err
		}
		for _, verb := range []string{"ADD", "DEL"} {
			for i := range batch {
				for j := range ways {
					j = (i + j) % len(ways)
					w := ways[j]
					d, cpu, _, err := w.measure(verb, pods[len(ways)*i+j], w.conf)
					if err != nil {
						return err
					}
					times[verb+w.name] = append(times[verb+w.name], d)
					times["CPU "+verb+w.name] = append(times["CPU "+verb+w.name], cpu)
				}
			}
		}
	}
	for _, verb := range []string{"ADD", "DEL"} {
		g.compare("serial "+verb+", p50", median(times[verb+"ours"]), median(times[verb+"reference"]), map[string]float64{"ADD": 0.5}[verb])
		g.compare("serial "+verb+", CPU p50", median(times["CPU "+verb+"ours"]), median(times["CPU "+verb+"reference"]), 0)
		g.compare("serial "+verb+" with hostAccess, p50", median(times[verb+"access"]), median(times[verb+"reference"]), 0)
	}
	return nil
}

// atOnce measures the wall time of many calls at once.
func (b *bench) atOnce(g *goals, ours, ref *node, n int) error {
	wall := map[string][]time.Duration{}
	for range 3 {
		for _, nd := range []*node{ours, ref} {
			pods, err := b.pods(n)
			if err != nil {
				return err
			}
			for _, verb := range []string{"ADD", "DEL"} {
				start := time.Now()
				if err := each(pods, func(p string) error {
					_, _, err := nd.call(verb, p, nd.conf("parallel", false, nil))
					return err
				}); err != nil {
					return err
				}
				wall[verb+nd.name] = append(wall[verb+nd.name], time.Since(start))
			}
		}
	}
	for _, verb := range []string{"ADD", "DEL"} {
		g.compare(fmt.Sprintf("%d parallel %ss, wall", n, verb), median(wall[verb+"ours"]), median(wall[verb+"reference"]), map[string]float64{"ADD": 0.5}[verb])
	}
	return nil
}

func each(list []string, f func(string) error) error {
	errs := make(chan error, len(list))
	for _, x := range list {
		go func() { errs <- f(x) }()
	}
	var first error
	for range list {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// dualStack measures ADDs with an address of each family.
func (b *bench) dualStack(g *goals, ours, ref *node) error {
	times := map[string][]time.Duration{}
	pods, err := b.pods(20)
	if err != nil {
		return err
	}
	for i, p := range pods {
		nd := []*node{ours, ref}[i%2]
		d, _, err := nd.call("ADD", p, nd.conf("dual", true, nil))
		if err != nil {
			return err
		}
		times[nd.name] = append(times[nd.name], d)
	}
	g.compare("dual-stack ADD, p50", median(times["ours"]), median(times["reference"]), 0.05)
	return nil
}

func median(ds []time.Duration) time.Duration {
	s := slices.Clone(ds)
	slices.Sort(s)
	return s[len(s)/2]
}
