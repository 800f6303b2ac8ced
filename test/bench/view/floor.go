package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// floorFile is the file in whose place others are read: with loadavg the
// kernel's cheapest.
const floorFile = "uptime"

// A floorPeer is what may be mounted over the kernel's file.
type floorPeer struct {
	name, note string
	// root has a file proc/uptime, which mount mounts; empty for the kernel's own.
	root  string
	mount func(at string) error

	latencies []latency // by floorReaders
	toKernel  []spread
}

var floorReaders = []int{1, mostReaders}

// floor measures what files of other file systems would cost readers of uptime
// that share one. Those that are constant do nothing but be opened, read and
// closed.
func (b *bench) floor(id string, viewd *server) error {
	view := viewd.root(id)
	b.floors = []floorPeer{
		{name: "kernel", note: "its own file"},
		{name: "proc", note: "the same, mounted over itself", mount: bindOf("/proc/" + floorFile)},
		{name: "tmpfs", note: "constant", mount: tmpfsConstant},
		{name: "bpf", note: "constant, by an iterator (BPF_PROG_TYPE_TRACING)", mount: bpfConstant},
		{name: "fuse", note: "constant: the view's cpu/online", mount: bindOf(filepath.Join(view, "sys/devices/system/cpu/online"))},
		{name: "truesize", note: "the view's", root: view},
	}
	for i := range b.floors {
		p := &b.floors[i]
		if p.mount == nil {
			continue
		}
		p.root = filepath.Join(b.dir, "floor", p.name)
		at := filepath.Join(p.root, "proc", floorFile)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		defer func() {
			for _, m := range []string{at, filepath.Dir(at)} {
				_ = unix.Unmount(m, unix.MNT_DETACH) // one of them is a mount
			}
		}()
		if err := p.mount(at); err != nil {
			return fmt.Errorf("make %s: %w", at, err)
		}
	}
	for _, n := range floorReaders {
		fmt.Fprintf(b.stdout, "reading what may be mounted over /proc/%s: %d at once\n", floorFile, n)
		if err := b.floorTurns(id, task{Files: []string{floorFile}, Readers: n, Warm: warmUp, For: turn}); err != nil {
			return err
		}
	}
	return nil
}

// bindOf returns what mounts a file elsewhere.
func bindOf(file string) func(string) error {
	return func(at string) error {
		if err := os.WriteFile(at, nil, 0o644); err != nil {
			return err
		}
		return unix.Mount(file, at, "", unix.MS_BIND, "")
	}
}

// constant is as long as /proc/uptime most often is.
const constant = "12345.67 123456.78\n"

func tmpfsConstant(at string) error {
	if err := unix.Mount("tmpfs", filepath.Dir(at), "tmpfs", 0, "size=64k"); err != nil {
		return err
	}
	return os.WriteFile(at, []byte(constant), 0o644)
}

// bpfConstant makes a file by the least that a BPF program can do which writes
// one for whoever reads it.
func bpfConstant(at string) error {
	if err := unix.Mount("bpf", filepath.Dir(at), "bpf", 0, ""); err != nil {
		return err
	}
	text := []byte(constant)
	text = append(text, make([]byte, -len(text)&7)...)
	code := asm.Instructions{
		// Called for each BPF map, and once at the end without one.
		asm.LoadMem(asm.R7, asm.R1, 8, asm.DWord),
		asm.JNE.Imm(asm.R7, 0, "out"),
		asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord), // struct bpf_iter_meta
		asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord), // its struct seq_file
	}
	for i := 0; i < len(text); i += 8 {
		word := int64(binary.LittleEndian.Uint64(text[i:]))
		code = append(code, asm.LoadImm(asm.R2, word, asm.DWord), asm.StoreMem(asm.RFP, int16(i-len(text)), asm.R2, asm.DWord))
	}
	code = append(code,
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, int32(-len(text))),
		asm.Mov.Imm(asm.R3, int32(len(constant))), asm.FnSeqWrite.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), asm.Return(),
	)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "constant", Type: ebpf.Tracing, AttachType: ebpf.AttachTraceIter, AttachTo: "bpf_map", License: "GPL", Instructions: code,
	})
	if err != nil {
		return err
	}
	defer program.Close()
	iter, err := link.AttachIter(link.IterOptions{Program: program})
	if err != nil {
		return err
	}
	return errors.Join(iter.Pin(at), os.Chmod(at, 0o444), iter.Close())
}

// floorTurns has all peers do a task in rounds, each in the next order.
func (b *bench) floorTurns(id string, t task) (err error) {
	var group readers
	defer func() { group.close() }()
	for _, p := range b.floors {
		r, err := b.startReaderAt(p.name, p.root, t.Files, id)
		if err != nil {
			return err
		}
		group = append(group, r)
	}
	took, ratios := make([][]time.Duration, len(group)), make([][]float64, len(group))
	for round := range b.rounds {
		medians := make([]time.Duration, len(group))
		for k := range group {
			i := (k + round) % len(group)
			found, err := readers{group[i]}.do(t)
			if err != nil {
				return err
			}
			took[i] = append(took[i], found.Took...)
			medians[i] = summarize(floorFile, found.Took).P50
		}
		for i, m := range medians {
			ratios[i] = append(ratios[i], float64(m)/float64(medians[0]))
		}
	}
	for i := range b.floors {
		p := &b.floors[i]
		p.latencies = append(p.latencies, summarize(floorFile, took[i]))
		p.toKernel = append(p.toKernel, spreadOf(ratios[i]))
	}
	return nil
}

// floorTable writes what was found.
func (b *bench) floorTable(w *strings.Builder) {
	table(w, func(t func(cells ...string)) {
		t("at /proc/"+floorFile, "", "1 reader, p50", "to kernel", "quartiles", "8 readers, p50", "to kernel", "quartiles")
		for _, p := range b.floors {
			cells := []string{p.name, p.note}
			for i, l := range p.latencies {
				cells = append(cells, us(l.P50), fmt.Sprintf("%.2f×", p.toKernel[i].median), p.toKernel[i].String())
			}
			t(cells...)
		}
	})
}
