package logs

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/logs/source"
)

// listings is how often a directory is listed in a row, while files come.
const listings = 16

// lookLogs compares a log directory with what is known of it. A rotation may
// fall into a listing, so that a file is found and the one before it is not: a
// file may be read when a listing has ended that began after it was opened. And
// a file that is renamed meanwhile, as older ones are at each rotation, may be
// missed under both names: it is gone when two listings agree.
func (l *loop) lookLogs(d *dir) {
	var found map[inode]string
	for range listings {
		d.listing++
		files, before := l.fileNum, found
		found = l.list(d)
		if l.fileNum == files && (!d.misses(found) || maps.Equal(found, before)) {
			break
		}
	}
	for key, f := range d.files {
		if _, ok := found[key]; !ok && !l.stillThere(f) { // not all can be listed, perhaps
			l.lostName(d, key, f)
		}
	}
	l.reshadow(d)
	l.identifyAll(d)
	for _, c := range d.chains {
		c.sort()
		l.ready(c)
	}
	if !d.seen && !d.dirty { // dirty: not all could be opened
		d.seen = true
		l.goneMeanwhile(d)
	}
	l.prune(d)
}

// misses says whether a known file is not among those that were found.
func (d *dir) misses(found map[inode]string) bool {
	for key, f := range d.files {
		if _, ok := found[key]; !ok && f.present {
			return true
		}
	}
	return false
}

// list takes note of the files that a log directory has, and returns their
// names.
func (l *loop) list(d *dir) map[inode]string {
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
		key := inode{uint64(st.Dev), st.Ino}
		if other, twice := found[key]; twice && other < name {
			continue // a second name of one file
		}
		found[key] = name
		l.found(d, key, name, st.Size)
	}
	return found
}

// found takes note of a name in a log directory.
func (l *loop) found(d *dir, key inode, name string, size int64) {
	f := d.files[key]
	if f != nil && f.src == nil && (f.name != name || !f.gzip && size != f.size) {
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
		f.size = max(size, f.size, f.read)            // what was cut off it is lost, and counted
		if f.final && f.src != nil && size > f.read { // written after all
			f.final, f.atEnd, f.lastGrowth = false, false, l.now
		}
	}
}

// reopen opens a file that was read to its end and has changed since. It says
// false when it is another file by now.
func (l *loop) reopen(d *dir, f *file, name string) bool {
	src, _, err := l.open(d, name)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	if f.gzip { // it does not grow
		z := &gzipContent{f: src}
		defer z.Close()
		head, _, _ := readHead(z)
		return string(head) == string(f.head)
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
	if f := d.files[inode{uint64(st.Dev), st.Ino}]; f != nil && f.src != nil {
		src.Close() // renamed since it was listed: the next listing tells
		d.dirty = true
		return
	}
	l.fileNum++
	f := &file{
		num: l.fileNum, as: as, name: name, present: true, inode: inode{uint64(st.Dev), st.Ino},
		gzip: as.Gzip, midStart: -1, size: st.Size, lastGrowth: l.now,
		firstSeen: strings.TrimPrefix(d.rel+"/"+name, "/"), listing: d.listing,
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
