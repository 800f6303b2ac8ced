package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// env is the environment of every measured program.
func (b *bench) env(variant string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "NUM_CPUS=" + strconv.Itoa(runtime.NumCPU())}
	if b.preload[variant] != "" {
		env = append(env, "LD_PRELOAD="+b.preload[variant])
	}
	return env
}

// startTimes returns the sorted wall times from fork to exit of a program, for
// each variant. They take turns, in changing order, so that the machine's moods
// hit all alike.
func (b *bench) startTimes(argv []string, rounds int, variants ...string) (map[string][]time.Duration, error) {
	times := make(map[string][]time.Duration)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	for round := range rounds {
		for i := range variants {
			v := variants[(round+i)%len(variants)]
			d, err := startTime(argv, b.env(v), null.Fd())
			if err != nil {
				return nil, fmt.Errorf("%s with %s: %w", argv[0], v, err)
			}
			times[v] = append(times[v], d)
		}
	}
	for _, list := range times {
		slices.Sort(list)
	}
	return times, nil
}

func startTime(argv, env []string, null uintptr) (time.Duration, error) {
	attr := &syscall.ProcAttr{Env: env, Files: []uintptr{null, null, null}}
	begin := time.Now()
	pid, err := syscall.ForkExec(argv[0], argv, attr)
	if err != nil {
		return 0, err
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return 0, err
	}
	if status != 0 {
		return 0, fmt.Errorf("wait status %#x", status)
	}
	return time.Since(begin), nil
}

// at returns a percentile of sorted times, to a tenth of a microsecond.
func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[len(sorted)*percent/100].Round(100 * time.Nanosecond)
}

// A callCost is what a process says of its calls, and what it cost in memory.
type callCost struct {
	names        []string
	ns           map[string]float64
	privateDirty int // KiB
}

// memory returns the private dirty memory in KiB of a process that has called
// everything: the median of 15, for it varies with where the kernel puts
// things.
func (b *bench) memory(variant string) (int, error) {
	var list []int
	for range 15 {
		c, err := b.callCosts(variant, 1)
		if err != nil {
			return 0, err
		}
		list = append(list, c.privateDirty)
	}
	slices.Sort(list)
	return list[len(list)/2], nil
}

// callCosts runs calls.c and looks at its memory when it has made its calls.
func (b *bench) callCosts(variant string, n int) (c callCost, err error) {
	cmd := exec.Command(b.calls, strconv.Itoa(n))
	cmd.Env = b.env(variant)
	in, err := cmd.StdinPipe()
	if err != nil {
		return c, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return c, err
	}
	if err := cmd.Start(); err != nil {
		return c, err
	}
	c.ns = make(map[string]float64)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if c.ns[name], err = strconv.ParseFloat(value, 64); err != nil {
			return c, err
		}
		c.names = append(c.names, name)
		if name == "sysinfo" { // the last
			break
		}
	}
	c.privateDirty, err = privateDirty(cmd.Process.Pid)
	in.Close()
	if werr := cmd.Wait(); err == nil {
		err = werr
	}
	return c, err
}

func privateDirty(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "Private_Dirty:" {
			return strconv.Atoi(string(f[1]))
		}
	}
	return 0, fmt.Errorf("no Private_Dirty of process %d", pid)
}

// javaCall returns nanoseconds per availableProcessors().
func (b *bench) javaCall(variant string) (float64, error) {
	cmd := exec.Command("java", "-cp", b.classDir, "Calls")
	cmd.Env = b.env(variant)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("java Calls: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}
