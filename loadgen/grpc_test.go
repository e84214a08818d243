package loadgen

import (
	"context"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

// The RPCs of the test service.
const (
	unaryCall     = "grpc.testing.TestService/UnaryCall"
	emptyCall     = "grpc.testing.TestService/EmptyCall"
	streamingCall = "grpc.testing.TestService/StreamingOutputCall"
)

// testService answers a UnaryCall with its payload, the status that was asked
// for, or not at all when asked for a size of -1.
type testService struct {
	pb.UnimplementedTestServiceServer
	calls atomic.Int64
	seen  sync.Map // "md" -> metadata of the last call
	gate  chan struct{}
}

func (s *testService) UnaryCall(ctx context.Context, in *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	s.calls.Add(1)
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		s.seen.Store("md", md)
	}
	if in.GetResponseSize() < 0 {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if s.gate != nil {
		<-s.gate
	}
	if echo := in.GetResponseStatus(); echo.GetCode() != 0 {
		return nil, status.Error(codes.Code(echo.GetCode()), echo.GetMessage())
	}
	return &pb.SimpleResponse{Payload: in.GetPayload(), ServerId: "s-1", Username: "a \"b\""}, nil
}

func serveGRPC(t testing.TB, service *testService, reflected bool, options ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveGRPCOn(t, listener, service, reflected, options...)
}

func serveGRPCOn(t testing.TB, listener net.Listener, service *testService, reflected bool, options ...grpc.ServerOption) string {
	server := grpc.NewServer(options...)
	pb.RegisterTestServiceServer(server, service)
	if reflected {
		reflection.Register(server)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return listener.Addr().String()
}

func TestGRPCOutcomes(t *testing.T) {
	addr := serveGRPC(t, &testService{}, true)
	tests := map[string]struct {
		step   Step
		status int
		err    string
		bytes  int64
	}{
		"ok":                {step: Step{RPC: unaryCall, Body: `{"payload": {"body": "aGVsbG8="}}`}, bytes: 21},
		"no body":           {step: Step{RPC: unaryCall}, bytes: 12},
		"a leading slash":   {step: Step{RPC: "/" + unaryCall}, bytes: 12},
		"names in JSON":     {step: Step{RPC: unaryCall, Body: `{"responseStatus": {"code": 5}}`}, status: 5, err: "status NotFound"},
		"names in proto":    {step: Step{RPC: unaryCall, Body: `{"response_status": {"code": 14, "message": "connection refused"}}`}, status: 14, err: "status Unavailable"},
		"a code accepted":   {step: Step{RPC: unaryCall, Body: `{"response_status": {"code": 6}}`, Accept: []int{6}}, status: 6},
		"not implemented":   {step: Step{RPC: emptyCall}, status: 12, err: "status Unimplemented"},
		"timeout":           {step: Step{RPC: unaryCall, Body: `{"response_size": -1}`}, err: ErrorTimeout},
		"extraction":        {step: Step{RPC: unaryCall, Extract: map[string]string{"id": "server_id", "unset": "oauth_scope"}}, bytes: 12},
		"failed extraction": {step: Step{RPC: unaryCall, Extract: map[string]string{"id": "payload.body"}}, bytes: 12, err: "extraction failed: id"},
		"not a message":     {step: Step{RPC: unaryCall, Body: `{"response_size": "{{uuid}}"}`}, err: ErrorRequest},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			share := once("grpc", addr, test.step)
			if test.err == ErrorTimeout {
				share.Loads[0].Timeout = 50 * time.Millisecond
			}
			row := one(t, share)
			if row.Status != test.status || row.Error != test.err || row.OK != (test.err == "") || row.Bytes != test.bytes {
				t.Errorf("status %d, error %q, ok %v, %d bytes; want %d, %q, %d bytes",
					row.Status, row.Error, row.OK, row.Bytes, test.status, test.err, test.bytes)
			}
			if row.Sent.Before(row.Due) || row.Done.Before(row.Sent) {
				t.Errorf("row %+v", row)
			}
		})
	}
}

func TestGRPCMetadata(t *testing.T) {
	service := &testService{}
	share := once("grpc", serveGRPC(t, service, true), Step{RPC: unaryCall, Headers: map[string]string{"Authorization": "Bearer {{seq}}"}})
	row := one(t, share)
	seen, _ := service.seen.Load("md")
	md, _ := seen.(metadata.MD)
	if got := md.Get("authorization"); !reflect.DeepEqual(got, []string{"Bearer 0"}) {
		t.Errorf("authorization %v", got)
	}
	if got := md.Get("traceparent"); len(got) != 1 || !strings.HasPrefix(got[0], "00-"+row.TraceID) || !strings.HasSuffix(got[0], "-01") {
		t.Errorf("traceparent %v, the result's trace %s", got, row.TraceID)
	}
	want := map[string]string{"faultline.load": "browse", "faultline.journey": "0"}
	if got := md.Get("baggage"); len(got) != 1 || !reflect.DeepEqual(baggageOf(got[0]), want) {
		t.Errorf("baggage %v, want %v", got, want)
	}
}

