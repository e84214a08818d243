package shipping

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/events/eventstest"
	"github.com/faultline-lab/faultline/services/kit"
	"github.com/faultline-lab/faultline/services/kit/broker"
	"github.com/faultline-lab/faultline/services/kit/outbox"
	"github.com/faultline-lab/faultline/services/kit/store"
	"github.com/faultline-lab/faultline/services/kit/store/storetest"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
)

// warehouse is an inventory that ships, and fails when it is told to.
type warehouse struct {
	inventoryv1.UnimplementedInventoryServer
	mu     sync.Mutex
	asked  map[string]int
	errs   []error // for the next calls
	during func()
}

func newWarehouse(errs ...error) *warehouse { return &warehouse{asked: map[string]int{}, errs: errs} }

func (w *warehouse) ship(order string) error {
	if w.during != nil {
		w.during()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[order]++
	if len(w.errs) == 0 {
		return nil
	}
	err := w.errs[0]
	w.errs = w.errs[1:]
	return err
}

// Ship is that of the server.
func (w *warehouse) Ship(_ context.Context, req *inventoryv1.ShipRequest) (*inventoryv1.ShipResponse, error) {
	return &inventoryv1.ShipResponse{}, w.ship(req.GetOrderId())
}

// direct is the client of a warehouse without a network between.
type direct struct{ *warehouse }

func (d direct) Ship(_ context.Context, req *inventoryv1.ShipRequest, _ ...grpc.CallOption) (*inventoryv1.ShipResponse, error) {
	return &inventoryv1.ShipResponse{}, d.ship(req.GetOrderId())
}

func openDoor(ctx context.Context, work func(context.Context) error) error { return work(ctx) }

func newHandler(t *testing.T, w *warehouse) *handler {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Config(t, t.TempDir()+"/shipping.db", schema, outbox.Schema(name)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	log := slog.New(slog.DiscardHandler)
	box := outbox.New(outbox.Config{Name: name, Store: db, Log: log})
	return &handler{shipments: &shipments{db: db, outbox: box}, goods: direct{w}, door: openDoor, log: log}
}

func message(order string) broker.Message {
	data, err := json.Marshal(events.OrderConfirmed{OrderID: order, AccountID: "a-1", Lines: []events.Line{{ProductID: "p-1", Quantity: 2}}, TotalCents: 100})
	if err != nil {
		panic(err)
	}
	return broker.Message{Subject: events.OrdersConfirmed, ID: "orders/" + order + "/1", Data: data, Attempt: 1}
}

func get(t *testing.T, h http.Handler, path string, into any) int {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
		t.Fatalf("%s: %v in %s", path, err, rec.Body)
	}
	return rec.Code
}

func (h *handler) wantShipment(t *testing.T, order, state string, announced int) {
	t.Helper()
	var got struct{ Shipments []shipment }
	get(t, h.routes(), "/shipments?order="+order, &got)
	if len(got.Shipments) != 1 || got.Shipments[0].State != state || got.Shipments[0].Account != "a-1" || len(got.Shipments[0].Lines) != 1 {
		t.Errorf("%s: got %+v, want one that is %s", order, got.Shipments, state)
	}
	rows, err := h.shipments.outbox.Rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, row := range rows {
		if row.Aggregate == order {
			n++
			if e, err := events.ReadOrderShipped([]byte(row.Data)); err != nil || e.OrderID != order || e.ShipmentID != got.Shipments[0].ID {
				t.Errorf("announced %s, %v", row.Data, err)
			}
		}
	}
	if n != announced {
		t.Errorf("%s was announced %d times, want %d", order, n, announced)
	}
}

func TestShipsOnce(t *testing.T) {
	w := newWarehouse()
	h := newHandler(t, w)
	if err := h.handle(t.Context(), message("o-1")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := h.handle(t.Context(), message("o-1")); !errors.Is(err, broker.ErrDuplicate) {
			t.Errorf("a repetition gave %v", err)
		}
	}
	h.wantShipment(t, "o-1", shipped, 1)
	if w.asked["o-1"] != 1 {
		t.Errorf("inventory was asked %d times", w.asked["o-1"])
	}
}

func TestDeliveredTwiceAtOnce(t *testing.T) {
	w := newWarehouse()
	h := newHandler(t, w)
	var wg sync.WaitGroup
	var both sync.WaitGroup
	both.Add(2)
	w.during = func() { both.Done(); both.Wait() } // both are past the check when either goes on
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() { errs[i] = h.handle(t.Context(), message("o-1")) })
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), broker.ErrDuplicate) {
		t.Errorf("got %v, want one success and one duplicate", errs)
	}
	h.wantShipment(t, "o-1", shipped, 1)
}

func TestInventoryFails(t *testing.T) {
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal} {
		t.Run(code.String(), func(t *testing.T) {
			h := newHandler(t, newWarehouse(status.Error(code, "no")))
			err := h.handle(t.Context(), message("o-1"))
			if err == nil || isPermanent(err) {
				t.Errorf("got %v, want another try", err)
			}
			h.wantShipment(t, "o-1", pending, 0)
			if err := h.handle(t.Context(), message("o-1")); err != nil {
				t.Fatal(err)
			}
			h.wantShipment(t, "o-1", shipped, 1)
		})
	}
	t.Run("refuses", func(t *testing.T) {
		h := newHandler(t, newWarehouse(status.Error(codes.FailedPrecondition, "nothing is reserved")))
		if err := h.handle(t.Context(), message("o-1")); !isPermanent(err) {
			t.Errorf("got %v, want a dead letter", err)
		}
		h.wantShipment(t, "o-1", refused, 0)
		// Somebody mends it and publishes the dead letter again.
		if err := h.handle(t.Context(), message("o-1")); err != nil {
			t.Fatal(err)
		}
		h.wantShipment(t, "o-1", shipped, 1)
	})
}

