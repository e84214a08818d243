package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// edgeAB is the edge that most tests act on.
var edgeAB = chaos.Edge{Caller: "a", Callee: "b"}

// bench is a proxy process, an injector, and callees behind it.
type bench struct {
	*Injector
	t     *testing.T
	api   *httptest.Server
	mu    sync.Mutex
	notes []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	server := proxy.NewServer(proxy.Config{})
	b := &bench{t: t, api: httptest.NewServer(server.Handler())}
	b.Injector = New(Config{API: b.api.URL})
	b.Notify(func(_ chaos.Fault, note string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.notes = append(b.notes, note)
	})
	t.Cleanup(func() {
		b.Close()
		b.api.Close()
		if err := server.Close(); err != nil {
			t.Errorf("closing the proxies: %v", err)
		}
	})
	return b
}

func (b *bench) noted() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.notes, "; ")
}

// callee starts a callee of the given protocol and puts proxies before it.
func (b *bench) callee(protocol string, replicas int) []Proxy {
	b.t.Helper()
	var specs []Spec
	for replica := range replicas {
		spec := Spec{Edge: edgeAB, Replica: replica + 1, Probe: Probe{Protocol: protocol}}
		switch protocol {
		case "http":
			spec.Upstream, spec.Probe.Path = serveHTTP(b.t), "/healthz"
		case "grpc":
			spec.Upstream = serveGRPC(b.t)
		case "tcp":
			spec.Upstream, spec.Probe.Send = serveTCP(b.t), "PING\n"
		}
		specs = append(specs, spec)
	}
	proxies, err := b.CreateProxies(b.t.Context(), specs)
	if err != nil {
		b.t.Fatal(err)
	}
	return proxies
}

func serveHTTP(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, 2000)) // the client has gone if it fails
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func serveGRPC(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	return listener.Addr().String()
}

// serveTCP serves a protocol of lines, which speaks when it is spoken to.
func serveTCP(t *testing.T) string {
	return serve(t, func(conn net.Conn) {
		buffer := make([]byte, 1024)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			if _, err := conn.Write(buffer[:n]); err != nil {
				return
			}
		}
	})
}

func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		for _, conn := range open {
			conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return listener.Addr().String()
}

// load calls through a proxy, from several clients, until the test ends.
type load struct {
	answered, failed atomic.Int64
}

func (b *bench) load(protocol, addr string) *load {
	b.t.Helper()
	l := &load{}
	ctx, cancel := context.WithCancel(context.Background())
	var calling sync.WaitGroup
	for range 4 {
		calling.Go(func() {
			call, end := caller(protocol, addr)
			defer end()
			for ctx.Err() == nil {
				l.once(ctx, call)
			}
		})
	}
	b.t.Cleanup(func() {
		cancel()
		calling.Wait()
	})
	return l
}

func (l *load) once(ctx context.Context, call func(context.Context) error) {
	within, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
	defer cancel()
	if call(within) == nil {
		l.answered.Add(1)
	} else {
		l.failed.Add(1)
	}
	select { // a pace that leaves the machine to others
	case <-ctx.Done():
	case <-time.After(3 * time.Millisecond):
	}
}

// caller returns a client of the protocol: http and grpc keep their connections, tcp opens one a call.
func caller(protocol, addr string) (call func(context.Context) error, end func()) {
	switch protocol {
	case "http":
		client := &http.Client{Transport: &http.Transport{}}
		return func(ctx context.Context) error { return get(ctx, client, "http://"+addr+"/products") }, client.CloseIdleConnections
	case "grpc":
		conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 300 * time.Millisecond}))
		if err != nil {
			panic(err)
		}
		return func(ctx context.Context) error {
			_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
			return err
		}, func() { _ = conn.Close() }
	}
	return func(ctx context.Context) error { return say(ctx, addr, "hello over there\n") }, func() {}
}

func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

func say(ctx context.Context, addr, text string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, len(text)))
	return err
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	timeout := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("it never came true that %s", what)
		}
	}
}

// fault makes a fault as a scenario would: through chaos.Check.
func fault(t *testing.T, kind string, params map[string]any) chaos.Fault {
	t.Helper()
	raw := map[string]any{"edge": "a->b"}
	if kind == chaos.Partition {
		raw = map[string]any{"groups": []any{[]any{"a"}, []any{"b"}}}
	}
	for name, value := range params {
		raw[name] = value
	}
	target, values, problems := chaos.Check(kind, raw)
	if len(problems) > 0 {
		t.Fatalf("%s: %+v", kind, problems)
	}
	f := chaos.Fault{ID: "f-" + kind, Kind: kind, Edges: target.Edges, Replica: target.Replica, Params: values}
	if kind == chaos.Partition {
		f.Edges = chaos.Between(target.Groups, []chaos.Edge{edgeAB})
	}
	return f
}

