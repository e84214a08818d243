package resilience

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/parameter"
)

// DoorConfig says whose door it is and what guards it. Only Service is required.
type DoorConfig struct {
	Service    string
	Chain      Chain
	Registerer prometheus.Registerer // nil means no metrics
	Seed       uint64
	Log        *slog.Logger // nil means none
}

// Door is the policies at a service's door. What workers and queue there are
// is the service's own business; it asks this Door how to treat them. It is safe for concurrent use.
type Door struct {
	chain    next
	deadline *deadlineDoor // nil without that policy
	queue    *queue        // nil without that policy
	priority *shedder      // nil without that policy
}

// NewDoor makes the policies of a door. It returns every error of the chain.
func NewDoor(cfg DoorConfig) (*Door, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	metrics, err := newPolicyMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	d := &Door{}
	where := place{on: cfg.Service, side: AtDoor, metrics: metrics, seed: cfg.Seed, log: cfg.Log}
	layers, err := where.build(cfg.Chain, func(kind Kind, values parameter.Values, h *host) (layer, error) {
		return kind.door(values, h, d)
	})
	if err != nil {
		return nil, fmt.Errorf("making door: %w", err)
	}
	d.chain = compose(layers, func(ctx context.Context, c *call) (result, error) { return c.send(ctx, nil) })
	return d, nil
}

// Do runs work under the policies of the door.
func (d *Door) Do(ctx context.Context, work func(ctx context.Context) error) error {
	_, err := d.chain(ctx, &call{send: func(ctx context.Context, _ *attempt) (result, error) {
		err := work(ctx)
		return result{class: classify(ctx, nil, err)}, err
	}})
	return err
}

// KeepsDeadline tells whether the policy deadline stands here: then a
// request's context ends when its caller's deadline passes or its caller goes,
// and work that expired in the queue is not begun. Without it a service works on, not knowing.
func (d *Door) KeepsDeadline() bool { return d.deadline != nil }

// DefaultDeadline is how long a request without a deadline of its own may take; 0 means without limit.
func (d *Door) DefaultDeadline() time.Duration {
	if d.deadline == nil {
		return 0
	}
	return d.deadline.within
}

// Expired makes and counts the error of work that was not begun, because its deadline had passed or its caller had gone.
func (d *Door) Expired(cause error) error {
	_, err := d.deadline.expired(cause)
	return err
}
