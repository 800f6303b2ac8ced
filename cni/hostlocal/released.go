package hostlocal

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/truesize/truesize/cni/internal/file"
)

// The released log holds when addresses were freed, one "address unixtime"
// line each, appended. With it the address freed longest ago is the first to
// be used again. It is advice: losing it costs nothing but that order.
const (
	releasedFile = ".truesize.released"
	maxReleased  = 32 << 10 // bytes at which the log is written anew
	keepReleased = 512      // addresses kept then
)

func (s *Store) noteReleased(freed []netip.Addr, now time.Time) error {
	if len(freed) == 0 {
		return nil
	}
	path := filepath.Join(s.dir, releasedFile)
	if fi, err := os.Stat(path); err == nil && fi.Size() > maxReleased {
		s.compactReleased(path)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, fileMode)
	if err != nil {
		return nil // advice only: the addresses are free already
	}
	defer f.Close()
	var b bytes.Buffer
	for _, a := range freed {
		fmt.Fprintf(&b, "%s %d\n", a, now.Unix())
	}
	_, _ = f.Write(b.Bytes())
	return nil
}

// compactReleased keeps the newest line of each of the addresses freed last.
func (s *Store) compactReleased(path string) {
	data, err := file.Read(path)
	if err != nil {
		return
	}
	if err := s.write(releasedFile, newestLines(string(data), keepReleased)); err != nil {
		os.Remove(path)
	}
}

// newestLines returns the last line of each address, those of at most n.
func newestLines(log string, n int) string {
	lines := strings.SplitAfter(log, "\n")
	seen := map[string]bool{}
	var keep []string
	for i := len(lines) - 1; i >= 0 && len(keep) < n; i-- {
		addr, _, ok := strings.Cut(lines[i], " ")
		if ok && !seen[addr] {
			seen[addr] = true
			keep = append(keep, lines[i])
		}
	}
	slices.Reverse(keep)
	return strings.Join(keep, "")
}

// released returns when each address was freed last, as far as the log knows.
func (s *Store) released() map[netip.Addr]int64 {
	data, err := file.Read(filepath.Join(s.dir, releasedFile))
	if err != nil {
		return nil
	}
	return parseReleased(data)
}

// parseReleased skips lines that are cut or damaged.
func parseReleased(data []byte) map[netip.Addr]int64 {
	at := make(map[netip.Addr]int64, bytes.Count(data, []byte{'\n'}))
	for line := range strings.Lines(string(data)) {
		addr, sec, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			continue
		}
		a, err := netip.ParseAddr(addr)
		if err != nil {
			continue
		}
		t, err := strconv.ParseInt(sec, 10, 64)
		if err != nil {
			continue
		}
		at[a] = max(at[a], t)
	}
	return at
}
