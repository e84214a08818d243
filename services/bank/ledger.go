package bank

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/services/kit/store"
)

// schema of the bank's own database. A refund of nothing (amount 0) is a
// tombstone: it came before its capture and keeps it from being booked later.
const schema = `CREATE TABLE IF NOT EXISTS bank_captures (
	id              TEXT PRIMARY KEY,
	reference       TEXT NOT NULL,
	idempotency_key TEXT UNIQUE,
	card            TEXT NOT NULL,
	amount_cents    BIGINT NOT NULL CHECK (amount_cents > 0),
	created_unix_ms BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS bank_captures_by_reference ON bank_captures (reference);
CREATE TABLE IF NOT EXISTS bank_refunds (
	id              TEXT PRIMARY KEY,
	reference       TEXT NOT NULL,
	idempotency_key TEXT UNIQUE,
	amount_cents    BIGINT NOT NULL CHECK (amount_cents >= 0),
	created_unix_ms BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS bank_refunds_by_reference ON bank_refunds (reference);`

var (
	errKeyReused = errors.New("the idempotency key was used for another request")
	errRefunded  = errors.New("the reference was refunded before")
)

// capture is money taken. Of the card only the ends are kept.
type capture struct {
	ID          string `json:"id"`
	Reference   string `json:"reference"`
	AmountCents int64  `json:"amount_cents"`
	card        string
}

// refund is money given back, or a tombstone.
type refund struct {
	ID          string `json:"id"`
	Reference   string `json:"reference"`
	AmountCents int64  `json:"amount_cents"`
	// Tombstone is set when there was nothing to give back: a capture of the
	// reference that comes later is refused.
	Tombstone bool `json:"tombstone,omitempty"`
}

// books is all that was ever booked, oldest first.
type books struct {
	Captures []capture `json:"captures"`
	Refunds  []refund  `json:"refunds"` // those that gave money back
	// Tombstones are the refunds that had nothing to give back.
	Tombstones []refund `json:"tombstones"`
	// References adds it up by reference.
	References map[string]sum `json:"references"`
}

// sum is what the books say of one reference.
type sum struct {
	Captures      int   `json:"captures"`
	CapturedCents int64 `json:"captured_cents"`
	Refunds       int   `json:"refunds"`
	RefundedCents int64 `json:"refunded_cents"`
}

// ledger is the bank's books.
//
// The bank does as it is told: a request with a key is booked once, but each
// request without one is booked again, and so is each refund under a new key. Whoever calls it carelessly
// charges twice, and the books show it.
type ledger struct {
	db  *store.DB
	now func() time.Time
}

// capture books a capture, or returns the one booked before under the same
// key (replayed). The error is errKeyReused or errRefunded where those apply.
func (l *ledger) capture(ctx context.Context, key string, want capture) (booked capture, replayed bool, err error) {
	err = l.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		booked, replayed = capture{}, false
		earlier, err := captureUnder(ctx, tx, key)
		if err != nil {
			return err
		}
		if earlier != nil {
			if earlier.Reference != want.Reference || earlier.AmountCents != want.AmountCents || earlier.card != want.card {
				return errKeyReused
			}
			booked, replayed = *earlier, true
			return nil
		}
		var refunds int
		row := tx.QueryRowContext(ctx, "SELECT count(*) FROM bank_refunds WHERE reference = ?", want.Reference)
		if err := row.Scan(&refunds); err != nil {
			return fmt.Errorf("looking for refunds: %w", err)
		}
		if refunds > 0 {
			return errRefunded
		}
		booked = want
		booked.ID = newID("cap")
		_, err = tx.ExecContext(ctx, `INSERT INTO bank_captures (id, reference, idempotency_key, card, amount_cents, created_unix_ms)
			VALUES (?, ?, ?, ?, ?, ?)`, booked.ID, booked.Reference, nullable(key), booked.card, booked.AmountCents, l.now().UnixMilli())
		if err != nil {
			return fmt.Errorf("booking capture: %w", err)
		}
		return nil
	})
	return booked, replayed, err
}

