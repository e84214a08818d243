package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// problem is an error as RFC 9457 writes it. Its type is about:blank, which
// the RFC lets one leave out: the status says it all.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Upstream and Code say which callee failed, and with which gRPC code.
	Upstream string `json:"upstream,omitempty"`
	Code     string `json:"code,omitempty"`
	TraceID  string `json:"trace_id,omitempty"`

	cause      error // for the log
	retryAfter string
	challenge  string // of WWW-Authenticate
}

// Error is the problem's text.
func (p *problem) Error() string { return fmt.Sprintf("%d: %s", p.Status, p.Detail) }

// Unwrap gives the cause, if there is one.
func (p *problem) Unwrap() error { return p.cause }

// refuse makes a problem of the request's own.
func refuse(code int, format string, args ...any) *problem {
	return &problem{Title: http.StatusText(code), Status: code, Detail: fmt.Sprintf(format, args...)}
}

// unauthorized makes a 401 with the challenge that RFC 6750 wants.
func unauthorized(format string, args ...any) *problem {
	p := refuse(http.StatusUnauthorized, format, args...)
	p.challenge = `Bearer realm="shop"`
	return p
}

// statusClientGone is what nginx logs when nobody waits for the answer any more; nobody sees it.
const statusClientGone = 499

// upstream turns a callee's error into a problem. What the caller did wrong
// is passed on in the callee's words; what went wrong inside is only logged.
func upstream(callee string, err error) *problem {
	st := status.Convert(err)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		st = status.FromContextError(err)
	}
	code, detail := http.StatusBadGateway, callee+" failed"
	switch st.Code() {
	case codes.InvalidArgument, codes.OutOfRange:
		code, detail = http.StatusBadRequest, st.Message()
	case codes.Unauthenticated:
		code, detail = http.StatusUnauthorized, st.Message()
	case codes.PermissionDenied:
		code, detail = http.StatusForbidden, st.Message()
	case codes.NotFound:
		code, detail = http.StatusNotFound, st.Message()
	case codes.FailedPrecondition, codes.Aborted, codes.AlreadyExists:
		code, detail = http.StatusConflict, st.Message()
	case codes.Unavailable:
		code, detail = http.StatusServiceUnavailable, callee+" is not available"
	case codes.ResourceExhausted:
		code, detail = http.StatusServiceUnavailable, callee+" is overloaded"
	case codes.DeadlineExceeded:
		code, detail = http.StatusGatewayTimeout, callee+" did not answer in time"
	case codes.Unimplemented:
		code, detail = http.StatusNotImplemented, callee+" cannot do this"
	case codes.Canceled:
		code, detail = statusClientGone, "the request was cancelled"
	}
	p := refuse(code, "%s", detail)
	p.Upstream, p.Code, p.cause = callee, codeName(st.Code()), err
	if code == http.StatusServiceUnavailable {
		p.retryAfter = "1"
	}
	if code == http.StatusUnauthorized {
		p.challenge = `Bearer realm="shop"`
	}
	return p
}

// codeName writes a code as its specification does: DEADLINE_EXCEEDED.
func codeName(code codes.Code) string {
	return map[codes.Code]string{
		codes.Canceled: "CANCELLED", codes.InvalidArgument: "INVALID_ARGUMENT", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
		codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS", codes.PermissionDenied: "PERMISSION_DENIED",
		codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED",
		codes.OutOfRange: "OUT_OF_RANGE", codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL",
		codes.Unavailable: "UNAVAILABLE", codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
	}[code] // what is left is UNKNOWN, for which no code need be shown
}

// write answers with the problem. A trace id in it leads from a complaint to its trace.
func (p *problem) write(w http.ResponseWriter, r *http.Request) {
	shown := *p
	if shown.Title == "" {
		shown.Title = "Client Closed Request" // 499 has no registered text
	}
	if span := trace.SpanContextFromContext(r.Context()); span.HasTraceID() {
		shown.TraceID = span.TraceID().String()
	}
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	if p.retryAfter != "" {
		header.Set("Retry-After", p.retryAfter)
	}
	if p.challenge != "" {
		header.Set("WWW-Authenticate", p.challenge)
	}
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(&shown) // a client who has gone is no error of ours
}
