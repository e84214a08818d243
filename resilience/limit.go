package resilience

import (
	"context"
	"time"
)

// DeadlineHeader tells an HTTP callee how many milliseconds its caller will
// still wait, as a whole number. It is relative, so that clocks need not agree; gRPC
// has grpc-timeout for it. Only edges with the policy deadline send it.
const DeadlineHeader = "X-Request-Timeout-Ms"

// limitKey is under what a context keeps its limit.
type limitKey struct{}

// limit is until when the policies around an attempt let it go on, and whether the callee is told.
type limit struct {
	at   time.Time     // zero: they set none
	tell *deadlineEdge // nil: the callee is not told
}

// withLimit notes a limit that a policy enforces by other means than the context's deadline.
func withLimit(ctx context.Context, at time.Time) context.Context {
	l, _ := ctx.Value(limitKey{}).(limit)
	if !l.at.IsZero() && l.at.Before(at) {
		return ctx
	}
	l.at = at
	return context.WithValue(ctx, limitKey{}, l)
}

// limitOf returns the earlier of the context's deadline and the policies' limit.
func limitOf(ctx context.Context) (time.Time, bool) {
	deadline, ok := ctx.Deadline()
	if l, _ := ctx.Value(limitKey{}).(limit); !l.at.IsZero() && (!ok || l.at.Before(deadline)) {
		return l.at, true
	}
	return deadline, ok
}

// untold hides the deadline of a context from whoever would pass it on, such
// as grpc-go; the context still ends when it ended before.
type untold struct{ context.Context }

func (untold) Deadline() (time.Time, bool) { return time.Time{}, false }
