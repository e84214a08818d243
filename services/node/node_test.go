package node

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/resilience"
	"github.com/faultline-lab/faultline/services/kit"
	nodev1 "github.com/faultline-lab/faultline/services/proto/node/v1"
)

// callee is a service that a node calls.
type callee struct {
	addr  string
	asked atomic.Int64
}

// listen serves answers of that status until the test ends.
func listen(t *testing.T, code int) *callee {
	t.Helper()
	c := &callee{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.asked.Add(1)
		if r.Method+" "+r.URL.Path != "GET /work" {
			t.Errorf("asked for %s %s", r.Method, r.URL.Path)
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(server.Close)
	c.addr = strings.TrimPrefix(server.URL, "http://")
	return c
}

// start runs a node until the test ends, and returns its address and its admin address.
func start(t *testing.T, env kit.Env) (addr, admin string) {
	t.Helper()
	addr, admin = freeAddr(t), freeAddr(t)
	all := maps.Clone(env)
	_, all["PORT"], _ = net.SplitHostPort(addr)
	_, all["ADMIN_PORT"], _ = net.SplitHostPort(admin)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- Run(ctx, all) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if resp, err := http.Get("http://" + admin + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return addr, admin
			}
		}
		select {
		case err := <-done:
			t.Fatalf("ended with %v", err)
		case <-tick.C:
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func ask(t *testing.T, url string, baggage ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Baggage", strings.Join(baggage, ","))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestNodeCallsAsConfigured(t *testing.T) {
	good, other, bad := listen(t, http.StatusOK), listen(t, http.StatusOK), listen(t, http.StatusInternalServerError)
	for _, c := range []struct {
		name             string
		env              kit.Env
		baggage          string
		status           int
		answer           string
		good, other, bad int64 // calls
	}{
		{name: "calls nobody", env: kit.Env{}, status: 200, answer: "ok\n"},
		{name: "in turn", env: kit.Env{"CALLS": "good x3, other"}, status: 200, answer: "ok\n", good: 3, other: 1},
		{name: "in parallel", env: kit.Env{"CALLS": "good x30, other", "CALLS_IN": "parallel"}, status: 200, answer: "ok\n", good: 30, other: 1},
		{name: "in turn, stops at a failure", env: kit.Env{"CALLS": "bad, good"}, status: 502, answer: "calling bad: answered 500 Internal Server Error\n", bad: 1},
		{name: "in parallel, goes on past a failure", env: kit.Env{"CALLS": "bad, good", "CALLS_IN": "parallel"}, status: 502, answer: "calling bad: answered 500 Internal Server Error\n", bad: 1, good: 1},
		{name: "by the request's baggage", env: kit.Env{"CALLS": "good shard=a, bad shard=b, other"}, baggage: "priority=bulk,shard=a", status: 200, answer: "ok\n", good: 1, other: 1},
		{name: "without baggage", env: kit.Env{"CALLS": "good shard=a, bad shard=b, other"}, status: 200, answer: "ok\n", other: 1},
		{name: "optional", env: kit.Env{"CALLS": "bad x2 optional, good"}, status: 200, answer: "ok\n", bad: 2, good: 1},
		{name: "fails without calling", env: kit.Env{"CALLS": "good", "ERRORS": "100%"}, status: 500, answer: "failed by chance, as configured\n"},
		{name: "large answer", env: kit.Env{"RESPONSE": "8"}, status: 200, answer: "ok.....\n"},
		{name: "retries", env: kit.Env{"CALLS": "bad", "RESILIENCE_POLICIES": `{"node->bad": [{"retry": {"attempts": 3, "backoff": "0s"}}]}`}, status: 502, answer: "calling bad: answered 500 Internal Server Error\n", bad: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			maps.Copy(c.env, kit.Env{"GOOD_ADDR": good.addr, "OTHER_ADDR": other.addr, "BAD_ADDR": bad.addr})
			for _, service := range []*callee{good, other, bad} {
				service.asked.Store(0)
			}
			addr, _ := start(t, c.env)
			if status, answer := ask(t, "http://"+addr+"/work", c.baggage); status != c.status || answer != c.answer {
				t.Errorf("answered %d %q, want %d %q", status, answer, c.status, c.answer)
			}
			if g, o, b := good.asked.Load(), other.asked.Load(), bad.asked.Load(); g != c.good || o != c.other || b != c.bad {
				t.Errorf("called good %d, other %d, bad %d times; want %d, %d, %d", g, o, b, c.good, c.other, c.bad)
			}
		})
	}
}

func TestNodesSpeakGRPC(t *testing.T) {
	back, _ := start(t, kit.Env{"OTEL_SERVICE_NAME": "back", "SPEAKS": "grpc", "RESPONSE": "5"})
	failing, _ := start(t, kit.Env{"OTEL_SERVICE_NAME": "failing", "SPEAKS": "grpc", "ERRORS": "1"})
	front, admin := start(t, kit.Env{
		"OTEL_SERVICE_NAME": "front", "SPEAKS": "grpc", "CALLS": "grpc://back x2, grpc://failing optional", "BACK_ADDR": back, "FAILING_ADDR": failing,
	})
	broken, _ := start(t, kit.Env{"CALLS": "grpc://failing", "FAILING_ADDR": failing})

	for addr, want := range map[string]codes.Code{front: codes.OK, failing: codes.Internal} {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answer, err := nodev1.NewNodeClient(conn).Work(t.Context(), &nodev1.WorkRequest{})
		if status.Code(err) != want || want == codes.OK && string(answer.GetPayload()) != "ok\n" {
			t.Errorf("answered %q, %v; want %v", answer.GetPayload(), err, want)
		}
	}
	if code, answer := ask(t, "http://"+broken+"/work"); code != http.StatusBadGateway || !strings.HasPrefix(answer, "calling failing: ") {
		t.Errorf("answered %d %q", code, answer)
	}
	_, metrics := ask(t, "http://"+admin+"/metrics")
	for _, want := range []string{`edge_calls_total{callee="back",caller="front",outcome="ok"} 2`, `edge_calls_total{callee="failing",caller="front",outcome="error"} 1`, `door_requests_total{outcome="served"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// The chances are drawn from SEED: the same requests fail in each run.
func TestChancesRepeat(t *testing.T) {
	drawn := func(seed string) string {
		addr, _ := start(t, kit.Env{"ERRORS": "50%", "SEED": seed})
		var all strings.Builder
		for range 30 {
			code, _ := ask(t, "http://"+addr+"/work")
			fmt.Fprint(&all, code, " ")
		}
		return all.String()
	}
	first := drawn("7")
	if again := drawn("7"); again != first {
		t.Errorf("seed 7 gave\n%s, then\n%s", first, again)
	}
	if other := drawn("8"); other == first {
		t.Errorf("seeds 7 and 8 both gave\n%s", first)
	}
	if !strings.Contains(first, "200") || !strings.Contains(first, "500") {
		t.Errorf("half of the requests should fail: %s", first)
	}
}

func TestChanceOfACall(t *testing.T) {
	var made atomic.Int64
	n := &node{
		config:  config{calls: []call{{callee: "b", times: 2, chance: 0.25}}},
		random:  resilience.Seeded(1, "test"),
		senders: []send{func(context.Context) error { made.Add(1); return nil }},
	}
	const requests = 4000
	for range requests {
		if err := n.callAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if share := float64(made.Load()) / requests; share < 0.45 || share > 0.55 { // 0.5 is expected, 0.014 its standard error
		t.Errorf("%.3f calls a request, want 0.5", share)
	}
}

func TestParallelCallsAreUnderWayTogether(t *testing.T) {
	const width = 20
	var there sync.WaitGroup
	there.Add(width)
	n := &node{
		config: config{parallel: true, calls: []call{{callee: "b", times: width, chance: 1}}},
		senders: []send{func(context.Context) error {
			there.Done()
			there.Wait() // for all others: calls in turn would never end
			return nil
		}},
	}
	if err := n.callAll(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSlowRequestsEndWithTheirContext(t *testing.T) {
	n := &node{config: config{slow: 1, slowBy: time.Hour}, random: resilience.Seeded(1, "test")}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := n.work(ctx)
	if f == nil || f.status != http.StatusGatewayTimeout || f.code != codes.DeadlineExceeded {
		t.Errorf("failure %+v", f)
	}
	n.slowBy = time.Millisecond
	began := time.Now()
	if f := n.work(t.Context()); f != nil || time.Since(began) < time.Millisecond {
		t.Errorf("failure %v after %s", f, time.Since(began))
	}
}

func TestRunRefusesWhatItCannotBe(t *testing.T) {
	for want, env := range map[string]kit.Env{
		"running a: ERRORS: ":                                        {"OTEL_SERVICE_NAME": "a", "ERRORS": "often"},
		"running node: RESILIENCE_POLICIES: ":                        {"RESILIENCE_POLICIES": "["},
		"running node: building: no address of b: B_ADDR is not set": {"CALLS": "b"},
		"running node: building: no address of c: C_ADDR is not set": {"CALLS": "grpc://c"},
	} {
		err := Run(t.Context(), env)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
