package logs

import (
	"context"
	"sort"
	"time"

	"github.com/truesize/truesize/pkg/logs/sink"
)

// A Status is how log forwarding is doing.
type Status struct {
	Time       time.Time         `json:"time"`
	Containers []ContainerStatus `json:"containers"`
	// Totals count since the start, containers that are gone included.
	Totals Totals     `json:"totals"`
	Sink   sink.Stats `json:"sink"`
	// Lost are the lines that were not delivered, by reason; see docs/logs.md.
	Lost map[string]Loss `json:"lost,omitempty"`
	// Refused counts paths that will not be read: links that leave the log
	// directories, devices and the like.
	Refused uint64 `json:"refused"`
	// BufferedBytes is the memory of records that are not acknowledged.
	BufferedBytes int64 `json:"bufferedBytes"`
	OpenFiles     int   `json:"openFiles"`
	// DeletedFiles are open though deleted, to be read to their end.
	DeletedFiles int   `json:"deletedFiles"`
	DeletedBytes int64 `json:"deletedBytes"`
	// CheckpointAt is when progress was last written, zero when it never was.
	// Without progress nothing is written; CheckpointPending says that there
	// is some.
	CheckpointAt time.Time `json:"checkpointAt"`
	// PendingSince is since when there is progress to write, zero when there
	// is none.
	PendingSince      time.Time `json:"pendingSince"`
	CheckpointPending bool      `json:"checkpointPending"`
	CheckpointErrors  uint64    `json:"checkpointErrors"`
	// CheckpointDamaged says that the checkpoint found at the start could not
	// be used as it was.
	CheckpointDamaged bool `json:"checkpointDamaged,omitempty"`
}

// Totals are the counters of all containers.
type Totals struct {
	ReadBytes  int64  `json:"readBytes"` // of files
	ReadLines  uint64 `json:"readLines"`
	Unparsed   uint64 `json:"unparsedLines"`
	Sent       uint64 `json:"sentRecords"`
	Acked      uint64 `json:"ackedRecords"`
	AckedBytes int64  `json:"ackedBytes"` // of text
}

func (t *Totals) add(s *chainStats) {
	t.ReadBytes += s.read
	t.ReadLines += s.lines
	t.Unparsed += s.unparsed
	t.Sent += s.sent
	t.Acked += s.acked
	t.AckedBytes += s.ackedBytes
}

// A Loss is what was lost for one reason. Lines are 0 where nobody can know
// them, Bytes as well.
type Loss struct {
	Events uint64 `json:"events"`
	Bytes  int64  `json:"bytes"`
	Lines  int64  `json:"lines"`
}

// A ContainerStatus is the state of one container's logs. Counters count since
// the container's logs were first seen by this process.
type ContainerStatus struct {
	Ref
	Topic    string `json:"topic"`
	Files    int    `json:"files"`
	Read     int64  `json:"readBytes"` // of files
	Lines    uint64 `json:"readLines"`
	Sent     uint64 `json:"sentRecords"`
	Acked    uint64 `json:"ackedRecords"`
	AckBytes int64  `json:"ackedBytes"` // of text
	Unparsed uint64 `json:"unparsedLines"`
	// LagBytes are in files and not acknowledged; LagSeconds is how old they
	// are at most: since when there were always some, or the time of the last
	// acknowledged line, whichever is later.
	LagBytes   int64   `json:"lagBytes"`
	LagSeconds float64 `json:"lagSeconds"`
	LostBytes  int64   `json:"lostBytes"`
	LostLines  int64   `json:"lostLines"`
}

// chainStats are a chain's counters.
type chainStats struct {
	read            int64
	lines, unparsed uint64
	sent, acked     uint64
	ackedBytes      int64
	lastAcked       int64
	lostBytes       int64
	lostLines       int64
	behindSince     time.Time
}

