package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	cniversion "github.com/containernetworking/cni/pkg/version"

	"github.com/truesize/truesize/cni"
)

// TestRefusals: what the CNI library's own skeleton refuses before it calls a
// plugin, we refuse with the same code.
func TestRefusals(t *testing.T) {
	const conf = `{"cniVersion":"1.1.0","name":"lan","type":"truesize-macvlan"}`
	for _, c := range []struct {
		name, command, change, stdin string
	}{
		{"no container", "ADD", "CNI_CONTAINERID=", conf},
		{"no interface", "DEL", "CNI_IFNAME=", conf},
		{"no namespace", "CHECK", "CNI_NETNS=", conf},
		{"no path", "GC", "CNI_PATH=", conf},
		{"container", "ADD", "CNI_CONTAINERID=a/b", conf},
		{"interface", "ADD", "CNI_IFNAME=a/b", conf},
		{"long interface", "ADD", "CNI_IFNAME=0123456789abcdef", conf},
		{"command", "REMOVE", "", conf},
		{"not JSON", "ADD", "", "{"},
		{"nothing", "ADD", "", ""},
		{"a list", "DEL", "", "[]"},
		{"a string", "GC", "", `"lan"`},
		{"no name", "ADD", "", `{"cniVersion":"1.1.0"}`},
		{"name", "STATUS", "", `{"cniVersion":"1.1.0","name":"a b"}`},
		{"no version", "ADD", "", `{"name":"lan"}`},
		{"version", "ADD", "", `{"cniVersion":"2.0.0","name":"lan"}`},
		{"old version", "DEL", "", `{"cniVersion":"0.2.0","name":"lan"}`},
		{"CHECK of old", "CHECK", "", `{"cniVersion":"0.3.1","name":"lan"}`},
		{"GC of old", "GC", "", `{"cniVersion":"1.0.0","name":"lan"}`},
		{"STATUS of old", "STATUS", "", `{"cniVersion":"1.0.0","name":"lan"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, kv := range []string{"CNI_COMMAND=" + c.command, "CNI_CONTAINERID=c1", "CNI_NETNS=" + filepath.Join(t.TempDir(), "none"), "CNI_IFNAME=eth0", "CNI_ARGS=", "CNI_PATH=/opt/cni/bin", c.change} {
				if key, value, ok := strings.Cut(kv, "="); ok {
					t.Setenv(key, value)
				}
			}
			want := refusal(t, c.stdin)
			var out bytes.Buffer
			err := run(os.Getenv, strings.NewReader(c.stdin), &out, &out, uncounted)
			var e *types.Error
			if !errors.As(err, &e) || e.Code != want || e.Msg == "" {
				t.Errorf("got %v, want code %d", err, want)
			}
			if out.Len() > 0 {
				t.Errorf("printed %q", out.String())
			}
		})
	}
}

// uncounted keeps the tests' calls out of the node's counters.
func uncounted(*cni.Args, time.Duration, uint) {}

// refusal is the code with which the skeleton refuses the call.
func refusal(t *testing.T, stdin string) uint {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stdin")
	if err := os.WriteFile(path, []byte(stdin), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before := os.Stdin
	os.Stdin = f
	defer func() { os.Stdin = before }()
	called := func(*skel.CmdArgs) error { t.Fatal("the skeleton takes it"); return nil }
	e := skel.PluginMainFuncsWithError(skel.CNIFuncs{Add: called, Del: called, Check: called, GC: called, Status: called},
		cniversion.PluginSupports(cni.Versions()...), "")
	if e == nil {
		t.Fatal("the skeleton refuses nothing")
	}
	return e.Code
}

// TestAbout: run by hand, it says what it is.
func TestAbout(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if err := run(func(string) string { return "" }, strings.NewReader(""), &stdout, &stderr, uncounted); err != nil || stdout.Len() > 0 {
		t.Errorf("%v, stdout %q", err, stdout.String())
	}
	if !strings.Contains(stderr.String(), "truesize-macvlan") || !strings.Contains(stderr.String(), "1.1.0") {
		t.Errorf("it says %q", stderr.String())
	}
}
