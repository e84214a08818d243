package resilience

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/parameter"
)

func adaptiveThrottleKind() Kind {
	return Kind{
		Name:   "adaptive_throttle",
		Causes: []string{"throttled"},
		Means:  "the probability of rejection now",
		Sides:  []string{OnEdge},
		About: "Client-side adaptive throttling: the caller rejects calls itself with probability max(0, (requests - k x accepts) / (requests + 1)), over those of the last window; " +
			"requests are all calls that came, the rejected ones too, and accepts those that the callee answered and that did not fail. Under lasting overload the callee gets about " +
			"k times what it can answer, which it needs to show that it is better. After the SRE book, ch. 21, Handling Overload, " +
			"where k is 2 and the window two minutes.",
		Main: "k",
		Params: []parameter.Parameter{
			{Name: "k", Type: parameter.Number, Default: 2.0, Min: parameter.Bound(1), Max: parameter.Bound(100), About: "how many calls each accepted one allows: less rejects sooner, more sends more in vain"},
			{Name: "window", Type: parameter.Duration, Default: "10s", Min: parameter.Bound(0.1), About: "over how long calls are counted, in tenths of it"},
			{Name: "max_rejection", Type: parameter.Ratio, Default: 0.9, Min: parameter.Bound(0.01),
				About: "the highest probability; with 1, the book's, a callee that answered nothing for a window is asked about once a window, and its recovery found as late"},
		},
		Example: "- {adaptive_throttle: {k: 2, window: 10s}}",
		edge:    func(v parameter.Values, h *host) (layer, error) { return newThrottle(v, h).layer, nil },
	}
}

// throttle is failsafe-go's adaptivethrottler in what it is for. The library's
// randomness cannot be seeded, and it counts only what it let through.
type throttle struct {
	k, most   float64
	throttled func(error) (result, error)
	chance    prometheus.Gauge

	rand *rand.Rand

	mu     sync.Mutex
	recent rolling
}

func newThrottle(v parameter.Values, h *host) *throttle {
	p := &throttle{
		k: v.Float("k"), most: v.Float("max_rejection"), rand: h.rand,
		throttled: h.refusals("throttled", Rejected, codes.Unavailable),
		chance:    h.metrics.state.WithLabelValues(h.on, h.policy),
		recent:    newRolling(v.Duration("window")),
	}
	p.chance.Set(0)
	return p
}

func (p *throttle) layer(inner next) next {
	return func(ctx context.Context, c *call) (result, error) {
		if !p.admit() {
			return p.throttled(nil)
		}
		class := Failed // should inner panic
		defer func() { p.record(class) }()
		res, err := inner(ctx, c)
		class = res.class
		return res, err
	}
}

// admit counts a call and tells whether it may go.
func (p *throttle) admit() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	chance := p.probability(p.recent.sum(now))
	p.recent.current(now).calls++
	p.chance.Set(chance)
	return chance == 0 || p.rand.Float64() >= chance
}

// probability is the formula of the book. A call that is taken out again may outlast the part of the window
// that it was counted in, so there can seem to be fewer than none.
func (p *throttle) probability(t tally) float64 {
	calls := max(0, t.calls)
	return min(p.most, max(0, (calls-p.k*t.good)/(calls+1)))
}

// record counts how a call that went ended. One that its caller gave up, or that a policy further in did not
// send, says nothing of the callee, and is taken out again.
func (p *throttle) record(class Class) {
	p.mu.Lock()
	defer p.mu.Unlock()
	current := p.recent.current(time.Now())
	switch {
	case class == Succeeded:
		current.good++
	case !class.Failure():
		current.calls--
	}
}
