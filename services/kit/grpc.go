package kit

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	otelcodes "go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/resilience"
)

// grpcServer puts span, metrics and door around the service's handlers.
type grpcServer struct {
	rt       *Runtime
	duration *prometheus.HistogramVec
}

func newGRPCServer(rt *Runtime, register func(grpc.ServiceRegistrar), health grpc_health_v1.HealthServer) (*grpc.Server, error) {
	s := &grpcServer{rt: rt, duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: names.RPCServerDuration, Help: "Duration of RPC server calls, waiting at the door included.", Buckets: resilience.Buckets(),
	}, []string{"rpc_method", "rpc_response_status_code"})}
	if err := rt.Telemetry.Registry.Register(s.duration); err != nil {
		return nil, err
	}
	server := grpc.NewServer(
		grpc.UnaryInterceptor(s.unary),
		grpc.MaxRecvMsgSize(maxBody),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.ConnectionTimeout(headerTimeout),
	)
	if register != nil {
		register(server)
	}
	grpc_health_v1.RegisterHealthServer(server, health)
	reflection.Register(server)
	return server, nil
}

// unary serves one call.
func (s *grpcServer) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if strings.HasPrefix(info.FullMethod, "/grpc.") { // health, reflection
		return handle(ctx, req)
	}
	began := time.Now()
	name := strings.TrimPrefix(info.FullMethod, "/")
	md, _ := metadata.FromIncomingContext(ctx)
	ctx = s.rt.Telemetry.Propagator.Extract(ctx, incoming(md))
	ctx, span := s.rt.Telemetry.Tracer().Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(semconv.RPCSystemNameGRPC, semconv.RPCMethod(name)))
	defer span.End()
	span.SetAttributes(marks(ctx)...)
	reply, err := s.serve(ctx, req, handle)
	code := codeOf(err)
	resilience.Observe(ctx, s.duration.WithLabelValues(name, resilience.CodeName(code)), time.Since(began).Seconds())
	span.SetAttributes(semconv.RPCResponseStatusCode(resilience.CodeName(code)))
	if serverFault(code) {
		span.SetStatus(otelcodes.Error, err.Error())
		s.rt.Log.InfoContext(ctx, "call failed", "method", name, "code", resilience.CodeName(code), "error", err)
	}
	return reply, err
}

// serve passes the call through the door.
func (s *grpcServer) serve(ctx context.Context, req any, handle grpc.UnaryHandler) (reply any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.rt.Log.ErrorContext(ctx, "handler panicked", "panic", p, "stack", string(debug.Stack()))
			reply, err = nil, status.Error(codes.Internal, "internal error")
		}
	}()
	err = s.rt.Door.Do(ctx, func(ctx context.Context) error {
		var err error
		reply, err = handle(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// codeOf is the code that grpc-go makes of a handler's error.
func codeOf(err error) codes.Code {
	if st, ok := status.FromError(err); ok {
		return st.Code()
	}
	return status.FromContextError(err).Code()
}

// serverFault tells whether a code is the server's fault, after the semantic conventions.
func serverFault(code codes.Code) bool {
	switch code {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss, codes.ResourceExhausted:
		return true
	}
	return false
}

// incoming lets the propagator read gRPC metadata.
type incoming metadata.MD

func (m incoming) Get(key string) string { return strings.Join(metadata.MD(m).Get(key), ",") }
func (m incoming) Set(string, string)    {}
func (m incoming) Keys() []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// health answers gRPC's health checks from the service's own readiness.
type health struct {
	grpc_health_v1.UnimplementedHealthServer
	ready    func(context.Context) error
	draining <-chan struct{} // closed when the service drains
}

// healthInterval is how often a watched state is looked at.
const healthInterval = 500 * time.Millisecond

// Check tells whether the service is ready now.
func (h *health) Check(ctx context.Context, req *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if req.GetService() != "" {
		return nil, status.Error(codes.NotFound, fmt.Sprintf("unknown service %q: the server's health is that of the empty name", req.GetService()))
	}
	return h.state(ctx), nil
}

func (h *health) state(ctx context.Context) *grpc_health_v1.HealthCheckResponse {
	if h.ready(ctx) != nil {
		return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING}
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}
}

// Watch tells each change of the state. It ends when the service drains, for draining waits for calls under way.
func (h *health) Watch(req *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	if req.GetService() != "" {
		return stream.Send(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN})
	}
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	var last *grpc_health_v1.HealthCheckResponse
	for {
		now := h.state(stream.Context())
		if last == nil || now.GetStatus() != last.GetStatus() {
			if err := stream.Send(now); err != nil {
				return err
			}
			last = now
		}
		select {
		case <-tick.C:
		case <-h.draining:
			if err := stream.Send(h.state(stream.Context())); err != nil {
				return err
			}
			return status.Error(codes.Unavailable, errDraining.Error())
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}