func TestGRPCJourney(t *testing.T) {
	share := once("grpc", serveGRPC(t, &testService{}, true),
		Step{Name: "who", RPC: unaryCall, Extract: map[string]string{"user": "username"}},
		Step{
			Name: "again", RPC: unaryCall, Body: `{"payload": {"body": ""}, "response_status": {"code": 3, "message": "{{.user}}"}}`,
			Headers: map[string]string{"x-user": "{{.user}}"},
		})
	rows := collect(t, t.Context(), share)
	if len(rows) != 3 || !rows[0].OK || rows[1].Error != "status InvalidArgument" || rows[2].Error != "status InvalidArgument" || rows[2].Step != "" {
		t.Errorf("rows %+v", rows)
	}
}

// TestGRPCServerGone stops a server under load and starts it again.
func TestGRPCServerGone(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	server := grpc.NewServer()
	pb.RegisterTestServiceServer(server, &testService{})
	reflection.Register(server)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	defer serving.Wait()
	share := once("grpc", addr, Step{RPC: unaryCall}).at(1200*time.Millisecond, 100)
	failed := map[string]int{}
	var lastOK, firstFailed uint64
	err = Run(t.Context(), share, func(r Result) {
		switch {
		case r.Seq == 20:
			server.Stop()
		case r.Seq == 60:
			listener, err := net.Listen("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			serveGRPCOn(t, listener, &testService{}, false)
		}
		if r.OK {
			lastOK = max(lastOK, r.Seq)
		} else {
			failed[r.Error]++
			if firstFailed == 0 || r.Seq < firstFailed {
				firstFailed = r.Seq
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if firstFailed < 15 || failed[ErrorRefused] < 20 || lastOK < 110 {
		t.Errorf("failed first at %d, worked last at %d; failures %v", firstFailed, lastOK, failed)
	}
	for kind := range failed {
		if kind != ErrorRefused && kind != ErrorClosed && kind != ErrorReset && kind != "status Unavailable" {
			t.Errorf("a failure of kind %q", kind)
		}
	}
}

// TestGRPCConnectionIsNoLimit has a server that takes few calls on a connection.
func TestGRPCConnectionIsNoLimit(t *testing.T) {
	service := &testService{gate: make(chan struct{})}
	share := once("grpc", serveGRPC(t, service, true, grpc.MaxConcurrentStreams(100)), Step{RPC: unaryCall}).at(200*time.Millisecond, 1250)
	var waiting sync.WaitGroup
	waiting.Go(func() { // all 250 get there although none has been answered
		for service.calls.Load() < 250 {
			select {
			case <-t.Context().Done():
				return
			case <-time.After(time.Millisecond):
			}
		}
		close(service.gate)
	})
	rows := collect(t, t.Context(), share)
	waiting.Wait()
	for _, row := range rows {
		if !row.OK {
			t.Fatalf("row %+v", row)
		}
	}
}

func TestGRPCPreparing(t *testing.T) {
	tests := map[string]struct {
		reflected bool
		step      Step
		want      string
	}{
		"no reflection":   {false, Step{RPC: unaryCall}, "it has no gRPC server reflection, which is needed to send bodies written in JSON"},
		"no such service": {true, Step{RPC: "shop.v1.Catalog/Get"}, `service "shop.v1.Catalog": proto: not found`},
		"no such method":  {true, Step{RPC: "grpc.testing.TestService/Unary"}, `service "grpc.testing.TestService" has no method "Unary"; it has: EmptyCall, UnaryCall, `},
		"not a service":   {true, Step{RPC: "grpc.testing.SimpleRequest/Get"}, `"grpc.testing.SimpleRequest" is not a service`},
		"streaming":       {true, Step{RPC: streamingCall}, "/" + streamingCall + " is a streaming method; only unary ones can be called"},
		"body not JSON":   {true, Step{RPC: unaryCall, Body: "{"}, `step "": body is not a grpc.testing.SimpleRequest: `},
		"body of another": {true, Step{RPC: unaryCall, Body: `{"sizes": 3}`}, `unknown field "sizes"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			addr := serveGRPC(t, &testService{}, test.reflected)
			err := Run(t.Context(), once("grpc", addr, test.step), nil)
			prefix := `load "browse": service "shop": `
			// protojson varies its spaces on purpose.
			if err == nil || !strings.HasPrefix(err.Error(), prefix) || !strings.Contains(strings.ReplaceAll(err.Error(), "\u00a0", " "), test.want) {
				t.Errorf("got error %v, want %s… %s", err, prefix, test.want)
			}
		})
	}
}

func TestGRPCPreparingIsCancelled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := Run(ctx, once("grpc", unusedAddr(t), Step{RPC: unaryCall}), nil)
	if err == nil || !strings.Contains(err.Error(), "context deadline exceeded") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got error %v", err)
	}
}
