package resilience

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/parameter"
)

func deadlineKind() Kind {
	return Kind{
		Name:   "deadline",
		Causes: []string{"expired"},
		Sides:  []string{OnEdge, AtDoor},
		Once:   true,
		About: "Deadline propagation. On an edge the callee is told how long its caller will still wait (gRPC: grpc-timeout; HTTP: " +
			DeadlineHeader + ", in milliseconds), the least of the caller's own deadline and the timeouts of the edge. At a door that deadline " +
			"ends the request's work, and what expired in the queue is dropped, not begun. Without it a service works on for callers who have gone.",
		Main: "within",
		Params: []parameter.Parameter{
			{Name: "within", Type: parameter.Duration, About: "the deadline of what comes without one; none when left out"},
		},
		Example: "- {timeout: 500ms}\n- deadline: {}",
		edge: func(v parameter.Values, h *host) (layer, error) {
			return newDeadlineEdge(v, h).layer, nil
		},
		door: func(v parameter.Values, h *host, d *Door) (layer, error) {
			d.deadline = &deadlineDoor{within: v.Duration("within"), expired: h.refusals("expired", TimedOut, codes.DeadlineExceeded)}
			return nil, nil
		},
	}
}

// deadlineEdge is the policy on an edge. Where in the chain it stands makes
// no difference to what the callee is told: each attempt works that out for itself.
type deadlineEdge struct {
	within  time.Duration
	expired func(error) (result, error)
}

func newDeadlineEdge(v parameter.Values, h *host) *deadlineEdge {
	return &deadlineEdge{within: v.Duration("within"), expired: h.refusals("expired", TimedOut, codes.DeadlineExceeded)}
}

func (d *deadlineEdge) layer(inner next) next {
	return func(ctx context.Context, c *call) (result, error) {
		if _, limited := limitOf(ctx); !limited && d.within > 0 {
			limited, cancel := context.WithTimeout(ctx, d.within)
			defer cancel()
			ctx = limited
		}
		l, _ := ctx.Value(limitKey{}).(limit)
		l.tell = d
		return inner(context.WithValue(ctx, limitKey{}, l), c)
	}
}

// deadlineDoor is the policy at a door.
type deadlineDoor struct {
	within  time.Duration
	expired func(error) (result, error)
}
