package inject

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/truesize/truesize/pkg/size"
)

const (
	testID     = "0123456789abcdef"
	testSource = "/var/lib/truesize/shim/0a1b2c3d4e5f/libtruesize.so"
	testTarget = "/dev/truesize/0a1b2c3d4e5f/libtruesize.so"
	testPage   = "/run/truesize/containers/" + testID + "/size"
	pageTarget = "/dev/truesize/size"
)

// config returns a configuration that injects everything into everything.
func config() Config {
	return Config{
		View: true, Shim: true, NumCPUs: true,
		ViewDir:    "/run/truesize/view",
		Files:      Files(),
		ShimSource: testSource,
		ShimTarget: testTarget,
		PageTarget: pageTarget,
	}
}

// container returns an ordinary one, with the mounts a runtime gives it.
func container() Container {
	return Container{
		ID: testID, Name: "main", Pod: "web-0", Namespace: "shop",
		Labels: map[string]string{"app": "web"},
		Env:    []string{"PATH=/bin", "HOME=/root"},
		Mounts: []Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
			{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}},
		},
	}
}

var healthy = State{ViewAnswers: true, ShimPresent: true, SizePage: testPage}

func TestPlanInjectsEverything(t *testing.T) {
	a := Plan(container(), size.Size{CPUs: 2, Memory: 1 << 30}, config(), healthy)

	if a.Skip != "" || len(a.Omissions) != 0 || len(a.Warnings) != 0 {
		t.Errorf("skip %q, omissions %v, warnings %v: want none", a.Skip, a.Omissions, a.Warnings)
	}
	wantViews := []string{
		"/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/uptime", "/proc/loadavg",
		"/proc/swaps", "/proc/diskstats", "/sys/devices/system/cpu/online",
	}
	if !slices.Equal(a.Views, wantViews) {
		t.Errorf("views %v\nwant  %v", a.Views, wantViews)
	}
	if len(a.Mounts) != len(wantViews)+2 {
		t.Fatalf("%d mounts, want %d", len(a.Mounts), len(wantViews)+2)
	}
	want := Mount{
		Source: "/run/truesize/view/" + testID + "/proc/cpuinfo", Destination: "/proc/cpuinfo",
		Type: "bind", Options: []string{"bind"},
	}
	if !reflect.DeepEqual(a.Mounts[0], want) {
		t.Errorf("first mount %+v\nwant %+v", a.Mounts[0], want)
	}
	want = Mount{
		Source: testSource, Destination: testTarget,
		Type: "bind", Options: []string{"bind", "ro", "nosuid", "nodev"},
	}
	if got := a.Mounts[len(a.Mounts)-2]; !reflect.DeepEqual(got, want) {
		t.Errorf("shim's mount %+v\nwant %+v", got, want)
	}
	want = Mount{
		Source: testPage, Destination: pageTarget,
		Type: "bind", Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"},
	}
	if got := a.Mounts[len(a.Mounts)-1]; !reflect.DeepEqual(got, want) {
		t.Errorf("size page's mount %+v\nwant %+v", got, want)
	}
	if a.Shim != testTarget {
		t.Errorf("shim %q, want %q", a.Shim, testTarget)
	}
	wantEnv := []EnvVar{{Name: "LD_PRELOAD", Value: testTarget}, {Name: "NUM_CPUS", Value: "2"}}
	if !slices.Equal(a.Env, wantEnv) {
		t.Errorf("env %v, want %v", a.Env, wantEnv)
	}
}

