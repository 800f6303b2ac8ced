package logs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/truesize/truesize/pkg/logs/checkpoint"
	"github.com/truesize/truesize/pkg/logs/source"
)

const (
	// namesMax bounds how many log files of one directory are looked at,
	// entriesMax how many names of any kind.
	namesMax   = 10_000
	entriesMax = 100_000
	// warnedMax bounds how many refused names of a directory are said and
	// counted.
	warnedMax = 1000
	// racyTime is for how long after a change a directory's time of change
	// cannot tell of another one: the coarsest clock a file system has.
	racyTime = 2 * time.Second
	// nameCost is what a look at one name takes at most, unless the process
	// stands still meanwhile.
	nameCost = 100 * time.Microsecond
	// hintless is how often what the kernel gives no hints of is looked at.
	hintless = 200 * time.Millisecond
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
	listed  int             // how many names it had
	cost    time.Duration   // how long that took
	warned  map[string]bool // names that were refused
	skipped bool            // its name is not one of the kind's

	// Of a log directory:
	listing   uint64 // the last one's number
	ref       Ref
	chains    map[string]*chain
	files     map[inode]*file
	byID      map[string]*file
	restored  map[string]checkpoint.File // not yet found again
	meta      Meta
	metaKnown bool
	excluded  bool
	seen      bool // was read once
	cutGen    int  // the highest generation of a file that was cut
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
			l.unwatched()
			l.log.Warn("logs: the kernel watches no more directories, they are looked at every 200 ms; raise fs.inotify.max_user_watches", "error", err)
		}
		return
	}
	d.wd = wd
	l.dirs[wd] = d
}

// unwatched notes that the kernel no longer tells of everything: from now on the
// scan comes often.
func (l *loop) unwatched() {
	l.watchFailed = true
	if soon := l.now.Add(hintless); soon.Before(l.nextScan) {
		l.nextScan = soon
	}
}

// scan looks at every directory. With all, also at those that seem unchanged.
func (l *loop) scan(all bool) {
	for _, r := range l.roots {
		l.scanRoot(r, all)
	}
}

func (l *loop) scanRoot(r *root, all bool) {
	if len(r.real) == 0 {
		if r.real = realRoots(append([]string{r.path}, r.links...)); len(r.real) == 0 {
			return
		}
	}
	if len(r.inner) == 0 && len(r.logs) == 0 {
		l.newDir(r, r.path, "", 0)
	}
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

// unhinted says whether a root is not there, or was not when it was last looked
// at: then the kernel tells nothing of what comes below it.
func (l *loop) unhinted(r *root) bool {
	if d := r.inner[r.path]; d != nil {
		return d.wd == 0
	}
	d := r.logs[r.path]
	return d == nil || d.wd == 0 && !d.excluded
}

// lookForRoots looks for roots that were not there, as a node's log directory
// before its first pod, and sets nextRoots: zero when they are all there.
func (l *loop) lookForRoots() {
	l.nextRoots = time.Time{}
	if l.watcher == nil || l.watchFailed {
		return // everything is looked at as often as that
	}
	for _, r := range l.roots {
		if !l.unhinted(r) {
			continue
		}
		l.nextRoots = l.now.Add(hintless)
		if _, err := os.Lstat(r.path); err == nil {
			l.scanRoot(r, false)
		}
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
		defer func() {
			d.cost = min(time.Since(d.readAt), time.Duration(d.listed)*nameCost, time.Second)
		}()
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
			d.listed = all
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
	if len(d.warned) > warnedMax && name != "" {
		return
	}
	d.warned[name] = true
	if len(d.warned) > warnedMax && name != "" {
		l.log.Warn("logs: more names are not read; the next ones are not said and not counted", "path", d.path)
		return
	}
	l.totals.refused++
	l.log.Warn("logs: not read", "path", filepath.Join(d.path, name), "error", err)
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
	if d.depth == 0 {
		l.nextRoots = l.now.Add(hintless)
	}
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
