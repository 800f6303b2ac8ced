package logs

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// A replay prints exactly what was sent, of the file as of its compressed form.
func TestReplay(t *testing.T) {
	r := newRig(t, "pods")
	r.cfg.Format = ""
	r.cfg.Multiline = "java"
	text := cri("ERROR x", "\tat a.b(c)", "INFO y", strings.Repeat("z", 300_000)) + "2024-05-01T10:00:00Z stderr P half"
	r.write(appLog, text)
	r.start()
	r.until("most is sent", func() bool { return len(r.out.values()) >= 2 })
	r.ok(os.RemoveAll(r.path("ns_pod_uid")))
	r.until("all is sent", func() bool { return len(r.out.values()) == 4 })
	want := slices.Sorted(slices.Values(r.out.values()))
	r.stop()
	r.write(appLog, text)
	replay := func(path string) (values []string) {
		err := Replay(r.cfg, path, nil, func(rec Replayed) error {
			if rec.Topic != "logs" || rec.Key != "ns/pod/app" || !strings.Contains(rec.Position, ":") {
				t.Errorf("topic %s, key %s, position %s", rec.Topic, rec.Key, rec.Position)
			}
			values = append(values, string(rec.Value))
			return nil
		})
		r.ok(err)
		return slices.Sorted(slices.Values(values))
	}
	if got := replay(r.path(appLog)); !slices.Equal(got, want) {
		t.Errorf("%d records replayed, %d sent, and they differ", len(got), len(want))
	}
	r.ok(os.Rename(r.path(appLog), r.path(appLog+".20240501-100000")))
	gz(t, r.path(appLog+".20240501-100000"))
	if got := replay(r.path(appLog + ".20240501-100000.gz")); len(got) != 4 {
		t.Errorf("%d records of the compressed file", len(got))
	}
	for _, bad := range []string{r.path("none"), r.root} {
		if err := Replay(r.cfg, bad, nil, nil); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}