func TestPlanEligibility(t *testing.T) {
	isWeb := func(l map[string]string) bool { return l["app"] == "web" }
	for _, tt := range []struct {
		name  string
		c     func(*Container)
		cfg   func(*Config)
		skip  Skip
		warns int
	}{
		{name: "ordinary"},
		{name: "privileged", c: func(c *Container) { c.Privileged = true }, skip: SkipPrivileged},
		{name: "hostPID", c: func(c *Container) { c.HostPID = true }, skip: SkipHostPID},
		{name: "opted out", c: annotated("false"), skip: SkipAnnotation},
		{name: "opted in", c: annotated("true")},
		{name: "False is not false", c: annotated("False"), warns: 1},
		{name: "empty annotation", c: annotated(""), warns: 1},
		{name: "no", c: annotated("no"), warns: 1},
		{name: "opting in does not undo privileged",
			c: func(c *Container) { annotated("true")(c); c.Privileged = true }, skip: SkipPrivileged},
		{name: "namespace excluded", cfg: func(c *Config) { c.Namespaces.Exclude = []string{"kube-system", "shop"} }, skip: SkipNamespace},
		{name: "other namespace excluded", cfg: func(c *Config) { c.Namespaces.Exclude = []string{"kube-system"} }},
		{name: "namespace included", cfg: func(c *Config) { c.Namespaces.Include = []string{"shop"} }},
		{name: "other namespace included", cfg: func(c *Config) { c.Namespaces.Include = []string{"bank"} }, skip: SkipNamespace},
		{name: "exclude wins", cfg: func(c *Config) {
			c.Namespaces = Namespaces{Include: []string{"shop"}, Exclude: []string{"shop"}}
		}, skip: SkipNamespace},
		{name: "opting in does not undo a namespace",
			c: annotated("true"), cfg: func(c *Config) { c.Namespaces.Exclude = []string{"shop"} }, skip: SkipNamespace},
		{name: "selected", cfg: func(c *Config) { c.Selector = isWeb }},
		{name: "not selected", cfg: func(c *Config) { c.Selector = isWeb },
			c: func(c *Container) { c.Labels = map[string]string{"app": "db"} }, skip: SkipSelector},
		{name: "bad annotation in an excluded namespace warns still",
			c: annotated("0"), cfg: func(c *Config) { c.Namespaces.Exclude = []string{"shop"} }, skip: SkipNamespace, warns: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, cfg := container(), config()
			if tt.c != nil {
				tt.c(&c)
			}
			if tt.cfg != nil {
				tt.cfg(&cfg)
			}
			a := Plan(c, size.Size{CPUs: 2, Memory: 1 << 30}, cfg, healthy)
			if a.Skip != tt.skip {
				t.Errorf("skip %q, want %q", a.Skip, tt.skip)
			}
			if len(a.Warnings) != tt.warns {
				t.Errorf("warnings %q, want %d", a.Warnings, tt.warns)
			}
			if injected := len(a.Mounts)+len(a.Env) > 0; injected != (tt.skip == "") {
				t.Errorf("injected %v with skip %q", injected, a.Skip)
			}
		})
	}
}

func annotated(v string) func(*Container) {
	return func(c *Container) { c.Annotations = map[string]string{Annotation: v} }
}

func TestPlanNeedsASize(t *testing.T) {
	for _, s := range []size.Size{{}, {CPUs: 1}, {Memory: 1 << 30}} {
		if a := Plan(container(), s, config(), healthy); a.Skip != SkipFailed || len(a.Mounts)+len(a.Env) != 0 {
			t.Errorf("size %+v: %+v", s, a)
		}
	}
}

func TestPlanLongAnnotationIsCutInTheWarning(t *testing.T) {
	c := container()
	annotated(strings.Repeat("x", 1<<16))(&c)
	if w := Plan(c, size.Size{CPUs: 1, Memory: 1 << 30}, config(), healthy).Warnings; len(w) != 1 || len(w[0]) > 200 {
		t.Errorf("%d warnings, first of %d bytes", len(w), len(strings.Join(w, "")))
	}
}

