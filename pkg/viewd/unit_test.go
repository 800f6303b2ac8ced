package viewd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnitName(t *testing.T) {
	if got := unitName("/run/truesize"); got != "truesize-viewd.service" {
		t.Errorf("got %s", got)
	}
	a, b := unitName("/run/a"), unitName("/run/b")
	if a == b || !strings.HasPrefix(a, "truesize-viewd-") || !strings.HasSuffix(a, ".service") {
		t.Errorf("got %s and %s", a, b)
	}
}

func TestUnitFile(t *testing.T) {
	got, err := unitFile(`/run/a "b" $c 100%`, "/opt/viewd", "/run/100%.log", []string{"--freshness", "50ms"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`ExecStart="/opt/viewd" "--background" "--run-dir" "/run/a \"b\" $$c 100%%" "--freshness" "50ms"` + "\n",
		`ExecStop="/opt/viewd" "--stop" "--run-dir" "/run/a \"b\" $$c 100%%"` + "\n",
		"StandardError=append:/run/100%%.log\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if _, err := unitFile("/run/a\nExecStart=/bin/sh", "/opt/viewd", "/l", nil); err == nil {
		t.Error("a new line was taken")
	}
}

// What systemd itself says of the unit.
func TestUnitFileIsValid(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	text, err := unitFile(t.TempDir(), "/bin/true", "/run/x.log", []string{"--freshness", "50ms"})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "truesize-viewd.service")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || strings.Contains(string(out), "viewd.service") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestHostSystemd(t *testing.T) {
	init := t.TempDir()
	put := func(comm string, booted bool) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(init, "comm"), []byte(comm+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(init, "root", unitDir)
		if booted {
			_ = os.MkdirAll(dir, 0o755)
		} else {
			_ = os.RemoveAll(dir)
		}
	}
	for _, tt := range []struct {
		comm         string
		booted, want bool
	}{
		{"systemd", true, true}, {"systemd", false, false}, {"truesized", true, false}, {"init", false, false},
	} {
		put(tt.comm, tt.booted)
		if _, got := hostSystemd(init); got != tt.want {
			t.Errorf("%+v: got %t", tt, got)
		}
	}
	if _, ok := hostSystemd(filepath.Join(init, "none")); ok {
		t.Error("found where there is none")
	}
	// Without a unit there is nothing to stop.
	if err := (systemd{init}).remove(context.Background(), "truesize-viewd.service"); err != nil {
		t.Error(err)
	}
}
