package request

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/network"
	"github.com/faultline-lab/faultline/chaos/proxy"
	"github.com/faultline-lab/faultline/chaos/proxy/hop"
	"github.com/faultline-lab/faultline/parameter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var edgeAB = chaos.Edge{Caller: "a", Callee: "b"}

// bench is an edge with everything on it: caller -> Toxiproxy -> hop -> callee.
type bench struct {
	*Injector
	network *network.Injector
	url     string
	client  *http.Client
}

func newBench(t *testing.T) *bench {
	t.Helper()
	server := proxy.NewServer(proxy.Config{})
	api := httptest.NewServer(server.Handler())
	callee := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "done") }))
	transport := &http.Transport{}
	b := &bench{Injector: New(Config{API: api.URL, Seed: 1}), network: network.New(network.Config{API: api.URL}), client: &http.Client{Transport: transport}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		b.Close()
		b.network.Close()
		api.Close()
		if err := server.Close(); err != nil {
			t.Errorf("closing the proxies: %v", err)
		}
		callee.Close()
	})
	if err := b.Export(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	hops, err := b.CreateHops(t.Context(), []hop.Spec{{Edge: edgeAB, Replica: 1, Protocol: hop.HTTP, Upstream: callee.Listener.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	proxies, err := b.network.CreateProxies(t.Context(), []network.Spec{{Edge: edgeAB, Replica: 1, Upstream: hops[0].Addr, Probe: network.Probe{Protocol: "http"}}})
	if err != nil {
		t.Fatal(err)
	}
	b.url = "http://" + proxies[0].Addr
	return b
}

func (b *bench) get(t *testing.T) int {
	answer, err := b.client.Get(b.url)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

func fault(id, kind string, params parameter.Values) chaos.Fault {
	return chaos.Fault{ID: id, Kind: kind, Edges: []chaos.Edge{edgeAB}, Params: params}
}

func TestAFaultFromInjectToGone(t *testing.T) {
	b := newBench(t)
	var mu sync.Mutex
	var texts []string
	felt := make(chan struct{})
	controller := chaos.NewController(chaos.Config{
		Injectors: map[string]chaos.Injector{chaos.FamilyRequest: b, chaos.FamilyNetwork: b.network},
		Poll:      5 * time.Millisecond,
		OnEvent: func(e chaos.Event) {
			mu.Lock()
			defer mu.Unlock()
			texts = append(texts, e.Text)
			if e.Text == chaos.EventFelt {
				close(felt)
			}
			if e.Text == chaos.EventRecovered && (e.Effect.During != 1 || !strings.Contains(e.Effect.Detail, "of 2 ")) {
				t.Errorf("the effect is %+v", e.Effect)
			}
		},
	})
	bad := fault("bad", chaos.RequestError, parameter.Values{"status": int64(503), "first": int64(1)})
	if err := controller.Inject(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	if first, second := b.get(t), b.get(t); first != 503 || second != 200 {
		t.Errorf("got %d, %d", first, second)
	}
	<-felt
	if err := controller.Recover(t.Context(), "bad"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(texts, ", "); got != "injected, felt, recovered" || b.get(t) != 200 {
		t.Errorf("the events are %s", got)
	}
}

func TestAFaultThatHitsNothingIsNotFelt(t *testing.T) {
	b := newBench(t)
	none := fault("none", chaos.RequestError, parameter.Values{"status": int64(503), "route": "/elsewhere"})
	if err := b.Inject(t.Context(), none); err != nil {
		t.Fatal(err)
	}
	if b.get(t) != 200 {
		t.Error("it hit another route")
	}
	if effect, err := b.Active(t.Context(), none); err != nil || effect.Felt {
		t.Errorf("got %+v, %v", effect, err)
	}
	for range 2 { // recovering may happen more than once
		if err := b.Recover(t.Context(), none); err != nil {
			t.Error(err)
		}
	}
}

// Behind a proxy that is down, the hop is not reached, and lives on.
func TestAHopUnderAProxyThatIsDown(t *testing.T) {
	b := newBench(t)
	down := chaos.Fault{ID: "down", Kind: chaos.Down, Edges: []chaos.Edge{edgeAB}}
	if b.get(t) != 200 {
		t.Fatal("it does not work from the start")
	}
	if err := b.network.Inject(t.Context(), down); err != nil {
		t.Fatal(err)
	}
	if got := b.get(t); got != 0 {
		t.Errorf("got %d through a proxy that is down", got)
	}
	if err := b.network.Recover(t.Context(), down); err != nil {
		t.Fatal(err)
	}
	if got := b.get(t); got != 200 {
		t.Errorf("got %d afterwards", got)
	}
	b.network.Release(down)
}

func TestFaultsEndWithTheLease(t *testing.T) {
	b := newBench(t)
	leased, endLease := context.WithCancel(t.Context())
	kept := make(chan error)
	go func() { kept <- b.network.KeepLease(leased, 150*time.Millisecond) }()
	lost := fault("lost", chaos.LoseAnswer, parameter.Values{"status": int64(502)})
	if err := b.Inject(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	if got := b.get(t); got != 502 {
		t.Errorf("got %d", got)
	}
	endLease()
	if err := <-kept; err != nil {
		t.Error(err)
	}
	// This Server runs no lease of its own, but what the lapse calls is what a reset calls.
	if err := b.call(t.Context(), http.MethodPost, "/reset", nil, nil); err != nil {
		t.Fatal(err)
	}
	if effect, err := b.Active(t.Context(), lost); err != nil || effect.Felt || b.get(t) != 200 {
		t.Errorf("it acts on: %+v, %v", effect, err)
	}
}

func TestCheckRefuses(t *testing.T) {
	b := newBench(t)
	other := fault("f", chaos.LoseAnswer, nil)
	other.Edges = []chaos.Edge{{Caller: "a", Callee: "c"}}
	replica := fault("f", chaos.LoseAnswer, nil)
	replica.Replica = 2
	for want, f := range map[string]chaos.Fault{
		"not a fault of requests":                fault("f", chaos.Latency, nil),
		"it names no edge":                       {ID: "f", Kind: chaos.LoseAnswer},
		"no layer-7 hop stands on a->c: a run":   other,
		"no layer-7 hop stands on a->b#2: a run": replica,
		"a->b: it speaks http":                   fault("f", chaos.RequestError, parameter.Values{"code": "INTERNAL"}),
	} {
		if err := b.Inject(t.Context(), f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestErrorsOfTheProxyAreTold(t *testing.T) {
	b := newBench(t)
	if err := b.Export(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "set up already") {
		t.Errorf("got %v", err)
	}
	if _, err := b.CreateHops(t.Context(), []hop.Spec{{Edge: edgeAB, Protocol: "tcp"}}); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("got %v", err)
	}
	if _, err := b.Active(t.Context(), fault("never", chaos.LoseAnswer, nil)); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v", err)
	}
	gone := New(Config{API: "http://127.0.0.1:1"})
	defer gone.Close()
	if err := gone.Recover(t.Context(), fault("f", chaos.LoseAnswer, nil)); err == nil {
		t.Error("no error from a proxy that is not there")
	}
}
