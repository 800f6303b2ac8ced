package logs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/logs/checkpoint"
	"github.com/truesize/truesize/pkg/logs/source"
)

const (
	// namesMax bounds how many log files of one directory are looked at,
	// entriesMax how many names of any kind.
	namesMax   = 10_000
	entriesMax = 100_000
	// warnedMax bounds how many refused names of a directory are remembered.
	warnedMax = 1000
	// racyTime is for how long after a change a directory's time of change
	// cannot tell of another one: the coarsest clock a file system has.
	racyTime = 2 * time.Second
)

// A root is a source's directory with its tree.
type root struct {
	kind  source.Kind
	path  string
	real  []string        // what files may lie below, without links
	links []string        // further directories that links may lead to
	inner map[string]*dir // directories above log directories, by path
	logs  map[string]*dir // log directories
}

// A dir is a directory of the tree.
type dir struct {
	root  *root
	kind  source.Kind
	path  string
	rel   string // to the root
	depth int

	inode   inode
	wd      int32 // watch, 0 is none
	dirty   bool
	mtime   time.Time // when it was last read
	readAt  time.Time
	cost    time.Duration   // how long that took
	warned  map[string]bool // names that were refused
	skipped bool            // its name is not one of the kind's

	// Of a log directory:
	ref       Ref
	chains    map[string]*chain
	files     map[inode]*file
	byID      map[string]*file
	restored  map[string]checkpoint.File // not yet found again
	meta      Meta
	metaKnown bool
	excluded  bool
	seen      bool // was read once
}

func (l *loop) newDir(r *root, path, rel string, depth int) *dir {
	d := &dir{root: r, kind: r.kind, path: path, rel: rel, depth: depth, dirty: true, warned: map[string]bool{}}
	if depth == r.kind.Depth() {
		ref, ok := r.kind.ParseDir(rel)
		d.ref, d.skipped = ref, !ok
		d.excluded = !ok || r.kind == source.Pods && !l.cfg.Namespaces.allows(ref.Namespace) || l.only != nil && !l.only(ref)
		d.chains, d.files, d.byID = map[string]*chain{}, map[inode]*file{}, map[string]*file{}
		d.restored = l.restored[path]
		delete(l.restored, path)
		if m, ok := l.restoredMeta[path]; ok {
			d.meta, d.metaKnown = m, true
			delete(l.restoredMeta, path)
		}
		if r.kind == source.Docker {
			d.meta, d.metaKnown = dockerMeta(path, rel)
		}
		r.logs[path] = d
	} else {
		r.inner[path] = d
	}
	l.watch(d)
	return d
}

// watch asks for hints of changes in d. Without them the scan finds them.
func (l *loop) watch(d *dir) {
	if l.watcher == nil || d.wd != 0 || d.excluded {
		return
	}
	wd, err := l.watcher.dir(d.path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !l.watchFailed {
			l.watchFailed = true
			l.log.Warn("logs: the kernel watches no more directories, they are looked at every 200 ms; raise fs.inotify.max_user_watches", "error", err)
		}
		return
	}
	d.wd = wd
	l.dirs[wd] = d
}

// scan looks at every directory. With all, also at those that seem unchanged.
func (l *loop) scan(all bool) {
	for _, r := range l.roots {
		if len(r.real) == 0 {
			if r.real = realRoots(append([]string{r.path}, r.links...)); len(r.real) == 0 {
				continue
			}
		}
		if len(r.inner) == 0 && len(r.logs) == 0 {
			l.newDir(r, r.path, "", 0)
		}
		l.scanRoot(r, all)
	}
}

func (l *loop) scanRoot(r *root, all bool) {
	// A directory that is found while the tree is looked at is looked at as
	// well: a pod, then its containers.
	for again := true; again; {
		again = false
		for _, d := range r.inner {
			if n := len(r.inner) + len(r.logs); l.look(d, all) && len(r.inner)+len(r.logs) > n {
				again = true
			}
		}
	}
	for _, d := range r.logs {
		l.look(d, all)
	}
}

// lookDirty looks at the directories of which the kernel said that they
// changed.
func (l *loop) lookDirty() {
	list := l.dirty
	l.dirty = nil // looking may add to it
	for _, d := range list {
		if l.now.Before(d.due()) {
			l.dirty = append(l.dirty, d)
			continue
		}
		l.look(d, false)
	}
}

