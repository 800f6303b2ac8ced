package ahead

import (
	"container/heap"
	"time"
)

// MaxPlanned is the number of files of which reads are prepared at a time: it
// bounds what preparing can cost, whatever the number of readers.
const MaxPlanned = 64

// A Plan holds when to prepare which reads. K names a file.
type Plan[K comparable] struct {
	queue queue[K]
	byKey map[K]*item[K]
}

type item[K comparable] struct {
	key    K
	due    time.Time
	period time.Duration
	left   int
	at     int // in the queue
}

// Set plans [Unseen] preparations of key, at first and each period after it,
// in the place of those planned before. With [MaxPlanned] files in the plan,
// another is not taken.
func (p *Plan[K]) Set(key K, first time.Time, period time.Duration) {
	if i := p.byKey[key]; i != nil {
		i.due, i.period, i.left = first, period, Unseen
		heap.Fix(&p.queue, i.at)
		return
	}
	if len(p.queue) == MaxPlanned {
		return
	}
	if p.byKey == nil {
		p.byKey = make(map[K]*item[K])
	}
	i := &item[K]{key: key, due: first, period: period, left: Unseen}
	p.byKey[key] = i
	heap.Push(&p.queue, i)
}

// Due returns a file that is to be prepared at now or was before, and
// otherwise ok false and for how long there is nothing to do, which is for
// ever when it is negative. A preparation that comes more than late after its
// time is left out.
func (p *Plan[K]) Due(now time.Time, late time.Duration) (key K, wait time.Duration, ok bool) {
	for len(p.queue) > 0 {
		i := p.queue[0]
		passed := now.Sub(i.due)
		if passed < 0 {
			return key, -passed, false
		}
		p.advance(i)
		if passed <= late {
			return i.key, 0, true
		}
	}
	return key, -1, false
}

// advance goes on to the next preparation of i, the first in the queue.
func (p *Plan[K]) advance(i *item[K]) {
	if i.left--; i.left == 0 {
		heap.Pop(&p.queue)
		delete(p.byKey, i.key)
		return
	}
	i.due = i.due.Add(i.period)
	heap.Fix(&p.queue, 0)
}

// queue is a heap by due.
type queue[K comparable] []*item[K]

func (q queue[K]) Len() int           { return len(q) }
func (q queue[K]) Less(a, b int) bool { return q[a].due.Before(q[b].due) }
func (q queue[K]) Swap(a, b int) {
	q[a], q[b] = q[b], q[a]
	q[a].at, q[b].at = a, b
}

func (q *queue[K]) Push(x any) {
	i := x.(*item[K])
	i.at = len(*q)
	*q = append(*q, i)
}

func (q *queue[K]) Pop() any {
	last := len(*q) - 1
	i := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return i
}
