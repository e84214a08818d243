package inventory

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/bug"
	"github.com/faultline-lab/faultline/services/kit/store"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
)

// The checks of the table are the last line of defence: a bug fails a
// transaction instead of selling what is not there.
const schema = `
CREATE TABLE IF NOT EXISTS stock (
	product_id TEXT PRIMARY KEY,
	initial    BIGINT NOT NULL,
	available  BIGINT NOT NULL CHECK (available >= 0),
	reserved   BIGINT NOT NULL CHECK (reserved >= 0),
	shipped    BIGINT NOT NULL CHECK (shipped >= 0)
);
CREATE TABLE IF NOT EXISTS reservations (
	order_id TEXT PRIMARY KEY,
	state    TEXT NOT NULL,
	lines    TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS reservation_lines (
	order_id   TEXT NOT NULL,
	product_id TEXT NOT NULL,
	quantity   BIGINT NOT NULL CHECK (quantity > 0),
	PRIMARY KEY (order_id, product_id)
);`

// States of a reservation.
const (
	reserved = "reserved"
	released = "released"
	shipped  = "shipped"
)

// Limits of a reservation. They keep sums far from overflow and a transaction short.
const (
	maxLines    = 100
	maxQuantity = 1_000_000
)

// item is a quantity of one product.
type item struct {
	product  string
	quantity int64
}

// stock is the store of products' totals and of reservations. Each method is one transaction.
type stock struct {
	db      *store.DB
	bug     bug.Name // none but in a lab that looks for it; see bugs.go
	soldOut sync.Map // of a bug only: products that were short once
}

// seedStock is what the shop starts with: p-1 to p-500 in plenty, and p-501
// to p-510 so scarce that checkouts compete for them.
func seedStock() []item {
	const plenty, scarce = 500, 10
	items := make([]item, 0, plenty+scarce)
	for i := 1; i <= plenty; i++ {
		items = append(items, item{product: fmt.Sprintf("p-%d", i), quantity: 1_000_000})
	}
	for i := plenty + 1; i <= plenty+scarce; i++ {
		items = append(items, item{product: fmt.Sprintf("p-%d", i), quantity: 5})
	}
	return items
}

// seed adds the products that are not there yet; it changes no product that is.
func (s *stock) seed(ctx context.Context, items []item) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		for _, it := range items {
			_, err := tx.ExecContext(ctx, `INSERT INTO stock (product_id, initial, available, reserved, shipped)
				VALUES (?, ?, ?, 0, 0) ON CONFLICT (product_id) DO NOTHING`, it.product, it.quantity, it.quantity)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// get returns the totals of a product; NOT_FOUND when there is no such product.
func (s *stock) get(ctx context.Context, product string) (*inventoryv1.Stock, error) {
	row := s.db.QueryRowContext(ctx, `SELECT product_id, initial, available, reserved, shipped FROM stock WHERE product_id = ?`, product)
	var out inventoryv1.Stock
	err := row.Scan(&out.ProductId, &out.Initial, &out.Available, &out.Reserved, &out.Shipped)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, status.Errorf(codes.NotFound, "unknown product %q", product)
	}
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// reserve takes all items aside for the order, or none of them.
func (s *stock) reserve(ctx context.Context, order string, items []item) error {
	items, err := merged(items)
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		// The row goes in first: of two transactions for one order the second waits for the first.
		isNew, err := changed(tx.ExecContext(ctx, `INSERT INTO reservations (order_id, state, lines) VALUES (?, ?, ?)
			ON CONFLICT (order_id) DO NOTHING`, order, reserved, text(items)))
		if err != nil {
			return err
		}
		if !isNew {
			return reservedBefore(ctx, tx, order, text(items))
		}
		for _, it := range items {
			if err := s.take(ctx, tx, order, it); err != nil {
				return err
			}
		}
		return nil
	})
}

// reservedBefore answers a Reserve for an order that has a row already.
func reservedBefore(ctx context.Context, tx *store.Tx, order, lines string) error {
	var state, had string
	err := tx.QueryRowContext(ctx, `SELECT state, lines FROM reservations WHERE order_id = ?`, order).Scan(&state, &had)
	switch {
	case err != nil:
		return err
	case state == released:
		return status.Errorf(codes.Aborted, "order %s was released", order)
	case had != lines:
		return status.Errorf(codes.InvalidArgument, "order %s is reserved with other lines", order)
	}
	return nil
}

