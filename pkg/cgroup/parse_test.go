package cgroup

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestParseCPUMax(t *testing.T) {
	for in, want := range map[string]int64{
		"max 100000\n": 0, "100000 100000\n": 1000, "150000 100000": 1500, "50000 100000\n": 500,
		"100001 100000\n": 1001, "1000 1000000\n": 1, "18446744073709551614 1\n": 1<<63 - 1,
	} {
		if got, err := parseCPUMax([]byte(in)); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "max", "100000", "100000 0", "-1 100000", "a b", "1 2 3", "max max"} {
		if got, err := parseCPUMax([]byte(in)); err == nil {
			t.Errorf("%q: %d", in, got)
		}
	}
}

// Kernels with a throttling rule count on v1.
func TestParseBlkio(t *testing.T) {
	bytes := "8:0 Read 4096\n8:0 Write 512\n8:0 Sync 0\n8:0 Async 4608\n8:0 Discard 7\n8:0 Total 4615\n8:16 Read 1\nTotal 4616\n"
	counts := "8:16 Read 3\n8:0 Read 1\n8:0 Write 2\n8:0 Discard 4\nTotal 10\n"
	dst := []Device{{Major: 1}}
	dst, err := parseBlkio([]byte(bytes), dst, 1, bytesField)
	if err == nil {
		dst, err = parseBlkio([]byte(counts), dst, 1, countField)
	}
	want := []Device{{Major: 1},
		{Major: 8, ReadBytes: 4096, WriteBytes: 512, DiscardBytes: 7, ReadIOs: 1, WriteIOs: 2, DiscardIOs: 4},
		{Major: 8, Minor: 16, ReadBytes: 1, ReadIOs: 3}}
	if err != nil || !reflect.DeepEqual(dst, want) {
		t.Errorf("got %+v, %v", dst, err)
	}
}

