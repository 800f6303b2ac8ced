package sink

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openLines opens a file to append lines to. A new one is in its directory for
// good, and a last line that was cut, by a crash while it was written, is ended.
func openLines(path string, sync func(*os.File) error) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := prepareLines(f, sync); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func prepareLines(f *os.File, sync func(*os.File) error) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() == 0 { // new, or made by one that did not come further
		return syncDir(filepath.Dir(f.Name()), sync)
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], st.Size()-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err = f.Write([]byte{'\n'})
	return err
}

func syncDir(path string, sync func(*os.File) error) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(sync(d), d.Close())
}
