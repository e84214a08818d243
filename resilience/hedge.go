package resilience

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

func hedgeKind() Kind {
	return Kind{
		Name:   "hedge",
		Counts: []string{names.PolicyHedges},
		Sides:  []string{OnEdge},
		About: "Sends a call a second time when the first has not answered after delay, or after the given quantile of the durations seen so far, " +
			"and takes the answer that comes first; the other is cancelled. A failure ends nothing while another attempt is under way; it ends the call when none is, for a hedge is no retry. " +
			"The call must be safe to repeat; the replicas should be several.",
		Main: "delay",
		Params: []parameter.Parameter{
			{Name: "delay", Type: parameter.Duration, About: "after how long to send another"},
			{Name: "quantile", Type: parameter.Ratio, Min: parameter.Bound(0.01), Max: parameter.Bound(0.9999), About: "in place of delay: the quantile of durations after which to send another"},
			{Name: "min_calls", Type: parameter.Integer, Default: int64(20), Min: parameter.Bound(1), About: "how many durations must be known before quantile is used"},
			{Name: "max", Type: parameter.Integer, Default: int64(1), Min: parameter.Bound(1), Max: parameter.Bound(10), About: "how many more to send at most"},
		},
		Example:  "- {hedge: {quantile: 0.95}}",
		parallel: true,
		check: func(v parameter.Values) []parameter.Problem {
			if v.Has("delay") == v.Has("quantile") {
				return []parameter.Problem{{Name: "delay", Message: "want either delay or quantile"}}
			}
			return nil
		},
		edge: func(v parameter.Values, h *host) (layer, error) { return newHedge(v, h).layer, nil },
	}
}

// hedge is failsafe-go's in what it does. The library's goes on waiting to send a hedge when the call's context has
// ended already, so that a timeout around it came late by up to the delay.
type hedge struct {
	delay     func() (time.Duration, bool) // false: not known yet
	seen      *quantile                    // nil: the delay is fixed
	most      int                          // how many attempts one call can have
	sent, won prometheus.Counter
}

func newHedge(v parameter.Values, h *host) *hedge {
	p := &hedge{
		most: 1 + int(v.Int("max")),
		sent: h.metrics.hedges.WithLabelValues(h.on, "sent"), won: h.metrics.hedges.WithLabelValues(h.on, "won"),
	}
	fixed := v.Duration("delay")
	p.delay = func() (time.Duration, bool) { return fixed, true }
	if v.Has("quantile") {
		p.seen = &quantile{of: v.Float("quantile"), least: int(v.Int("min_calls"))}
		p.delay = p.seen.value
	}
	return p
}

func (p *hedge) layer(inner next) next {
	return func(ctx context.Context, c *call) (result, error) {
		race := &race{hedge: p, inner: inner, call: c, ended: make(chan outcome, p.most)}
		res, err := race.run(ctx)
		return settled(ctx, res, err)
	}
}

// race is the attempts of one call.
type race struct {
	*hedge
	inner       next
	call        *call
	ended       chan outcome // has room for all
	sent, under int          // attempts sent, and of these those under way
}

// outcome is how an attempt ended.
type outcome struct {
	result
	err error
}

// run sends attempts until one succeeds, or none is under way any more. Those that
// lost are cancelled and waited for: they still read the request, which after this belongs to the caller again.
func (r *race) run(parent context.Context) (result, error) {
	ctx, cancel := context.WithCancel(parent)
	defer func() {
		cancel()
		for ; r.under > 0; r.under-- {
			<-r.ended
		}
	}()
	r.send(ctx)
	var due <-chan time.Time
	if delay, known := r.delay(); known {
		timer := time.NewTicker(max(delay, 1))
		defer timer.Stop()
		due = timer.C
	}
	for {
		select {
		case <-due:
			if r.send(ctx); r.sent == r.most {
				due = nil
			}
			r.hedge.sent.Inc()
		case o := <-r.ended:
			r.under--
			if o.class == Succeeded && o.hedge {
				r.won.Inc()
			}
			if o.class == Succeeded || r.under == 0 {
				return o.result, o.err
			}
		}
	}
}

// send sends one attempt.
func (r *race) send(ctx context.Context) {
	isHedge := r.sent > 0
	r.sent++
	r.under++
	go func() { // waited for by run
		began := time.Now()
		res, err := r.inner(ctx, r.call)
		res.hedge = isHedge
		if res.class == Succeeded && r.seen != nil {
			r.seen.add(time.Since(began))
		}
		r.ended <- outcome{res, err}
	}()
}

// quantile is the quantile of the last durations, which is looked for anew only now and then.
type quantile struct {
	of    float64
	least int // how many durations must be known

	mu    sync.Mutex
	known int
	last  [quantileAge]time.Duration // a ring
	found time.Duration
}

const (
	quantileAge   = 500 // how many durations the quantile remembers
	quantileEvery = 20  // after how many new ones it is looked for again
)

func (q *quantile) add(d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last[q.known%quantileAge] = d
	q.known++
	if q.known < q.least || q.known > q.least && q.known%quantileEvery != 0 {
		return
	}
	sorted := slices.Clone(q.last[:min(q.known, quantileAge)])
	slices.Sort(sorted)
	q.found = sorted[min(len(sorted)-1, int(q.of*float64(len(sorted))))]
}

func (q *quantile) value() (time.Duration, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.found, q.known >= q.least
}

// settled gives a result its class when the library made it from a context that ended.
func settled(ctx context.Context, res result, err error) (result, error) {
	if res.class == unclassified {
		res.class = classify(ctx, res.response, err)
	}
	return res, err
}
