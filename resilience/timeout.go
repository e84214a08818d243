package resilience

import (
	"context"
	"errors"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/timeout"
	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/parameter"
)

func timeoutKind() Kind {
	build := func(v parameter.Values, h *host) (layer, error) {
		p := &timeoutPolicy{
			after:    v.Duration("after"),
			executor: failsafe.With(timeout.New[result](v.Duration("after"))),
			exceeded: h.refusals("timeout", TimedOut, codes.DeadlineExceeded),
		}
		return p.layer, nil
	}
	return Kind{
		Name:   "timeout",
		Causes: []string{"timeout"},
		Sides:  []string{OnEdge, AtDoor},
		About: "Gives up after a time: all that is written after it in the chain, retries and their pauses too, must be done by then. " +
			"At a door it bounds waiting and work together. Without one a caller waits for ever.",
		Main: "after",
		Params: []parameter.Parameter{
			{Name: "after", Type: parameter.Duration, Required: true, Min: parameter.Bound(0.001), About: "how long to wait"},
		},
		Example: "- {timeout: 500ms}",
		edge:    build,
		door:    func(v parameter.Values, h *host, _ *Door) (layer, error) { return build(v, h) },
	}
}

type timeoutPolicy struct {
	after    time.Duration
	executor failsafe.Executor[result]
	exceeded func(error) (result, error)
}

func (p *timeoutPolicy) layer(inner next) next {
	return func(ctx context.Context, c *call) (result, error) {
		// failsafe-go ends the context without a deadline of its own. The limit tells those
		// further in that it was time that ended it, and what to tell the callee.
		at := time.Now().Add(p.after)
		ctx = withLimit(ctx, at)
		var last error
		res, err := p.executor.WithContext(ctx).GetWithExecution(func(execution failsafe.Execution[result]) (result, error) {
			res, err := inner(execution.Context(), c)
			last = err
			return res, err
		})
		// The attempt may have seen the limit first, as its own deadline.
		late := err != nil && res.class == TimedOut && !time.Now().Before(at)
		if late || errors.Is(err, timeout.ErrExceeded) {
			return p.exceeded(last)
		}
		return res, err
	}
}
