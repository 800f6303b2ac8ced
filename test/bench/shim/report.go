package main

import (
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// The figures to reach.
const (
	maxExec     = 20 * time.Microsecond
	maxDirtyKiB = 16
	maxJavaCall = 20.0 // ns
	maxJVMStart = 1.01 // of no preload
)

func (b *bench) report(execs, starts int) error {
	missed := new(missedError)
	check := func(ok bool, what string) {
		if !ok {
			missed.figures = append(missed.figures, what)
		}
	}
	times, err := b.startTimes([]string{"/bin/true"}, execs, variants...)
	if err != nil {
		return err
	}
	fmt.Printf("/bin/true, fork to exit: median of %d, what is added to it and to the 10th percentile\n", execs)
	for _, v := range variants {
		fmt.Printf("  %-10s %10v %+11v %+11v\n", v, at(times[v], 50), at(times[v], 50)-at(times["none"], 50), at(times[v], 10)-at(times["none"], 10))
	}
	check(at(times["truesize"], 50)-at(times["none"], 50) <= maxExec, "/bin/true at most 20 µs longer")

	if err := b.reportMemory(check); err != nil {
		return err
	}
	if err := b.reportCalls(); err != nil {
		return err
	}
	if err := b.reportJVM(starts, check); err != nil {
		return err
	}
	if len(missed.figures) > 0 {
		return missed
	}
	return nil
}

// A missedError lists the figures that were not reached.
type missedError struct {
	figures []string
}

func (e *missedError) Error() string { return "missed: " + strings.Join(e.figures, "; ") }

func (b *bench) reportMemory(check func(bool, string)) error {
	fmt.Println("private dirty memory of a process that has called everything, median of 15, KiB")
	dirty := make(map[string]int)
	for _, v := range variants {
		var err error
		if dirty[v], err = b.memory(v); err != nil {
			return err
		}
		fmt.Printf("  %-10s %8d  %+d\n", v, dirty[v], dirty[v]-dirty["none"])
	}
	check(dirty["truesize"]-dirty["none"] <= maxDirtyKiB, "at most 16 KiB of private dirty memory")
	return nil
}

func (b *bench) reportCalls() error {
	none, err := b.callCosts("none", 1_000_000)
	if err != nil {
		return err
	}
	with, err := b.callCosts("truesize", 1_000_000)
	if err != nil {
		return err
	}
	fmt.Println("ns per call in C, best of 10 rounds: none, truesize")
	for _, name := range with.names {
		fmt.Printf("  %-30s %8.1f %8.1f\n", name, none.ns[name], with.ns[name])
	}
	return nil
}

func (b *bench) reportJVM(starts int, check func(bool, string)) error {
	java, err := exec.LookPath("java")
	if err != nil || b.classDir == "" || starts == 0 {
		fmt.Println("JVM: left out")
		return nil
	}
	fmt.Println("ns per availableProcessors() in Java")
	for _, v := range variants {
		ns, err := b.javaCall(v)
		if err != nil {
			return err
		}
		fmt.Printf("  %-10s %8.1f\n", v, ns)
		check(v != "truesize" || ns <= maxJavaCall, "availableProcessors() at most 20 ns")
	}
	times, err := b.startTimes([]string{java, "-version"}, starts, "none", "truesize")
	if err != nil {
		return err
	}
	none, with := at(times["none"], 50), at(times["truesize"], 50)
	fmt.Printf("java -version, median of %d: none %v, truesize %v, ratio %.3f\n", starts,
		none, with, float64(with)/float64(none))
	check(float64(with) <= float64(none)*maxJVMStart, "JVM start at most 1 % longer")
	return nil
}
