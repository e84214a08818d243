package inventory

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/kit/store"
	"github.com/faultline-lab/faultline/services/kit/store/storetest"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
)

func newServer(t *testing.T, items ...item) *server {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Config(t, t.TempDir()+"/inventory.db", schema))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := &server{stock: &stock{db: db}, log: slog.New(slog.DiscardHandler)}
	if err := s.stock.seed(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *server) mustReserve(t *testing.T, order string, items ...item) {
	t.Helper()
	if err := s.tryReserve(t.Context(), order, items...); err != nil {
		t.Fatalf("reserving for %s: %v", order, err)
	}
}

func (s *server) tryReserve(ctx context.Context, order string, items ...item) error {
	req := &inventoryv1.ReserveRequest{OrderId: order}
	for _, it := range items {
		req.Lines = append(req.Lines, &inventoryv1.Line{ProductId: it.product, Quantity: it.quantity})
	}
	_, err := s.Reserve(ctx, req)
	return err
}

func (s *server) tryRelease(ctx context.Context, order string) error {
	_, err := s.Release(ctx, &inventoryv1.ReleaseRequest{OrderId: order})
	return err
}

func (s *server) tryShip(ctx context.Context, order string) error {
	_, err := s.Ship(ctx, &inventoryv1.ShipRequest{OrderId: order})
	return err
}

// wantStock checks a product's totals: available, reserved, shipped.
func (s *server) wantStock(t *testing.T, product string, want [3]int64) {
	t.Helper()
	got, err := s.GetStock(t.Context(), &inventoryv1.GetStockRequest{ProductId: product})
	if err != nil {
		t.Fatal(err)
	}
	if [3]int64{got.GetAvailable(), got.GetReserved(), got.GetShipped()} != want {
		t.Errorf("%s: available %d, reserved %d, shipped %d; want %v", product, got.GetAvailable(), got.GetReserved(), got.GetShipped(), want)
	}
}

func (s *server) wantBalanced(t *testing.T) {
	t.Helper()
	audit, err := s.Audit(t.Context(), &inventoryv1.AuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(audit.GetUnbalanced()) > 0 {
		t.Errorf("unbalanced: %v", audit.GetUnbalanced())
	}
}

func wantCode(t *testing.T, err error, want codes.Code, text string) {
	t.Helper()
	if status.Code(err) != want || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("got %v, want %v: %q", err, want, text)
	}
}

func TestLifeOfAReservation(t *testing.T) {
	s := newServer(t, item{"p-1", 10}, item{"p-2", 10})
	s.mustReserve(t, "o-1", item{"p-1", 3}, item{"p-2", 4})
	s.wantStock(t, "p-1", [3]int64{7, 3, 0})
	s.mustReserve(t, "o-2", item{"p-1", 7})
	s.wantStock(t, "p-1", [3]int64{0, 10, 0})
	if err := s.tryShip(t.Context(), "o-1"); err != nil {
		t.Fatal(err)
	}
	if err := s.tryRelease(t.Context(), "o-2"); err != nil {
		t.Fatal(err)
	}
	s.wantStock(t, "p-1", [3]int64{7, 0, 3})
	s.wantStock(t, "p-2", [3]int64{6, 0, 4})
	s.wantBalanced(t)
}

func TestAllLinesOrNone(t *testing.T) {
	s := newServer(t, item{"p-1", 10}, item{"p-2", 1})
	err := s.tryReserve(t.Context(), "o-1", item{"p-1", 3}, item{"p-2", 2})
	wantCode(t, err, codes.FailedPrecondition, "not enough stock of p-2: wanted 2, available 1")
	err = s.tryReserve(t.Context(), "o-1", item{"p-1", 3}, item{"p-3", 1})
	wantCode(t, err, codes.NotFound, `unknown product "p-3"`)
	s.wantStock(t, "p-1", [3]int64{10, 0, 0})
	// A refusal leaves nothing behind: the order may be reserved with less.
	s.mustReserve(t, "o-1", item{"p-1", 3}, item{"p-2", 1})
	s.wantBalanced(t)
}

