package main

import (
	"encoding/json"
	"os"
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
