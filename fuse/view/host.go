package view

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"weak"
)

// maxHostFile bounds a file of the host in bytes: /proc/cpuinfo has about
// 1.5 kB per CPU.
const maxHostFile = 16 << 20

// A host is the node's own files, opened once and read again with pread.
type host struct {
	proc  string
	files [numFiles]*os.File
	// mu keeps one reader per file: the kernel renders at the first pread.
	mu [numFiles]sync.Mutex

	sharedMu sync.Mutex
	shared   map[int]weak.Pointer[[]byte] // cpuinfo by number of CPUs
}

func openHost(procRoot, sysRoot string) (*host, error) {
	h := &host{proc: procRoot, shared: make(map[int]weak.Pointer[[]byte])}
	for i, p := range [numFiles]string{
		cpuinfo:   filepath.Join(procRoot, "cpuinfo"),
		diskstats: filepath.Join(procRoot, "diskstats"),
		loadavg:   filepath.Join(procRoot, "loadavg"),
		meminfo:   filepath.Join(procRoot, "meminfo"),
		stat:      filepath.Join(procRoot, "stat"),
		swaps:     filepath.Join(procRoot, "swaps"),
		uptime:    filepath.Join(procRoot, "uptime"),
		cpuOnline: filepath.Join(sysRoot, "devices/system/cpu/online"),
	} {
		f, err := os.Open(p)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without swap or block devices
		}
		if err != nil {
			h.close()
			return nil, err
		}
		h.files[i] = f
	}
	return h, nil
}

func (h *host) close() {
	for _, f := range h.files {
		if f != nil {
			f.Close()
		}
	}
}

// read appends what the node's own file shows now.
func (h *host) read(dst []byte, file int) ([]byte, error) {
	f := h.files[file]
	if f == nil {
		return dst, fmt.Errorf("read the host's file: %w", os.ErrNotExist)
	}
	h.mu[file].Lock()
	defer h.mu[file].Unlock()
	start := len(dst)
	for len(dst)-start < maxHostFile {
		if cap(dst)-len(dst) < 4096 {
			grown := make([]byte, len(dst), 2*cap(dst)+8192)
			copy(grown, dst)
			dst = grown
		}
		n, err := f.ReadAt(dst[len(dst):cap(dst)], int64(len(dst)-start))
		dst = dst[:len(dst)+n]
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst[:start], err
		}
	}
	return dst[:start], fmt.Errorf("read %s: over %d bytes", f.Name(), maxHostFile)
}

// hugePages returns the default size of huge pages in bytes, 0 when the host
// has none: then no container has any.
func hugePages(meminfo []byte) uint64 {
	var size, total uint64
	for line := range bytes.Lines(meminfo) {
		f := bytes.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch string(f[0]) {
		case "HugePages_Total:":
			total, _ = strconv.ParseUint(string(f[1]), 10, 64)
		case "Hugepagesize:":
			size, _ = strconv.ParseUint(string(f[1]), 10, 64)
		}
	}
	if total == 0 {
		return 0
	}
	return size << 10
}
