package hostlocal

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The released log holds when addresses were freed, one "address unixtime"
// line each, appended. With it the address freed longest ago is the first to
// be used again. It is advice: losing it costs nothing but that order.
const (
	releasedFile = ".truesize.released"
	maxReleased  = 64 << 10 // bytes at which the log is written anew
	keepReleased = 1024     // lines kept then
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

// compactReleased keeps the newest lines.
func (s *Store) compactReleased(path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return
	}
	lines := strings.SplitAfter(string(data), "\n")
	if len(lines) > keepReleased {
		lines = lines[len(lines)-keepReleased:]
	}
	if err := s.write(releasedFile, strings.Join(lines, "")); err != nil {
		os.Remove(path)
	}
}

// released returns when each address was freed last, as far as the log knows.
func (s *Store) released() map[netip.Addr]int64 {
	data, err := os.ReadFile(filepath.Join(s.dir, releasedFile))
	if err != nil {
		return nil
	}
	return parseReleased(data)
}

// parseReleased skips lines that are cut or damaged.
func parseReleased(data []byte) map[netip.Addr]int64 {
	at := map[netip.Addr]int64{}
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