// take moves one item from available to reserved.
func (s *stock) take(ctx context.Context, tx *store.Tx, order string, it item) error {
	switch s.bug {
	case bug.Oversell:
		return takeUnasked(ctx, tx, order, it)
	case bug.StaleSoldOut:
		if _, was := s.soldOut.Load(it.product); was {
			return short(it, 0)
		}
	}
	ok, err := changed(tx.ExecContext(ctx, `UPDATE stock SET available = available - ?, reserved = reserved + ?
		WHERE product_id = ? AND available >= ?`, it.quantity, it.quantity, it.product, it.quantity))
	if err != nil {
		return err
	}
	if !ok {
		if s.bug == bug.StaleSoldOut {
			s.soldOut.Store(it.product, true)
		}
		return shortage(ctx, tx, it)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO reservation_lines (order_id, product_id, quantity) VALUES (?, ?, ?)`,
		order, it.product, it.quantity)
	return err
}

// shortage says why an item could not be taken.
func shortage(ctx context.Context, tx *store.Tx, it item) error {
	var available int64
	err := tx.QueryRowContext(ctx, `SELECT available FROM stock WHERE product_id = ?`, it.product).Scan(&available)
	if errors.Is(err, sql.ErrNoRows) {
		return status.Errorf(codes.NotFound, "unknown product %q", it.product)
	}
	if err != nil {
		return err
	}
	return short(it, available)
}

// short is what a Reserve is told that asks for more than there is. Its first words are a promise: orders reads them.
func short(it item, available int64) error {
	return status.Errorf(codes.FailedPrecondition, "not enough stock of %s: wanted %d, available %d", it.product, it.quantity, available)
}

// release gives back what is reserved for the order. Without a reservation it leaves a
// tombstone, so that a Reserve that is still on its way finds the order released.
func (s *stock) release(ctx context.Context, order string) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		isNew, err := changed(tx.ExecContext(ctx, `INSERT INTO reservations (order_id, state, lines) VALUES (?, ?, '')
			ON CONFLICT (order_id) DO NOTHING`, order, released))
		if err != nil || isNew {
			return err
		}
		was, err := move(ctx, tx, order, released)
		if err != nil || was == released {
			return err
		}
		if was == shipped {
			return status.Errorf(codes.FailedPrecondition, "order %s was shipped", order)
		}
		return eachLine(ctx, tx, order, `UPDATE stock SET reserved = reserved - ?, available = available + ? WHERE product_id = ?`)
	})
}

// ship turns the order's reservation into shipped goods.
func (s *stock) ship(ctx context.Context, order string) error {
	return s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		was, err := move(ctx, tx, order, shipped)
		switch {
		case err != nil || was == shipped:
			return err
		case was == "":
			return status.Errorf(codes.FailedPrecondition, "nothing is reserved for order %s", order)
		case was == released:
			return status.Errorf(codes.FailedPrecondition, "order %s was released", order)
		}
		return eachLine(ctx, tx, order, `UPDATE stock SET reserved = reserved - ?, shipped = shipped + ? WHERE product_id = ?`)
	})
}

// move changes a reservation from reserved to a final state and returns the state that
// it was in: reserved when it moved, "" when there is no reservation.
func move(ctx context.Context, tx *store.Tx, order, to string) (string, error) {
	ok, err := changed(tx.ExecContext(ctx, `UPDATE reservations SET state = ? WHERE order_id = ? AND state = ?`, to, order, reserved))
	if err != nil {
		return "", err
	}
	if ok {
		return reserved, nil
	}
	var state string
	err = tx.QueryRowContext(ctx, `SELECT state FROM reservations WHERE order_id = ?`, order).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return state, err
}

// eachLine runs an update of two quantities and a product for each line of a reservation.
func eachLine(ctx context.Context, tx *store.Tx, order, update string) error {
	lines, err := linesOf(ctx, tx, order)
	if err != nil {
		return err
	}
	for _, it := range lines {
		if _, err := tx.ExecContext(ctx, update, it.quantity, it.quantity, it.product); err != nil {
			return err
		}
	}
	return nil
}

func linesOf(ctx context.Context, tx *store.Tx, order string) ([]item, error) {
	rows, err := tx.QueryContext(ctx, `SELECT product_id, quantity FROM reservation_lines WHERE order_id = ? ORDER BY product_id`, order)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var lines []item
	for rows.Next() {
		var it item
		if err := rows.Scan(&it.product, &it.quantity); err != nil {
			return nil, err
		}
		lines = append(lines, it)
	}
	return lines, rows.Err()
}

// changed says whether a statement changed a row.
func changed(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// merged checks items, adds up those of the same product and sorts them, so that
// transactions touch products in one order and cannot deadlock.
func merged(items []item) ([]item, error) {
	if len(items) == 0 || len(items) > maxLines {
		return nil, status.Errorf(codes.InvalidArgument, "a reservation has 1 to %d lines, not %d", maxLines, len(items))
	}
	sums := make(map[string]int64, len(items))
	for _, it := range items {
		if it.product == "" {
			return nil, status.Error(codes.InvalidArgument, "a line names no product")
		}
		if it.quantity < 1 || it.quantity > maxQuantity {
			return nil, status.Errorf(codes.InvalidArgument, "quantity of %s must be 1 to %d, not %d", it.product, maxQuantity, it.quantity)
		}
		sums[it.product] += it.quantity
	}
	out := make([]item, 0, len(sums))
	for product, quantity := range sums {
		out = append(out, item{product: product, quantity: quantity})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].product < out[j].product })
	return out, nil
}

// text writes merged items as a repeated Reserve must give them again.
func text(items []item) string {
	parts := make([]string, len(items))
	for i, it := range items {
		parts[i] = fmt.Sprintf("%s=%d", it.product, it.quantity)
	}
	return strings.Join(parts, ",")
}
