package logs

import (
	"bytes"
	"slices"
	"time"

	"github.com/truesize/truesize/pkg/logs/checkpoint"
)

// Reasons for which lines are lost, or left out.
const (
	lossDeleted    = "deleted"    // a deleted file passed a bound before it was read
	lossGone       = "gone"       // a file disappeared while the agent was not running
	lossTruncated  = "truncated"  // a file was cut before it was read, and not copied
	lossUnreadable = "unreadable" // a file could not be read, or decompressed, to its end
	lossRateLimit  = "rate-limit" // the pod writes faster than it may
)

// LossReasons returns all reasons under which losses are counted.
func LossReasons() []string {
	return []string{lossDeleted, lossGone, lossTruncated, lossUnreadable, lossRateLimit}
}

// lose counts bytes and lines that are not delivered. Lines are 0 where nobody
// can know them.
func (l *loop) lose(c *chain, reason string, bytes, lines int64) {
	if l.totals.lost == nil {
		l.totals.lost = map[string]Loss{}
	}
	t := l.totals.lost[reason]
	t.Bytes, t.Lines, t.Events = t.Bytes+bytes, t.Lines+lines, t.Events+1
	l.totals.lost[reason] = t
	if c != nil {
		c.stats.lostBytes += bytes
		c.stats.lostLines += lines
	}
}

// boundDeleted gives up the deleted files that pass the bounds, oldest first.
// Those that are there in a compressed form, by which nothing is lost, go before
// the others.
func (l *loop) boundDeleted() {
	var list []*file
	var total int64
	for _, r := range l.roots {
		for _, d := range r.logs {
			for _, c := range d.chains {
				for _, f := range c.files {
					if (!f.present || f.compressed()) && f.src != nil && !f.final {
						list = append(list, f)
						total += f.onDisk()
					}
				}
			}
		}
	}
	l.totals.deletedBytes, l.totals.deletedFiles = total, len(list)
	slices.SortFunc(list, func(a, b *file) int {
		if a.compressed() != b.compressed() {
			if a.compressed() {
				return -1
			}
			return 1
		}
		return a.deletedAt.Compare(b.deletedAt)
	})
	for _, f := range list {
		if total <= int64(l.cfg.Deleted.MaxBytes) && l.now.Sub(f.deletedAt) <= time.Duration(l.cfg.Deleted.MaxAge) {
			continue
		}
		total -= f.onDisk()
		if f.compressed() {
			l.toCompressed(f)
		} else {
			l.giveUp(f)
		}
	}
}

// compressed says that a file is read from what was deleted when it had been
// compressed: its name is that of the compressed form.
func (f *file) compressed() bool { return f.present && f.as.Gzip && !f.gzip }

// toCompressed has a file read on from its compressed form, so that the system
// gets back the space of the other one.
func (l *loop) toCompressed(f *file) {
	src, st, err := l.open(f.chain.dir, f.name)
	if err != nil {
		return // gone, or not to be opened: the next look tells
	}
	if (inode{uint64(st.Dev), st.Ino}) != f.inode {
		src.Close()
		return
	}
	f.close()
	f.src, f.gzip, f.atEnd = &gzipContent{f: src}, true, false
}

// giveUp closes a deleted file that is not read to its end.
func (l *loop) giveUp(f *file) {
	var lost, lines int64
	for off := f.read; ; {
		n, err := f.src.ReadAt(l.buf, off)
		lost += int64(n)
		lines += int64(bytes.Count(l.buf[:n], []byte{'\n'}))
		off += int64(n)
		if n == 0 || err != nil {
			break
		}
	}
	f.close()
	f.final = true
	f.size = f.read
	l.changed = true
	if lost == 0 {
		return
	}
	l.lose(f.chain, lossDeleted, lost, lines)
	l.log.Error("logs: LOST: a deleted file was not read in time; raise logs.deleted or look why the sink is slow",
		"path", f.chain.dir.path+"/"+f.name, "bytes", lost, "lines", lines)
}

// unreadable counts a file that cannot be read to its end.
func (l *loop) unreadable(f *file, err error) {
	l.lose(f.chain, lossUnreadable, 0, 0)
	l.log.Error("logs: LOST: a file cannot be read to its end", "path", f.chain.dir.path+"/"+f.name, "offset", f.read, "error", err)
}

// goneMeanwhile counts what a checkpoint knows of a directory's files that are
// no longer there.
func (l *loop) goneMeanwhile(d *dir) {
	for id, e := range d.restored {
		l.changed = true
		if unread := e.Size - min(e.Safe[0], e.Safe[1]); unread > 0 || !d.overtaken(e) {
			l.gone(d.path, e.Name, unread)
		} else {
			l.lose(nil, lossGone, 0, 0)
			l.log.Error("logs: LOST: a file that was still written was rotated and removed while the agent was not running; how much was in it, and in files after it, nobody knows",
				"path", d.path+"/"+e.Name, "read", e.Size)
		}
		delete(d.restored, id)
	}
}

// overtaken says that a file that is gone was the one being written when it was
// last seen, while its container has files now: it was rotated and removed,
// perhaps with others in between, and with what was written last.
func (d *dir) overtaken(e checkpoint.File) bool {
	as, ok := d.kind.ParseName(e.Name)
	return ok && as.Rotation == "" && d.chains[as.Base] != nil
}

// forgetRest counts what a checkpoint knows of directories that are no longer
// there. Where the root itself is not there, it may be mounted yet.
func (l *loop) forgetRest() {
	for path, files := range l.restored {
		if slices.ContainsFunc(l.roots, func(r *root) bool {
			return len(r.real) == 0 && (path == r.path || within(path, []string{r.path}))
		}) {
			continue
		}
		for _, e := range files {
			l.gone(path, e.Name, e.Size-min(e.Safe[0], e.Safe[1]))
		}
		l.changed = true
		delete(l.restored, path)
	}
}

func (l *loop) gone(dir, name string, unread int64) {
	if unread <= 0 {
		return
	}
	l.lose(nil, lossGone, unread, 0)
	l.log.Error("logs: LOST: a file that was not read to its end disappeared while the agent was not running", "path", dir+"/"+name, "bytes", unread)
}

// discard closes all files of a chain that is not to be read.
func (l *loop) discard(c *chain) {
	for _, f := range c.files {
		f.close()
		f.final = true
		f.safe, f.markedTo = [2]int64{f.read, f.read}, [2]int64{f.read, f.read}
		delete(c.dir.files, f.inode)
		delete(c.dir.byID, f.id)
	}
	c.files = nil
	l.remove(c)
	delete(c.dir.chains, c.base)
	l.changed = true
}
