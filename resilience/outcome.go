package resilience

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Class says what became of a call or of one attempt, as finely as policies
// need to know. Whether it is a failure is a statement about the callee's health:
// an answer that the caller did not like is none.
//
//	class        HTTP                          gRPC
//	Succeeded    every other status            OK and every code not below: NOT_FOUND, INVALID_ARGUMENT,
//	                                           FAILED_PRECONDITION, UNAUTHENTICATED, ABORTED, UNIMPLEMENTED …
//	Unavailable  502, 503, no connection       UNAVAILABLE
//	Overloaded   429                           RESOURCE_EXHAUSTED
//	Failed       other 5xx, broken answers     INTERNAL, UNKNOWN, DATA_LOSS
//	TimedOut     504, a timeout of the caller  DEADLINE_EXCEEDED
//	Rejected     a policy of the caller refused to send
//	Cancelled    the caller gave up, or a hedge won
//
// ABORTED is no failure: it says that this transaction lost against another
// one or cannot go on, which is for the caller's logic to handle; counting it
// would open breakers on healthy callees under contention. A service that wants to be retried says UNAVAILABLE.
// UNKNOWN is one: it is what a handler's unforeseen error becomes, as 500 is for HTTP.
type Class uint8

// The classes.
const (
	unclassified Class = iota
	Succeeded
	Unavailable
	Overloaded
	Failed
	TimedOut
	Rejected
	Cancelled
	classes // how many there are
)

// Failure tells whether the callee failed: policies count it, retries repeat it.
func (c Class) Failure() bool {
	return c == Unavailable || c == Overloaded || c == Failed || c == TimedOut
}

// String gives the name that the parameter "on" of retry uses.
func (c Class) String() string {
	switch c {
	case Succeeded:
		return "succeeded"
	case Unavailable:
		return "unavailable"
	case Overloaded:
		return "overloaded"
	case Failed:
		return "failed"
	case TimedOut:
		return "timeout"
	case Rejected:
		return "rejected"
	case Cancelled:
		return "cancelled"
	}
	return "unclassified"
}

// Outcome gives the value of the label names.Outcome: ok, error, timeout, rejected or cancelled.
func (c Class) Outcome() string {
	switch c {
	case Succeeded:
		return "ok"
	case TimedOut, Rejected, Cancelled:
		return c.String()
	}
	return "error"
}

// Rejection is the error of a call that a policy ended: it was not sent, or
// it was cut off. Its gRPC status is what a callee in that state would answer.
type Rejection struct {
	On     string // the edge or the service
	Policy string // the kind
	Cause  string // open, full, timeout, expired, exceeded
	Class  Class  // Rejected or TimedOut
	Code   codes.Code
	// Attempts is how many attempts of the call had been sent by then: with 0 the
	// callee knows nothing of it, and its effect is not there.
	Attempts int
	err      error
}

// Error says which policy ended what and why.
func (r *Rejection) Error() string {
	if r.Policy == r.Cause {
		return r.On + ": " + r.Policy
	}
	return r.On + ": " + r.Policy + " " + r.Cause
}

// Unwrap gives the error of the attempt that was cut off; nil when none was sent.
func (r *Rejection) Unwrap() error { return r.err }

// Timeout tells whether time ran out, as net.Error has it.
func (r *Rejection) Timeout() bool { return r.Class == TimedOut }

// HTTPStatus is what a server answers when a policy of its door ended the request.
func (r *Rejection) HTTPStatus() int {
	switch {
	case r.Class == TimedOut:
		return http.StatusGatewayTimeout
	case r.Policy == "rate_limit":
		return http.StatusTooManyRequests
	}
	return http.StatusServiceUnavailable
}

// GRPCStatus lets the rejection pass as a gRPC error.
func (r *Rejection) GRPCStatus() *status.Status { return status.New(r.Code, r.Error()) }

// classify judges what an attempt under ctx brought back.
func classify(ctx context.Context, response *http.Response, err error) Class {
	if err == nil {
		if response == nil {
			return Succeeded
		}
		return classifyStatus(response.StatusCode)
	}
	var rejection *Rejection
	if errors.As(err, &rejection) {
		return rejection.Class
	}
	// The context comes before the code: what a policy or the caller cut off
	// comes back as CANCELLED, DEADLINE_EXCEEDED or a broken connection alike.
	if ctx.Err() != nil {
		if limit, ok := limitOf(ctx); ok && !time.Now().Before(limit) {
			return TimedOut
		}
		return Cancelled
	}
	if st, ok := status.FromError(err); ok {
		return classifyCode(st.Code())
	}
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.Canceled):
		return Cancelled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut
	}
	return Unavailable
}

func classifyStatus(code int) Class {
	switch {
	case code == http.StatusTooManyRequests:
		return Overloaded
	case code == http.StatusBadGateway, code == http.StatusServiceUnavailable:
		return Unavailable
	case code == http.StatusGatewayTimeout:
		return TimedOut
	case code >= 500:
		return Failed
	}
	return Succeeded
}

func classifyCode(code codes.Code) Class {
	switch code {
	case codes.Unavailable:
		return Unavailable
	case codes.ResourceExhausted:
		return Overloaded
	case codes.DeadlineExceeded:
		return TimedOut
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return Failed
	case codes.Canceled:
		return Cancelled
	}
	return Succeeded
}

// CodeName gives a gRPC code as OpenTelemetry's conventions and the
// specification of gRPC write it: DEADLINE_EXCEEDED.
func CodeName(code codes.Code) string {
	if int(code) < len(codeNames) {
		return codeNames[code]
	}
	return strconv.Itoa(int(code))
}

var codeNames = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}
