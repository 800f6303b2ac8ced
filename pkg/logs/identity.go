package logs

import (
	"bytes"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/truesize/truesize/pkg/logs/checkpoint"
	"github.com/truesize/truesize/pkg/logs/parse"
)

// identifyAll finds out which files the new ones of a directory are. Those
// that a checkpoint knows by their inode come first: a copy of one must not
// take its place.
func (l *loop) identifyAll(d *dir) {
	var list []*file
	for _, f := range d.files {
		if f.id == "" && f.src != nil && f.shadowOf == nil {
			list = append(list, f)
		}
	}
	known := map[inode]bool{}
	for _, e := range d.restored {
		known[inode{e.Dev, e.Ino}] = true
	}
	slices.SortFunc(list, func(a, b *file) int {
		if x, y := known[a.inode], known[b.inode]; x != y {
			if x {
				return -1
			}
			return 1
		}
		return int(int64(a.num) - int64(b.num))
	})
	for _, f := range list {
		l.identify(f)
	}
}

// identify gives a file its identity if its first line is there.
func (l *loop) identify(f *file) bool {
	if p, ok := f.src.(plainContent); ok && isGzip(p.File) {
		f.src, f.gzip, f.size = &gzipContent{f: p.File}, true, 0
	}
	head, whole, _ := readHead(f.src)
	// A compressed file grows no more: its head is what there is.
	if !whole && (!f.gzip || len(head) == 0) {
		return false
	}
	l.bind(f, head)
	if z, ok := f.src.(*gzipContent); ok {
		z.release() // until it is its turn
	}
	return f.id != ""
}

// bind finds which file it is that starts with head: one that is known under
// another name or in another form, one of the checkpoint, or a new one.
func (l *loop) bind(f *file, head []byte) {
	d := f.chain.dir
	live, saved := d.startingWith(f, head)
	for _, e := range saved { // the very file, as it was left
		if e.Dev == f.inode.dev && e.Ino == f.inode.ino && l.adopt(f, head, e) {
			return
		}
	}
	for _, other := range live {
		gone := !other.present || other.final && other.src == nil && !l.stillThere(other)
		switch {
		case gone && f.holds(other):
			l.takeOver(other, f)
			return
		case gone: // another one that starts alike
		case other.src != nil && !other.gzip && !l.sameHead(other):
			// It was truncated and nobody noticed yet: f is its copy.
			l.detach(other)
			l.takeOver(other, f)
			return
		case l.isCopy(f, other):
			f.shadowOf = other // decided when other changes or goes
			return
		}
	}
	for _, e := range saved { // the file in another form
		if l.adopt(f, head, e) {
			return
		}
	}
	gen := f.firstGen(detect(d.kind, head), head)
	for _, other := range live {
		gen = max(gen, other.gen+1)
	}
	for _, e := range saved {
		gen = max(gen, e.Gen+1)
	}
	l.settle(f, head, gen)
	if !d.seen && l.fromEnd() {
		f.resume([parse.Streams]int64{f.size, f.size})
	}
}

