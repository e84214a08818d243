package resilience

import (
	"context"
	"errors"

	"github.com/failsafe-go/failsafe-go/bulkhead"
	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/parameter"
)

func bulkheadKind() Kind {
	build := func(v parameter.Values, h *host) (layer, error) {
		limit := v.Int("max")
		wait := v.Duration("wait")
		places := bulkhead.New[result](uint(limit))
		full := h.refusals("full", Rejected, codes.ResourceExhausted)
		h.metrics.state.WithLabelValues(h.on, h.policy).Set(float64(limit))
		return func(inner next) next {
			return func(ctx context.Context, c *call) (result, error) {
				if err := places.AcquirePermitWithMaxWait(ctx, wait); errors.Is(err, bulkhead.ErrFull) {
					return full(nil)
				} else if err != nil {
					return result{class: classify(ctx, nil, err)}, err
				}
				defer places.ReleasePermit()
				return inner(ctx, c)
			}
		}, nil
	}
	return Kind{
		Name:   "bulkhead",
		Causes: []string{"full"},
		Means:  "max",
		Sides:  []string{OnEdge, AtDoor},
		About: "Lets at most max calls be under way at once, so that one slow callee cannot take all of its caller. " +
			"Others wait for a place as long as wait says, then they are rejected.",
		Main: "max",
		Params: []parameter.Parameter{
			{Name: "max", Type: parameter.Integer, Required: true, Min: parameter.Bound(1), Max: parameter.Bound(100000), About: "how many calls may be under way"},
			{Name: "wait", Type: parameter.Duration, Default: "0s", About: "how long a call may wait for a place"},
		},
		Example: "- {bulkhead: {max: 16}}",
		edge:    build,
		door:    func(v parameter.Values, h *host, _ *Door) (layer, error) { return build(v, h) },
	}
}
