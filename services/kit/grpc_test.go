package kit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
)

// catalog is a gRPC service under test.
type catalog struct {
	catalogv1.UnimplementedCatalogServer
	get func(ctx context.Context, id string) (*catalogv1.Product, error)
}

func (c *catalog) GetProduct(ctx context.Context, req *catalogv1.GetProductRequest) (*catalogv1.Product, error) {
	return c.get(ctx, req.GetId())
}

func catalogService(get func(ctx context.Context, id string) (*catalogv1.Product, error)) Service {
	return Service{Name: "catalog", Protocol: GRPC, Build: func(context.Context, *Runtime) (*Parts, error) {
		return &Parts{GRPC: func(r grpc.ServiceRegistrar) { catalogv1.RegisterCatalogServer(r, &catalog{get: get}) }}, nil
	}}
}

// caller runs a service whose runtime the test uses to call others.
func caller(t *testing.T, env Env) (*Runtime, *running) {
	t.Helper()
	built := make(chan *Runtime, 1)
	r := start(t, Service{Name: "gateway", Protocol: HTTP, Build: func(_ context.Context, rt *Runtime) (*Parts, error) {
		built <- rt
		return &Parts{}, nil
	}}, env)
	return <-built, r
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestGRPCService(t *testing.T) {
	r := start(t, catalogService(func(_ context.Context, id string) (*catalogv1.Product, error) {
		switch id {
		case "panic":
			panic("here")
		case "late":
			return nil, fmt.Errorf("asking the store: %w", context.DeadlineExceeded)
		case "none":
			return nil, status.Error(codes.NotFound, "no such product")
		case "broken":
			return nil, errors.New("broken")
		}
		return &catalogv1.Product{Id: id}, nil
	}), nil)
	conn := dial(t, r.main)
	client := catalogv1.NewCatalogClient(conn)
	for id, want := range map[string]codes.Code{"p-1": codes.OK, "panic": codes.Internal, "late": codes.DeadlineExceeded, "none": codes.NotFound, "broken": codes.Unknown} {
		p, err := client.GetProduct(t.Context(), &catalogv1.GetProductRequest{Id: id})
		if status.Code(err) != want || err == nil && p.GetId() != id {
			t.Errorf("%s: got %v, %v", id, p, err)
		}
	}
	for _, want := range []string{"OK", "INTERNAL", "DEADLINE_EXCEEDED", "NOT_FOUND", "UNKNOWN"} {
		if n := r.metric(t, "rpc_server_call_duration_seconds_count", `rpc_method="shop.catalog.v1.Catalog/GetProduct"`, `rpc_response_status_code="`+want+`"`); n != 1 {
			t.Errorf("%s counted %v times", want, n)
		}
	}
	health := grpc_health_v1.NewHealthClient(conn)
	if h, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || h.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", h, err)
	}
	if _, err := health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "x"}); status.Code(err) != codes.NotFound {
		t.Errorf("health of another: %v", err)
	}
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	if list, err := stream.Recv(); err != nil || !strings.Contains(list.String(), "shop.catalog.v1.Catalog") {
		t.Errorf("reflection: %v, %v", list, err)
	}
	if n := r.metric(t, "door_requests_total", `outcome="served"`); n != 5 {
		t.Errorf("the door counted %v calls: health and reflection must pass it by", n)
	}
}

func TestCallsAreBalancedAndCounted(t *testing.T) {
	var addrs []string
	for i := range 3 {
		r := start(t, catalogService(func(context.Context, string) (*catalogv1.Product, error) {
			return &catalogv1.Product{Name: fmt.Sprint("replica ", i+1)}, nil
		}), nil)
		addrs = append(addrs, r.main)
	}
	rt, r := caller(t, Env{"CATALOG_ADDR": strings.Join(addrs, ", ")})
	conn, err := rt.GRPC("catalog")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := rt.GRPC("catalog"); err != nil || again != conn {
		t.Errorf("a second connection was made: %v", err)
	}
	client := catalogv1.NewCatalogClient(conn)
	answers := map[string]int{}
	ask := func() {
		p, err := client.GetProduct(t.Context(), &catalogv1.GetProductRequest{})
		if err != nil {
			t.Fatal(err)
		}
		answers[p.GetName()]++
	}
	for len(answers) < 3 { // until all are connected
		ask()
	}
	clear(answers)
	for range 30 {
		ask()
	}
	for name, n := range answers {
		if n != 10 {
			t.Errorf("%s answered %d of 30", name, n)
		}
	}
	for _, replica := range []string{"1", "2", "3"} {
		if n := r.metric(t, "edge_attempt_duration_seconds_count", `caller="gateway"`, `callee="catalog"`, `replica="`+replica+`"`); n < 10 {
			t.Errorf("replica %s: %v attempts", replica, n)
		}
	}
}

