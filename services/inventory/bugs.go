package inventory

import (
	"context"
	"strings"

	"github.com/faultline-lab/faultline/services/bug"
	"github.com/faultline-lab/faultline/services/kit/store"
)

// This file holds what the seeded bugs of inventory do in place of what is right. Nothing here runs unless BUG says so.

// schemaWith is the schema; the bug oversell has none of the checks that would catch it.
func schemaWith(wrong bug.Name) string {
	if wrong == bug.Oversell {
		return strings.ReplaceAll(schema, " CHECK (available >= 0)", "")
	}
	return schema
}

// takeUnasked is the bug oversell: the stock is reserved, there or not.
func takeUnasked(ctx context.Context, tx *store.Tx, order string, it item) error {
	_, err := tx.ExecContext(ctx, `UPDATE stock SET available = available - ?, reserved = reserved + ? WHERE product_id = ?`,
		it.quantity, it.quantity, it.product)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO reservation_lines (order_id, product_id, quantity) VALUES (?, ?, ?)`, order, it.product, it.quantity)
	return err
}
