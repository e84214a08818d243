package hop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
	"github.com/faultline-lab/faultline/resilience"
)

func chain(t testing.TB, text string) resilience.Chain {
	t.Helper()
	var c resilience.Chain
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// startGuard puts a hop with policies before some addresses.
func startGuard(t testing.TB, protocol, policies string, shared Shared, upstreams ...string) *Hop {
	t.Helper()
	return startSpec(t, Spec{Protocol: protocol, Upstreams: upstreams, Policies: chain(t, policies), Seed: 1}, shared)
}

// Two of three replicas work: a retry goes to another one, and the caller sees no failure.
func TestRetriesGoToAnotherReplica(t *testing.T) {
	a, b := &echo{}, &echo{}
	conn := dial(t, startGuard(t, GRPC, `[{"retry":{"attempts":3,"backoff":"1ms"}}]`, Shared{}, a.serve(t), gone(t), b.serve(t)).Addr())
	var trailer metadata.MD
	for range 12 {
		if _, err := say(metadata.AppendToOutgoingContext(t.Context(), "before", "x"), conn, "Say", "x"); err != nil {
			t.Fatal(err)
		}
	}
	if a.asked.Load()+b.asked.Load() != 12 || a.asked.Load() == 0 || b.asked.Load() == 0 {
		t.Errorf("the replicas were asked %d and %d times", a.asked.Load(), b.asked.Load())
	}
	_, err := say(t.Context(), conn, "Fail", "not at 100 %", grpc.Trailer(&trailer))
	if st := grpcstatus.Convert(err); st.Code() != codes.FailedPrecondition || st.Message() != "not at 100 %" || len(trailer.Get("after")) != 1 {
		t.Errorf("got %v, trailers %v", err, trailer)
	}
	if n := a.asked.Load() + b.asked.Load(); n != 13 {
		t.Errorf("an answer that is no failure of the callee was asked for %d times", n-12)
	}
}

func TestFailuresOfGRPCAreTrailers(t *testing.T) {
	callee, rules := &echo{}, NewRules()
	behind := start(t, GRPC, callee.serve(t), Shared{Rules: rules})
	conn := dial(t, startGuard(t, GRPC, `[{"circuit_breaker":{"min_calls":4,"open_for":"1m"}}]`, Shared{}, behind.Addr()).Addr())
	add(t, rules, fault("down", chaos.RequestError, parameter.Values{"code": "UNAVAILABLE"}))
	var got []string
	for range 6 {
		_, err := say(t.Context(), conn, "Say", "x")
		got = append(got, grpcstatus.Convert(err).Message())
	}
	if tally(rules, "down").Hit != 4 || !strings.Contains(got[3], "fault down") || !strings.Contains(got[5], "circuit_breaker open") {
		t.Errorf("%d reached the callee; got %q", tally(rules, "down").Hit, got)
	}
}

func TestTimeoutsOfGRPC(t *testing.T) {
	callee := &echo{}
	conn := dial(t, startGuard(t, GRPC, `[{"timeout":"30ms"}]`, Shared{}, callee.serve(t)).Addr())
	if _, err := say(t.Context(), conn, "Hang", ""); grpcstatus.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	until(t, func() bool { return callee.gone.Load() == 1 }) // the callee is told
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := dial(t, startGuard(t, GRPC, `[]`, Shared{}, callee.serve(t)).Addr())
	done := make(chan error)
	go func() { _, err := say(ctx, cancelled, "Hang", ""); done <- err }()
	until(t, func() bool { return callee.asked.Load() == 2 })
	cancel()
	if err := <-done; grpcstatus.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	until(t, func() bool { return callee.gone.Load() == 2 })
}

func TestStaleAnswersOfGRPC(t *testing.T) {
	callee, rules := &echo{}, NewRules()
	behind := start(t, GRPC, callee.serve(t), Shared{Rules: rules})
	conn := dial(t, startGuard(t, GRPC, `[{"fallback":{}}]`, Shared{}, behind.Addr()).Addr())
	if _, err := say(t.Context(), conn, "Say", "kept"); err != nil {
		t.Fatal(err)
	}
	add(t, rules, fault("down", chaos.RequestError, parameter.Values{"code": "UNAVAILABLE"}))
	if got, err := say(t.Context(), conn, "Say", "kept"); err != nil || got != "kept" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := say(t.Context(), conn, "Say", "new"); grpcstatus.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestPoliciesOnHTTP(t *testing.T) {
	var asked atomic.Int64
	bodies := make(chan string, 10)
	callee := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body) + " " + r.Header.Get("Idempotency-Key")
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "done")
	}))
	defer callee.Close()
	h := startGuard(t, HTTP, `[{"retry":{"attempts":2,"backoff":"1ms"}}]`, Shared{}, callee.Listener.Addr().String())
	r, _ := http.NewRequest(http.MethodPost, "http://"+h.Addr()+"/charges", strings.NewReader("5 euros"))
	r.Header.Set("Idempotency-Key", "k")
	answer, err := newClient(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != 200 || string(body) != "done" || <-bodies != "5 euros k" || <-bodies != "5 euros k" {
		t.Errorf("got %d %s", answer.StatusCode, body)
	}
	for policies, want := range map[string]int{`[{"timeout":"10ms"}]`: 504, `[{"rate_limit":{"rate":"0.01/s","burst":1}}]`: 429, `[]`: 502} {
		nobody := gone(t)
		if want == 504 {
			nobody = silent(t)
		}
		h, client := startGuard(t, HTTP, policies, Shared{}, nobody), newClient(t)
		var got int
		for range 2 {
			answer, err := client.Get("http://" + h.Addr())
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			got = answer.StatusCode
		}
		if got != want {
			t.Errorf("%s: got %d, want %d", policies, got, want)
		}
	}
}

