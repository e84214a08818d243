package notifications

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/events/eventstest"
	"github.com/faultline-lab/faultline/services/kit"
	"github.com/faultline-lab/faultline/services/kit/broker"
	"github.com/faultline-lab/faultline/services/kit/store"
	"github.com/faultline-lab/faultline/services/kit/store/storetest"
)

func newHandler(t *testing.T) *handler {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Config(t, t.TempDir()+"/notifications.db", schema))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &handler{book: &book{db: db}, broker: &kept{}, door: openDoor, log: slog.New(slog.DiscardHandler)}
}

func openDoor(ctx context.Context, work func(context.Context) error) error { return work(ctx) }

const (
	aConfirmation = `{"order_id":"o-1","account_id":"a-1","total_cents":1905}`
	aShipment     = `{"order_id":"o-1","account_id":"a-1","shipment_id":"s-1"}`
)

func TestWrite(t *testing.T) {
	tests := []struct{ subject, data, message, err string }{
		{events.OrdersConfirmed, aConfirmation, "Your order o-1 over 19.05 is confirmed.", ""},
		{events.OrdersShipped, aShipment, "Your order o-1 is on its way, shipment s-1.", ""},
		{events.OrdersConfirmed, "poison", "", "reading orders.confirmed: invalid character"},
		{events.OrdersShipped, "{}", "", "reading orders.shipped: no order id"},
		{"orders.eaten", "{}", "", "no notification for orders.eaten"},
	}
	for _, test := range tests {
		t.Run(test.subject+" "+test.data, func(t *testing.T) {
			got, err := write(broker.Message{Subject: test.subject, Data: []byte(test.data)})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || got.Message != test.message || got.Order != "o-1" || got.Account != "a-1" || got.Event != test.subject || got.CreatedMS == 0 {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func FuzzWrite(f *testing.F) {
	f.Add(events.OrdersConfirmed, aConfirmation)
	f.Add(events.OrdersShipped, aShipment)
	f.Add(events.OrdersShipped, "poison")
	f.Add("orders.eaten", "{}")
	f.Fuzz(func(t *testing.T, subject, data string) {
		n, err := write(broker.Message{Subject: subject, Data: []byte(data)})
		if (err == nil) == (n.Order == "") {
			t.Fatalf("%s %q gave %+v and %v", subject, data, n, err)
		}
	})
}

func TestToldOnce(t *testing.T) {
	h := newHandler(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	results := map[bool]int{}
	for range 10 {
		for subject, data := range map[string]string{events.OrdersConfirmed: aConfirmation, events.OrdersShipped: aShipment} {
			wg.Go(func() {
				err := h.handle(t.Context(), broker.Message{Subject: subject, Data: []byte(data)})
				if err != nil && !errors.Is(err, broker.ErrDuplicate) {
					t.Error(err)
				}
				mu.Lock()
				results[err == nil]++
				mu.Unlock()
			})
		}
	}
	wg.Wait()
	if results[true] != 2 || results[false] != 18 {
		t.Errorf("%d new and %d duplicates, want 2 and 18", results[true], results[false])
	}
	if got := list(t, h, "?order=o-1"); len(got) != 2 {
		t.Errorf("got %+v", got)
	}
	if got := list(t, h, "?order=o-2"); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	if got := list(t, h, ""); len(got) != 2 {
		t.Errorf("got %+v", got)
	}
}

func list(t *testing.T, h *handler, query string) []notification {
	t.Helper()
	rec := httptest.NewRecorder()
	h.routes().ServeHTTP(rec, httptest.NewRequest("GET", "/notifications"+query, nil))
	var got struct{ Notifications []notification }
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || rec.Code != 200 {
		t.Fatalf("got %d %s, %v", rec.Code, rec.Body, err)
	}
	return got.Notifications
}

func TestFailures(t *testing.T) {
	h := newHandler(t)
	err := h.handle(t.Context(), broker.Message{Subject: events.OrdersShipped, Data: []byte("poison")})
	if err == nil || fmt.Sprintf("%T", err) != fmt.Sprintf("%T", broker.Permanent(err)) {
		t.Errorf("poison gave %v, want a dead letter", err)
	}
	h.door = func(context.Context, func(context.Context) error) error { return kit.ErrShed }
	if err := h.handle(t.Context(), broker.Message{Subject: events.OrdersShipped, Data: []byte(aShipment)}); !errors.Is(err, kit.ErrShed) {
		t.Errorf("a full door gave %v", err)
	}
	h.door = openDoor
	h.book.db.Close()
	if err := h.handle(t.Context(), broker.Message{Subject: events.OrdersShipped, Data: []byte(aShipment)}); err == nil {
		t.Error("told without a store")
	}
	for path, is := range map[string]struct {
		handler http.Handler
		code    int
	}{"/notifications": {h.routes(), 500}, "/audit": {http.HandlerFunc(h.audit), 503}} {
		rec := httptest.NewRecorder()
		is.handler.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Code != is.code {
			t.Errorf("%s without a store: %d, want %d", path, rec.Code, is.code)
		}
	}
}

// TestWholeService runs the service with a real broker that comes after it, goes and comes back.
func TestWholeService(t *testing.T) {
	nats := eventstest.NewBroker(t)
	port, admin := eventstest.FreePort(t), eventstest.FreePort(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- kit.Run(ctx, Service(), kit.Env{"PORT": fmt.Sprint(port), "ADMIN_PORT": fmt.Sprint(admin), "BROKER_ADDR": nats.Addr, "DATA_DIR": t.TempDir()})
	}()
	eventstest.Eventually(t, "ready without a broker", func() bool { return read(admin, "/readyz") != "" })
	nats.Start(t)
	client, err := broker.Connect(t.Context(), broker.Config{Addrs: []string{nats.Addr}, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := events.EnsureStreams(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	publish := func(id, subject, data string) {
		eventstest.Eventually(t, "published", func() bool { return client.Publish(t.Context(), subject, id, []byte(data)) == nil })
	}
	publish("1", events.OrdersConfirmed, aConfirmation)
	publish("2", events.OrdersConfirmed, "poison")
	eventstest.Eventually(t, "told of the confirmation", func() bool { return strings.Contains(read(port, "/notifications?order=o-1"), "is confirmed") })
	nats.Stop()
	nats.Start(t)
	publish("3", events.OrdersConfirmed, aConfirmation)
	publish("4", events.OrdersShipped, aShipment)
	eventstest.Eventually(t, "told of the shipment", func() bool { return strings.Contains(read(port, "/notifications?order=o-1"), "is on its way") })
	eventstest.Eventually(t, "the poison is a dead letter", func() bool {
		return nats.Messages(t, events.DeadLettersStream, events.DeadLetter(name, "orders")) == 1
	})
	if got := read(admin, "/audit"); !strings.Contains(got, `"orders.confirmed":1,"orders.shipped":1`) {
		t.Errorf("audit %s", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// read gets a page, "" when it is not there.
func read(port int, path string) string {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		return ""
	}
	return string(data)
}

func TestConsumerFromTheEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		env     kit.Env
		ordered bool
		most    int
		wrong   string
	}{
		"nothing":            {kit.Env{}, false, 20, ""},
		"ordered, for ever":  {kit.Env{"CONSUME": "ordered", "DEAD_LETTERS": "off"}, true, -1, ""},
		"a wrong order":      {kit.Env{"CONSUME": "sorted"}, false, 20, "CONSUME"},
		"wrong dead letters": {kit.Env{"DEAD_LETTERS": "never"}, false, 20, "DEAD_LETTERS"},
	} {
		got, err := consumer(3, c.env)
		if got.Ordered != c.ordered || got.MaxDeliver != c.most || got.Concurrency != 3 || (err != nil) != (c.wrong != "") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
