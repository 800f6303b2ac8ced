package registry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/truesize/truesize/pkg/procfs"
	"golang.org/x/sys/unix"
)

// SizePagePath is where a container finds its size page: the registry's file,
// bind-mounted read-only.
const SizePagePath = "/dev/truesize/size"

// sizePageFile is the page's name within the container's directory.
const sizePageFile = "size"

// The format of a page, version 1: native (little) endian, every field one
// aligned word that means something by itself, so that a reader needs no lock
// and a writer that dies leaves none. shim/src/page.h reads it. Fields may be
// appended where there are zeros; any other change is a new version.
const (
	sizePageBytes   = 4096
	sizePageMagic   = 0x455a495345555254 // "TRUESIZE"
	sizePageVersion = 1

	offMagic    = 0  // 64 bits
	offVersion  = 8  // 32 bits, as the next five
	offCPUs     = 12 //
	offInjected = 16 //
	offUsable   = 20 //
	offPossible = 24 //
	offFirst    = 28 //
	offMemory   = 32 // 64 bits, as the next three
	offSwap     = 40 //
	offStart    = 48 // seconds since boot
	offLoadTime = 56 // seconds since boot
	offLoads    = 64 // three of 32 bits, 65536ths
)

// maxPageCPUs is the largest number of CPUs the shim believes.
const maxPageCPUs = 8192

// A SizePage is what a container's size page says.
type SizePage struct {
	// CPUs is the container's number of CPUs, 1 to 8192.
	CPUs int
	// InjectedCPUs is the value of NUM_CPUS that the container was created
	// with, 0 without one: a process with another one set it for itself.
	InjectedCPUs int
	// UsableCPUs is the number of CPUs the container may really run on (the
	// smaller of its cpuset and the node's online CPUs), 0 when unknown.
	UsableCPUs int
	// PossibleCPUs is the number of CPUs the node can ever have
	// (/sys/devices/system/cpu/possible), 0 when unknown. No count of
	// configured CPUs is below it.
	PossibleCPUs int
	// FirstCPU says which of the node's CPUs a container's masks show: those
	// from this position on, modulo the number of CPUs. See [FirstCPU].
	FirstCPU uint32
	// Memory and Swap are in bytes. Memory is above 0.
	Memory, Swap uint64
	// Start is when the container's init started, since boot
	// (CLOCK_BOOTTIME); 0 when it has not.
	Start time.Duration
}

// FirstCPU returns where the masks of container id begin. It is the same at
// every call and spread evenly over containers, so that programs that bind
// their threads to the first CPUs of their mask do not all meet on CPU 0.
func FirstCPU(id string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(id))
	return h.Sum32()
}

// PutSizePage creates the size page of a container that has an entry, or
// changes it in place: programs that have it mapped see the change at once. A
// Start of 0 leaves the one there is.
func (d *Dir) PutSizePage(id string, p SizePage) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("size page of %.64q: %w", id, err)
	}
	m, err := d.MapSizePage(id)
	if errors.Is(err, ErrNotFound) {
		return d.createSizePage(id, p)
	}
	if err != nil {
		return err
	}
	m.put(p)
	return m.Close()
}

// KeepSizePage writes the page of a registered container as its entry says,
// in place where there is one. possibleCPUs is the number of CPUs the node can
// ever have, 0 when unknown. The value of NUM_CPUS that the container was
// created with is taken at the first call and stays: call it once before the
// container is created, and again at every change of the entry.
func (d *Dir) KeepSizePage(c *Container, possibleCPUs int) error {
	p := sizePageOf(c, possibleCPUs)
	m, err := d.MapSizePage(c.ID)
	if err == nil {
		p.InjectedCPUs = m.SizePage().InjectedCPUs
		err = m.Close()
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	return d.PutSizePage(c.ID, p)
}

// sizePageOf is the first page of a container.
func sizePageOf(c *Container, possibleCPUs int) SizePage {
	p := SizePage{
		CPUs:         c.Decision.Size.CPUs,
		InjectedCPUs: injectedCPUs(c),
		UsableCPUs:   c.Input.Host.CPUs,
		PossibleCPUs: possibleCPUs,
		FirstCPU:     FirstCPU(c.ID),
		Memory:       c.Decision.Size.Memory,
		Swap:         c.Decision.Size.Swap,
		Start:        procfs.Ticks(c.StartTicks),
	}
	if set := c.Input.Limits.CPUSet; set > 0 && set < p.UsableCPUs {
		p.UsableCPUs = set
	}
	return p
}

// injectedCPUs returns the value of NUM_CPUS in a container about to be
// created: its own, or the one that is added; 0 without one.
func injectedCPUs(c *Container) int {
	if slices.Contains(c.Env, "NUM_CPUS") {
		return c.Decision.Size.CPUs
	}
	if c.Input.NumCPUs == nil {
		return 0
	}
	n, err := strconv.ParseUint(*c.Input.NumCPUs, 10, 16)
	if err != nil || n > maxPageCPUs {
		return 0 // the shim does not believe it either
	}
	return int(n)
}

// SizePageFile returns the path of a container's size page, to be mounted at
// [SizePagePath].
func (d *Dir) SizePageFile(id string) (string, error) {
	dir, err := d.ContainerDir(id)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, sizePageFile), nil
}

