package orders

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/faultline-lab/faultline/services/events"
	"github.com/faultline-lab/faultline/services/events/eventstest"
	"github.com/faultline-lab/faultline/services/kit"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	ordersv1 "github.com/faultline-lab/faultline/services/proto/shop/orders/v1"
	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

func (o overWire) Audit(ctx context.Context, req *inventoryv1.AuditRequest) (*inventoryv1.AuditResponse, error) {
	return stockBooks{o.world}.Audit(ctx, req)
}

func (o chargesOverWire) Audit(ctx context.Context, req *paymentsv1.AuditRequest) (*paymentsv1.AuditResponse, error) {
	return chargeBooks{o.world}.Audit(ctx, req)
}

// TestWholeService runs the service as the shop does. It starts while there is no broker; a restart in the middle
// loses nothing.
func TestWholeService(t *testing.T) {
	w := newWorld()
	nats, callees := eventstest.NewBroker(t), serveWorld(t, w)
	port, admin := eventstest.FreePort(t), eventstest.FreePort(t)
	env := kit.Env{"PORT": fmt.Sprint(port), "ADMIN_PORT": fmt.Sprint(admin), "BROKER_ADDR": nats.Addr,
		"INVENTORY_ADDR": callees, "PAYMENTS_ADDR": callees, "DATA_DIR": t.TempDir()}
	stop := run(t, env)
	eventstest.Eventually(t, "ready without a broker", func() bool { return page(admin, "/readyz") != "" })
	conn, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := ordersv1.NewOrdersClient(conn)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	confirmed, err := client.PlaceOrder(ctx, request("k-1", goodCard), grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	w.setFault(once("charge", answerLost))
	_, err = client.PlaceOrder(ctx, request("k-2", goodCard))
	wantCode(t, err, codes.Unavailable, "payments did not answer")
	stop()
	stop = run(t, env)
	defer stop()
	nats.Start(t)
	eventstest.Eventually(t, "the event is published", func() bool { return nats.Messages(t, events.OrdersStream, events.OrdersConfirmed) == 1 })
	w.shipped(confirmed.GetId())
	var got report
	eventstest.Eventually(t, "settled", func() bool {
		return json.Unmarshal([]byte(page(admin, "/audit")), &got) == nil && got.Settled
	})
	if len(got.Violations) > 0 || got.Checked["orders"] != 2 || got.Checked["events"] != 1 {
		t.Errorf("audit %+v", got)
	}
	eventstest.Eventually(t, "the metrics show it", func() bool {
		text := page(admin, "/metrics")
		return strings.Contains(text, "sagas_pending 0") && strings.Contains(text, "outbox_pending 0") && strings.Contains(text, `sagas_total{outcome="cancelled"}`)
	})
	if text := page(admin, "/sagas"); text != "{\"sagas\":[]}\n" {
		t.Errorf("sagas %s", text)
	}
	// What was undone later, in another life, is part of the request's trace.
	if refund := w.traceOf("refund"); !strings.Contains(refund, trace) {
		t.Errorf("the refund is part of %q", refund)
	}
}

// run runs the service until stop is called.
func run(t *testing.T, env kit.Env) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- kit.Run(ctx, Service(), env) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// page gets a page, "" when it is not there.
func page(port int, path string) string {
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
