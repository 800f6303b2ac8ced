package size

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// node is a host of 64 CPUs, 256 GiB and 8 GiB of swap.
var node = Host{CPUs: 64, Memory: 256 * gib, Swap: 8 * gib}

func env(s string) *string { return &s }

func TestDecideCPUs(t *testing.T) {
	tests := []struct {
		name   string
		in     Input
		want   int
		source Source
		warns  string // part of the one warning, empty for none
	}{
		{"nothing said", Input{}, 64, FromHost, ""},
		{"limit 500m", Input{Limits: Limits{CPUMilli: 500}}, 1, FromLimit, ""},
		{"limit 1", Input{Limits: Limits{CPUMilli: 1000}}, 1, FromLimit, ""},
		{"limit a little over 1", Input{Limits: Limits{CPUMilli: 1001}}, 2, FromLimit, ""},
		{"limit 1500m", Input{Limits: Limits{CPUMilli: 1500}}, 2, FromLimit, ""},
		{"limit above the host", Input{Limits: Limits{CPUMilli: 100_000}}, 64, FromLimit, ""},
		{"cpuset below the limit", Input{Limits: Limits{CPUMilli: 8000, CPUSet: 4}}, 4, FromLimit, ""},
		{"cpuset above the limit", Input{Limits: Limits{CPUMilli: 2000, CPUSet: 4}}, 2, FromLimit, ""},
		{"cpuset alone", Input{Limits: Limits{CPUSet: 3}}, 3, FromCPUSet, ""},
		{"cpuset of the whole host", Input{Limits: Limits{CPUSet: 64}}, 64, FromHost, ""},
		{"cpuset larger than the host", Input{Limits: Limits{CPUSet: 128, CPUMilli: 100_000}}, 64, FromLimit, ""},
		{"requests, not opted in", Input{CPUShares: 2048}, 64, FromHost, ""},
		{"requests, opted in", Input{CPUShares: 2048, FromRequests: true}, 2, FromRequest, ""},
		{"request of 1500m", Input{CPUShares: 1536, FromRequests: true}, 2, FromRequest, ""},
		{"request of 100m", Input{CPUShares: 102, FromRequests: true}, 1, FromRequest, ""},
		{"no request is 2 shares", Input{CPUShares: 2, FromRequests: true}, 64, FromHost, ""},
		{"request above the cpuset", Input{CPUShares: 8192, FromRequests: true, Limits: Limits{CPUSet: 3}}, 3, FromRequest, ""},
		{"request above the host", Input{CPUShares: 262144, FromRequests: true}, 64, FromRequest, ""},
		{"limit before request", Input{CPUShares: 1024, FromRequests: true, Limits: Limits{CPUMilli: 4000}}, 4, FromLimit, ""},
		{"NUM_CPUS", Input{NumCPUs: env("6"), Limits: Limits{CPUMilli: 2000}}, 6, FromEnv, ""},
		{"NUM_CPUS above the host", Input{NumCPUs: env("100")}, 100, FromEnv, ""},
		{"pod annotation", Input{Annotations: map[string]string{"truesize.dev/cpus": "3"}, NumCPUs: env("6")}, 3, FromAnnotation, ""},
		{"pod annotation in milli", Input{Annotations: map[string]string{"truesize.dev/cpus": "1500m"}}, 2, FromAnnotation, ""},
		{"annotation above the host", Input{Annotations: map[string]string{"truesize.dev/cpus": "100"}}, 100, FromAnnotation, ""},
		{"container annotation first", Input{Container: "web", Annotations: map[string]string{
			"truesize.dev/cpus": "3", "cpus.truesize.dev/web": "5", "cpus.truesize.dev/db": "7"}}, 5, FromAnnotation, ""},
		{"bad container annotation, good one of the pod", Input{Container: "web", Annotations: map[string]string{
			"truesize.dev/cpus": "3", "cpus.truesize.dev/web": "five"}}, 3, FromAnnotation, "annotation cpus.truesize.dev/web"},
	}
	for _, garbage := range []string{"", "two", "0", "-1", "1e9", "1025", "2 ", " 2", "0x2", "1..5", "NaN", "Inf", "1/2", "1_0", "9e99", "1e-300000000",
		strings.Repeat("1", 1000)} {
		tests = append(tests, struct {
			name   string
			in     Input
			want   int
			source Source
			warns  string
		}{"annotation " + garbage[:min(12, len(garbage))], Input{Annotations: map[string]string{"truesize.dev/cpus": garbage},
			Limits: Limits{CPUMilli: 2000}}, 2, FromLimit, "annotation truesize.dev/cpus"})
	}
	for _, garbage := range []string{"", "0", "-1", "1e9", "two", "1.5", "+2", " 2", "99999999999999999999"} {
		tests = append(tests, struct {
			name   string
			in     Input
			want   int
			source Source
			warns  string
		}{"NUM_CPUS=" + garbage, Input{NumCPUs: env(garbage), Limits: Limits{CPUMilli: 2000}}, 2, FromLimit, "NUM_CPUS="})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.Host = node
			d := Decide(tt.in)
			if d.Size.CPUs != tt.want || d.CPUSource != tt.source {
				t.Errorf("got %d from %s, want %d from %s", d.Size.CPUs, d.CPUSource, tt.want, tt.source)
			}
			checkWarning(t, d, tt.warns)
		})
	}
}

