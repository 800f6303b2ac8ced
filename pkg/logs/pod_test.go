package logs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/truesize/truesize/pkg/logs/quantity"
	"github.com/truesize/truesize/pkg/logs/record"
)

// runtimeMeta is what a runtime knows, for tests.
type runtimeMeta struct {
	mu   sync.Mutex
	pods map[string]Meta // by pod name
}

func (m *runtimeMeta) Container(r Ref) (Meta, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	meta, ok := m.pods[r.Pod]
	return meta, ok
}

func (m *runtimeMeta) set(pod string, meta Meta) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pods[pod] = meta
}

func annotated(kv ...string) Meta {
	m := Meta{Annotations: map[string]string{}}
	for i := 0; i < len(kv); i += 2 {
		m.Annotations[kv[i]] = kv[i+1]
	}
	return m
}

func (r *rig) by(pod string) []got {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	var out []got
	for _, g := range r.out.got {
		if strings.Contains(g.key, "/"+pod+"/") {
			out = append(out, g)
		}
	}
	return out
}

// Annotations say what is read, where it goes, and in what form.
func TestAnnotations(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.Topics = Topics{Default: "base", Namespaces: map[string]string{"shop": "shop-logs"}, Annotation: "app-.*"}
	r.cfg.Formats = map[string]record.Format{"mine": {Fields: []record.Field{{Name: "m", Source: "message"}, {Name: "t", Source: "label:tier"}}}}
	r.cfg.Namespaces.Exclude = []string{"kube-system"}
	r.opts.Metadata = &runtimeMeta{pods: map[string]Meta{
		"silent":   annotated(AnnotationLogs, "false"),
		"topic":    annotated(AnnotationTopic, "app-x"),
		"forbid":   annotated(AnnotationTopic, "billing"),
		"badtopic": annotated(AnnotationTopic, "app-x/../y"),
		"format":   {Labels: map[string]string{"tier": "front"}, Annotations: map[string]string{AnnotationFormat: "mine"}},
		"noformat": annotated(AnnotationFormat, "theirs"),
		"otlp":     annotated(AnnotationFormat, "otlp-json"),
		"java":     annotated(AnnotationMultiline, "java"),
		"badrule":  annotated(AnnotationMultiline, "start:("),
	}}
	r.start()
	for _, pod := range []string{"silent", "topic", "forbid", "badtopic", "format", "noformat", "otlp", "java", "badrule", "unknown"} {
		r.write("shop_"+pod+"_u/app/0.log", cri("ERROR x", "\tat a.b(c)"))
	}
	r.write("kube-system_x_u/app/0.log", cri("hidden"))
	r.write("other_plain_u/app/0.log", cri("y"))
	for pod, want := range map[string]struct {
		topic string
		n     int
		first string
	}{
		"topic": {"app-x", 2, "ERROR x"}, "forbid": {"shop-logs", 2, "ERROR x"}, "badtopic": {"shop-logs", 2, "ERROR x"},
		"format": {"shop-logs", 2, `{"m":"ERROR x","t":"front"}`}, "noformat": {"shop-logs", 2, "ERROR x"}, "otlp": {"shop-logs", 2, `{"resourceLogs"`},
		"java": {"shop-logs", 1, "ERROR x\n\tat a.b(c)"}, "badrule": {"shop-logs", 2, "ERROR x"}, "unknown": {"shop-logs", 2, "ERROR x"},
		"plain": {"base", 1, "y"},
	} {
		r.until(pod+" arrives", func() bool { return len(r.by(pod)) >= want.n })
		g := r.by(pod)
		if len(g) != want.n || g[0].topic != want.topic || !strings.HasPrefix(g[0].value, want.first) {
			t.Errorf("%s: %+v, want %+v", pod, g, want)
		}
	}
	if g := append(r.by("silent"), r.by("x")...); len(g) != 0 {
		t.Errorf("not to be read: %+v", g)
	}
}

// What the runtime says late is waited for; what it no longer knows after a
// restart is in the checkpoint.
func TestMetadataIsKept(t *testing.T) {
	r := newRig(t, "pods")
	md := &runtimeMeta{pods: map[string]Meta{}}
	r.opts.Metadata = md
	r.start()
	r.write(appLog, cri("a"))
	time.Sleep(200 * time.Millisecond)
	if v := r.out.values(); len(v) != 0 {
		t.Fatalf("sent before the runtime said what it is: %q", v)
	}
	md.set("pod", annotated(AnnotationTopic, "mine"))
	r.want("a")
	r.settled()
	r.stop()
	md.mu.Lock()
	md.pods = map[string]Meta{}
	md.mu.Unlock()
	r.write(appLog, cri("b"))
	r.start()
	r.want("a", "b")
	for _, g := range r.out.got {
		if g.topic != "mine" {
			t.Errorf("%q went to %s", g.value, g.topic)
		}
	}
}

