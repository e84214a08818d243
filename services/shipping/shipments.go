package shipping

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit/outbox"
	"github.com/faultline-lab/faultline/services/kit/store"
)

const schema = `
CREATE TABLE IF NOT EXISTS shipments (
	order_id   TEXT PRIMARY KEY,
	id         TEXT NOT NULL,
	account_id TEXT NOT NULL,
	lines      TEXT NOT NULL,
	state      TEXT NOT NULL,
	reason     TEXT NOT NULL,
	created_ms BIGINT NOT NULL,
	shipped_ms BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS shipments_by_time ON shipments (created_ms);`

// States of a shipment.
const (
	pending = "pending"
	shipped = "shipped"
	refused = "refused"
)

// shipment is one row.
type shipment struct {
	Order     string        `json:"order_id"`
	ID        string        `json:"id"`
	Account   string        `json:"account_id"`
	Lines     []events.Line `json:"lines"`
	State     string        `json:"state"`
	Reason    string        `json:"reason,omitempty"`
	CreatedMS int64         `json:"created_unix_ms"`
	ShippedMS int64         `json:"shipped_unix_ms,omitempty"`
}

// shipments is the store of shipments.
type shipments struct {
	db     *store.DB
	outbox *outbox.Outbox
}

const columns = `order_id, id, account_id, lines, state, reason, created_ms, shipped_ms`

// begin writes the order's shipment down as pending, unless it has one, and returns it.
func (s *shipments) begin(ctx context.Context, e events.OrderConfirmed) (shipment, error) {
	lines, err := json.Marshal(e.Lines)
	if err != nil {
		return shipment{}, err
	}
	id := "s-" + uuid.NewString()
	var row shipment
	err = s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO shipments (`+columns+`) VALUES (?, ?, ?, ?, ?, '', ?, 0)
			ON CONFLICT (order_id) DO NOTHING`, e.OrderID, id, e.AccountID, string(lines), pending, time.Now().UnixMilli())
		if err != nil {
			return err
		}
		row, err = scan(tx.QueryRowContext(ctx, `SELECT `+columns+` FROM shipments WHERE order_id = ?`, e.OrderID))
		return err
	})
	return row, err
}

// finish makes a pending shipment shipped and its event ready to be published, both or neither. It says
// whether it was pending.
func (s *shipments) finish(ctx context.Context, row shipment) (bool, error) {
	was := false
	err := s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		now := time.Now().UnixMilli()
		res, err := tx.ExecContext(ctx, `UPDATE shipments SET state = ?, reason = '', shipped_ms = ? WHERE order_id = ? AND state <> ?`,
			shipped, now, row.Order, shipped)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if was = n > 0; err != nil || !was {
			return err
		}
		return s.outbox.Add(ctx, tx, outbox.Event{Subject: events.OrdersShipped, Aggregate: row.Order, Data: events.OrderShipped{
			OrderID: row.Order, AccountID: row.Account, ShipmentID: row.ID, ShippedUnixMS: now,
		}})
	})
	if err == nil {
		s.outbox.Wake()
	}
	return was, err
}

// refuse writes down why a shipment cannot be made.
func (s *shipments) refuse(ctx context.Context, order, reason string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE shipments SET state = ?, reason = ? WHERE order_id = ? AND state = ?`,
		refused, reason, order, pending)
	return err
}

// newest returns the newest shipments, or only that of an order.
func (s *shipments) newest(ctx context.Context, order string, limit int) ([]shipment, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT `+columns+` FROM shipments WHERE order_id = ? OR ? = ''
		ORDER BY created_ms DESC, order_id LIMIT ?`, order, order, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []shipment{}
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

// count counts shipments by state.
func (s *shipments) count(ctx context.Context) (map[string]int, error) {
	out := map[string]int{pending: 0, shipped: 0, refused: 0}
	for state := range out {
		var n int
		err := s.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM shipments WHERE state = ?`, state).Scan(&n)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		out[state] = n
	}
	return out, nil
}

func scan(row interface{ Scan(...any) error }) (shipment, error) {
	var s shipment
	var lines string
	err := row.Scan(&s.Order, &s.ID, &s.Account, &lines, &s.State, &s.Reason, &s.CreatedMS, &s.ShippedMS)
	if err != nil {
		return shipment{}, err
	}
	return s, json.Unmarshal([]byte(lines), &s.Lines)
}
