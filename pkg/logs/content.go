package logs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
)

// A content is what is in a log file, compressed or not.
type content interface {
	// ReadAt reads into p from an offset on. It returns what there is now: 0
	// and no error at the end of a file that may grow, io.EOF where it cannot.
	ReadAt(p []byte, off int64) (int, error)
	Close() error
	file() *os.File
}

// plainContent is a file as it is.
type plainContent struct{ *os.File }

func (c plainContent) file() *os.File { return c.File }

func (c plainContent) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.File.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// gzipContent is a compressed file. It is decompressed in one go from its
// start: reading backwards starts again.
type gzipContent struct {
	f    *os.File
	zr   *gzip.Reader
	base int64 // offset of win
	win  []byte
	err  error // how the content ended
}

func (c *gzipContent) file() *os.File { return c.f }

func (c *gzipContent) Close() error {
	c.release()
	return c.f.Close()
}

// release gives back what decompression needs, until the next ReadAt.
func (c *gzipContent) release() { c.zr, c.win = nil, nil }

func (c *gzipContent) ReadAt(p []byte, off int64) (int, error) {
	if c.zr == nil || off < c.base {
		if err := c.restart(); err != nil {
			return 0, err
		}
	}
	for c.err == nil && c.base+int64(len(c.win)) < off+int64(len(p)) {
		// What is before off is needed no more.
		if drop := min(off-c.base, int64(len(c.win))); drop > 0 {
			c.win = c.win[:copy(c.win, c.win[drop:])]
			c.base += drop
		}
		if cap(c.win) < len(p) {
			c.win = append(make([]byte, 0, len(p)), c.win...)
		}
		if len(c.win) == cap(c.win) {
			break
		}
		n, err := c.zr.Read(c.win[len(c.win):cap(c.win)])
		c.win = c.win[:len(c.win)+n]
		c.err = err
	}
	skip := off - c.base
	if skip >= int64(len(c.win)) {
		return 0, c.err
	}
	return copy(p, c.win[skip:]), nil
}

func (c *gzipContent) restart() error {
	if _, err := c.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	zr, err := gzip.NewReader(bufio.NewReaderSize(c.f, 32<<10))
	if err != nil {
		return fmt.Errorf("read %s: %w", c.f.Name(), err)
	}
	c.zr, c.base, c.win, c.err = zr, 0, c.win[:0], nil
	return nil
}

// isGzip says whether a file starts like a compressed one (RFC 1952).
func isGzip(f *os.File) bool {
	var b [3]byte
	n, _ := f.ReadAt(b[:], 0)
	return n == 3 && b == [3]byte{0x1f, 0x8b, 8}
}

// gzipSize returns the size that a compressed file says its content has,
// modulo 4 GiB (RFC 1952, ISIZE).
func gzipSize(f *os.File) (uint32, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	var b [4]byte
	if st.Size() < 18 {
		return 0, io.ErrUnexpectedEOF
	}
	if _, err := f.ReadAt(b[:], st.Size()-4); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b[:]), nil
}
