package main

import (
	"slices"
	"testing"
)

func TestWithoutFlags(t *testing.T) {
	for _, tt := range []struct{ args, want []string }{
		{[]string{"--run-dir", "/r", "--host-ns", "/n", "--cgroup=x", "--threads", "2"}, []string{"--run-dir", "/r", "--threads", "2"}},
		{[]string{"-host-ns=/n", "--log-level", "host-ns"}, []string{"--log-level", "host-ns"}},
		{[]string{"--cgroup"}, nil},
		{nil, nil},
	} {
		if got := withoutFlags(tt.args, "host-ns", "cgroup"); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestJoinCgroupNames(t *testing.T) {
	for _, name := range []string{"a/b", "../x", ".", "..", "/"} {
		if err := joinCgroup("/sys/fs/cgroup", name); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if err := joinCgroup("/nonexistent", "truesize"); err == nil {
		t.Error("joined where there is no hierarchy")
	}
}
