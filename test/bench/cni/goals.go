package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// goals collects the comparisons.
type goals struct{ rows []row }

type row struct {
	what, a, b string
	ours, ref  time.Duration
	limit      float64 // of ours/ref; 0 for none
}

func (g *goals) compare(what string, ours, ref time.Duration, limit float64) {
	g.compareNamed(what, "ours", "reference", ours, ref, limit)
}

func (g *goals) compareNamed(what, a, b string, ours, ref time.Duration, limit float64) {
	g.rows = append(g.rows, row{what, a, b, ours, ref, limit})
	fmt.Printf("%-34s %-4s %10s  %-9s %10s  ratio %.3f\n", what, a, ours.Round(time.Microsecond/10), b, ref.Round(time.Microsecond/10), float64(ours)/float64(ref))
}

// print says which goals are met and whether all are.
func (g *goals) print() bool {
	all := true
	for _, r := range g.rows {
		if r.limit == 0 {
			continue
		}
		verdict, ratio := "met", float64(r.ours)/float64(r.ref)
		if ratio > r.limit {
			verdict, all = "NOT MET", false
		}
		fmt.Printf("goal %-34s %.3f of %s, wanted at most %.2f: %s\n", r.what, ratio, r.b, r.limit, verdict)
	}
	return all
}

// markdown is the section of docs/benchmarks.md.
func (g *goals) markdown(n, parallel, mb int) []byte {
	var b bytes.Buffer
	kernel, _ := exec.Command("uname", "-r").Output()
	fmt.Fprintf(&b, `## Network

Written by `+"`make bench`"+` on %s, kernel %s, %d CPUs. truesize-macvlan beside
the reference macvlan plugin with host-local, both built in the run, in
network namespaces: %d serial calls of each in turn, %d at once, %d MB.
Ratios are of ours to the peer: below 1 ours is faster. hostAccess is off where
no row says that it is on; the reference has nothing like it.

| what | ours | peer | | ratio | goal |
|---|---|---|---|---|---|
`, time.Now().Format(time.DateOnly), strings.TrimSpace(string(kernel)), runtime.NumCPU(), n, parallel, mb)
	for _, r := range g.rows {
		goal := ""
		if r.limit != 0 {
			goal = fmt.Sprintf("at most %.2f×", r.limit)
		}
		peer := r.b
		if r.a != "ours" {
			peer = r.a + " to " + r.b
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.3f× | %s |\n", r.what, r.ours.Round(time.Microsecond/10),
			r.ref.Round(time.Microsecond/10), peer, float64(r.ours)/float64(r.ref), goal)
	}
	return b.Bytes()
}
