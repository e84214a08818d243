package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/faultline-lab/faultline/services/kit/store"
)

// schema of the catalog's own database. position is the number in the id, so
// that p-2 comes before p-10.
const schema = `CREATE TABLE IF NOT EXISTS products (
	id          TEXT PRIMARY KEY,
	position    INTEGER NOT NULL UNIQUE,
	name        TEXT NOT NULL,
	category    TEXT NOT NULL,
	description TEXT NOT NULL,
	price_cents INTEGER NOT NULL CHECK (price_cents > 0)
);
CREATE INDEX IF NOT EXISTS products_by_category ON products (category, position);`

const columns = "id, name, category, description, price_cents"

// errUnknown says that there is no such product.
var errUnknown = errors.New("no such product")

// shelf reads and seeds the products' table.
type shelf struct {
	db *store.DB
}

// page is one page of a listing, and how long the whole listing is.
type page struct {
	products []product
	total    int
}

// seed fills an empty table. Replicas that share one database may do it at
// the same time.
func (s *shelf) seed(ctx context.Context, products []product) error {
	var have int
	if err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM products").Scan(&have); err != nil {
		return fmt.Errorf("counting products: %w", err)
	}
	if have >= len(products) {
		return nil
	}
	const batch = 100 // 600 parameters, of which every SQLite takes at least 999
	return s.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		for start := 0; start < len(products); start += batch {
			if err := insert(ctx, tx, start, products[start:min(start+batch, len(products))]); err != nil {
				return fmt.Errorf("seeding products: %w", err)
			}
		}
		return nil
	})
}

func insert(ctx context.Context, tx *store.Tx, offset int, products []product) error {
	values := strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?, ?), ", len(products)), ", ")
	args := make([]any, 0, 6*len(products))
	for i, p := range products {
		args = append(args, p.id, offset+i+1, p.name, p.category, p.description, p.priceCents)
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO products (id, position, name, category, description, price_cents) VALUES "+
		values+" ON CONFLICT DO NOTHING", args...)
	return err
}

// byID reads one product; the error is errUnknown when there is none.
func (s *shelf) byID(ctx context.Context, id string) (product, error) {
	p, err := scan(s.db.QueryRowContext(ctx, "SELECT "+columns+" FROM products WHERE id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		return product{}, errUnknown
	}
	if err != nil {
		return product{}, fmt.Errorf("reading product %s: %w", id, err)
	}
	return p, nil
}

// page reads the number-th page of size products; a category of "" means all.
func (s *shelf) page(ctx context.Context, category string, number, size int) (page, error) {
	where, args := "", []any{}
	if category != "" {
		where, args = " WHERE category = ?", append(args, category)
	}
	var out page
	if err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM products"+where, args...).Scan(&out.total); err != nil {
		return page{}, fmt.Errorf("counting products: %w", err)
	}
	rows, err := s.db.QueryContext(ctx, "SELECT "+columns+" FROM products"+where+" ORDER BY position LIMIT ? OFFSET ?",
		append(args, size, (number-1)*size)...)
	if err != nil {
		return page{}, fmt.Errorf("listing products: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		p, err := scan(rows)
		if err != nil {
			return page{}, fmt.Errorf("listing products: %w", err)
		}
		out.products = append(out.products, p)
	}
	return out, rows.Err()
}

func scan(row interface{ Scan(...any) error }) (product, error) {
	var p product
	err := row.Scan(&p.id, &p.name, &p.category, &p.description, &p.priceCents)
	return p, err
}
