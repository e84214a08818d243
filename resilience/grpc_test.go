package resilience

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/faultline-lab/faultline/observability/names"
)

// grpcCallee is a callee that speaks gRPC, as a health service.
type grpcCallee struct {
	grpc_health_v1.UnimplementedHealthServer
	mu       sync.Mutex
	requests []metadata.MD
	answer   func(ctx context.Context, n int) error
}

func (c *grpcCallee) Check(ctx context.Context, req *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c.mu.Lock()
	c.requests = append(c.requests, md)
	n := len(c.requests)
	c.mu.Unlock()
	if err := c.answer(ctx, n); err != nil {
		return nil, err
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func grpcEdge(t *testing.T, callee *grpcCallee, chain ...Spec) (grpc_health_v1.HealthClient, testEdge, *tracer) {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, callee)
	var wait sync.WaitGroup
	wait.Go(func() { _ = server.Serve(listener) })
	reg, spans := &registry{}, &tracer{}
	e, err := NewEdge(EdgeConfig{Caller: "a", Callee: "b", Chain: chain, Registerer: reg, TracerProvider: spans})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///b", append(e.DialOptions(func(net.Addr) int { return 1 }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithIdleTimeout(0),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithUnaryInterceptor(e.UnaryClientInterceptor()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		wait.Wait()
	})
	return grpc_health_v1.NewHealthClient(conn), testEdge{e, reg}, spans
}

func TestGRPCRetry(t *testing.T) {
	callee := &grpcCallee{answer: func(_ context.Context, n int) error {
		if n < 3 {
			return status.Error(codes.ResourceExhausted, "busy")
		}
		return nil
	}}
	client, e, spans := grpcEdge(t, callee, spec(t, "retry", params{"attempts": 3, "backoff": "1ms"}))
	reply, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || reply.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", reply, err)
	}
	if e.count(t, names.EdgeAttempts, "error") != 2 || e.count(t, names.EdgeAttempts, "ok") != 1 || e.count(t, names.EdgeCalls, "ok") != 1 {
		t.Error("not counted as it was")
	}
	first, last := spans.spans[0], spans.spans[2]
	if first.name != "grpc.health.v1.Health/Check" || first.attributes["rpc.response.status_code"] != "RESOURCE_EXHAUSTED" || first.attributes["error.type"] != "RESOURCE_EXHAUSTED" {
		t.Errorf("first span %+v", first)
	}
	if last.attributes["rpc.response.status_code"] != "OK" || last.attributes[names.AttrAttempt] != "3" {
		t.Errorf("last span %+v", last)
	}
	for i, md := range callee.requests {
		if want := "00-01000000000000000000000000000000-0" + string(rune('1'+i)) + "00000000000000-01"; md.Get("traceparent")[0] != want {
			t.Errorf("attempt %d: traceparent %s, want %s", i+1, md.Get("traceparent"), want)
		}
	}
}

func TestGRPCKeepsMetadata(t *testing.T) {
	callee := &grpcCallee{answer: func(context.Context, int) error { return nil }}
	client, _, _ := grpcEdge(t, callee)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer x", "traceparent", "old")
	if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	md := callee.requests[0]
	if md.Get("authorization")[0] != "Bearer x" || len(md.Get("traceparent")) != 1 || md.Get("traceparent")[0] == "old" {
		t.Errorf("got %v", md)
	}
}

func TestGRPCDeadline(t *testing.T) {
	var told time.Duration
	var has bool
	callee := &grpcCallee{answer: func(ctx context.Context, _ int) error {
		var at time.Time
		at, has = ctx.Deadline()
		told = time.Until(at)
		return nil
	}}
	tests := []struct {
		name   string
		chain  []Spec
		caller time.Duration // 0: none
		want   time.Duration // 0: none
	}{
		{"no policy: the caller's deadline stays with the caller", nil, time.Minute, 0},
		{"a timeout alone is not told either", []Spec{spec(t, "timeout", "5s")}, 0, 0},
		{"the caller's", []Spec{spec(t, "deadline", nil)}, time.Minute, time.Minute},
		{"the timeout's", []Spec{spec(t, "timeout", "5s"), spec(t, "deadline", nil)}, time.Minute, 5 * time.Second},
		{"its own", []Spec{spec(t, "deadline", "7s")}, 0, 7 * time.Second},
		{"its own only when there is no other", []Spec{spec(t, "deadline", "7s")}, time.Minute, time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client, _, _ := grpcEdge(t, callee, test.chain...)
			ctx, cancel := t.Context(), func() {}
			if test.caller > 0 {
				ctx, cancel = context.WithTimeout(ctx, test.caller)
			}
			defer cancel()
			if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
				t.Fatal(err)
			}
			if has != (test.want > 0) || has && (told > test.want || told < test.want-2*time.Second) {
				t.Errorf("told %t %s, want %s", has, told, test.want)
			}
		})
	}
}

// With the deadline told, the attempt's own deadline may end it before the
// timeout's timer does. Either way it is the timeout.
func TestGRPCTimeoutWithDeadline(t *testing.T) {
	callee := &grpcCallee{answer: func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }}
	client, e, _ := grpcEdge(t, callee, spec(t, "timeout", "20ms"), spec(t, "deadline", nil))
	for range 10 {
		if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); rejection(err) != "timeout timeout" || status.Code(err) != codes.DeadlineExceeded {
			t.Fatalf("got %v", err)
		}
	}
	if e.count(t, names.EdgeCalls, "timeout") != 10 || e.count(t, names.EdgeAttempts, "timeout") != 10 {
		t.Error("not counted as it was")
	}
	if n := e.reg.value(t, names.PolicyRejections, names.Policy, "timeout"); n != 10 {
		t.Errorf("%v timeouts counted", n)
	}
}

func TestGRPCClasses(t *testing.T) {
	failures := map[codes.Code]Class{
		codes.Unavailable: Unavailable, codes.ResourceExhausted: Overloaded, codes.DeadlineExceeded: TimedOut,
		codes.Internal: Failed, codes.Unknown: Failed, codes.DataLoss: Failed, codes.Canceled: Cancelled,
	}
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		want, ok := failures[code]
		if !ok {
			want = Succeeded
		}
		var err error
		if code != codes.OK {
			err = errors.Join(errors.New("asking b"), status.Error(code, ""))
		}
		if got := classify(t.Context(), nil, err); got != want {
			t.Errorf("%s is %s, want %s", code, got, want)
		}
	}
	if CodeName(codes.DeadlineExceeded) != "DEADLINE_EXCEEDED" || CodeName(codes.Unauthenticated) != "UNAUTHENTICATED" || CodeName(99) != "99" {
		t.Error("wrong names of codes")
	}
}