func TestPlanMounts(t *testing.T) {
	const online = "/sys/devices/system/cpu/online"
	for _, tt := range []struct {
		name string
		add  []Mount // to the container's, or instead of them
		only bool
		want []Omission
	}{
		{name: "elsewhere", add: []Mount{{Destination: "/data"}, {Destination: "/processes"}, {Destination: "/proc/cpuinfo2"}}},
		{name: "root", add: []Mount{{Destination: "/"}}},
		{name: "own meminfo", add: []Mount{{Destination: "/proc/meminfo"}},
			want: []Omission{{"/proc/meminfo", OwnMount}}},
		{name: "own meminfo, unclean path", add: []Mount{{Destination: "/proc/../proc//meminfo/"}},
			want: []Omission{{"/proc/meminfo", OwnMount}}},
		{name: "own /proc", add: []Mount{{Destination: "/proc", Type: "bind", Source: "/proc"}},
			want: omitted(OwnMount, "/proc")},
		{name: "own directory in /sys", add: []Mount{{Destination: "/sys/devices", Type: "bind"}},
			want: []Omission{{online, OwnMount}}},
		{name: "own /sys", add: []Mount{{Destination: "/sys", Type: "bind"}},
			want: []Omission{{online, OwnMount}}},
		{name: "no /sys", only: true, add: []Mount{{Destination: "/proc", Type: "proc"}, {Destination: "/dev", Type: "tmpfs"}},
			want: []Omission{{online, NoBase}}},
		{name: "no /proc", only: true, add: []Mount{{Destination: "/sys", Type: "sysfs"}, {Destination: "/dev", Type: "tmpfs"}},
			want: omitted(NoBase, "/proc")},
		{name: "the node's /dev", add: []Mount{{Destination: "/dev", Type: "bind"}}, want: []Omission{{"shim", OwnMount}}},
		{name: "no /dev", only: true, add: []Mount{{Destination: "/proc", Type: "proc"}, {Destination: "/sys", Type: "sysfs"}},
			want: []Omission{{"shim", NoBase}}},
		{name: "volume at the shim's directory", add: []Mount{{Destination: "/dev/truesize/"}}, want: []Omission{{"shim", OwnMount}}},
		{name: "own size page", add: []Mount{{Destination: "/dev/truesize/size"}}, want: []Omission{{"size page", OwnMount}}},
		{name: "volumes beside it", add: []Mount{{Destination: "/dev/truesize-data"}, {Destination: "/dev/shm"}, {Destination: "/opt"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := container()
			if tt.only {
				c.Mounts = nil
			}
			c.Mounts = append(c.Mounts, tt.add...)
			a := Plan(c, size.Size{CPUs: 1, Memory: 1 << 30}, config(), healthy)
			if !slices.Equal(a.Omissions, tt.want) {
				t.Errorf("omissions %v\nwant %v", a.Omissions, tt.want)
			}
			wantMounts := len(Files()) + 2 - len(tt.want) // the shim's and its page's
			if a.Shim == "" {
				wantMounts-- // no page without a shim
			}
			if len(a.Mounts) != wantMounts {
				t.Errorf("%d mounts, %d views, %d omissions", len(a.Mounts), len(a.Views), len(a.Omissions))
			}
			if _, set := find(a.Env, "LD_PRELOAD"); set != (a.Shim != "") {
				t.Errorf("LD_PRELOAD set: %v, shim %q", set, a.Shim)
			}
		})
	}
}

// omitted returns omissions of every file below dir.
func omitted(why Reason, dir string) (list []Omission) {
	for _, f := range Files() {
		if within(f.Path, dir) {
			list = append(list, Omission{f.Path, why})
		}
	}
	return list
}

func find(env []EnvVar, name string) (EnvVar, bool) {
	i := slices.IndexFunc(env, func(e EnvVar) bool { return e.Name == name })
	if i < 0 {
		return EnvVar{}, false
	}
	return env[i], true
}

func TestPlanPartsThatAreNotWell(t *testing.T) {
	for _, tt := range []struct {
		name                 string
		cfg                  func(*Config)
		st                   State
		views, shim, numCPUs bool
		want                 []Omission
	}{
		{name: "all well", st: healthy, views: true, shim: true, numCPUs: true},
		{name: "no page", st: State{ViewAnswers: true, ShimPresent: true}, views: true, shim: true, numCPUs: true,
			want: []Omission{{"size page", PageMissing}}},
		{name: "view silent", st: State{ShimPresent: true, SizePage: testPage}, shim: true, numCPUs: true,
			want: []Omission{{"view", ViewSilent}}},
		{name: "no shim", st: State{ViewAnswers: true}, views: true, numCPUs: true,
			want: []Omission{{"shim", ShimMissing}}},
		{name: "neither", numCPUs: true, want: []Omission{{"view", ViewSilent}, {"shim", ShimMissing}}},
		{name: "view off", cfg: func(c *Config) { c.View = false }, st: healthy, shim: true, numCPUs: true},
		{name: "view off and silent", cfg: func(c *Config) { c.View = false }, st: State{ShimPresent: true, SizePage: testPage}, shim: true, numCPUs: true},
		{name: "shim off and missing", cfg: func(c *Config) { c.Shim = false }, st: State{ViewAnswers: true}, views: true, numCPUs: true},
		{name: "NUM_CPUS off", cfg: func(c *Config) { c.NumCPUs = false }, st: healthy, views: true, shim: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config()
			if tt.cfg != nil {
				tt.cfg(&cfg)
			}
			a := Plan(container(), size.Size{CPUs: 3, Memory: 1 << 30}, cfg, tt.st)
			_, numCPUs := find(a.Env, "NUM_CPUS")
			_, preload := find(a.Env, "LD_PRELOAD")
			if len(a.Views) > 0 != tt.views || (a.Shim != "") != tt.shim || preload != tt.shim || numCPUs != tt.numCPUs {
				t.Errorf("views %v, shim %q, env %v", a.Views, a.Shim, a.Env)
			}
			if !slices.Equal(a.Omissions, tt.want) {
				t.Errorf("omissions %v, want %v", a.Omissions, tt.want)
			}
		})
	}
}

