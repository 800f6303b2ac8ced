package cgroup

import (
	"path/filepath"
	"testing"
)

func BenchmarkCPU(b *testing.B) {
	g := newCgroup(b, realFS(b), testName(b, "-bench")).open()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.CPU(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMemory(b *testing.B) {
	g := newCgroup(b, realFS(b), testName(b, "-bench")).open()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Memory(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFile reads each file by itself: what the kernel's part costs.
func BenchmarkFile(b *testing.B) {
	g := newCgroup(b, realFS(b), testName(b, "-bench")).open()
	for _, f := range g.files() {
		if !f.exists() {
			continue
		}
		b.Run(filepath.Base(f.path), func(b *testing.B) {
			buf := make([]byte, startBuffer)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.read(&buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLimits(b *testing.B) {
	g := newCgroup(b, realFS(b), testName(b, "-bench")).open()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Limits(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkThreads(b *testing.B) {
	g := newCgroup(b, realFS(b), testName(b, "-bench")).open()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Threads(nil, 1000); err != nil {
			b.Fatal(err)
		}
	}
}
