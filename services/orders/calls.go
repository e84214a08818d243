package orders

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/kit/store"
)

// callsSchema makes the table of what inventory was asked for each order and when, in the words of those who check
// histories: when an operation was invoked, when it returned, and with what. An audit holds the
// history against what inventory promises. Times are this machine's, in nanoseconds; 0 is never.
const callsSchema = `
CREATE TABLE IF NOT EXISTS orders_calls (
	order_id            TEXT PRIMARY KEY,
	reserve_asked_ns    BIGINT NOT NULL,
	reserve_answered_ns BIGINT NOT NULL,
	reserve_outcome     TEXT NOT NULL,
	release_asked_ns    BIGINT NOT NULL,
	release_answered_ns BIGINT NOT NULL
);`

// Outcomes of a Reserve. One that is not known may have taken the stock, or may yet, until the order is released.
const (
	outcomeOK      = "ok"
	outcomeShort   = "short"
	outcomeUnknown = "unknown"
	outcomeUnsent  = "unsent" // inventory was never asked
)

// calls is what inventory was asked for an order.
type calls struct {
	reserveAsked, reserveAnswered int64 // ns
	reserve                       string
	releaseAsked, releaseAnswered int64 // ns
}

// reserveOutcome reads what a Reserve came to. An error that is not inventory's own word for a shortage says nothing:
// a proxy on the way may have made it up.
func reserveOutcome(err error) string {
	switch {
	case err == nil:
		return outcomeOK
	case status.Code(err) == codes.FailedPrecondition && strings.HasPrefix(status.Convert(err).Message(), "not enough stock of "):
		return outcomeShort
	case unsent(err):
		return outcomeUnsent
	}
	return outcomeUnknown
}

// note is what is written down beside a change of a saga, in its transaction; nil is nothing.
type note func(context.Context, *store.Tx) error

// notes joins notes.
func notes(all ...note) note {
	return func(ctx context.Context, tx *store.Tx) error {
		for _, n := range all {
			if n == nil {
				continue
			}
			if err := n(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	}
}

// noteReserve notes what a Reserve came to.
func noteReserve(order string, asked, answered time.Time, outcome string) note {
	return func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO orders_calls (order_id, reserve_asked_ns, reserve_answered_ns, reserve_outcome,
			release_asked_ns, release_answered_ns) VALUES (?, ?, ?, ?, 0, 0) ON CONFLICT (order_id) DO UPDATE SET
			reserve_asked_ns = excluded.reserve_asked_ns, reserve_answered_ns = excluded.reserve_answered_ns, reserve_outcome = excluded.reserve_outcome`,
			order, asked.UnixNano(), answered.UnixNano(), outcome)
		return err
	}
}

// noteRelease notes, before anything is released, that it may be from now on.
func noteRelease(order string, asked time.Time) note {
	return func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO orders_calls (order_id, reserve_asked_ns, reserve_answered_ns, reserve_outcome,
			release_asked_ns, release_answered_ns) VALUES (?, 0, 0, ?, ?, 0) ON CONFLICT (order_id) DO UPDATE SET
			release_asked_ns = excluded.release_asked_ns`, order, outcomeUnknown, asked.UnixNano())
		return err
	}
}

// noteReleased notes that a Release was answered.
func noteReleased(order string, answered time.Time) note {
	return func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE orders_calls SET release_answered_ns = ? WHERE order_id = ?`, answered.UnixNano(), order)
		return err
	}
}

// calls returns what inventory was asked, by order.
func (l *ledger) calls(ctx context.Context) (map[string]calls, error) {
	rows, err := l.db.QueryContext(ctx, `SELECT order_id, reserve_asked_ns, reserve_answered_ns, reserve_outcome, release_asked_ns, release_answered_ns FROM orders_calls`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]calls{}
	for rows.Next() {
		var id string
		var c calls
		if err := rows.Scan(&id, &c.reserveAsked, &c.reserveAnswered, &c.reserve, &c.releaseAsked, &c.releaseAnswered); err != nil {
			return nil, err
		}
		out[id] = c
	}
	return out, rows.Err()
}
