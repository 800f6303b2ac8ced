package cgroup

import (
	"bytes"
	"fmt"
)

// memoryFiles are the files of a cgroup's memory.
type memoryFiles struct {
	v2    bool
	usage file
	stat  file
	swap  file // v2 memory.swap.current; v1 has it in memory.stat
	kmem  file // v1 memory.kmem.usage_in_bytes; v2 has it in memory.stat
}

func (f *memoryFiles) files() []*file { return []*file{&f.usage, &f.stat, &f.swap, &f.kmem} }

func (f *memoryFiles) read(buf *[]byte) (Memory, error) {
	var m Memory
	if err := readValue(&f.usage, buf, &m.Usage); err != nil {
		return Memory{}, err
	}
	data, err := f.stat.read(buf)
	if err == nil && f.v2 {
		err = wrap(&f.stat, parseMemoryStat(data, &m))
	} else if err == nil {
		err = wrap(&f.stat, parseMemoryStatV1(data, &m))
	}
	if err != nil {
		return Memory{}, err
	}
	if err := readOptional(&f.swap, buf, &m.SwapUsage); err != nil {
		return Memory{}, err
	}
	if err := readOptional(&f.kmem, buf, &m.Kernel); err != nil {
		return Memory{}, err
	}
	return m, nil
}

func readValue(f *file, buf *[]byte, n *uint64) error {
	data, err := f.read(buf)
	if err != nil {
		return err
	}
	*n, err = parseValue(data)
	return wrap(f, err)
}

// readOptional leaves *n as it is where the kernel does not have the file.
func readOptional(f *file, buf *[]byte, n *uint64) error {
	if !f.exists() {
		return nil
	}
	return readValue(f, buf, n)
}

// parseMemoryStat reads v2's memory.stat. Lines it does not know are passed
// over.
func parseMemoryStat(data []byte, m *Memory) error {
	for len(data) > 0 {
		var line []byte
		line, data = cutLine(data)
		key, value := cutField(line)
		n, ok := parseUint(value)
		if !ok {
			return fmt.Errorf("%w: line %.64q", errFormat, line)
		}
		if p := m.field(key); p != nil {
			*p = n
		}
	}
	return nil
}

// field is where a line of v2's memory.stat belongs, nil for none.
func (m *Memory) field(key []byte) *uint64 {
	switch string(key) {
	case "anon":
		return &m.Anon
	case "file":
		return &m.File
	case "kernel":
		return &m.Kernel
	case "kernel_stack":
		return &m.KernelStack
	case "pagetables":
		return &m.PageTables
	case "sec_pagetables":
		return &m.SecPageTables
	case "percpu":
		return &m.Percpu
	case "sock":
		return &m.Sock
	case "vmalloc":
		return &m.Vmalloc
	case "shmem":
		return &m.Shmem
	case "zswap":
		return &m.Zswap
	case "zswapped":
		return &m.Zswapped
	case "file_mapped":
		return &m.FileMapped
	case "file_dirty":
		return &m.Dirty
	case "file_writeback":
		return &m.Writeback
	case "swapcached":
		return &m.SwapCached
	case "anon_thp":
		return &m.AnonTHP
	case "file_thp":
		return &m.FileTHP
	case "shmem_thp":
		return &m.ShmemTHP
	case "slab":
		return &m.Slab
	case "slab_reclaimable":
		return &m.SlabReclaimable
	case "slab_unreclaimable":
		return &m.SlabUnreclaimable
	}
	return m.lruField(key)
}

// lruField is the part of field whose names v1 and v2 share.
func (m *Memory) lruField(key []byte) *uint64 {
	switch string(key) {
	case "inactive_anon":
		return &m.InactiveAnon
	case "active_anon":
		return &m.ActiveAnon
	case "inactive_file":
		return &m.InactiveFile
	case "active_file":
		return &m.ActiveFile
	case "unevictable":
		return &m.Unevictable
	}
	return nil
}

// totalPrefix marks the lines of v1's memory.stat that count descendants in.
var totalPrefix = []byte("total_")

// parseMemoryStatV1 reads v1's memory.stat: its total_ lines.
func parseMemoryStatV1(data []byte, m *Memory) error {
	for len(data) > 0 {
		var line []byte
		line, data = cutLine(data)
		key, value := cutField(line)
		n, ok := parseUint(value)
		if !ok {
			return fmt.Errorf("%w: line %.64q", errFormat, line)
		}
		if !bytes.HasPrefix(key, totalPrefix) {
			continue
		}
		if p := m.fieldV1(key[len(totalPrefix):]); p != nil {
			*p = n
		}
	}
	return nil
}

// fieldV1 is where a total_ line of v1's memory.stat belongs, nil for none.
func (m *Memory) fieldV1(key []byte) *uint64 {
	switch string(key) {
	case "cache":
		return &m.File
	case "rss":
		return &m.Anon
	case "rss_huge":
		return &m.AnonTHP
	case "shmem":
		return &m.Shmem
	case "mapped_file":
		return &m.FileMapped
	case "dirty":
		return &m.Dirty
	case "writeback":
		return &m.Writeback
	case "swap":
		return &m.SwapUsage
	case "swapcached":
		return &m.SwapCached
	}
	return m.lruField(key)
}