func TestHTTPClient(t *testing.T) {
	bank := func(name string) string {
		return start(t, Service{Name: "bank", Protocol: HTTP, Build: func(context.Context, *Runtime) (*Parts, error) {
			mux := http.NewServeMux()
			mux.HandleFunc("GET /name", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, name+" for "+r.Host) })
			mux.Handle("GET /moved", http.RedirectHandler("/name", http.StatusFound))
			return &Parts{HTTP: mux}, nil
		}}, nil).main
	}
	rt, r := caller(t, Env{"BANK_ADDR": bank("first") + "," + bank("second")})
	client, err := rt.HTTP("bank")
	if err != nil {
		t.Fatal(err)
	}
	if client.Timeout != 0 {
		t.Error("the client has a timeout that no policy gave it")
	}
	ask := func(path string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://bank"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	for _, want := range []string{"first for bank", "second for bank", "first for bank"} {
		if _, body := ask("/name"); body != want {
			t.Errorf("got %q, want %q", body, want)
		}
	}
	if status, _ := ask("/moved"); status != http.StatusFound {
		t.Errorf("a redirect was followed: %d", status)
	}
	if n := r.metric(t, "edge_calls_total", `callee="bank"`, `outcome="ok"`); n != 4 {
		t.Errorf("%v calls counted", n)
	}
	if n := r.metric(t, "edge_attempt_duration_seconds_count", `callee="bank"`, `replica="2"`); n != 2 {
		t.Errorf("%v attempts at the second replica", n)
	}
}

// The deadline that the first caller sets arrives at the last callee when
// edges and doors carry it, and nowhere without.
func TestDeadlineTravels(t *testing.T) {
	var left atomic.Int64
	bank := start(t, Service{Name: "bank", Protocol: HTTP, Build: func(context.Context, *Runtime) (*Parts, error) {
		return &Parts{HTTP: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			left.Store(0)
			if at, ok := r.Context().Deadline(); ok {
				left.Store(int64(time.Until(at)))
			}
		})}, nil
	}}, Env{"RESILIENCE_POLICIES": `{"bank": [{"deadline": {}}]}`})
	for _, policies := range []string{
		`{"catalog": [{"deadline": {}}], "catalog->bank": [{"deadline": {}}]}`,
		`{"catalog": [{"deadline": {}}]}`,
		`{"catalog->bank": [{"deadline": {}}]}`,
		``,
	} {
		var rt *Runtime
		svc := catalogService(func(ctx context.Context, _ string) (*catalogv1.Product, error) {
			client, err := rt.HTTP("bank")
			if err != nil {
				return nil, err
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://bank/", nil)
			if err != nil {
				return nil, err
			}
			resp, err := client.Do(req)
			if err != nil {
				return nil, err
			}
			return &catalogv1.Product{}, resp.Body.Close()
		})
		build := svc.Build
		svc.Build = func(ctx context.Context, r *Runtime) (*Parts, error) { rt = r; return build(ctx, r) }
		middle := start(t, svc, Env{"BANK_ADDR": bank.main, "RESILIENCE_POLICIES": policies})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := catalogv1.NewCatalogClient(dial(t, middle.main)).GetProduct(ctx, &catalogv1.GetProductRequest{}); err != nil {
			t.Error(err)
		}
		cancel()
		carried := strings.Count(policies, "deadline") == 2
		if got := time.Duration(left.Load()); carried != (got > 50*time.Second && got <= time.Minute) || !carried && got != 0 {
			t.Errorf("with %q the last callee has %s left", policies, got)
		}
	}
}

