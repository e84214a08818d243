package node

import (
	"context"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/baggage"
)

// callAll makes the calls of one request. Which of them are made is drawn
// first, in their order, so that it does not depend on how long any takes.
func (n *node) callAll(ctx context.Context) error {
	var made []int // indices of config.calls, as often as each is made
	for i, c := range n.calls {
		if c.key != "" && baggage.FromContext(ctx).Member(c.key).Value() != c.value {
			continue
		}
		if c.chance < 1 && n.random.Float64() >= c.chance {
			continue
		}
		for range c.times {
			made = append(made, i)
		}
	}
	if n.parallel {
		return n.together(ctx, made)
	}
	return n.inTurn(ctx, made)
}

// inTurn stops at the first call that fails.
func (n *node) inTurn(ctx context.Context, made []int) error {
	for _, i := range made {
		if err := n.call(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// together waits for every call, also when one has failed: the load on the
// callees is then the same whatever fails.
func (n *node) together(ctx context.Context, made []int) error {
	errs := make([]error, len(made))
	var all sync.WaitGroup
	for at, i := range made {
		all.Go(func() { errs[at] = n.call(ctx, i) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// call makes one call, and forgives one that is optional.
func (n *node) call(ctx context.Context, i int) error {
	err := n.senders[i](ctx)
	if err == nil || n.calls[i].optional {
		return nil
	}
	return fmt.Errorf("calling %s: %w", n.calls[i].callee, err)
}
