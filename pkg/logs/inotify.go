package logs

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// dirMask is what is of interest in a directory: names that come and go.
const dirMask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE |
	unix.IN_DELETE_SELF | unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW

// A watch event: a watch descriptor, or overflow.
type event struct {
	wd       int32
	overflow bool
}

// A watcher gets the kernel's hints of changes.
type watcher struct {
	fd     int
	file   *os.File
	events chan []event
}

// newWatcher starts one. Close ends it.
func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w (raise fs.inotify.max_user_instances)", err)
	}
	w := &watcher{fd: fd, file: os.NewFile(uintptr(fd), "inotify"), events: make(chan []event, 64)}
	go w.read()
	return w, nil
}

func (w *watcher) read() {
	defer close(w.events)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return
		}
		var list []event
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			e := event{wd: int32(binary.NativeEndian.Uint32(b))}
			mask := binary.NativeEndian.Uint32(b[4:])
			length := binary.NativeEndian.Uint32(b[12:])
			b = b[unix.SizeofInotifyEvent+int(length):]
			e.overflow = mask&unix.IN_Q_OVERFLOW != 0
			if mask&unix.IN_IGNORED == 0 && (len(list) == 0 || list[len(list)-1] != e) {
				list = append(list, e)
			}
		}
		if len(list) > 0 {
			w.events <- list
		}
	}
}

// dir watches a directory.
func (w *watcher) dir(path string) (int32, error) {
	wd, err := unix.InotifyAddWatch(w.fd, path, dirMask)
	if err != nil {
		return 0, &os.PathError{Op: "watch", Path: path, Err: err}
	}
	return int32(wd), nil
}

// once watches an open file for its next change.
func (w *watcher) once(f *os.File) (int32, error) {
	wd, err := unix.InotifyAddWatch(w.fd, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.IN_MODIFY|unix.IN_ONESHOT)
	if err != nil {
		return 0, &os.PathError{Op: "watch", Path: f.Name(), Err: err}
	}
	return int32(wd), nil
}

// forget ends a watch; one that is gone is no error.
func (w *watcher) forget(wd int32) { _, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) }

func (w *watcher) close() {
	w.file.Close()
	for range w.events { // the reader may wait for room
	}
}