// A pod over its limit loses lines, exactly as many as are counted and said.
func TestRateLimit(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.RateLimit = RateLimit{LinesPerSecond: 10, Burst: 1}
	r.start()
	// 1000 lines in one second of the lines' own time, then 30 s later one.
	r.write("ns_loud_u/app/0.log", cri(numbers(0, 1000)...))
	r.write("ns_quiet_u/app/0.log", cri(numbers(0, 5)...))
	said := func() (n int64) {
		for _, g := range r.by("loud") {
			var lines, bytes int64
			if k, _ := fmt.Sscanf(g.value, "WARN truesize: rate limit of the pod exceeded: %d lines (%d bytes)", &lines, &bytes); k == 2 {
				n += lines
			}
		}
		return n
	}
	r.until("all drops are said", func() bool { l := r.status().Lost[lossRateLimit]; return l.Lines > 900 && said() == l.Lines })
	lost := r.status().Lost[lossRateLimit]
	kept := 0
	for _, g := range r.by("loud") {
		if strings.HasPrefix(g.value, "line ") {
			kept++
		}
	}
	if kept+int(lost.Lines) != 1000 || kept < 10 || kept > 30 {
		t.Errorf("%d kept and %d dropped of 1000", kept, lost.Lines)
	}
	if n := len(r.by("quiet")); n != 5 {
		t.Errorf("%d lines of the quiet pod", n)
	}
}

// One container with much to say does not keep the others waiting.
func TestFairness(t *testing.T) {
	r := newRig(t, "pods")
	r.out.hold(true)
	r.start()
	r.write("ns_loud_u/app/0.log", strings.Repeat(cri(strings.Repeat("x", 1000)), 50_000)) // 50 MB
	for i := range 20 {
		r.write(fmt.Sprintf("ns_quiet%d_u/app/0.log", i), cri("hello"))
	}
	r.until("all are open", func() bool { return r.status().OpenFiles == 21 })
	r.out.hold(false)
	r.until("all has come", func() bool { return len(r.out.values()) == 50_020 })
	last := 0
	for i, v := range r.out.values() {
		if v == "hello" {
			last = i
		}
	}
	if last > 5_000 {
		t.Errorf("a quiet container waited for %d lines of the loud one", last)
	}
}

func TestEndOfFilesAtFirstStart(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.ReadFrom = "end"
	r.write(appLog, cri("old"))
	r.start()
	r.until("it is known", func() bool { return len(r.status().Containers) == 1 })
	r.write(appLog, cri("new"))
	r.write("ns_later_u/app/0.log", cri("later"))
	r.until("both come", func() bool { return len(r.out.values()) >= 2 })
	if v := r.out.values(); len(v) != 2 || v[0] == "old" || v[1] == "old" {
		t.Errorf("%q", v)
	}
}

func TestDockerMetadata(t *testing.T) {
	r := newRig(t, "docker")
	r.cfg.Format = ""
	r.ok(os.Mkdir(r.path("0123"), 0o755))
	config, _ := json.Marshal(map[string]any{"Name": "/web", "Config": map[string]any{"Image": "nginx", "Labels": map[string]string{"app": "shop"}}})
	r.ok(os.WriteFile(r.path("0123/config.v2.json"), config, 0o644))
	r.write("0123/0123-json.log", dockerLines("INFO hi \"there\""))
	r.start()
	r.until("it comes", func() bool { return len(r.out.values()) == 1 })
	f := fields(t, r.out.values()[0])
	if f["container"] != "web" || f["app"] != "shop" || f["message"] != `INFO hi "there"` || f["level"] != "info" || f["host"] != "n1" {
		t.Errorf("record %v", f)
	}
	if k := r.out.got[0].key; k != "web" {
		t.Errorf("key %q", k)
	}
}