func (d *Dir) createSizePage(id string, p SizePage) error {
	dir, err := d.ContainerDir(id)
	if err != nil {
		return err
	}
	return writeFile(dir, sizePageFile, p.bytes())
}

// bytes returns the page as it is in its file.
func (p SizePage) bytes() []byte {
	data := make([]byte, sizePageBytes)
	binary.NativeEndian.PutUint64(data[offMagic:], sizePageMagic)
	binary.NativeEndian.PutUint32(data[offVersion:], sizePageVersion)
	(&MappedSizePage{data: data}).put(p)
	return data
}

func (p SizePage) check() error {
	switch {
	case p.CPUs < 1 || p.CPUs > maxPageCPUs:
		return fmt.Errorf("%d CPUs: want 1 to %d", p.CPUs, maxPageCPUs)
	case p.InjectedCPUs < 0 || p.UsableCPUs < 0 || p.PossibleCPUs < 0:
		return fmt.Errorf("injected, usable and possible CPUs are %d, %d, %d: want none below 0",
			p.InjectedCPUs, p.UsableCPUs, p.PossibleCPUs)
	case p.Memory == 0:
		return errors.New("memory of 0 bytes")
	case p.Start < 0:
		return fmt.Errorf("start %v before boot", p.Start)
	}
	return nil
}

// A MappedSizePage is a size page kept mapped, for a writer that changes it
// often. One goroutine at a time may use it; other processes may write other
// fields of the same page.
type MappedSizePage struct {
	data []byte
}

// MapSizePage maps the page of container id. The error wraps [ErrBadID],
// [ErrNotFound] when there is none, [ErrCorrupt] when the file is not a page
// of this version: it must not be written then.
func (d *Dir) MapSizePage(id string) (*MappedSizePage, error) {
	path, err := d.SizePageFile(id)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, path)
	}
	if err != nil {
		return nil, fmt.Errorf("map size page: %w", err)
	}
	defer f.Close()
	// A page cut short would be SIGBUS, here as in every program that reads it.
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() != sizePageBytes {
		return nil, errors.Join(fmt.Errorf("%w: %s is not a file of %d bytes", ErrCorrupt, path, sizePageBytes), err)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, sizePageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	m := &MappedSizePage{data: data}
	if magic, version := m.load64(offMagic), m.load32(offVersion); magic != sizePageMagic || version != sizePageVersion {
		return nil, errors.Join(fmt.Errorf("%w: %s has magic %#x and version %d, want %#x and %d",
			ErrCorrupt, path, magic, version, uint64(sizePageMagic), sizePageVersion), m.Close())
	}
	return m, nil
}

// Close unmaps the page; m must not be used again.
func (m *MappedSizePage) Close() error {
	if err := unix.Munmap(m.data); err != nil {
		return fmt.Errorf("unmap size page: %w", err)
	}
	m.data = nil
	return nil
}

// SizePage returns what the page says.
func (m *MappedSizePage) SizePage() SizePage {
	return SizePage{
		CPUs:         int(m.load32(offCPUs)),
		InjectedCPUs: int(m.load32(offInjected)),
		UsableCPUs:   int(m.load32(offUsable)),
		PossibleCPUs: int(m.load32(offPossible)),
		FirstCPU:     m.load32(offFirst),
		Memory:       m.load64(offMemory),
		Swap:         m.load64(offSwap),
		Start:        time.Duration(m.load64(offStart)) * time.Second,
	}
}

// SetLoads publishes the container's load averages over 1, 5 and 15 minutes,
// as of now since boot (CLOCK_BOOTTIME). Readers take them for half a minute.
func (m *MappedSizePage) SetLoads(loads [3]float64, now time.Duration) {
	for i, load := range loads {
		var scaled uint32
		if load > 0 { // not NaN either
			scaled = uint32(min(load*65536, math.MaxUint32))
		}
		m.store32(offLoads+4*i, scaled)
	}
	m.store64(offLoadTime, uint64(now/time.Second))
}

// put stores p field by field. A larger container may be promised more CPUs
// than it can use only once both numbers are there, so CPUs come last.
func (m *MappedSizePage) put(p SizePage) {
	m.store32(offInjected, uint32(p.InjectedCPUs))
	m.store32(offUsable, uint32(p.UsableCPUs))
	m.store32(offPossible, uint32(p.PossibleCPUs))
	m.store32(offFirst, p.FirstCPU)
	m.store64(offSwap, p.Swap)
	m.store64(offMemory, p.Memory)
	if p.Start != 0 {
		m.store64(offStart, uint64(p.Start/time.Second))
	}
	m.store32(offCPUs, uint32(p.CPUs))
}

// The words of a page. data is page-aligned, or as made by make a multiple of
// 8 bytes, and every offset is a multiple of its word.

func (m *MappedSizePage) word32(off int) *uint32 { return (*uint32)(unsafe.Pointer(&m.data[off])) }
func (m *MappedSizePage) word64(off int) *uint64 { return (*uint64)(unsafe.Pointer(&m.data[off])) }

func (m *MappedSizePage) load32(off int) uint32     { return atomic.LoadUint32(m.word32(off)) }
func (m *MappedSizePage) load64(off int) uint64     { return atomic.LoadUint64(m.word64(off)) }
func (m *MappedSizePage) store32(off int, v uint32) { atomic.StoreUint32(m.word32(off), v) }
func (m *MappedSizePage) store64(off int, v uint64) { atomic.StoreUint64(m.word64(off), v) }