// isPermanent compares with how the broker package marks such an error.
func isPermanent(err error) bool {
	return err != nil && fmt.Sprintf("%T", err) == fmt.Sprintf("%T", broker.Permanent(errors.New("")))
}

func TestPoison(t *testing.T) {
	h := newHandler(t, newWarehouse())
	for _, data := range []string{"", "poison", "{}", `{"order_id":1}`} {
		if err := h.handle(t.Context(), broker.Message{Subject: events.OrdersConfirmed, Data: []byte(data)}); !isPermanent(err) {
			t.Errorf("%q: got %v, want a dead letter", data, err)
		}
	}
}

func TestDoorAndStoreFail(t *testing.T) {
	h := newHandler(t, newWarehouse())
	h.door = func(context.Context, func(context.Context) error) error { return kit.ErrShed }
	if err := h.handle(t.Context(), message("o-1")); !errors.Is(err, kit.ErrShed) || isPermanent(err) {
		t.Errorf("got %v, want another try", err)
	}
	h.door = openDoor
	h.shipments.db.Close()
	if err := h.handle(t.Context(), message("o-1")); err == nil || isPermanent(err) {
		t.Errorf("got %v, want another try", err)
	}
	var got map[string]any
	if code := get(t, h.routes(), "/shipments", &got); code != 500 {
		t.Errorf("list without a store: %d", code)
	}
	if code := get(t, http.HandlerFunc(h.audit), "/audit", &got); code != 500 {
		t.Errorf("audit without a store: %d", code)
	}
}

func TestAudit(t *testing.T) {
	h := newHandler(t, newWarehouse(nil, status.Error(codes.Unavailable, "no")))
	_ = h.handle(t.Context(), message("o-1"))
	_ = h.handle(t.Context(), message("o-2"))
	rec := httptest.NewRecorder()
	h.audit(rec, httptest.NewRequest("GET", "/audit", nil))
	want := `{"checked":{"pending":1,"refused":0,"shipped":1},"settled":false,"violations":[],"waiting":{"outbox":1,"shipments":1}}`
	if got := strings.TrimSpace(rec.Body.String()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestConsumer(t *testing.T) {
	c := consumer(0)
	if c.Concurrency != 8 || consumer(3).Concurrency != 3 {
		t.Errorf("concurrency %d, %d", c.Concurrency, consumer(3).Concurrency)
	}
	var patience time.Duration
	for i := range c.MaxDeliver - 1 {
		patience += c.Backoff[min(i, len(c.Backoff)-1)]
	}
	if patience < 3*time.Minute {
		t.Errorf("a message is given up after %v", patience)
	}
}

// TestWholeService runs the service with a real broker and a real inventory server, both of which
// come after it; the broker goes and comes back.
func TestWholeService(t *testing.T) {
	nats := eventstest.NewBroker(t)
	port, admin, inventory := eventstest.FreePort(t), eventstest.FreePort(t), eventstest.FreePort(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- kit.Run(ctx, Service(), kit.Env{
			"PORT": fmt.Sprint(port), "ADMIN_PORT": fmt.Sprint(admin), "BROKER_ADDR": nats.Addr,
			"INVENTORY_ADDR": fmt.Sprintf("127.0.0.1:%d", inventory), "DATA_DIR": t.TempDir(),
			"CAPACITY": `{"workers":4,"queue":0,"service_time":{"constant":"1ms"}}`,
		})
	}()
	eventstest.Eventually(t, "ready without broker and inventory", func() bool { return status200(admin, "/readyz") })
	nats.Start(t)
	client, err := broker.Connect(t.Context(), broker.Config{Addrs: []string{nats.Addr}, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := events.EnsureStreams(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	publish(t, client, 0, 10)
	w := serveWarehouse(t, inventory)
	eventstest.Eventually(t, "10 orders announced as shipped", func() bool { return nats.Messages(t, events.OrdersStream, events.OrdersShipped) == 10 })
	nats.Stop()
	nats.Start(t)
	publish(t, client, 5, 20) // five of them again
	if err := client.Publish(t.Context(), events.OrdersConfirmed, "poison", []byte("poison")); err != nil {
		t.Fatal(err)
	}
	eventstest.Eventually(t, "20 orders announced as shipped", func() bool { return nats.Messages(t, events.OrdersStream, events.OrdersShipped) == 20 })
	eventstest.Eventually(t, "the poison is a dead letter", func() bool {
		return nats.Messages(t, events.DeadLettersStream, events.DeadLetter(name, events.OrdersConfirmed)) == 1
	})
	w.mu.Lock()
	if len(w.asked) != 20 {
		t.Errorf("%d orders shipped, want 20", len(w.asked))
	}
	w.mu.Unlock()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// publish publishes confirmed orders, under ids of their own each time, so that the broker keeps them all.
func publish(t *testing.T, client *broker.Client, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		m := message(fmt.Sprint("o-", i))
		eventstest.Eventually(t, "published", func() bool {
			return client.Publish(t.Context(), m.Subject, fmt.Sprint(from, "/", m.ID), m.Data) == nil
		})
	}
}

func serveWarehouse(t *testing.T, port int) *warehouse {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	w := newWarehouse(status.Error(codes.Unavailable, "one moment"))
	srv := grpc.NewServer()
	inventoryv1.RegisterInventoryServer(srv, w)
	go func() { _ = srv.Serve(listener) }()
	t.Cleanup(srv.Stop)
	return w
}

func status200(port int, path string) bool {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == 200
}
