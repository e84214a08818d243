package resilience

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// GRPCRoundTripper binds the edge to gRPC's unary calls as they are on the wire,
// HTTP/2 requests whose trailers say how they ended: for proxies, which know no message types. base sends the
// attempts. Requests and answers are held in memory, so that an attempt has an end and can be repeated: streams are not for it.
// A call that a policy ended comes back as an error, a *Rejection; whatever the callee answered, as a response. What makes up
// an answer (a static fallback) or works inside of grpc-go (grpc_retry) has no effect here.
func (e *Edge) GRPCRoundTripper(base http.RoundTripper) http.RoundTripper {
	return &grpcTripper{roundTripper{edge: e, base: base}}
}

type grpcTripper struct{ roundTripper }

// RoundTrip runs the call under the edge's policies.
func (rt *grpcTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := rt.replayable(req)
	if err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(req.URL.Path, "/")
	res, err := rt.edge.do(req.Context(), &call{
		name: name,
		key:  func() string { return wireKey(name, req, body) },
		send: func(ctx context.Context, a *attempt) (result, error) {
			response, err := rt.send(ctx, a, name, req, body)
			if err == nil {
				err = failureOf(response)
			}
			code := CodeName(status.Code(err))
			a.span.SetAttributes(semconv.RPCSystemNameGRPC, semconv.RPCMethod(name), semconv.RPCResponseStatusCode(code))
			if err != nil {
				a.errorType = code
			}
			return result{response: response}, err
		},
	})
	var rejection *Rejection
	var answer *wireError
	switch {
	case err == nil:
		return res.response, nil
	case !errors.As(err, &rejection) && errors.As(err, &answer):
		return answer.response, nil
	}
	return nil, err
}

// send sends one attempt and reads its answer and trailers.
func (rt *grpcTripper) send(ctx context.Context, a *attempt, name string, original *http.Request, body func() (io.ReadCloser, error)) (*http.Response, error) {
	req := original.Clone(ctx)
	if body != nil {
		fresh, err := body()
		if err != nil {
			return nil, fmt.Errorf("making request body again: %w", err)
		}
		req.Body, req.GetBody = fresh, nil
	}
	rt.edge.cfg.Propagator.Inject(ctx, propagation.HeaderCarrier(req.Header))
	if at, ok := ctx.Deadline(); ok && a.tell {
		req.Header.Set("Grpc-Timeout", strconv.FormatInt(max(1, time.Until(at).Milliseconds()), 10)+"m")
	}
	response, err := rt.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	data, err := rt.readAll(response.Body)
	_ = response.Body.Close() // all that matters of it is read
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", name, err)
	}
	response.Body = newBody(data)
	return response, nil
}

// wireError is the error that an answer of the callee means.
type wireError struct {
	response *http.Response
	status   *status.Status
}

// Error is the status in words.
func (e *wireError) Error() string { return e.status.String() }

// GRPCStatus lets policies judge it as they judge a client's error.
func (e *wireError) GRPCStatus() *status.Status { return e.status }

// failureOf reads the status of an answer, which is in its trailers or, when it has
// neither message nor trailers of its own, in its headers. It returns nil for OK.
func failureOf(response *http.Response) error {
	end := response.Trailer
	if end.Get("Grpc-Status") == "" {
		end = response.Header
	}
	text := end.Get("Grpc-Status")
	number, err := strconv.ParseUint(text, 10, 32)
	code, message := codes.Code(number), end.Get("Grpc-Message")
	if err != nil { // no gRPC server: the mapping of gRPC's own clients, in short
		code, message = codes.Unknown, fmt.Sprintf("HTTP status %d without a gRPC status", response.StatusCode)
		if class := classifyStatus(response.StatusCode); class == Unavailable || class == Overloaded || class == TimedOut {
			code = codes.Unavailable
		}
	} else if decoded, err := url.PathUnescape(message); err == nil {
		message = decoded
	}
	if code == codes.OK {
		return nil
	}
	return &wireError{response: response, status: status.New(code, message)}
}

// wireKey names calls whose answers may stand for one another.
func wireKey(name string, req *http.Request, body func() (io.ReadCloser, error)) string {
	if body == nil {
		return ""
	}
	fresh, err := body()
	if err != nil {
		return ""
	}
	data, err := io.ReadAll(fresh)
	if err != nil {
		return ""
	}
	return name + "\n" + req.Header.Get("Authorization") + "\n" + string(data)
}

// CheckInProxy finds the policies of an edge's chain that a proxy in front of the callee cannot
// enforce in place of the caller, among what Check finds.
func (c Chain) CheckInProxy(protocol string) []ChainProblem {
	problems := c.Check(OnEdge, protocol)
	for i, spec := range c {
		switch {
		case spec.Kind == "grpc_retry":
			problems = append(problems, ChainProblem{i, "grpc_retry works inside of gRPC's own client, and a proxy has none", "use retry, or enforce: library"})
		case spec.Kind == "fallback" && protocol == "grpc" && spec.Params.Text("from") == static:
			problems = append(problems, ChainProblem{i, "a static fallback needs the type of the reply, which a proxy does not know on an edge that speaks grpc", "use from: stale, or enforce: library"})
		}
	}
	return problems
}