// silent accepts connections and says nothing.
func silent(t testing.TB) string {
	t.Helper()
	listener := listen(t)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	return listener.Addr().String()
}

// Calls, attempts and a span for each attempt, in the caller's trace: what the library tells, too.
func TestWhatPoliciesDoIsTold(t *testing.T) {
	telemetry, spans := traced(t)
	conn := dial(t, startGuard(t, GRPC, `[{"retry":{"attempts":3,"backoff":"1ms"}}]`, Shared{TracerProvider: spans, Registerer: telemetry.Registry}, gone(t)).Addr())
	const parent = "0123456789abcdef0123456789abcdef"
	_, err := say(metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+parent+"-0123456789abcdef-01"), conn, "Say", "x")
	if grpcstatus.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	if want := strings.TrimSuffix(strings.Repeat("test.Echo/Say in "+parent+" ", 3), " "); strings.Join(spans.names(), " ") != want {
		t.Errorf("the spans are %s", spans.names())
	}
	families, err := telemetry.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			sums[family.GetName()] += metric.GetCounter().GetValue()
		}
	}
	if got := fmt.Sprint(sums[names.EdgeCalls], sums[names.EdgeAttempts], sums[names.PolicyRetries]); got != "1 3 2" {
		t.Errorf("calls, attempts and retries are %s", got)
	}
}

func TestWhatAProxyCannotEnforce(t *testing.T) {
	for policies, want := range map[string]string{
		`[{"timeout":"1s"},{"grpc_retry":{}}]`:         "grpc_retry works inside",
		`[{"fallback":{"from":"static","body":"{}"}}]`: "a static fallback needs",
		`[{"queue":{"discipline":"lifo"}}]`:            "queue cannot stand",
	} {
		_, err := Start(Spec{Edge: edgeAB, Protocol: GRPC, Upstreams: []string{"127.0.0.1:1"}, Policies: chain(t, policies)}, Shared{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", policies, err)
		}
	}
	if problems := chain(t, `[{"fallback":{"from":"static","body":"{}"}},{"retry":{}}]`).CheckInProxy(HTTP); len(problems) > 0 {
		t.Errorf("got %v", problems)
	}
}

// BenchmarkGuard is what a hop with idle policies costs; BenchmarkHop has what to compare it with.
func BenchmarkGuard(b *testing.B) {
	const idle = `[{"timeout":"10s"},{"retry":{"attempts":3}},{"circuit_breaker":{}}]`
	b.Run("grpc", func(b *testing.B) {
		benchmarkGRPC(b, startGuard(b, GRPC, idle, Shared{}, (&echo{}).serve(b)).Addr())
	})
	b.Run("http", func(b *testing.B) {
		callee := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "x") }))
		defer callee.Close()
		benchmarkHTTP(b, startGuard(b, HTTP, idle, Shared{}, callee.Listener.Addr().String()).Addr())
	})
}