// due is when a directory may be looked at again: looking at one, however huge
// it is and however often it changes, takes a tenth of the time at most.
func (d *dir) due() time.Time { return d.readAt.Add(10 * d.cost) }

// look reads a directory if it may have changed since it was last read.
func (l *loop) look(d *dir, all bool) bool {
	st, err := os.Lstat(d.path)
	if err != nil || !st.IsDir() {
		l.vanished(d)
		return true
	}
	if id := inodeOf(st); id != d.inode { // another directory of that name
		l.unwatchDir(d)
		d.inode, d.dirty = id, true
	}
	l.watch(d)
	changed := d.dirty || !st.ModTime().Equal(d.mtime) || d.readAt.Sub(d.mtime) < racyTime
	if changed {
		d.dirty, d.mtime, d.readAt = false, st.ModTime(), time.Now()
		defer func() { d.cost = min(time.Since(d.readAt), time.Second) }()
		if d.depth < d.kind.Depth() {
			l.lookInner(d)
			return true
		}
	}
	if d.depth == d.kind.Depth() && !d.excluded && (changed || all) {
		l.lookLogs(d)
	}
	return changed
}

// lookInner finds new directories below one that holds no logs itself.
func (l *loop) lookInner(d *dir) {
	for name := range l.names(d, true) {
		path := filepath.Join(d.path, name)
		if known := d.root.logs[path]; known != nil {
			if known.wd == 0 { // it was gone, and is there again
				l.look(known, false)
			}
		} else if d.root.inner[path] == nil {
			n := l.newDir(d.root, path, strings.TrimPrefix(d.rel+"/"+name, "/"), d.depth+1)
			l.look(n, false)
		}
	}
}

// names yields the names in a directory that can be of interest.
func (l *loop) names(d *dir, dirs bool) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		f, err := os.Open(d.path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				l.warnOnce(d, "", err)
				d.dirty = true
			}
			return
		}
		defer f.Close()
		for n, all := 0, 0; n < namesMax && all < entriesMax; {
			list, err := f.ReadDir(256)
			all += len(list)
			for _, e := range list {
				if dirs && !e.IsDir() {
					continue
				}
				if !dirs {
					if _, ok := d.kind.ParseName(e.Name()); !ok {
						continue
					}
				}
				if n++; !yield(e.Name()) {
					return
				}
			}
			if err != nil {
				return
			}
		}
		l.warnOnce(d, "", errors.New("too many names: not all are looked at"))
	}
}

// warnOnce says once of a name what is wrong with it, and counts it.
func (l *loop) warnOnce(d *dir, name string, err error) {
	if d.warned[name] {
		return
	}
	if len(d.warned) >= warnedMax {
		clear(d.warned)
	}
	d.warned[name] = true
	l.totals.refused++
	l.log.Warn("logs: not read", "path", filepath.Join(d.path, name), "error", err)
}

// lookLogs compares a log directory with what is known of it.
func (l *loop) lookLogs(d *dir) {
	found := map[inode]string{}
	for name := range l.names(d, false) {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(d.path, name), &st); err != nil {
			continue // gone meanwhile
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
		case unix.S_IFLNK:
			if err := unix.Stat(filepath.Join(d.path, name), &st); err != nil {
				continue // dangling, for now
			}
		default:
			l.warnOnce(d, name, errNotRegular)
			continue
		}
		if d.warned[name] {
			continue
		}
		key := inode{uint64(st.Dev), st.Ino}
		if other, twice := found[key]; twice && other < name {
			continue // a second name of one file
		}
		found[key] = name
		l.found(d, key, name, st.Size)
	}
	for key, f := range d.files {
		if _, ok := found[key]; !ok {
			l.lostName(d, key, f)
		}
	}
	l.reshadow(d)
	l.identifyAll(d)
	for _, c := range d.chains {
		c.sort()
		l.ready(c)
	}
	if !d.seen {
		d.seen = true
		l.goneMeanwhile(d)
	}
	l.prune(d)
}

// found takes note of a name in a log directory.
func (l *loop) found(d *dir, key inode, name string, size int64) {
	f := d.files[key]
	if f != nil && f.src == nil && !f.gzip && (f.name != name || size != f.size) {
		// It is closed, so its inode may have been used again.
		if !l.reopen(d, f, name) {
			delete(d.files, key)
			f.present, f.inode = false, inode{}
			f = nil
		}
	}
	if f == nil {
		l.newFile(d, name)
		return
	}
	if f.name != name {
		f.name = name
		f.as, _ = d.kind.ParseName(name)
		l.changed = true
	}
	f.present = true
	if !f.gzip && !f.as.Gzip { // else it is still read as it was before
		f.size = max(size, f.read)
	}
}

