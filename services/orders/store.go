package orders

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/kit/outbox"
	"github.com/faultline-lab/faultline/services/kit/store"
)

const schema = `
CREATE TABLE IF NOT EXISTS orders (
	id              TEXT PRIMARY KEY,
	account_id      TEXT NOT NULL,
	idempotency_key TEXT NOT NULL,
	fingerprint     TEXT NOT NULL,
	lines           TEXT NOT NULL,
	total_cents     BIGINT NOT NULL,
	state           TEXT NOT NULL,
	reason          TEXT NOT NULL,
	code            BIGINT NOT NULL,
	undo_charge     BIGINT NOT NULL,
	undo_reserve    BIGINT NOT NULL,
	version         BIGINT NOT NULL,
	owner           TEXT NOT NULL,
	due_ms          BIGINT NOT NULL,
	tries           BIGINT NOT NULL,
	trace           TEXT NOT NULL,
	created_ms      BIGINT NOT NULL,
	UNIQUE (account_id, idempotency_key)
);
CREATE INDEX IF NOT EXISTS orders_open ON orders (due_ms) WHERE state NOT IN ('confirmed', 'cancelled');
CREATE INDEX IF NOT EXISTS orders_of_account ON orders (account_id, created_ms);
CREATE TABLE IF NOT EXISTS drivers (
	id         TEXT PRIMARY KEY,
	instance   TEXT NOT NULL,
	until_ms   BIGINT NOT NULL
);`

const columns = `id, account_id, idempotency_key, fingerprint, lines, total_cents, state, reason, code,
	undo_charge, undo_reserve, version, owner, due_ms, tries, trace, created_ms`

// open is the condition of sagas that have not ended, word for word that of the index.
const open = `state NOT IN ('confirmed', 'cancelled')`

// errLost is returned to a driver that changes a saga which another driver has changed since.
var errLost = errors.New("the saga is in other hands")

// ledger is the store of orders and their sagas.
type ledger struct {
	db     *store.DB
	outbox *outbox.Outbox
}

// create writes the order down, or returns the one that has its idempotency key.
func (l *ledger) create(ctx context.Context, o *order) (row *order, isNew bool, err error) {
	lines, err := json.Marshal(o.lines)
	if err != nil {
		return nil, false, err
	}
	err = l.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO orders (`+columns+`)
			VALUES (?, ?, ?, ?, ?, ?, ?, '', 0, 0, 1, 1, ?, ?, 0, ?, ?) ON CONFLICT (account_id, idempotency_key) DO NOTHING`,
			o.id, o.account, o.key, o.fingerprint, string(lines), o.totalCents, string(o.state),
			o.owner, o.due.UnixMilli(), o.trace, o.created.UnixMilli())
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		isNew = n > 0
		row, err = scan(tx.QueryRowContext(ctx, `SELECT `+columns+` FROM orders WHERE account_id = ? AND idempotency_key = ?`, o.account, o.key))
		return err
	})
	return row, isNew, err
}

// save writes down what a driver changed in its saga, and raises the version. The error is errLost when
// somebody else changed the saga since it was read. also runs in the same transaction; nil means nothing.
func (l *ledger) save(ctx context.Context, o *order, also note) error {
	err := l.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		res, err := tx.ExecContext(ctx, `UPDATE orders SET state = ?, reason = ?, code = ?, undo_charge = ?, undo_reserve = ?,
			version = version + 1, owner = ?, due_ms = ?, tries = ? WHERE id = ? AND version = ?`,
			string(o.state), o.reason, int64(o.code), flag(o.undoCharge), flag(o.undoReserve),
			o.owner, o.due.UnixMilli(), o.tries, o.id, o.version)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, errLost)
		}
		if also == nil {
			return nil
		}
		return also(ctx, tx)
	})
	if err == nil {
		o.version++
	}
	return err
}

// confirm makes the order confirmed and its event ready to be published, both or neither.
func (l *ledger) confirm(ctx context.Context, o *order, now time.Time) error {
	o.state, o.owner = confirmed, ""
	err := l.save(ctx, o, func(ctx context.Context, tx *store.Tx) error {
		return l.outbox.Add(ctx, tx, confirmation(o, now))
	})
	if err != nil {
		return err
	}
	l.outbox.Wake()
	return nil
}

// confirmation is the event of a confirmed order.
func confirmation(o *order, now time.Time) outbox.Event {
	return outbox.Event{Subject: events.OrdersConfirmed, Aggregate: o.id, Data: events.OrderConfirmed{
		OrderID: o.id, AccountID: o.account, Lines: o.lines, TotalCents: o.totalCents, ConfirmedUnixMS: now.UnixMilli(),
	}}
}

// get returns an order; NOT_FOUND when there is none.
func (l *ledger) get(ctx context.Context, id string) (*order, error) {
	o, err := scan(l.db.QueryRowContext(ctx, `SELECT `+columns+` FROM orders WHERE id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, status.Errorf(codes.NotFound, "unknown order %q", id)
	}
	return o, err
}

