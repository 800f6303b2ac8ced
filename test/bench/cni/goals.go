package main

import (
	"fmt"
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
	fmt.Printf("%-30s %-4s %10s  %-9s %10s  ratio %.3f\n", what, a, ours.Round(time.Microsecond/10), b, ref.Round(time.Microsecond/10), float64(ours)/float64(ref))
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
		fmt.Printf("goal %-30s %.3f of %s, wanted at most %.2f: %s\n", r.what, ratio, r.b, r.limit, verdict)
	}
	return all
}