// totals are the loop's counters.
type totals struct {
	lost             map[string]Loss
	refused          uint64
	deletedFiles     int
	deletedBytes     int64
	checkpointAt     time.Time
	pendingSince     time.Time
	checkpointErrors uint64
	damaged          bool
	gone             Totals // of containers that are no more
}

// lag returns how many bytes of a chain are not acknowledged.
func (c *chain) lag() int64 {
	var n int64
	for _, f := range c.files {
		if f.shadowOf == nil && (!f.final || !f.acked()) {
			n += f.lag()
		}
	}
	return n
}

// watchLag notes since when chains are behind, as often as somebody asks.
func (l *loop) watchLag() {
	for _, r := range l.roots {
		for _, d := range r.logs {
			for _, c := range d.chains {
				for _, f := range c.files {
					if f.src != nil && !f.gzip {
						f.onDisk() // notes its size
					}
				}
				switch {
				case c.lag() == 0:
					c.stats.behindSince = time.Time{}
				case c.stats.behindSince.IsZero():
					c.stats.behindSince = l.now
				}
			}
		}
	}
}

// status is what Status returns, seen by the loop's goroutine.
func (l *loop) status() Status {
	l.boundDeleted()
	l.watchLag()
	s := Status{
		Time: l.now, Sink: l.sink.Stats(), Refused: l.totals.refused, BufferedBytes: l.buffered,
		DeletedFiles: l.totals.deletedFiles, DeletedBytes: l.totals.deletedBytes,
		CheckpointAt: l.totals.checkpointAt, CheckpointPending: l.changed, PendingSince: l.totals.pendingSince,
		CheckpointErrors: l.totals.checkpointErrors, CheckpointDamaged: l.totals.damaged,
		Containers: []ContainerStatus{}, Lost: map[string]Loss{}, Totals: l.totals.gone,
	}
	for k, v := range l.totals.lost {
		s.Lost[k] = v
	}
	for _, r := range l.roots {
		for _, d := range r.logs {
			for _, c := range d.chains {
				s.Containers = append(s.Containers, c.status(l.now))
				s.Totals.add(&c.stats)
				for _, f := range c.files {
					if f.src != nil {
						s.OpenFiles++
					}
				}
			}
		}
	}
	sort.Slice(s.Containers, func(i, j int) bool {
		a, b := &s.Containers[i], &s.Containers[j]
		switch {
		case a.Namespace != b.Namespace:
			return a.Namespace < b.Namespace
		case a.Pod != b.Pod:
			return a.Pod < b.Pod
		case a.Container != b.Container:
			return a.Container < b.Container
		}
		return a.Restart < b.Restart
	})
	return s
}

func (c *chain) status(now time.Time) ContainerStatus {
	s := ContainerStatus{
		Ref: c.ref, Topic: c.topic, Files: len(c.files), Read: c.stats.read, Lines: c.stats.lines,
		Sent: c.stats.sent, Acked: c.stats.acked, AckBytes: c.stats.ackedBytes, Unparsed: c.stats.unparsed,
		LagBytes: c.lag(), LostBytes: c.stats.lostBytes, LostLines: c.stats.lostLines,
	}
	if since := c.stats.behindSince; !since.IsZero() && s.LagBytes > 0 {
		// A container that always writes always has something on its way.
		if last := time.Unix(0, c.stats.lastAcked); last.After(since) {
			since = last
		}
		s.LagSeconds = max(now.Sub(since).Seconds(), 0)
	}
	return s
}

// Status returns how log forwarding is doing. It fails when ctx is done first,
// or the component does not run.
func (c *Component) Status(ctx context.Context) (Status, error) {
	result := make(chan Status, 1)
	select {
	case c.loop.asks <- func() { result <- c.loop.status() }:
	case <-ctx.Done():
		return Status{}, ctx.Err()
	}
	select {
	case s := <-result:
		return s, nil
	case <-ctx.Done():
		return Status{}, ctx.Err()
	}
}