// reopen opens a file that was read to its end and has changed since. It says
// false when it is another file by now.
func (l *loop) reopen(d *dir, f *file, name string) bool {
	src, _, err := l.open(d, name)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	head := make([]byte, len(f.head))
	n, _ := src.ReadAt(head, 0)
	st, err := src.Stat()
	if err != nil || string(head[:n]) != string(f.head) || st.Size() < f.read {
		src.Close()
		return false
	}
	if st.Size() == f.read {
		src.Close()
		f.size = f.read
		return true
	}
	f.src, f.final, f.atEnd, f.lastGrowth = plainContent{src}, false, false, l.now
	return true
}

func (l *loop) open(d *dir, name string) (*os.File, unix.Stat_t, error) {
	return openLog(filepath.Join(d.path, name), d.root.real)
}

// newFile opens a file that was not there before, at once: its name may go any
// moment.
func (l *loop) newFile(d *dir, name string) {
	as, _ := d.kind.ParseName(name)
	src, st, err := l.open(d, name)
	if err != nil {
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, errRefused), errors.Is(err, fs.ErrPermission):
			l.warnOnce(d, name, err)
		default:
			l.log.Error("logs: open", "error", err)
			d.dirty = true // again at the next scan
		}
		return
	}
	l.fileNum++
	f := &file{
		num: l.fileNum, as: as, name: name, present: true, inode: inode{uint64(st.Dev), st.Ino},
		gzip: as.Gzip, midStart: -1, size: st.Size, lastGrowth: l.now,
		firstSeen: strings.TrimPrefix(d.rel+"/"+name, "/"),
	}
	if f.gzip {
		f.src, f.size = &gzipContent{f: src}, 0
	} else {
		f.src = plainContent{src}
	}
	d.files[f.inode] = f
	c := d.chains[as.Base]
	if c == nil {
		ref := d.ref
		ref.Restart = 0
		switch d.kind {
		case source.Pods:
			ref.Restart = as.Restart()
		case source.Files:
			ref.Container = as.Base
		}
		c = &chain{loop: l, dir: d, ref: ref, base: as.Base, waitUntil: l.now.Add(metadataWait)}
		d.chains[as.Base] = c
	}
	f.chain = c
	c.files = append(c.files, f)
}

// lostName deals with a file whose name is gone from its directory.
func (l *loop) lostName(d *dir, key inode, f *file) {
	if !f.present {
		return
	}
	f.present = false
	f.deletedAt = l.now
	l.changed = true
	if f.src == nil {
		delete(d.files, key)
	}
}

func (l *loop) unwatchDir(d *dir) {
	if d.wd != 0 {
		if l.watcher != nil {
			l.watcher.forget(d.wd)
		}
		delete(l.dirs, d.wd)
		d.wd = 0
	}
}

func inodeOf(st os.FileInfo) inode {
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return inode{uint64(sys.Dev), sys.Ino}
	}
	return inode{}
}

// vanished deals with a directory that is no more.
func (l *loop) vanished(d *dir) {
	l.unwatchDir(d)
	if d.depth < d.kind.Depth() {
		if d.depth > 0 {
			delete(d.root.inner, d.path)
		}
		d.dirty = true
		return
	}
	d.mtime, d.dirty = time.Time{}, true
	for key, f := range d.files {
		l.lostName(d, key, f)
	}
	for _, c := range d.chains {
		c.sort()
		l.ready(c)
	}
	l.prune(d)
	if len(d.chains) == 0 && d.depth > 0 {
		delete(d.root.logs, d.path)
		l.changed = true
	}
}

// prune forgets the files that are gone and done, and chains without files.
func (l *loop) prune(d *dir) {
	for base, c := range d.chains {
		keep := c.files[:0]
		for _, f := range c.files {
			if f.present || f.src != nil || !f.final || !f.acked() {
				keep = append(keep, f)
				continue
			}
			if d.byID[f.id] == f {
				delete(d.byID, f.id)
			}
			if d.files[f.inode] == f {
				delete(d.files, f.inode)
			}
			l.changed = true
		}
		clear(c.files[len(keep):])
		c.files = keep
		if len(c.files) == 0 && len(c.fifo) == 0 {
			l.remove(c)
			delete(d.chains, base)
		}
	}
}