func checkWarning(t *testing.T, d Decision, want string) {
	t.Helper()
	switch {
	case want == "" && len(d.Warnings) > 0:
		t.Errorf("unexpected warnings: %q", d.Warnings)
	case want != "" && (len(d.Warnings) != 1 || !strings.Contains(d.Warnings[0], want) || !strings.Contains(d.Warnings[0], "write a")):
		t.Errorf("warnings %q: want one that names %q and says what to write", d.Warnings, want)
	}
}

func TestDecideMemory(t *testing.T) {
	tests := []struct {
		name   string
		in     Input
		want   uint64
		source Source
		warns  string
	}{
		{"nothing said", Input{}, 256 * gib, FromHost, ""},
		{"limit", Input{Limits: Limits{Memory: 512 * mib}}, 512 * mib, FromLimit, ""},
		{"limit above the host", Input{Limits: Limits{Memory: 512 * gib}}, 256 * gib, FromHost, ""},
		{"a limit below the annotations' minimum is a limit", Input{Limits: Limits{Memory: mib}}, mib, FromLimit, ""},
		{"annotation", Input{Annotations: map[string]string{"truesize.dev/memory": "4Gi"}, Limits: Limits{Memory: gib}}, 4 * gib, FromAnnotation, ""},
		{"annotation in bytes", Input{Annotations: map[string]string{"truesize.dev/memory": "536870912"}}, 512 * mib, FromAnnotation, ""},
		{"annotation with exponent", Input{Annotations: map[string]string{"truesize.dev/memory": "1e9"}}, 1e9, FromAnnotation, ""},
		{"annotation decimal", Input{Annotations: map[string]string{"truesize.dev/memory": "1.5G"}}, 15e8, FromAnnotation, ""},
		{"annotation above the host", Input{Annotations: map[string]string{"truesize.dev/memory": "1Ti"}}, 1 << 40, FromAnnotation, ""},
		{"per container", Input{Container: "db", Annotations: map[string]string{
			"truesize.dev/memory": "4Gi", "memory.truesize.dev/db": "8Gi"}}, 8 * gib, FromAnnotation, ""},
		{"the minimum", Input{Annotations: map[string]string{"truesize.dev/memory": "4Mi"}}, 4 * mib, FromAnnotation, ""},
	}
	for _, garbage := range []string{"", "4", "4095Ki", "4GB", "4gi", "-4Gi", "8Pi", "1e", "e9", ".", "Gi", "four", "4 Gi"} {
		tests = append(tests, struct {
			name   string
			in     Input
			want   uint64
			source Source
			warns  string
		}{"annotation " + garbage, Input{Annotations: map[string]string{"truesize.dev/memory": garbage},
			Limits: Limits{Memory: gib}}, gib, FromLimit, "annotation truesize.dev/memory"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.Host = node
			d := Decide(tt.in)
			if d.Size.Memory != tt.want || d.MemorySource != tt.source {
				t.Errorf("got %d from %s, want %d from %s", d.Size.Memory, d.MemorySource, tt.want, tt.source)
			}
			checkWarning(t, d, tt.warns)
		})
	}
}

func TestDecideSwap(t *testing.T) {
	tests := []struct {
		name   string
		limits Limits
		want   uint64
	}{
		{"not accounted", Limits{}, 0},
		{"no limit", Limits{SwapAccounting: true}, 8 * gib},
		{"limit", Limits{SwapAccounting: true, HasSwap: true, Swap: gib}, gib},
		{"none allowed", Limits{SwapAccounting: true, HasSwap: true}, 0},
		{"limit above the host", Limits{SwapAccounting: true, HasSwap: true, Swap: 99 * gib}, 8 * gib},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := Decide(Input{Limits: tt.limits, Host: node}); d.Size.Swap != tt.want {
				t.Errorf("got %d, want %d", d.Size.Swap, tt.want)
			}
		})
	}
	if d := Decide(Input{Limits: Limits{SwapAccounting: true}, Host: Host{CPUs: 2, Memory: gib}}); d.Size.Swap != 0 {
		t.Errorf("host without swap: got %d", d.Size.Swap)
	}
}

