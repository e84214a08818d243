package resilience

import (
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

func outlierEjectionKind() Kind {
	return Kind{
		Name:   "outlier_ejection",
		Means:  "how many replicas are out",
		Counts: []string{names.PolicyTransitions},
		Sides:  []string{OnEdge},
		Once:   true,
		About: "Stops sending to a replica of the callee that fails or is slow, measured against the others. It is ejected after so many failed attempts in a row, " +
			"when the share of its attempts that failed within the window is higher than that of the others together by failure_margin, or when its mean duration is slow_factor times theirs. " +
			"It comes back after base_ejection, after twice that when it is ejected again at once, and so on up to max_ejection. No more than max_ejected of the replicas are out at a time, and never all of them. " +
			"It compares with the others because Envoy's way, standard deviations from the mean, cannot eject one of three: " +
			"no value of n lies further than (n-1)/sqrt(n) deviations off, 1.15 for three, and Envoy asks for 1.9.",
		Main: "consecutive",
		Params: []parameter.Parameter{
			{Name: "consecutive", Type: parameter.Integer, Default: int64(5), Min: parameter.Bound(0), Max: parameter.Bound(10000), About: "how many failed attempts in a row eject; 0: none do"},
			{Name: "failure_margin", Type: parameter.Ratio, Default: 0.3, About: "by how much more of its attempts must fail than of the others'; 0: this does not eject"},
			{Name: "slow_factor", Type: parameter.Number, Default: 3.0, Min: parameter.Bound(0), Max: parameter.Bound(1000), About: "how many times the others' mean duration is too slow, where it is 5ms more at least; 0: this does not eject"},
			{Name: "min_calls", Type: parameter.Integer, Default: int64(20), Min: parameter.Bound(1), Max: parameter.Bound(100000), About: "how many attempts of the replica, and of the others together, the window must hold before they are compared"},
			{Name: "window", Type: parameter.Duration, Default: "10s", Min: parameter.Bound(0.1), About: "over how long attempts are counted, in tenths of it"},
			{Name: "base_ejection", Type: parameter.Duration, Default: "10s", Min: parameter.Bound(0.01), About: "how long the first ejection lasts"},
			{Name: "max_ejection", Type: parameter.Duration, Default: "5m", Min: parameter.Bound(0.01), About: "the longest ejection"},
			{Name: "max_ejected", Type: parameter.Ratio, Default: 0.5, About: "the largest share of the replicas that may be out; one may always be, when there are several"},
		},
		Example: "- {outlier_ejection: {consecutive: 5, base_ejection: 10s}}",
		check: func(v parameter.Values) []parameter.Problem {
			var problems []parameter.Problem
			if v.Duration("max_ejection") < v.Duration("base_ejection") {
				problems = append(problems, parameter.Problem{Name: "max_ejection", Message: "is shorter than base_ejection"})
			}
			if f := v.Float("slow_factor"); f > 0 && f <= 1 {
				problems = append(problems, parameter.Problem{Name: "slow_factor", Message: "would eject the faster ones too; want more than 1, or 0 for none"})
			}
			return problems
		},
		edge: func(v parameter.Values, h *host) (layer, error) {
			h.edge.outliers = newOutliers(v, h)
			return nil, nil
		},
	}
}

// outliers watches the replicas of one callee from one caller. It stands at the attempts, wherever in the chain it is
// written, and acts where the replica is picked.
type outliers struct {
	consecutive          int
	margin, factor       float64
	minCalls             float64
	window, base, most   time.Duration
	share                float64
	on                   string
	log                  *slog.Logger
	count                prometheus.Gauge
	ejections, returning prometheus.Counter

	mu       sync.Mutex
	replicas []*replica
	changed  func(available []bool) // tells the balancer; nil when it asks by itself
	timer    *time.Timer            // of the next return, when there is someone to tell
}

// replica is what is known of one of them.
type replica struct {
	recent rolling
	row    int       // failed attempts in a row
	until  time.Time // end of its ejection
	out    bool
	times  int // ejections that followed each other
}

func newOutliers(v parameter.Values, h *host) *outliers {
	o := &outliers{
		consecutive: int(v.Int("consecutive")), margin: v.Float("failure_margin"), factor: v.Float("slow_factor"), minCalls: float64(v.Int("min_calls")),
		window: v.Duration("window"), base: v.Duration("base_ejection"), most: v.Duration("max_ejection"), share: v.Float("max_ejected"),
		on: h.on, log: h.log,
		count:     h.metrics.state.WithLabelValues(h.on, h.policy),
		ejections: h.metrics.transitions.WithLabelValues(h.on, h.policy, "ejected"),
		returning: h.metrics.transitions.WithLabelValues(h.on, h.policy, "returned"),
	}
	o.count.Set(0)
	return o
}

// available tells which of n replicas may be asked. A nil outliers knows of none that may not.
func (o *outliers) available(n int) []bool {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known(n)
	o.returnDue(time.Now())
	return o.list()
}

func (o *outliers) known(n int) {
	for len(o.replicas) < n {
		o.replicas = append(o.replicas, &replica{recent: newRolling(o.window)})
	}
}

func (o *outliers) list() []bool {
	list := make([]bool, len(o.replicas))
	for i, r := range o.replicas {
		list[i] = !r.out
	}
	return list
}

// watch has changed called at each ejection and return, until stop is called.
func (o *outliers) watch(n int, changed func([]bool)) (stop func()) {
	if o == nil {
		return func() {}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known(n)
	o.changed = changed
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.changed = nil
		if o.timer != nil {
			o.timer.Stop()
		}
	}
}

// record counts an attempt at a replica, from 1. A failure that came at once is no sign of speed, so durations are those of
// answers and of timeouts. One that was cancelled says nothing, unless it had lasted longer than is
// usual with the others: then it is what a hedge or an impatient caller left behind, and would have taken longer still.
func (o *outliers) record(n int, class Class, took time.Duration) {
	if o == nil || n <= 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	o.known(n)
	o.returnDue(now)
	r := o.replicas[n-1]
	current := r.recent.current(now)
	switch {
	case class == Succeeded:
		current.good++
		r.row = 0
	case class.Failure():
		r.row++
	case class != Cancelled || took.Seconds() <= o.others(n-1, now).mean():
		return
	}
	if class != Cancelled {
		current.calls++
	}
	if class == Succeeded || class == TimedOut || class == Cancelled {
		current.timed++
		current.took += took
	}
	if reason := o.odd(n-1, now); reason != "" && !r.out {
		o.eject(n-1, now, reason)
	}
}

// odd says what is wrong with a replica, "" when nothing is.
func (o *outliers) odd(n int, now time.Time) string {
	r := o.replicas[n]
	if o.consecutive > 0 && r.row >= o.consecutive {
		return fmt.Sprintf("%d failures in a row", r.row)
	}
	own, others := r.recent.sum(now), o.others(n, now)
	if o.margin > 0 && min(own.calls, others.calls) >= o.minCalls {
		failing, usual := 1-own.good/own.calls, 1-others.good/others.calls
		if failing-usual >= o.margin {
			return fmt.Sprintf("%.0f %% fail, of the others %.0f %%", 100*failing, 100*usual)
		}
	}
	if o.factor > 0 && min(own.timed, others.timed) >= o.minCalls {
		slow, usual := own.mean(), others.mean()
		if slow-usual >= leastSlow.Seconds() && slow >= o.factor*usual {
			return fmt.Sprintf("takes %.1f ms, the others %.1f ms", 1000*slow, 1000*usual)
		}
	}
	return ""
}

// leastSlow is what a replica must be slower by, in any case: less may be the machine's doing and not the replica's.
const leastSlow = 5 * time.Millisecond

// others adds up all replicas but one. Those that are out would make the others look bad.
func (o *outliers) others(n int, now time.Time) tally {
	var all tally
	for i, other := range o.replicas {
		if i == n || other.out {
			continue
		}
		t := other.recent.sum(now)
		all.calls += t.calls
		all.good += t.good
		all.timed += t.timed
		all.took += t.took
	}
	return all
}

// eject takes a replica out, unless too many are out already.
func (o *outliers) eject(n int, now time.Time, reason string) {
	out := 0
	for _, r := range o.replicas {
		if r.out {
			out++
		}
	}
	most := max(1, int(o.share*float64(len(o.replicas))+1e-9))
	if out >= min(most, len(o.replicas)-1) {
		return
	}
	r := o.replicas[n]
	// Well for as long as it was out: what was before does not count any more.
	if r.times > 0 && now.Sub(r.until) > o.lasting(r.times) {
		r.times = 0
	}
	r.times++
	r.out, r.until = true, now.Add(o.lasting(r.times))
	o.ejections.Inc()
	o.log.Info("replica ejected", "on", o.on, "replica", n+1, "because", reason, "for", o.lasting(r.times))
	o.tell()
}

// lasting is how long the n-th ejection in a row lasts.
func (o *outliers) lasting(n int) time.Duration {
	return time.Duration(min(float64(o.most), float64(o.base)*math.Pow(2, float64(n-1))))
}

// returnDue takes back those whose time is over. They begin anew: what they did before is not held against them.
func (o *outliers) returnDue(now time.Time) {
	back := false
	for n, r := range o.replicas {
		if !r.out || now.Before(r.until) {
			continue
		}
		r.out, r.row, r.recent, back = false, 0, newRolling(o.window), true
		o.returning.Inc()
		o.log.Info("replica back", "on", o.on, "replica", n+1)
	}
	if back {
		o.tell()
	}
}

// tell passes on what has changed, and sees to it that the next return is noticed without calls.
func (o *outliers) tell() {
	out := 0
	var next time.Time
	for _, r := range o.replicas {
		if r.out {
			out++
			if next.IsZero() || r.until.Before(next) {
				next = r.until
			}
		}
	}
	o.count.Set(float64(out))
	if o.changed == nil {
		return
	}
	o.changed(o.list())
	if o.timer != nil {
		o.timer.Stop()
	}
	if out > 0 {
		o.timer = time.AfterFunc(time.Until(next), func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.returnDue(time.Now())
		})
	}
}
