package sysview

import "testing"

func TestCPUOnline(t *testing.T) {
	for n, want := range map[int]string{-1: "0\n", 0: "0\n", 1: "0\n", 2: "0-1\n", 64: "0-63\n"} {
		if got := string(CPUOnline([]byte(">"), n)); got != ">"+want {
			t.Errorf("%d CPUs: %q, want %q", n, got, want)
		}
	}
}

func BenchmarkCPUOnline(b *testing.B) {
	dst := make([]byte, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		CPUOnline(dst, 64)
	}
}
