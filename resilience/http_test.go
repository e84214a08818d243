package resilience

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"

	"github.com/faultline-lab/faultline/observability/names"
)

// server answers with one handler for each request, the last one for all that follow.
func server(t *testing.T, handlers ...http.HandlerFunc) (url string, requests *atomic.Int32) {
	t.Helper()
	requests = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(requests.Add(1))
		handlers[min(n, len(handlers))-1](w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

// httpEdge is an edge to an HTTP callee, with its metrics and spans.
func httpEdge(t *testing.T, chain ...Spec) (*http.Client, testEdge, *tracer) {
	t.Helper()
	reg, spans := &registry{}, &tracer{}
	e, err := NewEdge(EdgeConfig{Caller: "a", Callee: "b", Chain: chain, Registerer: reg, TracerProvider: spans, MaxBody: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: e.RoundTripper(transport)}, testEdge{e, reg}, spans
}

func TestHTTPClasses(t *testing.T) {
	tests := []struct {
		status int
		want   Class
	}{
		{200, Succeeded}, {301, Succeeded}, {400, Succeeded}, {404, Succeeded}, {409, Succeeded},
		{429, Overloaded}, {500, Failed}, {501, Failed}, {502, Unavailable}, {503, Unavailable}, {504, TimedOut}, {599, Failed},
	}
	for _, test := range tests {
		if got := classify(t.Context(), &http.Response{StatusCode: test.status}, nil); got != test.want {
			t.Errorf("%d is %s, want %s", test.status, got, test.want)
		}
	}
	if got := classify(t.Context(), nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}); got != Unavailable {
		t.Errorf("no connection is %s", got)
	}
}

func TestHTTPRetrySendsTheBodyAgain(t *testing.T) {
	bodies := map[string]func() io.Reader{
		"with GetBody":    func() io.Reader { return strings.NewReader("the body") },
		"without GetBody": func() io.Reader { return io.MultiReader(strings.NewReader("the "), strings.NewReader("body")) },
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			url, requests := server(t, answer(503, "no"), answer(429, "no"), echo)
			client, e, spans := httpEdge(t, spec(t, "retry", params{"attempts": 4, "backoff": "1ms"}))
			resp, err := client.Post(url, "text/plain", body())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if got, _ := io.ReadAll(resp.Body); string(got) != "the body" || resp.StatusCode != 200 || requests.Load() != 3 {
				t.Errorf("%d requests, %s %q", requests.Load(), resp.Status, got)
			}
			if e.count(t, names.EdgeCalls, "ok") != 1 || e.count(t, names.EdgeAttempts, "error") != 2 || e.count(t, names.EdgeAttempts, "ok") != 1 {
				t.Error("not counted as it was")
			}
			for i, s := range spans.spans {
				if s.attributes[names.AttrAttempt] != strconv.Itoa(i+1) || s.attributes[names.AttrEdge] != "a->b" || !s.ended || (s.status == codes.Error) != (i < 2) {
					t.Errorf("span %d: %+v", i, s)
				}
			}
			if s := spans.spans[0]; s.name != "POST" || s.attributes["http.response.status_code"] != "503" || s.attributes["error.type"] != "503" {
				t.Errorf("span: %+v", s)
			}
		})
	}
}

func TestHTTPLastFailureIsReturned(t *testing.T) {
	url, requests := server(t, answer(500, "first"), answer(503, "last"))
	client, _, _ := httpEdge(t, spec(t, "retry", params{"attempts": 2, "backoff": "1ms"}))
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 503 || string(body) != "last" || requests.Load() != 2 {
		t.Errorf("%s %q after %d requests", resp.Status, body, requests.Load())
	}
}

// A timeout bounds the whole answer, not only its header.
func TestHTTPTimeoutCoversTheBody(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	url, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begins")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	client, e, _ := httpEdge(t, spec(t, "timeout", "50ms"))
	resp, err := client.Get(url)
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("the answer never ended, and yet there is one")
	}
	var timeout interface{ Timeout() bool }
	if rejection(err) != "timeout timeout" || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v", err)
	}
	if e.count(t, names.EdgeCalls, "timeout") != 1 {
		t.Error("not counted as it was")
	}
}

// net/http itself sends some requests again when a kept connection breaks. An
// attempt with a body must reach the callee once.
func TestHTTPNoHiddenRetries(t *testing.T) {
	drop := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	url, requests := server(t, echo, drop, echo)
	client, e, _ := httpEdge(t)
	for i := range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", "1")
		resp, err := client.Do(req)
		if i == 0 {
			_, _ = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		} else if err == nil {
			_ = resp.Body.Close()
			t.Error("the broken connection was hidden")
		}
	}
	if requests.Load() != 2 || e.count(t, names.EdgeAttempts, "error") != 1 {
		t.Errorf("the server saw %d requests", requests.Load())
	}
}