// firstGen returns the generation of a file unless others that start alike are
// known: 0 where the first line has a time. Where it has none, one that was here
// before and is forgotten may have started alike, and positions must not come
// again: then it is when the file was made, in milliseconds, if that is known.
func (f *file) firstGen(format lineFormat, head []byte) int {
	if format.dated(head) {
		return 0
	}
	var st unix.Statx_t
	err := unix.Statx(int(f.osFile().Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	if err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	made := int(st.Btime.Sec*1000 + int64(st.Btime.Nsec)/1e6)
	return max(made, f.chain.dir.cutGen+1)
}

// startingWith returns the other files of a directory that start with head:
// those that are known now, and those that only the checkpoint knows.
func (d *dir) startingWith(f *file, head []byte) (live []*file, saved []checkpoint.File) {
	for _, other := range d.byID {
		if other != f && bytes.Equal(other.head, head) {
			live = append(live, other)
		}
	}
	for id, e := range d.restored {
		if fileID(d.path, head, e.Gen) == id {
			saved = append(saved, e)
		}
	}
	slices.SortFunc(live, func(a, b *file) int { return a.gen - b.gen })
	slices.SortFunc(saved, func(a, b checkpoint.File) int { return a.Gen - b.Gen })
	return live, saved
}

// adopt makes f the file of a checkpoint's entry, unless it is shorter than
// what was read of that, or was another one there.
func (l *loop) adopt(f *file, head []byte, e checkpoint.File) bool {
	if !f.gzip && f.size < min(e.Safe[0], e.Safe[1]) || !f.hasTail(e, detect(f.chain.dir.kind, head).dated(head)) {
		return false
	}
	delete(f.chain.dir.restored, e.ID)
	l.settle(f, head, e.Gen)
	f.resume(e.Safe)
	f.tail, f.tailAt = e.Tail, e.TailAt
	if e.Path != "" {
		f.firstSeen = e.Path
	}
	if f.gzip {
		l.skipRead(f)
	}
	return true
}

// settle gives a file its identity.
func (l *loop) settle(f *file, head []byte, gen int) {
	d := f.chain.dir
	f.id, f.gen, f.head = fileID(d.path, head, gen), gen, head
	f.format = detect(d.kind, head)
	d.byID[f.id] = f
	l.changed = true
}

// fromEnd says whether files that are there before the first start are not
// read.
func (l *loop) fromEnd() bool {
	return l.firstScan && l.first && l.cfg.ReadFrom == "end"
}

// resume makes reading start behind what was acknowledged.
func (f *file) resume(safe [parse.Streams]int64) {
	f.read = min(safe[0], safe[1])
	f.safe, f.skip, f.markedTo = safe, safe, safe
	f.resumed = true
}

// stillThere says whether a closed file is still under its name and inode.
func (l *loop) stillThere(f *file) bool {
	var st unix.Stat_t
	err := unix.Stat(f.chain.dir.path+"/"+f.name, &st)
	return err == nil && inode{uint64(st.Dev), st.Ino} == f.inode
}

// skipRead ends a compressed file of which all was read before it was
// compressed.
func (l *loop) skipRead(f *file) {
	n, err := gzipSize(f.osFile())
	if err == nil && f.read > 0 && uint32(f.read) == n && f.safe[0] == f.safe[1] {
		f.final = true
		f.size = f.read
		f.close()
	}
}

// isCopy says whether f, which starts with the same line as other, is a copy of
// it, compressed or not: one that is the same as far as both go.
func (l *loop) isCopy(f, other *file) bool {
	if z, ok := f.src.(*gzipContent); ok {
		defer z.release()
	}
	src := other.src
	if src == nil {
		file, _, err := l.open(other.chain.dir, other.name)
		if err != nil {
			return true // looked at again
		}
		defer file.Close()
		if src = (plainContent{file}); other.gzip {
			src = &gzipContent{f: file}
		}
	}
	return sameStart(f.src, src)
}

// holds says whether f, which starts like a file that is gone, can be another
// form of it: every file of a program may start with the same banner or header.
func (f *file) holds(other *file) bool {
	if other.src == nil {
		e := checkpoint.File{Safe: other.safe, Tail: other.tail, TailAt: other.tailAt}
		return f.hasTail(e, other.format.dated(other.head))
	}
	whole := f.gzip || other.gzip || f.size >= other.onDisk()
	return whole && sameStart(f.src, other.src)
}

// takeOver makes f, a file that was just found, the present form of a known
// one: its compressed form, or the copy made before it was truncated.
func (l *loop) takeOver(known, f *file) {
	d := known.chain.dir
	c := known.chain
	c.files = slices.DeleteFunc(c.files, func(x *file) bool { return x == f })
	delete(d.files, known.inode)
	f.shadowOf = nil
	known.inode, known.name, known.as, known.present = f.inode, f.name, f.as, true
	d.files[f.inode] = known
	l.changed = true
	if known.src != nil && !known.final {
		// It is read from the file as it was, which is still open: see
		// boundDeleted.
		f.close()
		known.deletedAt = l.now
		return
	}
	known.close()
	known.src, known.gzip, known.final, known.atEnd = f.src, f.gzip, false, false
	if known.gzip {
		if known.acked() {
			l.skipRead(known)
		}
	} else if known.size = f.size; f.size <= known.read {
		known.final = true
		known.close()
	}
	c.sort()
}

// reshadow decides again about the copies in a directory: the original may be
// gone, or what looked like a copy has become another file.
func (l *loop) reshadow(d *dir) {
	for _, f := range slices.Collect(maps.Values(d.files)) {
		o := f.shadowOf
		if o == nil || f.src == nil {
			continue
		}
		gone := !o.present || !l.stillThere(o)
		switch {
		case gone && f.holds(o):
			l.takeOver(o, f)
		case gone || !l.isCopy(f, o):
			f.shadowOf = nil
			l.identify(f)
		default:
			continue
		}
		l.ready(f.chain)
	}
}

// sameHead says whether a file still starts as it did. A file that was
// truncated and written anew does not.
func (l *loop) sameHead(f *file) bool {
	if f.gzip || len(f.head) == 0 {
		return true
	}
	var b [headMax]byte
	n, _ := f.osFile().ReadAt(b[:len(f.head)], 0)
	return n == len(f.head) && string(b[:n]) == string(f.head)
}

// detach parts a file from its inode, which holds something else by now. The
// next look at the directory finds that as a new file.
func (l *loop) detach(f *file) {
	d := f.chain.dir
	delete(d.files, f.inode)
	d.cutGen = max(d.cutGen, f.gen)
	f.inode, f.present = inode{}, false
	f.deletedAt = l.now
	f.close()
	l.touch(d)
}

// truncated deals with a file that was cut to nothing in its place. Usually
// it was copied before, and the copy is read on.
func (l *loop) truncated(f *file) {
	d, c := f.chain.dir, f.chain
	unread := f.size - f.read
	before := f.name
	l.detach(f)
	l.lookLogs(d) // finds the copy, and what is written now as a new file
	if f.present {
		l.log.Info("logs: file was truncated, its copy is read on", "path", d.path+"/"+before, "copy", f.name)
		l.ready(c)
		return
	}
	if unread > 0 {
		l.lose(c, lossTruncated, unread, 0)
		l.log.Error("logs: file was truncated before it was read, and there is no copy", "path", d.path+"/"+before, "bytes", unread)
	}
	f.final = true
	l.prune(d)
	l.ready(c)
}