// felt waits until the fault is felt and returns the effect.
func (b *bench) felt(f chaos.Fault) chaos.Effect {
	b.t.Helper()
	return b.until(f, true)
}

func (b *bench) gone(f chaos.Fault) chaos.Effect {
	b.t.Helper()
	return b.until(f, false)
}

func (b *bench) until(f chaos.Fault, felt bool) chaos.Effect {
	b.t.Helper()
	var last chaos.Effect
	deadline := time.Now().Add(20 * time.Second)
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for time.Now().Before(deadline) {
		effect, err := b.Active(b.t.Context(), f)
		if err != nil {
			b.t.Fatalf("measuring %s: %v", f.ID, err)
		}
		if last = effect; effect.Felt == felt {
			return effect
		}
		<-ticker.C
	}
	b.t.Fatalf("%s: felt did not become %v; the last effect is %+v", f.ID, felt, last)
	return last
}

func TestEveryKindIsFeltAndGoesAway(t *testing.T) {
	tests := []struct {
		protocol, kind string
		params         map[string]any
		least          float64 // what During has to be
	}{
		{"http", chaos.Latency, map[string]any{"delay": "200ms"}, 140},
		{"grpc", chaos.Latency, map[string]any{"delay": "200ms", "jitter": "20ms"}, 140},
		{"tcp", chaos.Latency, map[string]any{"delay": "200ms", "direction": "upstream"}, 140},
		{"http", chaos.Latency, map[string]any{"delay": "100ms", "direction": "both"}, 140},
		{"http", chaos.Bandwidth, map[string]any{"rate": "16KB/s"}, 50},
		{"grpc", chaos.Bandwidth, map[string]any{"rate": "1KB"}, 5},
		{"http", chaos.Timeout, nil, 1},
		{"grpc", chaos.Timeout, map[string]any{"direction": "upstream"}, 1},
		{"tcp", chaos.Timeout, map[string]any{"after": "100ms", "direction": "both"}, 1},
		{"http", chaos.ResetPeer, nil, 1},
		{"grpc", chaos.ResetPeer, map[string]any{"direction": "upstream"}, 1},
		{"tcp", chaos.ResetPeer, map[string]any{"after": "50ms"}, 1},
		{"http", chaos.Slicer, map[string]any{"average_size": 100, "size_variation": 50, "delay": "1ms"}, 1},
		{"grpc", chaos.Slicer, map[string]any{"average_size": 8, "direction": "both"}, 1},
		{"http", chaos.LimitData, map[string]any{"bytes": "5KB"}, 1},
		{"grpc", chaos.LimitData, map[string]any{"bytes": 500, "direction": "upstream"}, 1},
		{"tcp", chaos.SlowClose, map[string]any{"delay": "100ms"}, 1},
		{"http", chaos.Down, nil, 1},
		{"grpc", chaos.Down, nil, 1},
		{"tcp", chaos.Partition, nil, 1},
	}
	for _, test := range tests {
		t.Run(test.kind+" of "+test.protocol+fmt.Sprint(test.params["direction"]), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			f := fault(t, test.kind, test.params)
			load := b.load(test.protocol, b.callee(test.protocol, 1)[0].Addr)
			eventually(t, "calls are answered", func() bool { return load.answered.Load() > 10 })
			if err := b.Inject(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			during := b.felt(f)
			t.Logf("felt: %+v", during)
			if during.During < test.least || during.Measure == "" || during.Unit == "" {
				t.Errorf("the effect is %+v, want at least %v", during, test.least)
			}
			if err := b.Recover(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			after := b.gone(f)
			t.Logf("gone: %+v", after)
			if after.During-after.Before > 100 {
				t.Errorf("after recovery the effect is %+v", after)
			}
			answered := load.answered.Load()
			eventually(t, "calls are answered again", func() bool { return load.answered.Load() > answered+20 })
			b.Release(f)
		})
	}
}

func TestAFaultThatNoCallCrossedIsNotFelt(t *testing.T) {
	tests := []struct {
		kind   string
		params map[string]any
	}{
		{chaos.Latency, map[string]any{"delay": "50ms"}},
		{chaos.Timeout, nil},
		{chaos.ResetPeer, nil},
		{chaos.Slicer, map[string]any{"average_size": 10}},
		{chaos.Bandwidth, map[string]any{"rate": "1KB"}},
	}
	for _, test := range tests {
		t.Run(test.kind, func(t *testing.T) {
			b := newBench(t)
			b.callee("http", 1)
			f := fault(t, test.kind, test.params)
			if err := b.Inject(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			for range 3 { // probes alone do not make it felt
				effect, err := b.Active(t.Context(), f)
				if err != nil || effect.Felt {
					t.Errorf("got %+v, %v", effect, err)
				}
			}
		})
	}
}

func TestTheFaultHitsItsReplicaOnly(t *testing.T) {
	b := newBench(t)
	proxies := b.callee("http", 3)
	f := fault(t, chaos.Down, map[string]any{"replica": 2})
	if err := b.Inject(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	b.felt(f)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, p := range proxies {
		if err := get(t.Context(), client, "http://"+p.Addr); (err != nil) != (p.Replica == 2) {
			t.Errorf("replica %d answers %v", p.Replica, err)
		}
	}
	if got := b.Addrs("a", "b"); len(got) != 3 || got[1] != proxies[1].Addr {
		t.Errorf("the addresses are %v", got)
	}
}

func TestEveryReplicaHasToFeelIt(t *testing.T) {
	b := newBench(t)
	proxies := b.callee("http", 3)
	b.load("http", proxies[0].Addr)
	f := fault(t, chaos.Latency, map[string]any{"delay": "100ms"})
	if err := b.Inject(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if effect := b.felt(f); !strings.Contains(effect.Detail, "of 3 proxies") {
		t.Errorf("the effect is %+v", effect)
	}
	// One loses its toxic behind our back: the fault is no longer what was asked for.
	if _, _, err := b.client.remove(t.Context(), "a->b#2", "f-latency.downstream"); err != nil {
		t.Fatal(err)
	}
	if effect, err := b.Active(t.Context(), f); err != nil || effect.Felt {
		t.Errorf("the effect is %+v, %v", effect, err)
	}
}

func TestResetCutsConnectionsThatAreOpen(t *testing.T) {
	b := newBench(t)
	addr := b.callee("tcp", 1)[0].Addr
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if err := b.Inject(t.Context(), fault(t, chaos.ResetPeer, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the open connection lives on")
	}
	if notes := b.noted(); !strings.Contains(notes, "the connections that were open on a->b#1 were cut") {
		t.Errorf("the notes are %q", notes)
	}
}

func TestAnEffectIsNotGoneWhileTheToxicStands(t *testing.T) {
	b := newBench(t)
	b.callee("http", 1)
	f := fault(t, chaos.Latency, map[string]any{"delay": "10ms"})
	if err := b.Inject(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if err := b.Recover(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if err := b.client.add(t.Context(), "a->b#1", toxics(f)[0]); err != nil {
		t.Fatal(err)
	}
	effect, err := b.Active(t.Context(), f)
	if err != nil || !effect.Felt || !strings.Contains(effect.Detail, "still stands") {
		t.Errorf("got %+v, %v", effect, err)
	}
	if err := b.Recover(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	b.gone(f)
}

func TestACalleeThatIsItselfSlowDoesNotHideTheRecovery(t *testing.T) {
	b := newBench(t)
	var slow atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slow.Load() {
			select {
			case <-time.After(400 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	}))
	defer server.Close()
	if _, err := b.CreateProxies(t.Context(), []Spec{{Edge: edgeAB, Replica: 1, Upstream: server.Listener.Addr().String(), Probe: Probe{Protocol: "http"}}}); err != nil {
		t.Fatal(err)
	}
	f := fault(t, chaos.Latency, map[string]any{"delay": "100ms"})
	if err := b.Inject(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	slow.Store(true)
	if err := b.Recover(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if effect := b.gone(f); !strings.Contains(effect.Detail, "the callee itself is slow") {
		t.Errorf("the effect is %+v", effect)
	}
}

func TestACalleeThatDoesNotAnswerIsJudgedByTheProxy(t *testing.T) {
	b := newBench(t)
	silent := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	b.config.ProbeWithin = 100 * time.Millisecond
	if _, err := b.CreateProxies(t.Context(), []Spec{{Edge: edgeAB, Replica: 1, Upstream: silent, Probe: Probe{Protocol: "tcp"}}}); err != nil {
		t.Fatal(err)
	}
	f := fault(t, chaos.Latency, map[string]any{"delay": "50ms", "direction": "upstream"})
	if err := b.Inject(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", b.Addrs("a", "b")[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("anybody there?")); err != nil {
		t.Fatal(err)
	}
	if effect := b.felt(f); effect.During < 35 || !strings.Contains(effect.Detail, "chunks that the proxy held back") {
		t.Errorf("the effect is %+v", effect)
	}
	if err := b.Recover(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if effect := b.gone(f); !strings.Contains(effect.Detail, "judged by the proxy's list of toxics") {
		t.Errorf("the effect is %+v", effect)
	}
}

// TestAServiceThatSpeaksFirst is about the likes of NATS: whatever befalls the way to
// them, their first word comes at once.
func TestAServiceThatSpeaksFirst(t *testing.T) {
	tests := []struct {
		kind, direction string
		params          map[string]any
		felt            bool
		measure         string
	}{
		{chaos.Latency, "upstream", map[string]any{"delay": "60ms"}, true, "time that chunks were held back of a->b"},
		{chaos.Latency, "downstream", map[string]any{"delay": "60ms"}, true, "probe latency of a->b"},
		{chaos.Latency, "both", map[string]any{"delay": "60ms"}, true, "probe latency of a->b"},
		{chaos.Timeout, "upstream", nil, true, "swallowed chunks of a->b"},
		{chaos.Timeout, "downstream", nil, true, "unanswered probes of a->b"},
		{chaos.ResetPeer, "upstream", nil, false, "probes cut off of a->b"},
		{chaos.ResetPeer, "downstream", nil, true, "probes cut off of a->b"},
	}
	for _, test := range tests {
		t.Run(test.kind+" "+test.direction, func(t *testing.T) {
			b := newBench(t)
			addr := serve(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, "INFO\n")
				_, _ = io.Copy(conn, conn)
			})
			proxies, err := b.CreateProxies(t.Context(), []Spec{{Edge: edgeAB, Replica: 1, Upstream: addr, Probe: Probe{Protocol: "tcp"}}})
			if err != nil {
				t.Fatal(err)
			}
			b.load("tcp", proxies[0].Addr)
			f := fault(t, test.kind, test.params)
			f.Params["direction"] = test.direction
			if err := b.Inject(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if test.felt {
				if effect := b.felt(f); effect.Measure != test.measure {
					t.Errorf("the effect is %+v", effect)
				}
				return
			}
			effect, err := b.Active(t.Context(), f)
			if err != nil || effect.Felt || effect.Measure != test.measure || !strings.Contains(effect.Detail, "tell its probe what to send") {
				t.Errorf("the effect is %+v, %v", effect, err)
			}
		})
	}
}

func TestWhatIsNotThereIsRefused(t *testing.T) {
	b := newBench(t)
	if err := b.Check(fault(t, chaos.Down, nil)); err != nil {
		t.Errorf("before there are proxies: %v", err)
	}
	b.callee("http", 2)
	other := fault(t, chaos.Down, nil)
	other.Edges = []chaos.Edge{{Caller: "a", Callee: "c"}}
	none := fault(t, chaos.Down, nil)
	none.Edges = nil
	for _, test := range []struct {
		name  string
		fault chaos.Fault
		want  string
	}{
		{"an edge that is there", fault(t, chaos.Down, nil), ""},
		{"another edge", other, "there is no proxy of a->c"},
		{"a replica too many", fault(t, chaos.Down, map[string]any{"replica": 3}), "there is no proxy of replica 3 of a->b"},
		{"no edge", none, "it names no edge"},
		{"a fault of processes", chaos.Fault{Kind: chaos.Kill}, "kill is not a fault of the network"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := b.Check(test.fault)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, spec := range []Spec{{Edge: edgeAB, Upstream: "x:1", Probe: Probe{Protocol: "http"}}, {Edge: edgeAB, Replica: 1, Upstream: "x:1", Probe: Probe{Protocol: "udp"}}, {Edge: edgeAB, Replica: 9, Probe: Probe{Protocol: "tcp"}}} {
		if _, err := b.CreateProxies(t.Context(), []Spec{spec}); err == nil || !strings.Contains(err.Error(), "creating the proxy of a->b") {
			t.Errorf("%+v: %v", spec, err)
		}
	}
	if _, err := b.Active(t.Context(), other); err == nil {
		t.Error("a fault that was not injected has no effect")
	}
}

func TestRecoverCanBeCalledAtAnyTime(t *testing.T) {
	b := newBench(t)
	b.callee("http", 1)
	for _, kind := range []string{chaos.Down, chaos.Timeout} {
		f := fault(t, kind, nil)
		for range 2 {
			if err := b.Recover(t.Context(), f); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}

func TestALapsedLeaseIsNotedForEveryFault(t *testing.T) {
	var renewals atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"held":true,"lapsed":%d}`, min(1, renewals.Add(1)/3)) // once, between the second and the third
	}))
	defer api.Close()
	i := New(Config{API: api.URL})
	defer i.Close()
	i.keep(chaos.Fault{ID: "slow"}, &injection{fault: chaos.Fault{ID: "slow"}})
	notes := make(chan string, 10)
	i.Notify(func(f chaos.Fault, note string) { notes <- f.ID + ": " + note })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- i.KeepLease(ctx, 30*time.Millisecond) }()
	if note := <-notes; !strings.HasPrefix(note, "slow: the lease on faults lapsed") {
		t.Errorf("the note is %s", note)
	}
	eventually(t, "it is renewed again", func() bool { return renewals.Load() > 6 })
	cancel()
	if err := <-ended; err != nil || len(notes) != 0 {
		t.Errorf("it ended with %v, and %d more notes", err, len(notes))
	}
	if err := i.KeepLease(t.Context(), 0); err == nil {
		t.Error("a lease of no time was kept")
	}
}

func TestTheLeaseIsKept(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.KeepLease(ctx, 300*time.Millisecond) }()
	eventually(t, "the lease is held", func() bool {
		var lease proxy.Lease
		_, err := b.client.call(t.Context(), http.MethodGet, "/lease", nil, &lease)
		return err == nil && lease.Held
	})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	b.api.Close()
	err := b.KeepLease(t.Context(), 90*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "renewing the lease") {
		t.Errorf("without a proxy process it ended with %v", err)
	}
}

// TestAProxyProcessThatDoesNotAnswer holds the injector to its deadlines.
func TestAProxyProcessThatDoesNotAnswer(t *testing.T) {
	hanging := make(chan struct{})
	var deletes, cuts atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			_, _ = io.WriteString(w, `{"listen":"127.0.0.1:1"}`)
		case r.Method == http.MethodPatch:
			cuts.Add(1)
		case r.Method == http.MethodDelete && deletes.Add(1) == 1:
			<-hanging
		}
	}))
	defer api.Close()
	defer close(hanging)
	i := New(Config{API: api.URL, CallWithin: 100 * time.Millisecond})
	defer i.Close()
	var notes []string
	i.Notify(func(_ chaos.Fault, note string) { notes = append(notes, note) })
	if _, err := i.CreateProxies(t.Context(), []Spec{{Edge: edgeAB, Replica: 1, Upstream: "127.0.0.1:2", Probe: Probe{Protocol: "http"}}}); err != nil {
		t.Fatal(err)
	}
	if err := i.Recover(t.Context(), fault(t, chaos.Timeout, nil)); err != nil {
		t.Errorf("recovering: %v", err)
	}
	if cuts.Load() != 2 || len(notes) != 1 || !strings.Contains(notes[0], "cutting its connections") {
		t.Errorf("%d times enabled or disabled; notes %q", cuts.Load(), notes)
	}
}

// TestTheControllerDrivesIt goes the whole way, as a run does.
func TestTheControllerDrivesIt(t *testing.T) {
	b := newBench(t)
	b.load("grpc", b.callee("grpc", 1)[0].Addr)
	var mu sync.Mutex
	var heard []string
	c := chaos.NewController(chaos.Config{
		Injectors: map[string]chaos.Injector{chaos.FamilyNetwork: b.Injector},
		Poll:      20 * time.Millisecond,
		OnEvent: func(e chaos.Event) {
			mu.Lock()
			defer mu.Unlock()
			heard = append(heard, e.Text)
		},
	})
	both := func(text string) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return strings.Count(","+strings.Join(heard, ","), ","+text) == 2
		}
	}
	for _, f := range []chaos.Fault{fault(t, chaos.Latency, map[string]any{"delay": "100ms"}), fault(t, chaos.Slicer, map[string]any{"average_size": 4})} {
		if err := c.Inject(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both are felt", both(chaos.EventFelt))
	second := fault(t, chaos.Latency, map[string]any{"delay": "1s"})
	second.ID = "another"
	if err := c.Inject(t.Context(), second); err == nil || !strings.Contains(err.Error(), "both act on a->b") {
		t.Errorf("a second latency on the edge: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.RecoverAll(cancelled); err != nil {
		t.Error(err)
	}
	if !both(chaos.EventRecovered)() || len(c.Active()) != 0 {
		t.Errorf("heard %v, active %v", heard, c.Active())
	}
}