// The sinks that need no network.
func TestStdoutAndFile(t *testing.T) {
	for _, kind := range []string{"stdout", "file"} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, "pods")
			var b lockedBuffer
			r.opts.Stdout = &b
			r.cfg.Sink = kind
			path := r.path("out")
			r.cfg.File = FileSink{Path: path, MaxBytes: 200}
			r.opts.Sink = nil
			r.write(appLog, cri(numbers(0, 50)...))
			c, err := New(r.cfg, r.opts)
			r.ok(err)
			r.c = c
			ctx, cancel := contextWithCancel()
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			r.settledSink(50)
			cancel()
			r.ok(<-done)
			text := b.String()
			if kind == "file" {
				data, err := os.ReadFile(path)
				r.ok(err)
				before, err := os.ReadFile(path + ".1")
				if err == nil {
					data = append(before, data...)
				}
				text = string(data)
			}
			if text != strings.Join(numbers(0, 50), "\n")+"\n" {
				t.Errorf("wrote %q", text)
			}
		})
	}
}

func (r *rig) settledSink(n uint64) {
	r.until("all is delivered", func() bool { return r.status().Sink.Records == n })
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}
func (l *lockedBuffer) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func TestConfigValidate(t *testing.T) {
	good := Config{Sink: "stdout"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"sources[0]":         func(c *Config) { c.Sources = []Source{{Kind: "journal", Root: "/x"}} },
		"not an absolute":    func(c *Config) { c.Sources = []Source{{Kind: "pods", Root: "x"}} },
		"readFrom":           func(c *Config) { c.ReadFrom = "middle" },
		"memory":             func(c *Config) { c.Memory = 1 },
		"maxLine":            func(c *Config) { c.MaxLine = 1 },
		"multiline":          func(c *Config) { c.Multiline = "cobol" },
		`format "x"`:         func(c *Config) { c.Format = "x" },
		"formats.x":          func(c *Config) { c.Formats = map[string]record.Format{"x": {Type: "y"}} },
		"topics.annotation":  func(c *Config) { c.Topics.Annotation = "(" },
		`sink "x"`:           func(c *Config) { c.Sink = "x" },
		"file.path":          func(c *Config) { c.Sink = "file" },
		"kafka: brokers":     func(c *Config) { c.Sink = "kafka" },
		"kafka: compression": func(c *Config) { c.Sink = "kafka"; c.Kafka.Brokers = []string{"a:1"}; c.Kafka.Compression = "rar" },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
}

// A root that is not there at the start, or goes and comes again, is found
// without the scan: a node's log directory is made with its first pod.
func TestRootComesLate(t *testing.T) {
	for kind, name := range map[string]string{"pods": appLog, "files": "app.log"} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t, kind)
			r.cfg.ScanInterval = quantity.Duration(time.Hour)
			r.ok(os.RemoveAll(r.root))
			r.start()
			r.status() // it has looked
			r.write(name, cri("first"))
			r.want("first")
			time.Sleep(3 * hintless) // it relies on hints by now
			r.ok(os.RemoveAll(r.root))
			r.until("all is given back", func() bool { return r.status().OpenFiles == 0 })
			r.write(name, cri("second"))
			r.want("first", "second")
			r.noLoss()
		})
	}
}

// Where the kernel gives no hints (its limits are reached), looking finds new
// files, new lines of quiet ones, and rotated ones all the same.
func TestWithoutHints(t *testing.T) {
	r := newRig(t, "pods")
	r.deaf = true
	r.cfg.ScanInterval = quantity.Duration(time.Hour) // it is 200 ms then
	r.start()
	r.status() // it has looked
	r.write(appLog, cri("first"))
	r.want("first")
	time.Sleep((quietPolls + 4) * pollInterval) // now the kernel would be asked
	r.write(appLog, cri("second"))
	r.want("first", "second")
	r.ok(os.Rename(r.path(appLog), r.path(appLog+".20240501-100000")))
	r.write(appLog, cri("third"))
	r.want("first", "second", "third")
	r.noLoss()
}

// When the kernel drops hints, those of quiet files may be among them: they are
// asked for again.
func TestHintsLost(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.ScanInterval = quantity.Duration(time.Hour)
	r.start()
	r.write(appLog, cri("first"))
	r.want("first")
	quiet := func() (n int) {
		done := make(chan int)
		r.c.loop.asks <- func() {
			for _, c := range r.c.loop.quiet {
				if c.queue == queueNone {
					n++
				}
			}
			done <- n
		}
		return <-done
	}
	r.until("the file is quiet", func() bool { return quiet() == 1 })
	r.c.loop.asks <- func() {
		for wd := range r.c.loop.quiet {
			r.c.loop.watcher.forget(wd)
		}
		r.c.loop.hints([]event{{overflow: true}})
	}
	r.until("it is quiet again", func() bool { return quiet() == 1 })
	r.write(appLog, cri("second"))
	r.want("first", "second")
}
