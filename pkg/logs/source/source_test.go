package source

import (
	"slices"
	"testing"
)

func TestParseName(t *testing.T) {
	for _, tc := range []struct {
		kind Kind
		in   string
		want Name
		ok   bool
	}{
		{Pods, "0.log", Name{Base: "0"}, true},
		{Pods, "12.log.20240501-100000", Name{"12", "20240501-100000", false}, true},
		{Pods, "0.log.20240501-100000.gz", Name{"0", "20240501-100000", true}, true},
		{Pods, "0.log.20240501-100000.tmp", Name{}, false},
		{Pods, "0.log.20240501-100000.gz.tmp", Name{}, false},
		{Pods, "a.log", Name{}, false},
		{Pods, "0.logs", Name{}, false},
		{Pods, ".log", Name{}, false},
		{Pods, "0.log.", Name{}, false},
		{Pods, "0.log.gz", Name{}, false},
		{Docker, "abc-json.log", Name{Base: "abc-json"}, true},
		{Docker, "abc-json.log.1", Name{"abc-json", "1", false}, true},
		{Docker, "abc-json.log.2.gz", Name{"abc-json", "2", true}, true},
		{Docker, "config.v2.json", Name{}, false},
		{Files, "my.app.log", Name{Base: "my.app"}, true},
		{Files, "x.logic.log-20240501", Name{"x.logic", "20240501", false}, true},
		{Files, ".hidden.log", Name{}, false},
		{Files, "log", Name{}, false},
	} {
		if got, ok := tc.kind.ParseName(tc.in); got != tc.want || ok != tc.ok {
			t.Errorf("%s %q: %+v, %t", tc.kind, tc.in, got, ok)
		}
	}
}

func TestParseDir(t *testing.T) {
	if r, ok := Pods.ParseDir("shop_web-1_6f1e/nginx"); !ok || r != (Ref{Namespace: "shop", Pod: "web-1", UID: "6f1e", Container: "nginx"}) {
		t.Errorf("%+v, %t", r, ok)
	}
	for _, bad := range []string{"", "a", "a_b/c", "a_b_c", "a_b_c/", "a_b_c/d/e", "_b_c/d", "a_b_c_d/e"} {
		if r, ok := Pods.ParseDir(bad); ok {
			t.Errorf("%q: %+v", bad, r)
		}
	}
}

func TestCompare(t *testing.T) {
	for _, want := range [][]string{
		{"0.log.20240501-100000.gz", "0.log.20240501-100010", "0.log.20240601-000000", "0.log"},
		{"0.log.10.gz", "0.log.2", "0.log.1", "0.log"},
	} {
		var names []Name
		for _, s := range want {
			n, _ := Files.ParseName(s)
			names = append(names, n)
		}
		got := slices.Clone(names)
		slices.Reverse(got)
		slices.SortStableFunc(got, Compare)
		if !slices.Equal(got, names) {
			t.Errorf("got %+v", got)
		}
	}
}
