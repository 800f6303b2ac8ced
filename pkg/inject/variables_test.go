package inject

import (
	"maps"
	"slices"
	"testing"

	"github.com/truesize/truesize/pkg/size"
)

// all switches every variable on.
func all() map[string]bool {
	on := make(map[string]bool)
	for _, v := range Variables() {
		on[v.Name] = true
	}
	return on
}

func TestVariablesByDefault(t *testing.T) {
	want := map[string]bool{
		"GOMAXPROCS": true, "DOTNET_PROCESSOR_COUNT": true, "PYTHON_CPU_COUNT": true, "MALLOC_ARENA_MAX": true,
		"OMP_NUM_THREADS": false, "JAVA_TOOL_OPTIONS": false, "UV_THREADPOOL_SIZE": false,
	}
	got := make(map[string]bool)
	for _, v := range Variables() {
		got[v.Name] = v.Default
		if v.Help == "" {
			t.Errorf("%s has no help", v.Name)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("defaults %v, want %v", got, want)
	}
}

func TestPlanVariables(t *testing.T) {
	for _, tt := range []struct {
		cpus int
		want map[string]string
	}{
		{1, map[string]string{
			"NUM_CPUS": "1", "GOMAXPROCS": "1", "DOTNET_PROCESSOR_COUNT": "1", "PYTHON_CPU_COUNT": "1", "MALLOC_ARENA_MAX": "8",
			"OMP_NUM_THREADS": "1", "JAVA_TOOL_OPTIONS": "-XX:ActiveProcessorCount=1", "UV_THREADPOOL_SIZE": "4"}},
		{12, map[string]string{
			"NUM_CPUS": "12", "GOMAXPROCS": "12", "DOTNET_PROCESSOR_COUNT": "12", "PYTHON_CPU_COUNT": "12", "MALLOC_ARENA_MAX": "96",
			"OMP_NUM_THREADS": "12", "JAVA_TOOL_OPTIONS": "-XX:ActiveProcessorCount=12", "UV_THREADPOOL_SIZE": "12"}},
		{2000, map[string]string{
			"NUM_CPUS": "2000", "GOMAXPROCS": "2000", "DOTNET_PROCESSOR_COUNT": "2000", "PYTHON_CPU_COUNT": "2000", "MALLOC_ARENA_MAX": "16000",
			"OMP_NUM_THREADS": "2000", "JAVA_TOOL_OPTIONS": "-XX:ActiveProcessorCount=2000", "UV_THREADPOOL_SIZE": "1024"}},
	} {
		cfg := config()
		cfg.Env = all()
		got := make(map[string]string)
		for _, e := range Plan(container(), size.Size{CPUs: tt.cpus, Memory: 1 << 30}, cfg, healthy).Env {
			if e.Replaces {
				t.Errorf("%s replaces what is not there", e.Name)
			}
			got[e.Name] = e.Value
		}
		delete(got, preloadVar)
		if !maps.Equal(got, tt.want) {
			t.Errorf("%d CPUs: %v\nwant %v", tt.cpus, got, tt.want)
		}
	}
}

// Each variable is set only where it is switched on and the container's spec
// does not have it, with whatever value.
func TestPlanVariablesOneByOne(t *testing.T) {
	s := size.Size{CPUs: 2, Memory: 1 << 30}
	for _, v := range Variables() {
		cfg := config()
		cfg.Env = map[string]bool{v.Name: true}
		if _, set := find(Plan(container(), s, cfg, healthy).Env, v.Name); !set {
			t.Errorf("%s is on and not set", v.Name)
		}
		for _, own := range []string{"", "5", "garbage"} {
			c := container()
			c.Env = append(c.Env, v.Name+"="+own)
			if e, set := find(Plan(c, s, cfg, healthy).Env, v.Name); set {
				t.Errorf("%s=%q of the container became %q", v.Name, own, e.Value)
			}
		}
		cfg.Env = all()
		cfg.Env[v.Name] = false
		env := Plan(container(), s, cfg, healthy).Env
		if slices.ContainsFunc(env, func(e EnvVar) bool { return e.Name == v.Name }) {
			t.Errorf("%s is off and set", v.Name)
		}
	}
}
