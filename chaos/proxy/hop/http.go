package hop

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/faultline-lab/faultline/observability/names"
)

// lostKey is under what a request's context keeps the fault that loses its answer.
type lostKey struct{}

// errLost says that the callee has answered and nobody shall know.
var errLost = errors.New("the answer is lost")

// reverseProxy forwards to the callee, request by request and byte by byte.
func (h *Hop) reverseProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:       h.rewrite,
		Transport:     once{h.transport},
		FlushInterval: -1, // a stream stays a stream
		BufferPool:    &h.buffers,
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		ModifyResponse: func(answer *http.Response) error {
			if answer.Request.Context().Value(lostKey{}) == nil {
				return nil
			}
			_, _ = io.Copy(io.Discard, answer.Body) // the work is done when the answer has come; ReverseProxy closes
			return errLost
		},
		ErrorHandler: fail,
	}
}

// rewrite changes where a request goes and nothing else: ReverseProxy drops
// what proxies before it have noted, and parts of a query that it cannot read.
func (h *Hop) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme, r.Out.URL.Host = "http", h.upstream()
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := r.In.Header[name]; ok {
			r.Out.Header[name] = values
		}
	}
}

// upstream is whom requests go to: an address or, where each attempt has one of its
// own, the callee's name.
func (h *Hop) upstream() string {
	if h.guard != nil {
		return h.spec.Edge.Callee
	}
	return h.spec.Upstream
}

// fail is for requests without an answer. It ends the caller's connection, as
// that to the callee has ended: an answer of the hop's own would be one more kind of failure.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, errLost) {
		if by, ok := r.Context().Value(lostKey{}).(*rule); ok && by.fault.Params.Has("status") {
			refuse(w, by)
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// once keeps net/http from sending a request a second time when the kept
// connection that it chose ends before the answer: it does that to requests without a body
// that are safe, or have an Idempotency-Key. A body that cannot be read again forbids it, and an empty one
// is not sent. (One that could not be sent at all is still sent on another connection.)
type once struct{ base http.RoundTripper }

// RoundTrip sends the request.
func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		r.Body = &spent{}
	}
	r.GetBody = nil
	return o.base.RoundTrip(r)
}

// spent is a body without content.
type spent struct{}

func (*spent) Read([]byte) (int, error) { return 0, io.EOF }
func (*spent) Close() error             { return nil }

// span starts the span of a request that a fault hits, in the request's own trace.
func (h *Hop) span(ctx context.Context, by *rule, in *request) trace.Span {
	ctx = h.reads.Extract(ctx, propagation.HeaderCarrier(in.header))
	_, span := h.tracer.Start(ctx, "fault "+by.fault.ID, trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(
		attribute.String(names.AttrFault, by.fault.ID),
		attribute.String(names.AttrFaultKind, by.fault.Kind),
		attribute.String(names.AttrEdge, in.edge.String()),
		attribute.Int(names.AttrReplica, in.replica),
		attribute.String(names.AttrRoute, in.route()),
	))
	return span
}

// route names the request: its method and path, or its gRPC method.
func (in *request) route() string {
	if in.method == "" {
		return in.path
	}
	return in.method + " " + in.path
}