// The steps are what `truesize explain` prints: every rule, in order, one
// used per resource.
func TestDecideSteps(t *testing.T) {
	d := Decide(Input{Container: "web", Host: node, NumCPUs: env("two"),
		Annotations: map[string]string{"truesize.dev/memory": "1Gi"},
		Limits:      Limits{CPUMilli: 1500, CPUSet: 8, Memory: 2 * gib, SwapAccounting: true, HasSwap: true}})
	want := []Step{
		{"cpu", FromAnnotation, "", false, "the pod has no annotation cpus.truesize.dev/web"},
		{"cpu", FromAnnotation, "", false, "the pod has no annotation truesize.dev/cpus"},
		{"cpu", FromEnv, "", false, "NUM_CPUS of the container's spec cannot be used"},
		{"cpu", FromLimit, "2", true, "the CPU limit is 1.5 CPUs"},
		{"cpu", FromRequest, "", false, "size.fromRequests is off in the configuration"},
		{"cpu", FromCPUSet, "8", false, "the cgroup's cpuset holds 8 CPUs of the node's 64; passed over: limit comes first"},
		{"cpu", FromHost, "64", false, "the node has 64 CPUs; passed over: limit comes first"},
		{"memory", FromAnnotation, "", false, "the pod has no annotation memory.truesize.dev/web"},
		{"memory", FromAnnotation, "1 GiB", true, `annotation truesize.dev/memory is "1Gi"`},
		{"memory", FromLimit, "2 GiB", false, "the memory limit is 2 GiB; passed over: annotation comes first"},
		{"memory", FromHost, "256 GiB", false, "the node has 256 GiB; passed over: annotation comes first"},
		{"swap", FromLimit, "0 B", true, "the swap limit is 0 B"},
	}
	if !reflect.DeepEqual(d.Steps, want) {
		got, _ := json.MarshalIndent(d.Steps, "", " ")
		t.Errorf("steps:\n%s", got)
	}
	wantWarn := `NUM_CPUS="two": write a whole number from 1 to 1024, or leave the variable out`
	if len(d.Warnings) != 1 || d.Warnings[0] != wantWarn {
		t.Errorf("warnings %q, want %q", d.Warnings, wantWarn)
	}
}

func TestDecideUnknownHost(t *testing.T) {
	d := Decide(Input{Host: Host{CPUs: -1}, Limits: Limits{CPUSet: -1, CPUMilli: -1}})
	if d.Size.CPUs != 1 || d.Size.Memory != 0 {
		t.Errorf("got %+v", d.Size)
	}
}

// FuzzDecide holds, for any input, what the rest of the program relies on.
func FuzzDecide(f *testing.F) {
	f.Add("2", "512Mi", "4", true, uint64(1024), int64(1500), 4, uint64(gib), 64)
	f.Add("", "", "", false, uint64(0), int64(0), 0, uint64(0), 0)
	f.Add("1e30", "9Ei", "-1", true, uint64(1<<63), int64(1<<62), 1<<40, uint64(1<<63), 1)
	f.Fuzz(func(t *testing.T, cpus, memory, num string, fromRequests bool, shares uint64, milli int64, cpuset int, limit uint64, hostCPUs int) {
		host := Host{CPUs: min(hostCPUs, 1<<20), Memory: 64 * gib, Swap: gib}
		d := Decide(Input{Container: "c", Annotations: map[string]string{"truesize.dev/cpus": cpus, "memory.truesize.dev/c": memory},
			NumCPUs: &num, FromRequests: fromRequests, CPUShares: shares,
			Limits: Limits{CPUMilli: milli, CPUSet: cpuset, Memory: limit, SwapAccounting: true}, Host: host})
		if d.Size.CPUs < 1 || d.Size.CPUs > max(MaxCPUs, host.CPUs) {
			t.Errorf("%d CPUs", d.Size.CPUs)
		}
		if d.Size.Memory == 0 || d.Size.Memory > MaxMemory || d.Size.Swap > host.Swap {
			t.Errorf("memory %d, swap %d", d.Size.Memory, d.Size.Swap)
		}
		used := map[string]int{}
		for _, s := range d.Steps {
			if s.Used {
				used[s.Resource]++
			}
		}
		if used["cpu"] != 1 || used["memory"] != 1 || used["swap"] != 1 {
			t.Errorf("rules used: %v", used)
		}
	})
}
