package resilience

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/parameter"
)

func rateLimitKind() Kind {
	build := func(v parameter.Values, h *host) (layer, error) {
		rate := v.Float("rate")
		burst := float64(v.Int("burst"))
		if burst == 0 {
			burst = max(1, math.Round(rate/10))
		}
		limiter := ratelimiter.NewBursty[result](uint(burst), time.Duration(burst/rate*float64(time.Second)))
		wait := v.Duration("wait")
		exceeded := h.refusals("exceeded", Rejected, codes.ResourceExhausted)
		h.metrics.state.WithLabelValues(h.on, h.policy).Set(rate)
		return func(inner next) next {
			return func(ctx context.Context, c *call) (result, error) {
				if err := limiter.AcquirePermitWithMaxWait(ctx, wait); errors.Is(err, ratelimiter.ErrExceeded) {
					return exceeded(nil)
				} else if err != nil {
					return settled(ctx, result{}, err)
				}
				return inner(ctx, c)
			}
		}, nil
	}
	return Kind{
		Name:   "rate_limit",
		Causes: []string{"exceeded"},
		Means:  "rate",
		Sides:  []string{OnEdge, AtDoor},
		About: "Lets at most rate calls through each second, counted in stretches of burst/rate seconds with burst calls in each. " +
			"Others wait for their turn as long as wait says, then they are rejected.",
		Main: "rate",
		Params: []parameter.Parameter{
			{Name: "rate", Type: parameter.Rate, Required: true, Min: parameter.Bound(0.01), Max: parameter.Bound(1e6), About: "calls a second"},
			{Name: "burst", Type: parameter.Integer, Min: parameter.Bound(1), Max: parameter.Bound(1e6), About: "how many may come at once; a tenth of a second's worth when left out"},
			{Name: "wait", Type: parameter.Duration, Default: "0s", About: "how long a call may wait for its turn"},
		},
		Example: "- {rate_limit: 80/s}",
		edge:    build,
		door:    func(v parameter.Values, h *host, _ *Door) (layer, error) { return build(v, h) },
	}
}
