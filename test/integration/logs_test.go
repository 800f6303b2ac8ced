package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/truesize/truesize/test/image"
	"github.com/truesize/truesize/test/stack"
)

// TestLogs: what containers print arrives in the sink, with what the runtime
// knows of them, also what was printed while the agent was away.
func TestLogs(t *testing.T) {
	sink := filepath.Join(t.TempDir(), "records.jsonl")
	section := fmt.Sprintf("logs:\n  sources: [{kind: pods, root: %s}]\n  sink: file\n  file: {path: %s}\n", node.PodLogs(), sink)
	node.StopAgent()
	if err := node.StartAgentWith(t.Context(), section); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		node.StopAgent()
		if err := node.StartAgent(context.Background()); err != nil { // the test's own context has ended
			t.Error(err)
		}
	})
	c, err := node.Run(t.Context(), stack.Spec{
		Image: image.Small, Container: "printer", Labels: map[string]string{"app": "shop"},
		Command: []string{"sh", "-c", "echo first; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo second; sleep 1000"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Remove(context.Background()) })
	first := awaitRecord(t, sink, "first")
	for field, want := range map[string]string{"container": "printer", "app": "shop", "stream": "stdout"} {
		if first[field] != want {
			t.Errorf("field %s is %v, want %s, in %v", field, first[field], want, first)
		}
	}

	node.KillAgent()
	if _, err := c.Shell(t.Context(), "touch /tmp/go"); err != nil {
		t.Fatal(err)
	}
	if err := node.StartAgentWith(t.Context(), section); err != nil {
		t.Fatal(err)
	}
	awaitRecord(t, sink, "second")
	dump, err := node.Get(t.Context(), "/metrics")
	if err != nil || !strings.Contains(dump, "truesize_logs_acknowledged_records_total") {
		t.Errorf("no metrics of log forwarding: %v", err)
	}
	if out, err := node.Truesize(t.Context(), "logs", "status"); err != nil || !strings.Contains(out, "printer") {
		t.Errorf("truesize logs status: %v\n%s", err, out)
	}
}

// awaitRecord waits until the sink has a record of that message.
func awaitRecord(t *testing.T, sink, message string) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		data, _ := os.ReadFile(sink)
		for line := range strings.Lines(string(data)) {
			var r map[string]any
			if json.Unmarshal([]byte(line), &r) == nil && r["message"] == message {
				return r
			}
		}
	}
	t.Fatalf("no record of %q\n%s", message, node.Logs(16<<10))
	return nil
}
