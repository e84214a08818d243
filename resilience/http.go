package resilience

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// RoundTripper binds the edge to HTTP: base sends the attempts. Answers are
// read to their end within the attempt, so timeouts bound the whole answer and
// durations mean what they say; bodies of requests are kept to be sent again. Streams and upgrades are not
// for it.
//
// One thing stays hidden: net/http itself sends a request without a body again when the kept
// connection that it chose turns out to be closed by the server. That counts as one attempt.
func (e *Edge) RoundTripper(base http.RoundTripper) http.RoundTripper {
	return &roundTripper{edge: e, base: base}
}

type roundTripper struct {
	edge *Edge
	base http.RoundTripper
}

// RoundTrip runs the request under the edge's policies.
func (rt *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := rt.replayable(req)
	if err != nil {
		return nil, err
	}
	res, err := rt.edge.do(req.Context(), &call{
		name:   req.Method,
		key:    func() string { return requestKey(req) },
		static: func(status int, data []byte) (result, error) { return staticResponse(req, status, data), nil },
		send: func(ctx context.Context, a *attempt) (result, error) {
			response, err := rt.send(ctx, a, req, body)
			return result{response: response}, err
		},
	})
	if err != nil {
		return nil, err
	}
	return res.response, nil
}

// replayable takes the request's body and returns what makes it anew for each attempt; nil without a body.
func (rt *roundTripper) replayable(req *http.Request) (func() (io.ReadCloser, error), error) {
	if req.Body == nil || req.Body == http.NoBody {
		return nil, nil
	}
	defer func() { _ = req.Body.Close() }()
	if req.GetBody != nil {
		return req.GetBody, nil
	}
	data, err := rt.readAll(req.Body)
	if err != nil {
		return nil, fmt.Errorf("reading request body: %w", err)
	}
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, nil
}

var errBodyTooLarge = errors.New("body is too large")

func (rt *roundTripper) readAll(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, rt.edge.cfg.MaxBody+1))
	if err == nil && int64(len(data)) > rt.edge.cfg.MaxBody {
		err = fmt.Errorf("%w: more than %d bytes", errBodyTooLarge, rt.edge.cfg.MaxBody)
	}
	return data, err
}

// send sends one attempt and reads its answer.
func (rt *roundTripper) send(ctx context.Context, a *attempt, original *http.Request, body func() (io.ReadCloser, error)) (*http.Response, error) {
	req := original.Clone(ctx)
	if body != nil {
		fresh, err := body()
		if err != nil {
			return nil, fmt.Errorf("making request body again: %w", err)
		}
		req.Body = fresh
		// net/http would send a request that has an Idempotency-Key again by
		// itself when a kept connection breaks. Attempts are for policies to make and to count.
		req.GetBody = nil
	}
	a.span.SetAttributes(semconv.HTTPRequestMethodKey.String(req.Method), semconv.URLFull(req.URL.String()), semconv.ServerAddress(req.URL.Hostname()))
	rt.edge.cfg.Propagator.Inject(ctx, propagation.HeaderCarrier(req.Header))
	if at, ok := ctx.Deadline(); ok && a.tell {
		req.Header.Set(DeadlineHeader, strconv.FormatInt(max(1, time.Until(at).Milliseconds()), 10))
	}
	response, err := rt.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	data, err := rt.readAll(response.Body)
	_ = response.Body.Close() // all that matters of it is read
	if err != nil {
		return nil, fmt.Errorf("reading response body: %w", err)
	}
	a.span.SetAttributes(semconv.HTTPResponseStatusCode(response.StatusCode))
	if response.StatusCode >= 400 {
		a.errorType = strconv.Itoa(response.StatusCode)
	}
	response.Body = newBody(data)
	return response, nil
}

// requestKey names requests whose answers may stand for one another. Whose token it is matters to the answer.
func requestKey(req *http.Request) string {
	if req.Method != http.MethodGet {
		return ""
	}
	return req.URL.String() + "\n" + req.Header.Get("Authorization") + "\n" + req.Header.Get("Accept")
}
