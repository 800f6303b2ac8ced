package logs

import (
	"encoding/json"
	"time"

	"github.com/truesize/truesize/pkg/logs/checkpoint"
	"github.com/truesize/truesize/pkg/logs/source"
)

// saveIfDue writes a checkpoint when something changed and the last is old
// enough.
func (l *loop) saveIfDue(now bool) {
	if l.changed && l.totals.pendingSince.IsZero() {
		l.totals.pendingSince = l.now
	}
	if l.changed && (now || l.now.Sub(l.saved) >= time.Duration(l.cfg.Checkpoint)) {
		if err := l.save(); err != nil {
			if l.saveFailures++; l.saveFailures&(l.saveFailures-1) == 0 {
				l.log.Error("logs: checkpoint; reading goes on, after a crash more lines come twice", "failures", l.saveFailures, "error", err)
			}
			return
		}
		l.saveFailures = 0
	}
}

// save writes the checkpoint.
func (l *loop) save() error {
	l.saved = l.now
	if err := l.store.Save(l.state()); err != nil {
		l.totals.checkpointErrors++
		return err
	}
	l.totals.checkpointAt, l.totals.pendingSince = l.now, time.Time{}
	l.changed = false
	return nil
}

// state is what a checkpoint holds now.
func (l *loop) state() *checkpoint.State {
	s := new(checkpoint.State)
	for _, files := range l.restored {
		for _, e := range files {
			s.Files = append(s.Files, e)
		}
	}
	for _, r := range l.roots {
		for _, d := range r.logs {
			for _, e := range d.restored {
				s.Files = append(s.Files, e)
			}
			for _, c := range d.chains {
				for _, f := range c.files {
					if f.id != "" {
						f.noteTail()
						s.Files = append(s.Files, checkpoint.File{
							ID: f.id, Dir: d.path, Name: f.name, Dev: f.inode.dev, Ino: f.inode.ino, Gen: f.gen,
							Safe: f.safe, Tail: f.tail, TailAt: f.tailAt, Size: max(f.size, f.read), Path: f.firstSeen,
						})
					}
				}
			}
			if d.metaKnown && d.kind == source.Pods && len(d.chains) > 0 {
				if m, err := json.Marshal(d.meta); err == nil {
					s.Containers = append(s.Containers, checkpoint.Container{Dir: d.path, Meta: m})
				}
			}
		}
	}
	return s
}