func TestParseIOStat(t *testing.T) {
	in := "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=77\n8:16\n253:1 rbytes=9\n"
	got, err := parseIOStat([]byte(in), nil)
	want := []Device{{Major: 8, ReadBytes: 1, WriteBytes: 2, ReadIOs: 3, WriteIOs: 4, DiscardBytes: 5, DiscardIOs: 6},
		{Major: 8, Minor: 16}, {Major: 253, Minor: 1, ReadBytes: 9}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = parseIOStat([]byte("8:0 rbytes=5\n7:7 7:6 7:4 rbytes=28672 rios=22\n7:3 \n252:0 "), nil) // Linux 5.15
	want = []Device{{Major: 8, ReadBytes: 5}, {Major: 7, Minor: 7}, {Major: 7, Minor: 6},
		{Major: 7, Minor: 4, ReadBytes: 28672, ReadIOs: 22}, {Major: 7, Minor: 3}, {Major: 252}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("lines that do not end: %+v, %v", got, err)
	}
	for _, bad := range []string{"8 rbytes=1", "8:a", "8:0 rbytes=-1", "8:0 rbytes=", "\n", "4294967296:0"} {
		if got, err := parseIOStat([]byte(bad), nil); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestSplitTime(t *testing.T) {
	const most = ^uint64(0)
	for _, tt := range []struct{ total, user, system, wantUser, wantSystem uint64 }{
		{100, 0, 0, 100, 0}, {100, 3, 1, 75, 25}, {100, 0, 9, 0, 100}, {0, 5, 5, 0, 0},
		{most, most / 2, most / 2, most/2 + 1, most / 2}, {most, most, most, most, 0},
	} {
		u, s := splitTime(tt.total, tt.user, tt.system)
		if u != tt.wantUser || s != tt.wantSystem {
			t.Errorf("%+v: got %d, %d", tt, u, s)
		}
	}
}

// A kernel of 6.13 or later tells the niced part of user time.
func TestParseCPUStatNice(t *testing.T) {
	data, err := os.ReadFile("testdata/hybrid/unified/cpu.stat")
	if err != nil {
		t.Fatal(err)
	}
	var c CPU
	if err := parseCPUStat(data, &c); err != nil || c.Nice == 0 || c.Nice > c.User || c.System == 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestCPUStatLocal(t *testing.T) {
	c := CPU{Throttled: 10}
	if err := parseCPUStatLocal([]byte("throttled_usec 30\n"), &c); err != nil || c.Throttled != 30 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := parseCPUStatLocal([]byte("throttled_usec 20\n"), &c); err != nil || c.Throttled != 30 {
		t.Errorf("%+v, %v", c, err)
	}
}

// FuzzParsers gives every parser any bytes: none may panic, and what it reads
// is bounded. The seeds are the files of the fixtures.
func FuzzParsers(f *testing.F) {
	err := filepath.WalkDir("testdata", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if len(data) < 4096 {
			f.Add(data)
		}
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("18446744073709551616"))
	f.Add([]byte("8:0 Read 1\n8:0 Write 99999999999999999999\n"))
	f.Add([]byte("4:cpu,cpuacct:/a\n0::/b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c CPU
		var m Memory
		l := memoryLimits{memory: NoLimit, swap: NoLimit, memsw: NoLimit}
		_ = parseCPUStat(data, &c)
		_ = parseCPUStatLocal(data, &c)
		_ = parseMemoryStat(data, &m)
		_ = parseMemoryStatV1(data, &m)
		_ = l.parseHierarchical(data)
		_, _, _ = parseCPUAcctStat(data)
		_, _ = parseValue(data)
		_, _ = parseMax(data)
		_, _ = parseInt(data)
		if n, err := parseCPUMax(data); err == nil && n < 0 {
			t.Errorf("%d thousandths of a CPU", n)
		}
		if cpus, err := ParseCPUList(data); err == nil && len(cpus) > maxCPUNumber {
			t.Errorf("%d CPUs", len(cpus))
		}
		if d, _ := parseIOStat(data, nil); len(d) > maxDevices {
			t.Errorf("%d devices", len(d))
		}
		if d, _ := parseBlkio(data, nil, 0, bytesField); len(d) > maxDevices {
			t.Errorf("%d devices", len(d))
		}
		if paths, err := ParseProcCgroup(data); err == nil && len(paths) == 0 {
			t.Error("no path and no error")
		}
	})
}

// FuzzPathsFromSpec holds that no path leaves its hierarchy.
func FuzzPathsFromSpec(f *testing.F) {
	for _, s := range []string{"/a/b", "a-b.slice:cri:c", "::", ":::", "/../x", "a.slice:../..:c", "-.slice::x.slice"} {
		f.Add(s)
	}
	fs := detect(f, "v2")
	f.Fuzz(func(t *testing.T, s string) {
		paths, err := fs.PathsFromSpec(s)
		if err == nil && checkPath(paths[unified]) != nil {
			t.Errorf("%q: %q", s, paths)
		}
	})
}

func TestWithin(t *testing.T) {
	paths := map[string]string{"cpu": "/pods/a", "memory": "/pods/a", "pids": "/pods/a"}
	for name, tt := range map[string]struct {
		own, paths map[string]string
		want       bool
	}{
		"there":                {map[string]string{"cpu": "/pods/a", "memory": "/pods/a", "": "/"}, paths, true},
		"below":                {map[string]string{"cpu": "/pods/a/init", "memory": "/pods/a"}, paths, true},
		"elsewhere in one":     {map[string]string{"cpu": "/pods/a", "memory": "/pods"}, paths, false},
		"a similar name":       {map[string]string{"cpu": "/pods/ab"}, paths, false},
		"nothing in common":    {map[string]string{"": "/pods/a"}, paths, false},
		"everybody is in root": {map[string]string{"": "/pods/a"}, map[string]string{"": "/"}, false},
		"no paths":             {map[string]string{"": "/pods/a"}, nil, false},
	} {
		if got := Within(tt.own, tt.paths); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
