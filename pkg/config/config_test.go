package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

const full = `
runDir: /run/ts
stateDir: /var/lib/ts
log: {level: debug}
metrics: {address: "0.0.0.0:9000"}
nri: {socket: /run/nri.sock, pluginName: ts, pluginIndex: "05"}
size: {fromRequests: true}
inject:
  namespaces: {include: [a, b], exclude: []}
  selector: app=web
  view: false
  shim: false
  numCPUs: false
  env:
    GOMAXPROCS: false
    DOTNET_PROCESSOR_COUNT: false
    PYTHON_CPU_COUNT: false
    MALLOC_ARENA_MAX: false
    OMP_NUM_THREADS: true
    JAVA_TOOL_OPTIONS: true
    UV_THREADPOOL_SIZE: true
cpuset: {enabled: true, cpuManagerState: /var/kubelet/state}
view: {binary: /usr/bin/viewd, freshness: 100ms, prepare: false}
network: {reconcile: false}
`

// nothing is an environment without variables.
func nothing(string) (string, bool) { return "", false }

func TestApplyEveryKey(t *testing.T) {
	got := Default()
	if err := got.Apply("c.yaml", []byte(full)); err != nil {
		t.Fatal(err)
	}
	sel, err := labels.Parse("app=web")
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		RunDir: "/run/ts", StateDir: "/var/lib/ts", LogLevel: slog.LevelDebug, MetricsAddress: "0.0.0.0:9000",
		NRISocket: "/run/nri.sock", NRIPluginName: "ts", NRIPluginIndex: "05", FromRequests: true,
		Include: []string{"a", "b"}, Exclude: []string{}, Selector: sel,
		Env: map[string]bool{
			"GOMAXPROCS": false, "DOTNET_PROCESSOR_COUNT": false, "PYTHON_CPU_COUNT": false, "MALLOC_ARENA_MAX": false,
			"OMP_NUM_THREADS": true, "JAVA_TOOL_OPTIONS": true, "UV_THREADPOOL_SIZE": true,
		},
		CPUSet: true, CPUManagerState: "/var/kubelet/state",
		ViewBinary: "/usr/bin/viewd", Freshness: 100 * time.Millisecond,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// Every setting must have been in the file above.
	for _, s := range Settings() {
		last := s.Key[strings.LastIndex(s.Key, ".")+1:]
		if !strings.Contains(full, last+":") {
			t.Errorf("key %s is not tested", s.Key)
		}
	}
}

func TestApplyNothing(t *testing.T) {
	for _, data := range []string{"", "# only a comment\n", "---\n", "nri:\ninject:\n  namespaces:\n", "null"} {
		c := Default()
		if err := c.Apply("c.yaml", []byte(data)); err != nil {
			t.Errorf("%q: %v", data, err)
		}
		if !c.Blank {
			t.Errorf("%q is not called blank", data)
		}
		c.Blank = false
		if !reflect.DeepEqual(c, Default()) {
			t.Errorf("%q changed the defaults", data)
		}
	}
}

// What is no slip is not called blank: a value, also the default, and {}.
func TestApplySomething(t *testing.T) {
	for _, data := range []string{"{}", "# defaults\n{}\n", "nri: {}\n", "log: {level: info}\n", "logs: {}\n", "inject: {namespaces: {include: []}}\n"} {
		c := Default()
		if err := c.Apply("c.yaml", []byte(data)); err != nil || c.Blank {
			t.Errorf("%q: blank: %v, %v", data, c.Blank, err)
		}
	}
}