func TestRepetition(t *testing.T) {
	s := newServer(t, item{"p-1", 10}, item{"p-2", 10})
	for range 3 {
		s.mustReserve(t, "o-1", item{"p-1", 1}, item{"p-2", 2})
	}
	// The same lines in another order, one of them split, are the same lines.
	s.mustReserve(t, "o-1", item{"p-2", 1}, item{"p-1", 1}, item{"p-2", 1})
	s.wantStock(t, "p-2", [3]int64{8, 2, 0})
	wantCode(t, s.tryReserve(t.Context(), "o-1", item{"p-1", 2}), codes.InvalidArgument, "other lines")
	for range 3 {
		if err := s.tryShip(t.Context(), "o-1"); err != nil {
			t.Fatal(err)
		}
	}
	s.mustReserve(t, "o-1", item{"p-1", 1}, item{"p-2", 2}) // a late repetition takes nothing again
	s.wantStock(t, "p-1", [3]int64{9, 0, 1})
	s.mustReserve(t, "o-2", item{"p-1", 5})
	for range 3 {
		if err := s.tryRelease(t.Context(), "o-2"); err != nil {
			t.Fatal(err)
		}
	}
	s.wantStock(t, "p-1", [3]int64{9, 0, 1})
	s.wantBalanced(t)
}

func TestOrderOfSteps(t *testing.T) {
	one := item{"p-1", 1}
	tests := []struct {
		name  string
		steps func(s *server, ctx context.Context) error
		code  codes.Code
		text  string
	}{
		{"release before reserve", func(s *server, ctx context.Context) error {
			if err := s.tryRelease(ctx, "o-1"); err != nil {
				return err
			}
			return s.tryReserve(ctx, "o-1", one)
		}, codes.Aborted, "order o-1 was released"},
		{"reserve after release", func(s *server, ctx context.Context) error {
			if err := s.tryReserve(ctx, "o-1", one); err != nil {
				return err
			}
			if err := s.tryRelease(ctx, "o-1"); err != nil {
				return err
			}
			return s.tryReserve(ctx, "o-1", one)
		}, codes.Aborted, "was released"},
		{"ship without reserve", func(s *server, ctx context.Context) error {
			return s.tryShip(ctx, "o-1")
		}, codes.FailedPrecondition, "nothing is reserved"},
		{"ship after release", func(s *server, ctx context.Context) error {
			if err := s.tryRelease(ctx, "o-1"); err != nil {
				return err
			}
			return s.tryShip(ctx, "o-1")
		}, codes.FailedPrecondition, "was released"},
		{"release after ship", func(s *server, ctx context.Context) error {
			if err := s.tryReserve(ctx, "o-1", one); err != nil {
				return err
			}
			if err := s.tryShip(ctx, "o-1"); err != nil {
				return err
			}
			return s.tryRelease(ctx, "o-1")
		}, codes.FailedPrecondition, "was shipped"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t, item{"p-1", 5})
			wantCode(t, test.steps(s, t.Context()), test.code, test.text)
			s.wantBalanced(t)
		})
	}
}

func TestBadRequests(t *testing.T) {
	s := newServer(t, item{"p-1", 5})
	tests := []struct {
		name string
		err  error
		text string
	}{
		{"no order", s.tryReserve(t.Context(), "", item{"p-1", 1}), "an order id is needed"},
		{"no order to release", s.tryRelease(t.Context(), ""), "an order id is needed"},
		{"no order to ship", s.tryShip(t.Context(), ""), "an order id is needed"},
		{"no lines", s.tryReserve(t.Context(), "o-1"), "a reservation has 1 to 100 lines, not 0"},
		{"too many lines", s.tryReserve(t.Context(), "o-1", make([]item, 101)...), "not 101"},
		{"no product", s.tryReserve(t.Context(), "o-1", item{"", 1}), "a line names no product"},
		{"nothing of it", s.tryReserve(t.Context(), "o-1", item{"p-1", 0}), "quantity of p-1 must be 1 to 1000000, not 0"},
		{"less than nothing", s.tryReserve(t.Context(), "o-1", item{"p-1", -3}), "not -3"},
		{"too much", s.tryReserve(t.Context(), "o-1", item{"p-1", 1_000_001}), "not 1000001"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantCode(t, test.err, codes.InvalidArgument, test.text) })
	}
	_, err := s.GetStock(t.Context(), &inventoryv1.GetStockRequest{ProductId: "p-9"})
	wantCode(t, err, codes.NotFound, `unknown product "p-9"`)
	s.wantStock(t, "p-1", [3]int64{5, 0, 0})
}

