package main

import (
	"errors"
	"fmt"
	"os/exec"
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
	var missed []error
	check := func(ok bool, what string) {
		if !ok {
			missed = append(missed, fmt.Errorf("missed: %s", what))
		}
	}
	times, err := b.startTimes([]string{"/bin/true"}, execs, variants...)
	if err != nil {
		return err
	}
	fmt.Printf("/bin/true, fork to exit, median of %d\n", execs)
	for _, v := range variants {
		fmt.Printf("  %-10s %8v  %+v\n", v, median(times[v]).Round(100*time.Nanosecond), (median(times[v]) - median(times["none"])).Round(100*time.Nanosecond))
	}
	check(median(times["truesize"])-median(times["none"]) <= maxExec, "/bin/true at most 20 µs longer")

	if err := b.reportMemory(check); err != nil {
		return err
	}
	if err := b.reportCalls(); err != nil {
		return err
	}
	err = b.reportJVM(starts, check)
	return errors.Join(append(missed, err)...)
}

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
	none, with := median(times["none"]), median(times["truesize"])
	fmt.Printf("java -version, median of %d: none %v, truesize %v, ratio %.3f\n", starts,
		none.Round(100*time.Microsecond), with.Round(100*time.Microsecond), float64(with)/float64(none))
	check(float64(with) <= float64(none)*maxJVMStart, "JVM start at most 1 % longer")
	return nil
}