// ofAccount returns the account's orders, newest first.
func (l *ledger) ofAccount(ctx context.Context, account string, limit int) ([]*order, error) {
	return l.list(ctx, `SELECT `+columns+` FROM orders WHERE account_id = ? ORDER BY created_ms DESC, id DESC LIMIT ?`, account, limit)
}

// all returns every order.
func (l *ledger) all(ctx context.Context) ([]*order, error) {
	return l.list(ctx, `SELECT `+columns+` FROM orders ORDER BY id`)
}

// unended returns the sagas that have not ended, the longest waiting first.
func (l *ledger) unended(ctx context.Context, limit int) ([]*order, error) {
	return l.list(ctx, `SELECT `+columns+` FROM orders WHERE `+open+` ORDER BY due_ms LIMIT ?`, limit)
}

// waiting returns sagas that are due and that neither the driver itself nor any living one works on, the longest
// waiting first.
func (l *ledger) waiting(ctx context.Context, driver string, now time.Time, limit int) ([]*order, error) {
	return l.list(ctx, `SELECT `+columns+` FROM orders WHERE `+open+` AND due_ms <= ? AND owner <> ?
		AND (owner = '' OR NOT EXISTS (SELECT 1 FROM drivers WHERE drivers.id = orders.owner AND drivers.until_ms > ?))
		ORDER BY due_ms LIMIT ?`, now.UnixMilli(), driver, now.UnixMilli(), limit)
}

// heldBy returns the sagas that a driver works on.
func (l *ledger) heldBy(ctx context.Context, driver string) ([]*order, error) {
	return l.list(ctx, `SELECT `+columns+` FROM orders WHERE `+open+` AND owner = ? ORDER BY due_ms`, driver)
}

// pending counts the sagas that have not ended.
func (l *ledger) pending(ctx context.Context) (int, error) {
	var n int
	err := l.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM orders WHERE `+open).Scan(&n)
	return n, err
}

// announce makes a driver known, in the place of earlier ones of the same instance: they
// are dead, and their sagas are free at once.
func (l *ledger) announce(ctx context.Context, driver, instance string, until time.Time) error {
	return l.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM drivers WHERE instance = ? AND id <> ?`, instance, driver); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO drivers (id, instance, until_ms) VALUES (?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET until_ms = excluded.until_ms`, driver, instance, until.UnixMilli())
		return err
	})
}

// withdraw frees the sagas of a driver that stops in good order.
func (l *ledger) withdraw(ctx context.Context, driver string) error {
	_, err := l.db.ExecContext(ctx, `DELETE FROM drivers WHERE id = ?`, driver)
	return err
}

func (l *ledger) list(ctx context.Context, query string, args ...any) ([]*order, error) {
	rows, err := l.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []*order
	for rows.Next() {
		o, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, rows.Err()
}

func scan(row interface{ Scan(...any) error }) (*order, error) {
	var (
		o                             order
		lines, st                     string
		code, undoCharge, undoReserve int64
		dueMS, createdMS              int64
	)
	err := row.Scan(&o.id, &o.account, &o.key, &o.fingerprint, &lines, &o.totalCents, &st, &o.reason, &code,
		&undoCharge, &undoReserve, &o.version, &o.owner, &dueMS, &o.tries, &o.trace, &createdMS)
	if err != nil {
		return nil, err
	}
	o.state, o.code = state(st), codes.Code(code)
	o.undoCharge, o.undoReserve = undoCharge != 0, undoReserve != 0
	o.due, o.created = time.UnixMilli(dueMS), time.UnixMilli(createdMS)
	return &o, json.Unmarshal([]byte(lines), &o.lines)
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