func TestSeed(t *testing.T) {
	s := newServer(t, seedStock()...)
	s.mustReserve(t, "o-1", item{"p-501", 5})
	// A second start must not bring back what was sold.
	if err := s.stock.seed(t.Context(), seedStock()); err != nil {
		t.Fatal(err)
	}
	s.wantStock(t, "p-1", [3]int64{1_000_000, 0, 0})
	s.wantStock(t, "p-500", [3]int64{1_000_000, 0, 0})
	s.wantStock(t, "p-501", [3]int64{0, 5, 0})
	s.wantStock(t, "p-510", [3]int64{5, 0, 0})
	_, err := s.GetStock(t.Context(), &inventoryv1.GetStockRequest{ProductId: "p-511"})
	wantCode(t, err, codes.NotFound, "")
}

// TestScarceStock lets many orders compete for little: exactly as many get it as there is.
func TestScarceStock(t *testing.T) {
	s := newServer(t, item{"p-1", 5}, item{"p-2", 5})
	var wg sync.WaitGroup
	results := make([]error, 40)
	for i := range results {
		wg.Go(func() {
			lines := []item{{"p-1", 1}, {"p-2", 1}}
			if i%2 == 0 { // the other way round, as a deadlock would need it
				lines[0], lines[1] = lines[1], lines[0]
			}
			results[i] = s.tryReserve(t.Context(), fmt.Sprintf("o-%d", i), lines...)
		})
	}
	wg.Wait()
	got := 0
	for _, err := range results {
		if err == nil {
			got++
		} else if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("unexpected error: %v", err)
		}
	}
	if got != 5 {
		t.Errorf("%d orders got one of 5", got)
	}
	s.wantStock(t, "p-1", [3]int64{0, 5, 0})
	s.wantBalanced(t)
}

// TestAnyOrderOfSteps takes random steps of random orders at once and compares the
// outcome with what the reservations say.
func TestAnyOrderOfSteps(t *testing.T) {
	s := newServer(t, item{"p-1", 60}, item{"p-2", 40}, item{"p-3", 5})
	var wg sync.WaitGroup
	for worker := range 4 {
		rng := rand.New(rand.NewPCG(1, uint64(worker)))
		wg.Go(func() {
			for range 100 {
				order := fmt.Sprintf("o-%d", rng.IntN(60))
				var err error
				switch rng.IntN(4) {
				case 0:
					err = s.tryRelease(t.Context(), order)
				case 1:
					err = s.tryShip(t.Context(), order)
				default:
					err = s.tryReserve(t.Context(), order, item{fmt.Sprintf("p-%d", 1+len(order)%3), 1}, item{"p-1", 2})
				}
				if c := status.Code(err); c != codes.OK && c != codes.FailedPrecondition && c != codes.Aborted {
					t.Errorf("unexpected error: %v", err)
				}
			}
		})
	}
	wg.Wait()
	s.wantBalanced(t)
}

// TestAuditFindsImbalance breaks the totals by hand: an audit that was never seen to fail proves nothing.
func TestAuditFindsImbalance(t *testing.T) {
	breaks := []struct{ name, sql string }{
		{"stock out of nowhere", `UPDATE stock SET available = available + 1 WHERE product_id = 'p-1'`},
		{"reserved without a reservation", `UPDATE stock SET available = available - 1, reserved = reserved + 1 WHERE product_id = 'p-1'`},
		{"shipped without a reservation", `UPDATE stock SET available = available - 1, shipped = shipped + 1 WHERE product_id = 'p-1'`},
		{"a reservation without stock", `INSERT INTO reservation_lines (order_id, product_id, quantity) VALUES ('o-2', 'p-1', 1)`},
		{"released but not given back", `UPDATE reservations SET state = 'released' WHERE order_id = 'o-1'`},
	}
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			s := newServer(t, item{"p-1", 10}, item{"p-2", 10})
			s.mustReserve(t, "o-1", item{"p-1", 1})
			s.mustReserve(t, "o-2", item{"p-2", 1})
			s.wantBalanced(t)
			if _, err := s.stock.db.ExecContext(t.Context(), b.sql); err != nil {
				t.Fatal(err)
			}
			audit, err := s.Audit(t.Context(), &inventoryv1.AuditRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if len(audit.GetUnbalanced()) != 1 || audit.GetUnbalanced()[0].GetProductId() != "p-1" {
				t.Errorf("unbalanced: %v, want p-1", audit.GetUnbalanced())
			}
		})
	}
}

func TestStoreGone(t *testing.T) {
	s := newServer(t, item{"p-1", 1})
	s.stock.db.Close()
	wantCode(t, s.tryReserve(t.Context(), "o-1", item{"p-1", 1}), codes.Internal, "inventory store")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantCode(t, answer(ctx.Err()), codes.Canceled, "")
}
