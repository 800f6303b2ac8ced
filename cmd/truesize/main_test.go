package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"truesize": func() { os.Exit(mainCode()) }})
}

// TestScripts runs testdata/*.txtar: the command as an admin sees it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"json": checkJSON,
		},
	})
}

// checkJSON checks that a file is JSON.
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: json file")
	}
	if data := ts.ReadFile(args[0]); !json.Valid([]byte(data)) {
		ts.Fatalf("%s is no JSON", args[0])
	}
}

func TestAtLeast(t *testing.T) {
	for _, tt := range []struct {
		s    string
		want bool
	}{
		{"5.4.0-generic", true}, {"5.3", false}, {"6.1", true}, {"4.20", false}, {"10.0", true},
		{"runc version 1.5.2", false}, {"", false}, {"linux", false}, {"99999999999999999999.1", false},
	} {
		if got := atLeast(tt.s, 5, 4); got != tt.want {
			t.Errorf("%q is at least 5.4: %v, want %v", tt.s, got, tt.want)
		}
	}
}

// TestDoctorNotRoot checks that one who may not see the node is not told to
// mend it.
func TestDoctorNotRoot(t *testing.T) {
	dir := t.TempDir()
	for root, want := range map[bool]bool{true: false, false: true} {
		c := checkup{runDir: dir, stateDir: dir, containerd: dir + "/none", nri: dir + "/none", runc: dir + "/none", root: root}
		for _, f := range c.run(t.Context()) {
			if !f.OK && strings.HasPrefix(f.Mend, "look again as root; else ") != want {
				t.Errorf("root %t: %s: mend: %s", root, f.Name, f.Mend)
			}
		}
	}
}

func TestKernelRelease(t *testing.T) {
	for release, want := range map[string]bool{
		"5.10.0-46-cloud-amd64": true, "6.1.0-56-amd64": true, "5.9.16": false, "5.4.0-200-generic": false, "4.19.0": false, "": false,
	} {
		if _, err := kernelRelease(release); (err == nil) != want {
			t.Errorf("%q: %v, want it good: %v", release, err, want)
		}
	}
}

// A part that the agent's configuration switches off is not there, and that is
// no fault.
func TestDoctorOfWhatIsOff(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	off := `"view","shim"`
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"ready":true,"checks":[],"off":[%s]}`, off)
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	c := checkup{runDir: dir, stateDir: dir}
	for name, check := range map[string]func(context.Context) (string, error){"view": c.viewAnswers, "shim": c.shimInstalled} {
		off = strconv.Quote(name)
		if note, err := check(t.Context()); err != nil || note != offNote {
			t.Errorf("%s, switched off: %q, %v", name, note, err)
		}
		off = `"other"`
		if note, err := check(t.Context()); err == nil {
			t.Errorf("%s, switched on: %q", name, note)
		}
	}
}
