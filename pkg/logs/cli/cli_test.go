package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/truesize/truesize/pkg/logs"
	"github.com/truesize/truesize/pkg/logs/sink"
)

const line = "2024-05-01T10:00:00Z stdout F INFO hello\n"

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) { o.mu.Lock(); defer o.mu.Unlock(); return o.b.Write(p) }
func (o *output) String() string              { o.mu.Lock(); defer o.mu.Unlock(); return o.b.String() }

func execute(ctx context.Context, out io.Writer, args ...string) error {
	root := &cobra.Command{Use: "truesize", SilenceUsage: true}
	root.PersistentFlags().String("run-dir", "/run/truesize", "")
	root.AddCommand(NewCommand(func(path string) (logs.Config, error) {
		var file struct{ Logs logs.Config }
		data, err := os.ReadFile(path)
		if err == nil {
			err = yaml.Unmarshal(data, &file)
		}
		return file.Logs, err
	}))
	root.SetArgs(append([]string{"logs"}, args...))
	root.SetOut(out)
	root.SetErr(io.Discard)
	return root.ExecuteContext(ctx)
}

func podLog(t *testing.T, root, pod string) string {
	t.Helper()
	path := filepath.Join(root, "ns_"+pod+"_uid", "app", "0.log")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReplay(t *testing.T) {
	path := podLog(t, t.TempDir(), "web")
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("runDir: /x\nlogs:\n  topics: {default: mine}\n  formats: {small: {fields: [{name: m, source: message}, {name: p, source: pod}]}}\n  format: small\n  kafka: {brokers: ['k:1']}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ args, want string }{
		{"--format raw", "INFO hello\n"},
		{"--config " + config, `{"m":"INFO hello","p":"web"}` + "\n"},
		{"--long --config " + config, "mine\tns/web/app\t"},
	} {
		var out output
		if err := execute(context.Background(), &out, append([]string{"replay", path}, strings.Fields(tc.args)...)...); err != nil || !strings.HasPrefix(out.String(), tc.want) {
			t.Errorf("%s: %q, %v", tc.args, out.String(), err)
		}
	}
	for _, bad := range []string{"replay", "replay /none", "replay " + path + " --format x", "replay " + path + " --config /none"} {
		if err := execute(context.Background(), io.Discard, strings.Fields(bad)...); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestTail(t *testing.T) {
	root := t.TempDir()
	path := podLog(t, root, "web")
	podLog(t, root, "other")
	ctx, cancel := context.WithCancel(context.Background())
	var out output
	done := make(chan error, 1)
	go func() {
		done <- execute(ctx, &out, "tail", "--root", root, "--pod", "web", "--long", "--from-beginning")
	}()
	wait := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); out.String() != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("printed %q, want %q", out.String(), want)
			}
		}
	}
	wait("ns/web/app: INFO hello\n")
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.ReplaceAll(line, "hello", "again")); err != nil {
		t.Fatal(err)
	}
	wait("ns/web/app: INFO hello\nns/web/app: INFO again\n")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := execute(context.Background(), io.Discard, "tail", "--root", "/none"); err == nil {
		t.Error("no root: no error")
	}
}

// The status of a component that runs.
func TestStatusOfComponent(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "pods")
	podLog(t, root, "web")
	ctx, cancel := context.WithCancel(context.Background())
	c, err := logs.New(logs.Config{Sink: "stdout", Sources: []logs.Source{{Kind: "pods", Root: root}}},
		logs.Options{StateDir: dir, RunDir: dir, Stdout: io.Discard, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var out output
		if err := execute(ctx, &out, "status", "--run-dir", dir); err == nil && strings.Contains(out.String(), "logs   1     1      -    -       -") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("status %q", out.String())
		}
	}
	var out output
	if err := execute(ctx, &out, "status", "--run-dir", dir, "--json"); err != nil || !json.Valid([]byte(out.String())) {
		t.Errorf("%q, %v", out.String(), err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := execute(context.Background(), io.Discard, "status", "--run-dir", dir); err == nil {
		t.Error("no agent: no error")
	}
}

func TestStatusTable(t *testing.T) {
	s := logs.Status{
		OpenFiles: 2, BufferedBytes: 20 << 20, DeletedFiles: 1, DeletedBytes: 5000, CheckpointErrors: 3, CheckpointAt: time.Unix(0, 0).UTC(),
		Lost: map[string]logs.Loss{"deleted": {Events: 1, Bytes: 100, Lines: 2}},
		Sink: sink.Stats{DeadLetters: map[string]uint64{"too-large": 4}, LastError: "dial tcp: refused"},
		Containers: []logs.ContainerStatus{
			{Ref: logs.Ref{Namespace: "ns", Pod: "web", Container: "app"}, Topic: "logs", Lines: 10, Acked: 8, LagBytes: 20 << 10, LagSeconds: 75, LostBytes: 100},
			{Ref: logs.Ref{Container: "x"}},
		},
	}
	want, err := os.ReadFile("testdata/status.golden")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := printStatus(&b, &s); err != nil || b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// The socket of something else is an error, not a table.
func TestStatusOfStranger(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, "logs.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			c.Close()
		}
	}()
	if err := execute(context.Background(), io.Discard, "status", "--run-dir", dir); err == nil {
		t.Error("no error")
	}
}
