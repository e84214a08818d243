package observability

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/observability/names"
)

// Why a span or log record was dropped.
const (
	causeQueue    = "queue_full"
	causeExport   = "export_failed"
	causeRejected = "rejected"
)

// drops counts what one signal lost. Each cause exists from the start, so
// that a rate over it is 0 and not absent.
type drops struct {
	queue, export, rejected prometheus.Counter
	total                   atomic.Int64
}

func newDrops(reg prometheus.Registerer, name, help string) *drops {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{names.Cause})
	reg.MustRegister(vec)
	return &drops{
		queue:    vec.WithLabelValues(causeQueue),
		export:   vec.WithLabelValues(causeExport),
		rejected: vec.WithLabelValues(causeRejected),
	}
}

func (d *drops) add(cause prometheus.Counter, n int) {
	if n <= 0 {
		return
	}
	cause.Add(float64(n))
	d.total.Add(int64(n))
}

// window bounds what is on its way to an exporter and knows, unlike the SDK's
// own queues, exactly what it turned away.
type window struct {
	limit   int64
	waiting atomic.Int64
	closed  atomic.Bool
	drops   *drops
}

// enter says whether there is room for one more; if not, it is counted.
func (w *window) enter() bool {
	if !w.closed.Load() {
		if w.waiting.Add(1) <= w.limit {
			return true
		}
		w.waiting.Add(-1)
	}
	w.drops.add(w.drops.queue, 1)
	return false
}

// leave makes room for n that the exporter was handed.
func (w *window) leave(n int) { w.waiting.Add(-int64(n)) }

// complaint is said aloud at most once a minute: a missing collector is worth
// a line, not one for each batch.
type complaint struct {
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
}

const complaintInterval = time.Minute

func (c *complaint) say(signal string, lost int, err error) {
	c.mu.Lock()
	now := time.Now()
	speak := c.last.IsZero() || now.Sub(c.last) >= complaintInterval
	if speak {
		c.last = now
	}
	c.mu.Unlock()
	if speak {
		c.log.Warn("telemetry is being lost", "signal", signal, "dropped", lost, "error", err.Error())
	}
}