func TestFullDoor(t *testing.T) {
	env := Env{"CAPACITY": `{"workers": 1, "queue": 0}`}
	t.Run("grpc", func(t *testing.T) {
		entered, release := make(chan struct{}), make(chan struct{})
		r := start(t, catalogService(func(context.Context, string) (*catalogv1.Product, error) {
			close(entered)
			<-release
			return &catalogv1.Product{}, nil
		}), env)
		client := catalogv1.NewCatalogClient(dial(t, r.main))
		var wait sync.WaitGroup
		wait.Go(func() {
			if _, err := client.GetProduct(t.Context(), &catalogv1.GetProductRequest{}); err != nil {
				t.Error(err)
			}
		})
		<-entered
		if _, err := client.GetProduct(t.Context(), &catalogv1.GetProductRequest{}); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v", err)
		}
		close(release)
		wait.Wait()
	})
	t.Run("http", func(t *testing.T) {
		entered, release := make(chan struct{}), make(chan struct{})
		r := start(t, Service{Name: "s", Protocol: HTTP, Build: func(context.Context, *Runtime) (*Parts, error) {
			return &Parts{HTTP: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(entered); <-release })}, nil
		}}, env)
		var wait sync.WaitGroup
		wait.Go(func() { get(t, "http://"+r.main+"/") })
		<-entered
		status, body := get(t, "http://"+r.main+"/")
		if status != http.StatusServiceUnavailable || !strings.Contains(body, `"detail":"all workers are busy and the queue is full"`) {
			t.Errorf("got %d %s", status, body)
		}
		if status, _ := get(t, "http://"+r.main+"/healthz"); status != http.StatusOK {
			t.Error("health does not answer while the door is full")
		}
		close(release)
		wait.Wait()
	})
}

// A service that is asked to stop says so, answers what is under way, and ends.
func TestDrain(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	r := start(t, catalogService(func(context.Context, string) (*catalogv1.Product, error) {
		close(entered)
		<-release
		return &catalogv1.Product{Id: "answered"}, nil
	}), nil)
	client := catalogv1.NewCatalogClient(dial(t, r.main))
	watch, err := grpc_health_v1.NewHealthClient(dial(t, r.main)).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := watch.Recv(); err != nil || h.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("watching health: %v, %v", h, err)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		if p, err := client.GetProduct(t.Context(), &catalogv1.GetProductRequest{}); err != nil || p.GetId() != "answered" {
			t.Errorf("the call under way: %v, %v", p, err)
		}
	})
	<-entered
	r.stop()
	if h, err := watch.Recv(); err != nil || h.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health while draining: %v, %v", h, err)
	}
	if status, body := get(t, "http://"+r.admin+"/readyz"); status != http.StatusServiceUnavailable || body != "draining\n" {
		t.Errorf("readiness while draining: %d %q", status, body)
	}
	close(release)
	began := time.Now()
	if err := r.end(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > defaultDrain-time.Second {
		t.Errorf("with nothing under way any more it took %s", took)
	}
	wait.Wait()
}

// Draining is bounded: a handler that does not end is cut off.
func TestDrainIsBounded(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	r := start(t, Service{Name: "s", Protocol: HTTP, Build: func(context.Context, *Runtime) (*Parts, error) {
		return &Parts{HTTP: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { close(entered); <-release })}, nil
	}}, Env{"DRAIN_TIMEOUT": "50ms"})
	var wait sync.WaitGroup
	wait.Go(func() { get(t, "http://"+r.main+"/") })
	<-entered
	began := time.Now()
	if err := r.end(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	wait.Wait()
}

func TestReadiness(t *testing.T) {
	var down atomic.Bool
	r := start(t, Service{Name: "s", Protocol: GRPC, Build: func(context.Context, *Runtime) (*Parts, error) {
		return &Parts{Ready: func(context.Context) error {
			if down.Load() {
				return errors.New("the store does not answer")
			}
			return nil
		}}, nil
	}}, nil)
	down.Store(true)
	if status, body := get(t, "http://"+r.admin+"/readyz"); status != http.StatusServiceUnavailable || body != "the store does not answer\n" {
		t.Errorf("got %d %q", status, body)
	}
	if status, _ := get(t, "http://"+r.admin+"/healthz"); status != http.StatusOK {
		t.Error("the process is there, ready or not")
	}
	h, err := grpc_health_v1.NewHealthClient(dial(t, r.main)).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || h.GetStatus() != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health: %v, %v", h, err)
	}
}
