package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/faultline-lab/faultline/services/kit/outbox"
	"github.com/faultline-lab/faultline/services/kit/store"
	"github.com/faultline-lab/faultline/services/kit/store/storetest"
	inventoryv1 "github.com/faultline-lab/faultline/services/proto/shop/inventory/v1"
	paymentsv1 "github.com/faultline-lab/faultline/services/proto/shop/payments/v1"
)

// victim tells a copy of the test program to be a process of orders that kills itself.
type victim struct {
	Path, Addr string // of the store, of the world
	Point      point  // where to die
	Card       string
}

const victimEnv = "ORDERS_TEST_VICTIM"

func TestMain(m *testing.M) {
	if text := os.Getenv(victimEnv); text != "" {
		if err := liveAndDie(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// liveAndDie is the life of a victim: it places one order, and dies by SIGKILL at its point.
func liveAndDie(text string) error {
	var v victim
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	db, err := store.Open(ctx, storetest.At(v.Path, schema, callsSchema, outbox.Schema("orders")))
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient(v.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	s := &sagas{
		ledger: &ledger{db: db, outbox: outbox.New(outbox.Config{Name: "orders", Store: db, Log: log})},
		stock:  inventoryv1.NewInventoryClient(conn), money: paymentsv1.NewPaymentsClient(conn),
		live: newLive(), driver: uuid.NewString(), log: log, tracer: noop.NewTracerProvider().Tracer(""),
		propagator: propagation.TraceContext{}, metrics: newMetrics(nil),
		probe: probeFunc(func(p point) {
			if p == v.Point {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}),
		backoff: func(int) time.Duration { return 0 },
	}
	k := &keeper{ledger: s.ledger, driver: s.driver, instance: "orders-1", pending: s.metrics.pending, log: log}
	if err := k.beat(ctx); err != nil {
		return err
	}
	_, err = s.place(ctx, request("k-1", v.Card))
	return err
}

// overWire serves the world's side of the calls.
type overWire struct {
	inventoryv1.UnimplementedInventoryServer
	*world
}

func (o overWire) Reserve(ctx context.Context, req *inventoryv1.ReserveRequest) (*inventoryv1.ReserveResponse, error) {
	return o.world.Reserve(ctx, req)
}

func (o overWire) Release(ctx context.Context, req *inventoryv1.ReleaseRequest) (*inventoryv1.ReleaseResponse, error) {
	return o.world.Release(ctx, req)
}

type chargesOverWire struct {
	paymentsv1.UnimplementedPaymentsServer
	*world
}

func (o chargesOverWire) Charge(ctx context.Context, req *paymentsv1.ChargeRequest) (*paymentsv1.ChargeResponse, error) {
	return o.world.Charge(ctx, req)
}

func (o chargesOverWire) Refund(ctx context.Context, req *paymentsv1.RefundRequest) (*paymentsv1.RefundResponse, error) {
	return o.world.Refund(ctx, req)
}

func serveWorld(t *testing.T, w *world) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	inventoryv1.RegisterInventoryServer(srv, overWire{world: w})
	paymentsv1.RegisterPaymentsServer(srv, chargesOverWire{world: w})
	go func() { _ = srv.Serve(listener) }()
	t.Cleanup(srv.Stop)
	return listener.Addr().String()
}

// TestKill9 is TestCrashAnywhere with real processes and a real SIGKILL: what the store has committed must be
// there, and no cleaning up must have been needed.
func TestKill9(t *testing.T) {
	for _, v := range []victim{
		{Point: atCreated, Card: goodCard}, {Point: atReserveAnswered, Card: goodCard}, {Point: atReserved, Card: goodCard},
		{Point: atChargeAnswered, Card: goodCard}, {Point: atCharged, Card: goodCard}, {Point: atConfirmed, Card: goodCard},
		{Point: atTurned, Card: badCard}, {Point: atReleaseAnswered, Card: badCard}, {Point: atCancelled, Card: badCard},
	} {
		t.Run(string(v.Point), func(t *testing.T) {
			w := newWorld()
			v.Path, v.Addr = t.TempDir()+"/orders.db", serveWorld(t, w)
			storetest.Config(t, v.Path) // so that there is a place for it
			die(t, v)
			next := begin(t, w, v.Path, nil)
			next.settle(t, w)
			want := map[state]int{cancelled: 1}
			if v.Point == atCharged || v.Point == atConfirmed {
				want = map[state]int{confirmed: 1}
			}
			next.wantStates(t, want)
			next.wantSound(t)
		})
	}
}

// die runs a victim and wants it to be killed.
func die(t *testing.T, v victim) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), victimEnv+"="+string(text))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("the victim lives: %v %s", err, out)
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("the victim ended by itself: %v %s", err, out)
	}
}