// captureUnder reads what was booked under a key; nil when nothing was.
func captureUnder(ctx context.Context, tx *store.Tx, key string) (*capture, error) {
	if key == "" {
		return nil, nil
	}
	var c capture
	err := tx.QueryRowContext(ctx, "SELECT id, reference, card, amount_cents FROM bank_captures WHERE idempotency_key = ?", key).
		Scan(&c.ID, &c.Reference, &c.card, &c.AmountCents)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the key: %w", err)
	}
	return &c, nil
}

// refund gives back all that was captured for a reference, or returns what
// was booked before under the same key (replayed).
func (l *ledger) refund(ctx context.Context, key, reference string) (booked refund, replayed bool, err error) {
	err = l.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		booked, replayed = refund{}, false
		earlier, err := refundUnder(ctx, tx, key)
		if err != nil {
			return err
		}
		if earlier != nil {
			if earlier.Reference != reference {
				return errKeyReused
			}
			booked, replayed = *earlier, true
			return nil
		}
		booked = refund{ID: newID("ref"), Reference: reference}
		row := tx.QueryRowContext(ctx, "SELECT CAST(coalesce(sum(amount_cents), 0) AS BIGINT) FROM bank_captures WHERE reference = ?", reference)
		if err := row.Scan(&booked.AmountCents); err != nil {
			return fmt.Errorf("adding up captures: %w", err)
		}
		booked.Tombstone = booked.AmountCents == 0
		_, err = tx.ExecContext(ctx, `INSERT INTO bank_refunds (id, reference, idempotency_key, amount_cents, created_unix_ms)
			VALUES (?, ?, ?, ?, ?)`, booked.ID, booked.Reference, nullable(key), booked.AmountCents, l.now().UnixMilli())
		if err != nil {
			return fmt.Errorf("booking refund: %w", err)
		}
		return nil
	})
	return booked, replayed, err
}

// refundUnder reads what was booked under a key; nil when nothing was.
func refundUnder(ctx context.Context, tx *store.Tx, key string) (*refund, error) {
	if key == "" {
		return nil, nil
	}
	var r refund
	err := tx.QueryRowContext(ctx, "SELECT id, reference, amount_cents FROM bank_refunds WHERE idempotency_key = ?", key).
		Scan(&r.ID, &r.Reference, &r.AmountCents)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the key: %w", err)
	}
	r.Tombstone = r.AmountCents == 0
	return &r, nil
}

// books reads everything, in one snapshot.
func (l *ledger) books(ctx context.Context) (books, error) {
	rows, err := l.db.QueryContext(ctx, `SELECT kind, id, reference, amount_cents FROM (
			SELECT 'capture' AS kind, id, reference, amount_cents, created_unix_ms FROM bank_captures
			UNION ALL
			SELECT 'refund' AS kind, id, reference, amount_cents, created_unix_ms FROM bank_refunds
		) AS booked ORDER BY created_unix_ms, id`)
	if err != nil {
		return books{}, fmt.Errorf("reading ledger: %w", err)
	}
	defer rows.Close()
	all := books{Captures: []capture{}, Refunds: []refund{}, Tombstones: []refund{}, References: map[string]sum{}}
	for rows.Next() {
		var kind, id, reference string
		var cents int64
		if err := rows.Scan(&kind, &id, &reference, &cents); err != nil {
			return books{}, fmt.Errorf("reading ledger: %w", err)
		}
		all.add(kind == "capture", id, reference, cents)
	}
	return all, rows.Err()
}

func (b *books) add(captured bool, id, reference string, cents int64) {
	total := b.References[reference]
	switch {
	case captured:
		b.Captures = append(b.Captures, capture{ID: id, Reference: reference, AmountCents: cents})
		total.Captures, total.CapturedCents = total.Captures+1, total.CapturedCents+cents
	case cents == 0:
		b.Tombstones = append(b.Tombstones, refund{ID: id, Reference: reference, Tombstone: true})
	default:
		b.Refunds = append(b.Refunds, refund{ID: id, Reference: reference, AmountCents: cents})
		total.Refunds, total.RefundedCents = total.Refunds+1, total.RefundedCents+cents
	}
	b.References[reference] = total
}

// nullable makes no key a NULL, of which a unique column takes many.
func nullable(key string) any {
	if key == "" {
		return nil
	}
	return key
}

func newID(prefix string) string {
	return prefix + "-" + strings.ToLower(rand.Text()[:16])
}
