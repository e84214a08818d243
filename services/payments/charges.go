package payments

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/kit/store"
)

const schema = `
CREATE TABLE IF NOT EXISTS charges (
	order_id     TEXT PRIMARY KEY,
	account_id   TEXT NOT NULL,
	card         TEXT NOT NULL,
	amount_cents BIGINT NOT NULL,
	state        TEXT NOT NULL,
	charge_id    TEXT NOT NULL,
	reason       TEXT NOT NULL
);`

const columns = `order_id, account_id, card, amount_cents, state, charge_id, reason`

// States of a charge.
const (
	pending   = "pending"   // the bank may or may not have booked it
	captured  = "captured"  // the bank said that it booked it
	declined  = "declined"  // the bank said no
	refunding = "refunding" // the bank is being told to give back what it booked, if it did
	refunded  = "refunded"  // nothing is booked, and nothing will be
)

// charge is one row: what was asked for an order and what is known of the answer.
type charge struct {
	order, account string
	card           string // a digest, see digest
	amount         int64
	state          string
	id             string // the bank's, once captured
	reason         string // the bank's, when declined
}

// charges is the store of charges. Each method is one transaction.
type charges struct{ db *store.DB }

// digest stands for the card of an order in the store: enough to see that a repeated Charge is of
// the same card, for an answer to another card would say nothing of the first.
func digest(order, card string) string {
	sum := sha256.Sum256([]byte(order + "\x00" + card))
	return hex.EncodeToString(sum[:])
}

// begin writes the charge down as pending, unless the order has a row, and returns the row.
// INVALID_ARGUMENT when that row is of another amount, account or card.
func (s *charges) begin(ctx context.Context, c charge) (charge, error) {
	var row charge
	err := s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if _, err := insert(ctx, tx, c, pending); err != nil {
			return err
		}
		var err error
		row, err = get(ctx, tx, c.order)
		return err
	})
	if err != nil {
		return charge{}, err
	}
	tombstone := row.account == ""
	if !tombstone && (row.amount != c.amount || row.account != c.account || row.card != c.card) {
		return charge{}, status.Errorf(codes.InvalidArgument, "order %s is charged with another amount, account or card", c.order)
	}
	return row, nil
}

// settle writes down what the bank answered to a pending charge, and returns the row. A charge
// that was told to be refunded in the meantime stays as it is.
func (s *charges) settle(ctx context.Context, order, state, id, reason string) (charge, error) {
	var row charge
	err := s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE charges SET state = ?, charge_id = ?, reason = ? WHERE order_id = ? AND state = ?`,
			state, id, reason, order, pending)
		if err != nil {
			return err
		}
		row, err = get(ctx, tx, order)
		return err
	})
	return row, err
}

// beginRefund writes down that the order's money goes back, and returns the row: refunding when the
// bank has to be asked. Of an order that was never charged it leaves a tombstone.
func (s *charges) beginRefund(ctx context.Context, order string) (charge, error) {
	var row charge
	err := s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		isNew, err := insert(ctx, tx, charge{order: order}, refunded)
		if err != nil {
			return err
		}
		if !isNew {
			_, err := tx.ExecContext(ctx, `UPDATE charges SET state = ? WHERE order_id = ? AND state IN (?, ?)`,
				refunding, order, pending, captured)
			if err != nil {
				return err
			}
		}
		row, err = get(ctx, tx, order)
		return err
	})
	return row, err
}

// endRefund writes down that the bank gave the money back.
func (s *charges) endRefund(ctx context.Context, order string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE charges SET state = ? WHERE order_id = ? AND state = ?`, refunded, order, refunding)
	return err
}

// all returns every charge by order id.
func (s *charges) all(ctx context.Context) ([]charge, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT `+columns+` FROM charges ORDER BY order_id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []charge
	for rows.Next() {
		c, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, rows.Err()
}

// insert adds a row if the order has none, and says whether it had none.
func insert(ctx context.Context, tx *store.Tx, c charge, state string) (bool, error) {
	res, err := tx.ExecContext(ctx, `INSERT INTO charges (order_id, account_id, card, amount_cents, state, charge_id, reason)
		VALUES (?, ?, ?, ?, ?, '', '') ON CONFLICT (order_id) DO NOTHING`, c.order, c.account, c.card, c.amount, state)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

func get(ctx context.Context, tx *store.Tx, order string) (charge, error) {
	row := tx.QueryRowContext(ctx, `SELECT `+columns+` FROM charges WHERE order_id = ?`, order)
	c, err := scan(row)
	if errors.Is(err, sql.ErrNoRows) {
		return charge{}, status.Errorf(codes.NotFound, "no charge for order %s", order)
	}
	return c, err
}

func scan(row interface{ Scan(...any) error }) (charge, error) {
	var c charge
	err := row.Scan(&c.order, &c.account, &c.card, &c.amount, &c.state, &c.id, &c.reason)
	return c, err
}
