package registry

import (
	"fmt"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is asked of inotify(7): of a file that is replaced only the rename
// counts, and of a directory that is made elsewhere and moved here only the
// move. An event for names that are made in place is for writers of earlier
// versions.
const (
	rootEvents  = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE
	entryEvents = unix.IN_MOVED_TO | unix.IN_DELETE
	dirsOnly    = unix.IN_ONLYDIR | unix.IN_DONT_FOLLOW
)

// An inotify tells of the registry's directory and of those of containers. One
// that is nil tells of nothing.
type inotify struct {
	root string
	fd   int
	ids  map[int32]string // by watch descriptor; "" is the registry itself
	buf  [16 << 10]byte
}

func newInotify(root string) (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch registry (raise fs.inotify.max_user_instances?): %w", err)
	}
	w := &inotify{root: root, fd: fd, ids: make(map[int32]string)}
	if err := w.addRoot(); err != nil {
		w.close()
		return nil, fmt.Errorf("watch registry %s (raise fs.inotify.max_user_watches?): %w", root, err)
	}
	return w, nil
}

func (w *inotify) close() {
	if w != nil {
		unix.Close(w.fd)
	}
}

// addRoot watches the registry, also one that was made anew.
func (w *inotify) addRoot() error { return w.add(w.root, "", rootEvents) }

// addEntry watches a container's directory. Without a watch the next scan
// finds what changes.
func (w *inotify) addEntry(id string) {
	if w != nil {
		_ = w.add(filepath.Join(w.root, id), id, entryEvents)
	}
}

func (w *inotify) add(path, id string, events uint32) error {
	wd, err := unix.InotifyAddWatch(w.fd, path, events|dirsOnly)
	if err == nil {
		w.ids[int32(wd)] = id
	}
	return err
}

// An event is about one container: its entry, or that it is in the registry's
// list or no longer.
type event struct {
	id     string
	listed bool
}

// read returns the events that have come, the same once in a row. lost says that
// the kernel has dropped some.
func (w *inotify) read() (list []event, lost bool, err error) {
	if w == nil {
		return nil, false, nil
	}
	for {
		n, err := unix.Read(w.fd, w.buf[:])
		switch err {
		case nil:
			more, dropped := w.parse(w.buf[:n])
			list, lost = append(list, more...), lost || dropped
		case unix.EINTR:
		case unix.EAGAIN:
			return list, lost, nil
		default:
			return nil, false, fmt.Errorf("watch registry: %w", err)
		}
	}
}

// parse returns what events are about, the same once in a row.
func (w *inotify) parse(events []byte) (list []event, lost bool) {
	for len(events) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&events[0]))
		end := min(unix.SizeofInotifyEvent+int(e.Len), len(events))
		name := unix.ByteSliceToString(events[unix.SizeofInotifyEvent:end])
		events = events[end:]
		if e.Mask&unix.IN_Q_OVERFLOW != 0 {
			lost = true
			continue
		}
		id, known := w.ids[e.Wd]
		if e.Mask&unix.IN_IGNORED != 0 { // the directory has gone
			delete(w.ids, e.Wd)
		}
		about := event{id: id, listed: id == ""}
		switch {
		case !known:
			continue
		case about.listed:
			about.id = name
		case name != entryFile:
			continue // counters, and entries being written
		}
		if ValidID(about.id) == nil && (len(list) == 0 || list[len(list)-1] != about) {
			list = append(list, about)
		}
	}
	return list, lost
}