func TestApplyErrorsNameKeyAndLine(t *testing.T) {
	for _, tt := range []struct{ name, data, want string }{
		{"unknown key", "runDir: /a\nrundirr: /b\n", "c.yaml:2: rundirr: is no key of the configuration: remove it"},
		{"wrong case", "rundir: /b\n", "c.yaml:1: rundir: is no key of the configuration: did you mean runDir?"},
		{"unknown nested key", "nri:\n  sock: /a\n", "c.yaml:2: nri.sock: is no key"},
		{"unknown section", "a:\n  b: c\n", "c.yaml:1: a: is no key"},
		{"twice", "runDir: /a\nlog: {}\nrunDir: /b\n", "c.yaml:3: runDir: is there twice, first at line 1"},
		{"section twice", "log: {}\nlog: {level: info}\n", "c.yaml:2: log: is there twice"},
		{"nested twice", "log:\n  level: info\n  level: warn\n", "c.yaml:3: log.level: is there twice, first at line 2"},
		{"not a boolean", "inject:\n  view: yes please\n", `c.yaml:2: inject.view: "yes please" is no boolean`},
		{"yes is not a boolean", "inject: {view: yes}\n", `c.yaml:1: inject.view: "yes" is no boolean`},
		{"unknown variable", "inject: {env: {GOGC: true}}\n", "c.yaml:1: inject.env.GOGC: is no key"},
		{"variable in small letters", "inject: {env: {gomaxprocs: true}}\n", "did you mean inject.env.GOMAXPROCS?"},
		{"value of a variable", "inject: {env: {GOMAXPROCS: 4}}\n", `inject.env.GOMAXPROCS: "4" is no boolean`},
		{"list for a value", "runDir: [/a]\n", "c.yaml:1: runDir: holds a list: write one value"},
		{"mapping for a value", "runDir: {a: b}\n", "c.yaml:1: runDir: holds a mapping"},
		{"nothing for a value", "runDir:\n", "c.yaml:1: runDir: holds nothing"},
		{"value for a section", "nri: true\n", `c.yaml:1: nri: holds the value "true": write keys under it`},
		{"value for a list", "inject:\n  namespaces:\n    include: shop\n", `c.yaml:3: inject.namespaces.include: holds the value "shop": write a list`},
		{"mapping in a list", "inject: {namespaces: {include: [{a: b}]}}\n", "c.yaml:1: inject.namespaces.include: holds a mapping in its list"},
		{"namespace pattern", "inject: {namespaces: {exclude: ['kube-*']}}\n", `"kube-*" is no name of a namespace`},
		{"alias", "runDir: &a /a\nstateDir: *a\n", "c.yaml:2: stateDir: holds an alias"},
		{"merge key", "log: &l {level: info}\nnri:\n  <<: *l\n", "c.yaml:3: nri.<<: is no key"},
		{"list at the top", "- a\n", "c.yaml:1: the file: holds a list"},
		{"scalar at the top", "a\n", "c.yaml:1: the file: holds the value"},
		{"second document", "runDir: /a\n---\nrunDir: /b\n", "c.yaml: it holds a second document"},
		{"no YAML", "runDir: [\n", "c.yaml: line 1: did not find"},
		{"tab", "nri:\n\tsocket: /a\n", "c.yaml: line 2: found character that cannot start"},
		{"relative path", "runDir: run\n", `c.yaml:1: runDir: "run" is no absolute path`},
		{"empty path", "nri: {socket: ''}\n", `c.yaml:1: nri.socket: "" is no absolute path`},
		{"level", "log: {level: loud}\n", `c.yaml:1: log.level: "loud" is no level: write debug, info, warn or error`},
		{"address", "metrics: {address: '9464'}\n", `"9464" is no address: write host:port`},
		{"port", "metrics: {address: 'a:99999'}\n", `"a:99999" is no address`},
		{"index", "nri: {pluginIndex: 9}\n", `c.yaml:1: nri.pluginIndex: "9" is no plugin index: write two digits`},
		{"plugin name", "nri: {pluginName: a/b}\n", `"a/b" is no plugin name`},
		{"selector", "inject: {selector: 'a=='}\ninject2: {}\n", "c.yaml:2: inject2"},
		{"selector syntax", "inject: {selector: '=b'}\n", `c.yaml:1: inject.selector: "=b" is no label selector`},
		{"freshness", "view: {freshness: 50}\n", `c.yaml:1: view.freshness: "50" is no freshness: write a duration`},
		{"freshness of 0", "view: {freshness: 0s}\n", `"0s" is no freshness`},
		{"freshness of an hour", "view: {freshness: 1h}\n", `"1h" is no freshness`},
		{"no binary", "view: {binary: ''}\n", "c.yaml:1: view.binary: it is empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			err := c.Apply("c.yaml", []byte(tt.data))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v\nwant   %s", err, tt.want)
			}
		})
	}
}

func TestApplyReportsEveryError(t *testing.T) {
	c := Default()
	err := c.Apply("c.yaml", []byte("a: 1\nb: 2\nrunDir: x\n"))
	if err == nil || strings.Count(err.Error(), "c.yaml:") != 3 {
		t.Errorf("want three errors, got:\n%v", err)
	}
}

func TestLoadOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte("runDir: /file\nstateDir: /file\nnri: {socket: /file}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"TRUESIZE_STATE_DIR": "/env", "TRUESIZE_NRI_SOCKET": "/env",
		"TRUESIZE_INJECT_NAMESPACES_EXCLUDE": "a,b", "TRUESIZE_PORT": "tcp://10.0.0.1:80",
	}
	lookup := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	c, err := Load(path, lookup, map[string]string{"nri-socket": "/flag"})
	if err != nil {
		t.Fatal(err)
	}
	if c.RunDir != "/file" || c.StateDir != "/env" || c.NRISocket != "/flag" {
		t.Errorf("runDir %s, stateDir %s, nri.socket %s: want file, env, flag", c.RunDir, c.StateDir, c.NRISocket)
	}
	if !reflect.DeepEqual(c.Exclude, []string{"a", "b"}) {
		t.Errorf("exclude %v, want [a b]", c.Exclude)
	}
	if c.MetricsAddress != Default().MetricsAddress {
		t.Errorf("metrics address %s, want the default", c.MetricsAddress)
	}
}

func TestLoadErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.yaml")
	if _, err := Load(missing, nothing, nil); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing file: %v", err)
	}
	env := func(k string) (string, bool) { return "maybe", k == "TRUESIZE_INJECT_VIEW" }
	_, err := Load("", env, map[string]string{"run-dir": "here"})
	for _, want := range []string{`variable TRUESIZE_INJECT_VIEW: "maybe" is no boolean`, `flag --run-dir: "here" is no absolute path`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant   %s", err, want)
		}
	}
}

func TestSettingsAreUnique(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range Settings() {
		for _, name := range []string{s.Key, s.Env, "--" + s.Flag} {
			if seen[name] && name != "--" {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
		if s.Help == "" {
			t.Errorf("%s has no help", s.Key)
		}
	}
}

// The documentation has every setting.
func TestDocumentation(t *testing.T) {
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Settings() {
		flag := ""
		if s.Flag != "" {
			flag = "`--" + s.Flag + "`"
		}
		if row := "\n| `" + s.Key + "` | `" + s.Env + "` | " + flag + " | "; !strings.Contains(string(doc), row) {
			t.Errorf("docs/configuration.md has no row%s", row)
		}
	}
}

func FuzzApply(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("nri: &a\n  socket: *a\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("inject: {namespaces: {include: [~]}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := Default()
		if c.Apply("f", data) == nil && (c.RunDir == "" || c.Selector == nil || c.Freshness <= 0) {
			t.Errorf("accepted, and unusable: %+v", c)
		}
	})
}
