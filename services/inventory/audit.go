package inventory

import (
	"context"

	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
)

// A product is out of balance when its totals do not add up, or when they are not
// what its reservations say.
const unbalanced = `
SELECT s.product_id, s.initial, s.available, s.reserved, s.shipped
FROM stock s
LEFT JOIN (
	SELECT l.product_id,
		SUM(CASE WHEN r.state = 'reserved' THEN l.quantity ELSE 0 END) AS reserved,
		SUM(CASE WHEN r.state = 'shipped' THEN l.quantity ELSE 0 END) AS shipped
	FROM reservation_lines l JOIN reservations r ON r.order_id = l.order_id
	GROUP BY l.product_id
) held ON held.product_id = s.product_id
WHERE s.initial <> s.available + s.reserved + s.shipped
	OR s.available < 0 OR s.reserved < 0 OR s.shipped < 0
	OR s.reserved <> COALESCE(held.reserved, 0)
	OR s.shipped <> COALESCE(held.shipped, 0)
ORDER BY s.product_id`

// touched are the products that were ever reserved, or that are not as they were at first.
const touched = `
SELECT s.product_id, s.initial, s.available, s.reserved, s.shipped FROM stock s
WHERE s.available <> s.initial OR s.product_id IN (SELECT product_id FROM reservation_lines)
ORDER BY s.product_id`

// audit returns the products that are out of balance, and those that were touched, each read in one statement and so
// in one moment, and every reservation.
func (s *stock) audit(ctx context.Context) (*inventoryv1.AuditResponse, error) {
	out := &inventoryv1.AuditResponse{}
	err := s.each(ctx, unbalanced, func(scan func(...any) error) error {
		var p inventoryv1.Stock
		out.Unbalanced = append(out.Unbalanced, &p)
		return scan(&p.ProductId, &p.Initial, &p.Available, &p.Reserved, &p.Shipped)
	})
	if err != nil {
		return nil, err
	}
	err = s.each(ctx, touched, func(scan func(...any) error) error {
		var p inventoryv1.Stock
		out.Touched = append(out.Touched, &p)
		return scan(&p.ProductId, &p.Initial, &p.Available, &p.Reserved, &p.Shipped)
	})
	if err != nil {
		return nil, err
	}
	err = s.each(ctx, `SELECT order_id, state FROM reservations ORDER BY order_id`, func(scan func(...any) error) error {
		var r inventoryv1.Reservation
		out.Reservations = append(out.Reservations, &r)
		return scan(&r.OrderId, &r.State)
	})
	return out, err
}

func (s *stock) each(ctx context.Context, query string, row func(scan func(...any) error) error) error {
	rows, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