func TestPlanKeepsNumCPUsOfTheSpec(t *testing.T) {
	for _, v := range []string{"7", "", "garbage"} {
		c := container()
		c.Env = append(c.Env, "NUM_CPUS="+v)
		if e, set := find(Plan(c, size.Size{CPUs: 2, Memory: 1 << 30}, config(), healthy).Env, "NUM_CPUS"); set {
			t.Errorf("NUM_CPUS=%s in the spec became %q", v, e.Value)
		}
	}
}

func TestPlanPreload(t *testing.T) {
	const other = "/dev/truesize/ffffffffffff/libtruesize.so"
	for _, tt := range []struct{ old, want string }{
		{"", testTarget},
		{" ", testTarget},
		{"/lib/a.so", "/lib/a.so:" + testTarget},
		{"/lib/a.so:/lib/b.so", "/lib/a.so:/lib/b.so:" + testTarget},
		{"/lib/a.so /lib/b.so", "/lib/a.so:/lib/b.so:" + testTarget},
		{"/lib/a.so:", "/lib/a.so:" + testTarget},
		{testTarget, ""},
		{testTarget + " /lib/a.so", ""},
		{"/lib/a.so:" + other, "/lib/a.so:" + testTarget},
		{other + ":" + testTarget, testTarget},
		{"/srv/libtruesize.so", "/srv/libtruesize.so:" + testTarget},
	} {
		c := container()
		c.Env = append(c.Env, "LD_PRELOAD="+tt.old)
		e, set := find(Plan(c, size.Size{CPUs: 2, Memory: 1 << 30}, config(), healthy).Env, "LD_PRELOAD")
		if want := (EnvVar{"LD_PRELOAD", tt.want, true}); set && e != want || set != (tt.want != "") {
			t.Errorf("LD_PRELOAD=%q became %+v, want %q", tt.old, e, tt.want)
		}
	}
}

func TestGetenv(t *testing.T) {
	env := []string{"A=1", "B", "A=2=3", "=x", "AB=4"}
	for _, tt := range []struct {
		name, value string
		set         bool
	}{{"A", "2=3", true}, {"B", "", false}, {"AB", "4", true}, {"C", "", false}} {
		if v, set := Getenv(env, tt.name); v != tt.value || set != tt.set {
			t.Errorf("%s is %q, %v; want %q, %v", tt.name, v, set, tt.value, tt.set)
		}
	}
}

func TestReasonsExplainThemselves(t *testing.T) {
	for _, s := range Skips() {
		if s.Explain() == string(s) {
			t.Errorf("skip %q has no explanation", s)
		}
	}
	// These may have changed since the container was created.
	for _, s := range []Skip{SkipNamespace, SkipSelector, SkipAnnotation} {
		if why := s.Explain(); !strings.Contains(why, "when it was created") || !strings.Contains(why, "recreate its pod") {
			t.Errorf("skip %q: %s", s, why)
		}
	}
	for _, r := range Reasons() {
		if strings.HasSuffix((Omission{"x", r}).String(), string(r)) {
			t.Errorf("reason %q has no sentence", r)
		}
	}
}
