package resilience

import (
	"context"
	"errors"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/parameter"
)

func adaptiveLimitKind() Kind {
	return Kind{
		Name:   "adaptive_limit",
		Causes: []string{"full"},
		Means:  "the limit now",
		Sides:  []string{OnEdge, AtDoor},
		About: "A bulkhead that finds its own size: at most so many calls may be under way, and that limit follows how long they take. Once each window the " +
			"quantile of the durations seen is compared with its long-term average: what queues of it, limit x (1 - average / recent), lowers the limit when it is more than some, and raises it when " +
			"it is less, by log10 of the limit each time; it is lowered too when more under way brings longer durations but no more throughput. It never " +
			"exceeds headroom times what was under way. What is not answered (failed at once, rejected, cancelled) says nothing of durations; a timeout counts as one. " +
			"It is failsafe-go's adaptivelimiter, of the family of TCP Vegas and of Netflix's concurrency-limits. It moves by one or two a window, so begin near the truth or " +
			"make windows short; under lasting overload it dips below what the callee could do for some windows now and then, which min bounds.",
		Main: "initial",
		Params: []parameter.Parameter{
			{Name: "initial", Type: parameter.Integer, Default: int64(20), Min: parameter.Bound(1), Max: parameter.Bound(100000), About: "the limit to begin with"},
			{Name: "min", Type: parameter.Integer, Default: int64(1), Min: parameter.Bound(1), Max: parameter.Bound(100000), About: "the least limit"},
			{Name: "max", Type: parameter.Integer, Default: int64(200), Min: parameter.Bound(1), Max: parameter.Bound(100000), About: "the highest limit"},
			{Name: "headroom", Type: parameter.Number, Default: 5.0, Min: parameter.Bound(1), Max: parameter.Bound(100), About: "how many times what was under way the limit may be"},
			{Name: "window", Type: parameter.Duration, Default: "1s", Min: parameter.Bound(0.01), About: "over how long durations are gathered before the limit changes; longer where min_calls did not come"},
			{Name: "min_calls", Type: parameter.Integer, Default: int64(50), Min: parameter.Bound(1), Max: parameter.Bound(100000), About: "how many durations a change needs"},
			{Name: "quantile", Type: parameter.Ratio, Default: 0.9, Min: parameter.Bound(0.01), Max: parameter.Bound(0.99), About: "which of the durations is looked at"},
			{Name: "memory", Type: parameter.Integer, Default: int64(10), Min: parameter.Bound(1), Max: parameter.Bound(100000), About: "how many windows the long-term average remembers: few follow a new normal soon, and take a lasting overload for one"},
			{Name: "wait", Type: parameter.Duration, Default: "0s", About: "how long a call may wait for a place"},
		},
		Example: "- {adaptive_limit: {initial: 20, max: 200}}",
		check:   checkAdaptiveLimit,
		edge:    func(v parameter.Values, h *host) (layer, error) { return newAdaptiveLimit(v, h).layer, nil },
		door:    func(v parameter.Values, h *host, _ *Door) (layer, error) { return newAdaptiveLimit(v, h).layer, nil },
	}
}

func checkAdaptiveLimit(v parameter.Values) []parameter.Problem {
	var problems []parameter.Problem
	if v.Int("min") > v.Int("initial") {
		problems = append(problems, parameter.Problem{Name: "min", Message: "is more than initial"})
	}
	if v.Int("max") < v.Int("initial") {
		problems = append(problems, parameter.Problem{Name: "max", Message: "is less than initial"})
	}
	return problems
}

type adaptiveLimit struct {
	limiter adaptivelimiter.AdaptiveLimiter[result]
	wait    time.Duration
	full    func(error) (result, error)
}

func newAdaptiveLimit(v parameter.Values, h *host) *adaptiveLimit {
	limit := h.metrics.state.WithLabelValues(h.on, h.policy)
	limit.Set(float64(v.Int("initial")))
	window := v.Duration("window")
	return &adaptiveLimit{
		wait: v.Duration("wait"),
		full: h.refusals("full", Rejected, codes.ResourceExhausted),
		limiter: adaptivelimiter.NewBuilder[result]().
			WithLimits(uint(v.Int("min")), uint(v.Int("max")), uint(v.Int("initial"))).
			WithMaxLimitFactor(v.Float("headroom")).
			WithRecentWindow(window, max(window, mostWindow), uint(v.Int("min_calls"))).
			WithRecentQuantile(v.Float("quantile")).
			WithBaselineWindow(uint(v.Int("memory"))).
			OnLimitChanged(func(e adaptivelimiter.LimitChangedEvent) { limit.Set(float64(e.NewLimit)) }).
			Build(),
	}
}

// mostWindow bounds the windows of slow calls, which the library makes twice as long as the shortest of them.
const mostWindow = 30 * time.Second

func (p *adaptiveLimit) layer(inner next) next {
	return func(ctx context.Context, c *call) (result, error) {
		permit, err := p.permit(ctx)
		if errors.Is(err, adaptivelimiter.ErrExceeded) {
			return p.full(nil)
		} else if err != nil {
			return settled(ctx, result{}, err)
		}
		class := unclassified // should inner panic
		defer func() {
			if class == Succeeded || class == TimedOut {
				permit.Record()
				return
			}
			permit.Drop()
		}()
		res, err := inner(ctx, c)
		class = res.class
		return res, err
	}
}

func (p *adaptiveLimit) permit(ctx context.Context) (adaptivelimiter.Permit, error) {
	if p.wait > 0 {
		return p.limiter.AcquirePermitWithMaxWait(ctx, p.wait)
	}
	permit, ok := p.limiter.TryAcquirePermit()
	if !ok {
		return nil, adaptivelimiter.ErrExceeded
	}
	return permit, nil
}
