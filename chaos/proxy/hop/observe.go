package hop

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	spancodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/resilience"
)

// observed counts and times what passes, and makes a client span of each request in its
// trace, in the name of a caller that does not. It changes nothing but the traceparent; streams stay streams.
func (h *Hop) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := h.asked(r)
		if isProbe(in) {
			next.ServeHTTP(w, r)
			return
		}
		headers := propagation.HeaderCarrier(r.Header)
		ctx, span := h.tracer.Start(h.reads.Extract(r.Context(), headers), in.route(), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			attribute.String(names.AttrEdge, in.edge.String()), attribute.String(names.AttrRoute, in.route())))
		defer span.End()
		seen := &witness{ResponseWriter: w}
		var aborted any
		err := h.watch.Do(ctx, func(ctx context.Context) error {
			resilience.SetReplica(ctx, in.replica)
			h.reads.Inject(ctx, headers)
			aborted = caught(next, seen, r.WithContext(ctx))
			return seen.failure(h.spec.Protocol, aborted != nil)
		})
		if err != nil {
			span.SetStatus(spancodes.Error, err.Error())
			span.SetAttributes(attribute.String("error.type", grpcstatus.Code(err).String()))
		}
		if aborted != nil {
			panic(aborted)
		}
	})
}

// asked is what there is to know of a request.
func (h *Hop) asked(r *http.Request) *request {
	in := &request{edge: h.spec.Edge, replica: h.spec.Replica, method: r.Method, path: r.URL.Path, header: r.Header}
	if h.spec.Protocol == GRPC {
		in.method, in.path = "", strings.TrimPrefix(r.URL.Path, "/")
	}
	return in
}

// caught serves the request and returns what the handler panicked with: http.ErrAbortHandler
// is how handlers cut connections.
func caught(next http.Handler, w http.ResponseWriter, r *http.Request) (aborted any) {
	defer func() { aborted = recover() }()
	next.ServeHTTP(w, r)
	return nil
}

// witness remembers how an answer began.
type witness struct {
	http.ResponseWriter
	status int
}

// WriteHeader is part of http.ResponseWriter.
func (w *witness) WriteHeader(status int) {
	if status >= 200 { // 1xx are not the answer
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find what lies below.
func (w *witness) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// failure says what the answer meant, in gRPC's codes, which the classes of outcomes are made of.
func (w *witness) failure(protocol string, aborted bool) error {
	if aborted {
		return grpcstatus.Error(codes.Unavailable, "the connection was cut")
	}
	if protocol == GRPC {
		text := w.Header().Get(statusHeader)
		if text == "" {
			text = w.Header().Get(http.TrailerPrefix + statusHeader)
		}
		code, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return grpcstatus.Error(codes.Unknown, "an answer without a status")
		}
		return grpcstatus.ErrorProto(grpcstatus.New(codes.Code(code), "").Proto())
	}
	switch {
	case w.status == http.StatusTooManyRequests:
		return grpcstatus.Error(codes.ResourceExhausted, "status 429")
	case w.status == http.StatusGatewayTimeout:
		return grpcstatus.Error(codes.DeadlineExceeded, "status 504")
	case w.status == http.StatusBadGateway, w.status == http.StatusServiceUnavailable:
		return grpcstatus.Error(codes.Unavailable, "status "+strconv.Itoa(w.status))
	case w.status >= 500:
		return grpcstatus.Error(codes.Internal, "status "+strconv.Itoa(w.status))
	}
	return nil
}
