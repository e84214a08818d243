package orders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	grpccodes "google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/services/kit/outbox"
)

// How the recovery worker behaves. It comes on top of the customers' load, at the worst time: when callees are in
// trouble. So it asks one saga at a time while nothing succeeds, with growing pauses, and several only while
// all goes well.
const (
	idlePause   = 500 * time.Millisecond // between looks for work when there is none
	callWithin  = 10 * time.Second       // for all steps of one saga in one try
	maxAtOnce   = 8
	firstPause  = 200 * time.Millisecond // after a round in which nothing succeeded
	longPause   = 2 * time.Second        // the longest of those
	firstRetry  = time.Second            // before a saga is tried again
	longRetry   = 10 * time.Second       // the longest of those
	heartbeat   = time.Second
	leaseFor    = 10 * time.Second // how long a driver that does not say so is taken to be alive
	maxDoubling = 16
)

// recovery finishes the sagas that nobody works on: those that a request gave up, and those
// of a process that died.
type recovery struct {
	sagas *sagas
	pace  pace
}

// run works until ctx ends. It returns nil then.
func (r *recovery) run(ctx context.Context) error {
	for ctx.Err() == nil {
		wait(ctx, r.round(ctx))
	}
	return nil
}

// round takes up as many sagas as the pace allows and returns how long to wait before the next round.
func (r *recovery) round(ctx context.Context) time.Duration {
	found, err := r.find(ctx, r.pace.limit())
	if err != nil {
		if ctx.Err() == nil {
			r.sagas.log.WarnContext(ctx, "looking for sagas to recover", "error", err.Error())
		}
		return jittered(longPause)
	}
	if len(found) == 0 {
		return jittered(idlePause)
	}
	var wg sync.WaitGroup
	results := make([]error, len(found))
	for i, o := range found {
		wg.Go(func() { results[i] = r.sagas.recover(ctx, o) })
	}
	wg.Wait()
	ended, failed := 0, 0
	for _, err := range results {
		switch {
		case err == nil:
			ended++
		case !errors.Is(err, errLost):
			failed++
		}
	}
	return r.pace.after(ended, failed)
}

// find returns up to limit sagas that nobody works on: first those that this process left lying.
func (r *recovery) find(ctx context.Context, limit int) ([]*order, error) {
	held, err := r.sagas.ledger.heldBy(ctx, r.sagas.driver)
	if err != nil {
		return nil, err
	}
	var found []*order
	for _, o := range held {
		// Asked after the saga was read: a request that ends in between has changed its version.
		if r.sagas.live.done(o.id) == nil {
			found = append(found, o)
		}
	}
	if len(found) >= limit {
		return found[:limit], nil
	}
	waiting, err := r.sagas.ledger.waiting(ctx, r.sagas.driver, time.Now(), limit-len(found))
	return append(found, waiting...), err
}

// recover takes one saga over and drives it to its end, if it can be reached now.
func (s *sagas) recover(ctx context.Context, o *order) (err error) {
	ctx, cancel := context.WithTimeout(outbox.ReadTrace(ctx, s.propagator, o.trace), callWithin)
	defer cancel()
	ctx, span := s.tracer.Start(ctx, "recover saga", trace.WithAttributes(
		attribute.String("order.id", o.id), attribute.String("saga.state", string(o.state)), attribute.Int("saga.tries", o.tries)))
	defer span.End()
	defer func() {
		if p := recover(); p != nil { // one bad saga must not end the recovery of the others
			err = fmt.Errorf("recovering order %s panicked: %v", o.id, p)
		}
		if err != nil && !errors.Is(err, errLost) {
			span.SetStatus(codes.Error, err.Error())
			s.putBack(ctx, o.id, err)
		}
	}()
	if err := s.takeOver(ctx, o); err != nil {
		return err
	}
	return s.drive(ctx, o, "")
}

// putBack parks a saga that this process holds and could not even park, because of a bug or of the store. It would
// be the first to be tried in each round else, and keep the others waiting.
func (s *sagas) putBack(ctx context.Context, id string, why error) {
	ctx, cancel := writing(ctx)
	defer cancel()
	o, err := s.ledger.get(ctx, id)
	if err == nil && o.owner != s.driver {
		return
	}
	s.log.ErrorContext(ctx, "recovering a saga failed", "order", id, "error", why.Error())
	if err == nil {
		s.park(o)
		err = s.ledger.save(ctx, o, nil)
	}
	if err != nil {
		s.log.WarnContext(ctx, "putting a saga back failed", "order", id, "error", err.Error())
	}
}

// takeOver makes this process the saga's driver. A saga whose request is gone before the charge was sure turns back:
// its customer was not told yes, and may have tried again elsewhere. One that is charged goes on.
func (s *sagas) takeOver(ctx context.Context, o *order) error {
	was, owner := o.state, o.owner
	o.owner = s.driver
	p, also := atTakenOver, note(nil)
	if o.state == pending || o.state == reserved {
		o.state, o.code, o.reason = compensating, grpccodes.Aborted, "interrupted while "+string(was)
		p, also = atTurned, noteRelease(o.id, time.Now())
	}
	if err := s.save(ctx, o, p, also); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "saga taken over", "order", o.id, "was", string(was), "now", string(o.state), "owner_before", owner, "tries", o.tries)
	return nil
}

// pace says how many sagas are taken up at once and how long to wait between rounds: additive in neither, it doubles
// while all succeed and falls back to one at the first round in which none does.
type pace struct {
	atOnce   int // 0 means 1
	failures int // rounds in a row in which nothing succeeded
}

func (p *pace) limit() int { return max(p.atOnce, 1) }

// after learns how a round went and returns the pause before the next.
func (p *pace) after(ended, failed int) time.Duration {
	switch {
	case failed == 0:
		p.atOnce, p.failures = min(p.limit()*2, maxAtOnce), 0
		return 0
	case ended > 0:
		p.atOnce, p.failures = max(p.limit()/2, 1), 0
		return jittered(firstPause)
	}
	p.atOnce = 1
	p.failures++
	return jittered(doubled(firstPause, p.failures-1, longPause))
}

// retryAfter returns how long a saga waits before its next try.
func retryAfter(tries int) time.Duration { return jittered(doubled(firstRetry, tries, longRetry)) }

// doubled returns first, doubled n times, at most limit.
func doubled(first time.Duration, n int, limit time.Duration) time.Duration {
	return min(first<<min(n, maxDoubling), limit)
}

// jittered returns half to all of d, so that what failed together does not come back together.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// wait returns after d or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// keeper says at each heartbeat that this driver lives, and keeps the gauge of pending sagas.
type keeper struct {
	ledger   *ledger
	driver   string
	instance string
	pending  interface{ Set(float64) }
	log      *slog.Logger
}

// beat says once that the driver lives.
func (k *keeper) beat(ctx context.Context) error {
	if err := k.ledger.announce(ctx, k.driver, k.instance, time.Now().Add(leaseFor)); err != nil {
		return fmt.Errorf("announcing the driver: %w", err)
	}
	n, err := k.ledger.pending(ctx)
	if err != nil {
		return fmt.Errorf("counting sagas: %w", err)
	}
	k.pending.Set(float64(n))
	return nil
}

// run beats until ctx ends. A beat that fails is not fatal: at worst another process takes sagas over, and
// this one finds out when it writes.
func (k *keeper) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := k.beat(ctx); err != nil && ctx.Err() == nil {
			k.log.WarnContext(ctx, "heartbeat failed", "error", err.Error())
		}
		wait(ctx, heartbeat)
	}
	return nil
}
