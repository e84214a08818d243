package orders

import (
	"context"
	"encoding/json"
	"time"

	"github.com/faultline-lab/faultline/services/kit/store"
)

// This file holds what the seeded bugs of orders do in place of what is right. Nothing here runs unless BUG says so.

// announceTooSoon is the bug publish-before-commit: the event goes out under the id that the outbox will give
// it, before anything says that the order is charged. Nobody sees a difference, until the process dies in between.
func (s *sagas) announceTooSoon(ctx context.Context, o *order) {
	e := confirmation(o, time.Now())
	data, err := json.Marshal(e.Data)
	if err == nil {
		err = s.publisher.Publish(ctx, e.Subject, "orders/"+o.id+"/1", data)
	}
	if err != nil {
		s.log.WarnContext(ctx, "announcing too soon failed", "order", o.id, "error", err.Error())
	}
}

// batchAfter is how long the bug lost-outbox keeps an event in memory.
const batchAfter = 500 * time.Millisecond

// confirmWithoutEvent is the bug lost-outbox: the order is confirmed in one transaction, and its event is
// written in another, later, by a process that must not die before.
func (s *sagas) confirmWithoutEvent(ctx context.Context, o *order, now time.Time) error {
	o.state, o.owner = confirmed, ""
	if err := s.ledger.save(ctx, o, nil); err != nil {
		return err
	}
	e := confirmation(o, now)
	lasting := context.WithoutCancel(ctx)
	time.AfterFunc(batchAfter, func() {
		ctx, cancel := writing(lasting)
		defer cancel()
		err := s.ledger.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error { return s.ledger.outbox.Add(ctx, tx, e) })
		if err != nil {
			s.log.WarnContext(ctx, "writing an event late failed", "order", e.Aggregate, "error", err.Error())
		}
		s.ledger.outbox.Wake()
	})
	return nil
}