func TestHTTPBodiesAreBounded(t *testing.T) {
	url, requests := server(t, answer(200, strings.Repeat("x", 1<<10+1)))
	client, _, _ := httpEdge(t)
	if resp, err := client.Get(url); !errors.Is(err, errBodyTooLarge) {
		_ = resp.Body.Close()
		t.Errorf("a long answer: %v", err)
	}
	long := io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<10+1))) // no GetBody
	if resp, err := client.Post(url, "", long); !errors.Is(err, errBodyTooLarge) || requests.Load() != 1 {
		_ = resp.Body.Close()
		t.Errorf("a long request: %v", err)
	}
}

func TestHTTPPropagation(t *testing.T) {
	url, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s|%s", r.Header.Get("traceparent"), r.Header.Get(DeadlineHeader))
	})
	ask := func(ctx context.Context, chain ...Spec) (parent, deadline string) {
		client, _, _ := httpEdge(t, chain...)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		if len(req.Header) != 0 {
			t.Errorf("the caller's request was changed: %v", req.Header)
		}
		parent, deadline, _ = strings.Cut(string(body), "|")
		return parent, deadline
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if parent, deadline := ask(ctx); parent != "00-01000000000000000000000000000000-0100000000000000-01" || deadline != "" {
		t.Errorf("without a policy: traceparent %s, deadline %q", parent, deadline)
	}
	tests := []struct {
		name  string
		ctx   context.Context
		chain []Spec
		most  int
	}{
		{"the caller's deadline", ctx, []Spec{spec(t, "deadline", nil)}, 60000},
		{"the timeout outside", ctx, []Spec{spec(t, "timeout", "5s"), spec(t, "deadline", nil)}, 5000},
		{"the timeout inside", t.Context(), []Spec{spec(t, "deadline", nil), spec(t, "timeout", "5s")}, 5000},
		{"the least of all", ctx, []Spec{spec(t, "timeout", "3s"), spec(t, "deadline", nil), spec(t, "timeout", "5s")}, 3000},
		{"one of its own", t.Context(), []Spec{spec(t, "deadline", "2s")}, 2000},
	}
	for _, test := range tests {
		_, deadline := ask(test.ctx, test.chain...)
		if ms, err := strconv.Atoi(deadline); err != nil || ms > test.most || ms < test.most-2000 {
			t.Errorf("%s: the callee was told %q, want at most %d", test.name, deadline, test.most)
		}
	}
	if _, deadline := ask(t.Context(), spec(t, "deadline", nil)); deadline != "" {
		t.Errorf("no deadline anywhere, and yet %q", deadline)
	}
}

func TestRejectedCallsShowInTheCallersSpan(t *testing.T) {
	url, requests := server(t, echo)
	client, _, spans := httpEdge(t, spec(t, "deadline", nil))
	ctx, parent := spans.Start(t.Context(), "parent")
	ctx, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	if rejection(err) != "deadline expired" || requests.Load() != 0 {
		t.Errorf("%v, %d requests", err, requests.Load())
	}
	want := "[call ended by policy edge=a->b policy=deadline policy.cause=expired]"
	if got := fmt.Sprint(parent.(*span).events); got != want || len(spans.spans) != 1 {
		t.Errorf("got %s and %d spans, want %s and the parent alone", got, len(spans.spans), want)
	}
}

func TestReplicaAndExemplar(t *testing.T) {
	spans, reg := &tracer{}, &registry{}
	e, err := NewEdge(EdgeConfig{Caller: "a", Callee: "b", Registerer: reg, TracerProvider: spans})
	if err != nil {
		t.Fatal(err)
	}
	base := roundTripperFunc(func(r *http.Request) (*http.Response, error) {
		SetReplica(r.Context(), 3)
		return &http.Response{StatusCode: 200, Body: io.NopCloser(bytes.NewReader(nil))}, nil
	})
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://b/", nil)
	if _, err := e.RoundTripper(base).RoundTrip(req); err != nil {
		t.Fatal(err)
	}
	SetReplica(t.Context(), 1) // outside of an attempt: nothing happens
	if got := spans.spans[0].attributes[names.AttrReplica]; got != "3" {
		t.Errorf("the span's replica is %q", got)
	}
	series := reg.series(names.EdgeAttemptDuration, names.Replica, "3")
	if len(series) != 1 {
		t.Fatalf("%d series of the replica", len(series))
	}
	for _, bucket := range series[0].GetHistogram().GetBucket() {
		if exemplar := bucket.GetExemplar(); exemplar != nil {
			if l := exemplar.GetLabel()[0]; l.GetName() != "trace_id" || l.GetValue() != "01000000000000000000000000000000" {
				t.Errorf("exemplar %s", exemplar)
			}
			return
		}
	}
	t.Error("no exemplar")
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
