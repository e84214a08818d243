package outbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/faultline-lab/faultline/services/kit/store"
)

// batch is how many events are read at once.
const batch = 256

// prepareWithin bounds one try to prepare the broker, which may wait for a broker that is not there.
const prepareWithin = 2 * time.Second

// noteWithin bounds noting down what was published when the service is stopping.
const noteWithin = 2 * time.Second

// Run publishes until ctx ends. It returns nil then: a broker that is down is no reason to stop.
func (o *Outbox) Run(ctx context.Context) error {
	prepared, failures := o.cfg.Prepare == nil, 0
	for ctx.Err() == nil {
		full, err := o.round(ctx, &prepared)
		o.count(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if failures++; failures == 1 {
				o.cfg.Log.WarnContext(ctx, "publishing failed, will retry", "error", err.Error())
			}
			prepared = o.cfg.Prepare == nil
			o.pause(ctx, o.backoff(failures), nil)
		default:
			if failures > 1 {
				o.cfg.Log.InfoContext(ctx, "publishing again", "after_failures", failures)
			}
			if failures = 0; !full {
				o.pause(ctx, o.cfg.Poll, o.wake)
			}
		}
	}
	return nil
}

// round publishes one batch; full says that there may be more.
func (o *Outbox) round(ctx context.Context, prepared *bool) (full bool, err error) {
	if !*prepared {
		if err := o.prepare(ctx); err != nil {
			return false, fmt.Errorf("preparing the broker: %w", err)
		}
		*prepared = true
	}
	rows, err := o.oldest(ctx, batch)
	if err != nil {
		return false, err
	}
	done, err := o.publishAll(ctx, rows)
	if noteErr := o.note(ctx, done); noteErr != nil {
		return false, noteErr
	}
	return len(rows) == batch, err
}

func (o *Outbox) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, prepareWithin)
	defer cancel()
	return o.cfg.Prepare(ctx)
}

// publishAll publishes the rows, aggregates side by side and each in order. It returns the ids of those that
// the broker has, and the first error. After an error no further aggregate is begun.
func (o *Outbox) publishAll(ctx context.Context, rows []Row) ([]string, error) {
	var (
		mu    sync.Mutex
		done  []string
		first error
		wg    sync.WaitGroup
		slots = make(chan struct{}, o.cfg.Parallel)
	)
	failed := func() bool { mu.Lock(); defer mu.Unlock(); return first != nil }
	for _, group := range byAggregate(rows) {
		slots <- struct{}{}
		if failed() {
			<-slots
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			ids, err := o.publishInOrder(ctx, group)
			mu.Lock()
			defer mu.Unlock()
			done = append(done, ids...)
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return done, first
}

// publishInOrder publishes the events of one aggregate and stops at the first that fails.
func (o *Outbox) publishInOrder(ctx context.Context, rows []Row) ([]string, error) {
	done := make([]string, 0, len(rows))
	for _, r := range rows {
		if err := o.cfg.Publisher.Publish(ReadTrace(ctx, o.cfg.Propagator, r.trace), r.Subject, r.ID, []byte(r.Data)); err != nil {
			return done, fmt.Errorf("publishing %s: %w", r.ID, err)
		}
		done = append(done, r.ID)
	}
	return done, nil
}

// byAggregate splits rows into one group for each aggregate, in the order of their first rows.
func byAggregate(rows []Row) [][]Row {
	var groups [][]Row
	index := make(map[string]int)
	for _, r := range rows {
		i, ok := index[r.Aggregate]
		if !ok {
			i = len(groups)
			index[r.Aggregate] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

// note marks events as published. It does so even when ctx has ended, for that spares a repetition.
func (o *Outbox) note(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteWithin)
	defer cancel()
	err := o.cfg.Store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		now := time.Now().UnixNano()
		for i, id := range ids {
			if _, err := tx.ExecContext(ctx, `UPDATE `+o.table+` SET published_ns = ? WHERE id = ?`, now+int64(i), id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("noting what was published: %w", err)
	}
	return nil
}

func (o *Outbox) count(ctx context.Context) {
	if n, err := o.Pending(ctx); err == nil {
		o.pending.Set(float64(n))
	}
}

// backoff returns half to all of the pause after the nth failure, at random so that
// several publishers do not come back at once.
func (o *Outbox) backoff(n int) time.Duration {
	d := o.cfg.Backoff << min(n-1, 16)
	if d > o.cfg.BackoffMax || d <= 0 {
		d = o.cfg.BackoffMax
	}
	return d/2 + rand.N(d/2+1)
}

// pause waits for d, for a signal on early, or for ctx to end.
func (o *Outbox) pause(ctx context.Context, d time.Duration, early <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
	}
}
