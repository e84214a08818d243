package resilience

import (
	"container/list"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/parameter"
)

// Waiting is one request in a door's queue.
type Waiting struct {
	Since time.Time
	// Admitted is when it was given its worker; the door sets it before Admit gets nil.
	Admitted time.Time
	// Admit gets one value: nil when the request has a worker, or the error to refuse it with. It has room for it.
	Admit chan error

	place    *list.Element
	patience time.Duration // how long it may wait, 0 for ever
}

// Queue decides the order of those who wait at a door, and who waits in vain.
// The door calls it under its own lock.
type Queue interface {
	// Push lets one more wait. When there is no room it returns the one that has to go, which may be w itself.
	Push(w *Waiting) (evicted *Waiting)
	// Pop takes out the next one; with an error it shall be refused, not served. nil means that nobody waits.
	Pop(now time.Time) (w *Waiting, refuse error)
	// Remove takes out one who leaves by itself.
	Remove(w *Waiting)
}

// NewQueue makes the queue that the door's policies want, for at most limit requests: first
// come, first served unless they say otherwise.
func (d *Door) NewQueue(limit int) Queue {
	q := &queue{limit: limit}
	if d.queue != nil {
		*q = *d.queue
		q.limit = limit
	}
	return q
}

// The disciplines of queues.
const (
	fifo      = "fifo"
	lifo      = "lifo"
	codel     = "codel"
	codelLIFO = "codel_lifo"
)

func queueKind() Kind {
	return Kind{
		Name:   "queue",
		Causes: []string{"late"},
		Sides:  []string{AtDoor},
		Once:   true,
		About: "The order in which requests that wait for a worker are taken. fifo: the first first. lifo: the last first, whose caller most likely still waits; " +
			"when there is no room the oldest goes. codel: fifo, but once the queue has not been empty for interval, whoever comes may wait no longer than target " +
			"and is refused then; others may wait for interval. codel_lifo: the same, and the last first while the queue is like that, " +
			"which answers more than codel where callers give up about when the interval ends, and as much where they are more patient. " +
			"After Maurer, Fail at Scale, ACM Queue 2015.",
		Main: "discipline",
		Params: []parameter.Parameter{
			{Name: "discipline", Type: parameter.Text, Required: true, Allowed: []string{fifo, lifo, codel, codelLIFO}, About: "which order"},
			{Name: "target", Type: parameter.Duration, Default: "5ms", About: "codel: how long a request may wait in a queue that stands"},
			{Name: "interval", Type: parameter.Duration, Default: "100ms", About: "codel: after how long without being empty a queue stands"},
		},
		Example: "- {queue: codel_lifo}",
		door: func(v parameter.Values, h *host, d *Door) (layer, error) {
			late := h.refusals("late", Rejected, codes.ResourceExhausted)
			discipline := v.Text("discipline")
			d.queue = &queue{
				newest:   discipline == lifo,
				adaptive: discipline == codelLIFO,
				codel:    discipline == codel || discipline == codelLIFO,
				target:   v.Duration("target"),
				interval: v.Duration("interval"),
				refuse:   func() error { _, err := late(nil); return err },
			}
			return nil, nil
		},
	}
}

// queue is every discipline in one.
type queue struct {
	limit    int
	newest   bool // always the last first
	adaptive bool // the last first while the queue stands
	codel    bool
	target   time.Duration
	interval time.Duration
	refuse   func() error

	list  list.List // of *Waiting, the oldest in front
	since time.Time // when it was last empty, as far as codel needs it
}

// stands tells whether the queue has not been empty for the interval.
func (q *queue) stands(now time.Time) bool {
	return q.codel && q.list.Len() > 0 && now.Sub(q.since) > q.interval
}

// Push is part of Queue.
func (q *queue) Push(w *Waiting) (evicted *Waiting) {
	if q.limit <= 0 {
		return w
	}
	if q.list.Len() == 0 {
		q.since = w.Since
	}
	if q.list.Len() >= q.limit {
		if !q.newest && !(q.adaptive && q.stands(w.Since)) {
			return w
		}
		evicted, _ = q.list.Remove(q.list.Front()).(*Waiting)
	}
	if q.codel {
		w.patience = q.interval
		if q.stands(w.Since) {
			w.patience = q.target
		}
	}
	w.place = q.list.PushBack(w)
	return evicted
}

// Pop is part of Queue.
func (q *queue) Pop(now time.Time) (w *Waiting, refuse error) {
	next := q.list.Front()
	if q.newest || q.adaptive && q.stands(now) {
		next = q.list.Back()
	}
	if next == nil {
		return nil, nil
	}
	w, _ = q.list.Remove(next).(*Waiting)
	if w.patience > 0 && now.Sub(w.Since) > w.patience {
		return w, q.refuse()
	}
	return w, nil
}

// Remove is part of Queue.
func (q *queue) Remove(w *Waiting) { q.list.Remove(w.place) }
