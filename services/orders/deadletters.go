package orders

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit/broker"
	"github.com/faultline-lab/faultline/services/kit/store"
)

const deadLetterSchema = `
CREATE TABLE IF NOT EXISTS orders_undelivered (
	order_id TEXT PRIMARY KEY,
	noted_ms BIGINT NOT NULL
);`

// deadLetters notes the confirmed orders that shipping gave up, for nobody else misses them: without
// it they would only look as if they were still on their way.
type deadLetters struct {
	db  *store.DB
	log *slog.Logger
}

// consumer says which messages they are.
func (*deadLetters) consumer() broker.Consumer {
	return broker.Consumer{Stream: events.DeadLettersStream, Durable: "orders",
		Subject: events.DeadLetter("shipping", events.OrdersConfirmed), MaxDeliver: 100}
}

func (d *deadLetters) handle(ctx context.Context, m broker.Message) error {
	e, err := events.ReadOrderConfirmed(m.Data)
	if err != nil { // it was no order of ours
		d.log.WarnContext(ctx, "dead letter cannot be read", "id", m.ID, "error", err.Error())
		return nil
	}
	d.log.ErrorContext(ctx, "confirmed order not shipped", "order", e.OrderID)
	_, err = d.db.ExecContext(ctx, `INSERT INTO orders_undelivered (order_id, noted_ms) VALUES (?, ?)
		ON CONFLICT (order_id) DO NOTHING`, e.OrderID, time.Now().UnixMilli())
	if err != nil {
		return fmt.Errorf("noting a dead letter: %w", err)
	}
	return nil
}

// all returns the orders that were given up.
func (d *deadLetters) all(ctx context.Context) (map[string]bool, error) {
	rows, err := d.db.QueryContext(ctx, `SELECT order_id FROM orders_undelivered`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		out[id] = true
	}
	return out, rows.Err()
}
