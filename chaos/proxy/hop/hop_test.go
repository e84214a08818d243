package hop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/observability"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var edgeAB = chaos.Edge{Caller: "a", Callee: "b"}

// start puts a hop before an address.
func start(t testing.TB, protocol, upstream string, shared Shared) *Hop {
	t.Helper()
	return startSpec(t, Spec{Replica: 1, Protocol: protocol, Upstream: upstream}, shared)
}

// startSpec puts up a hop of the edge a->b until the test ends.
func startSpec(t testing.TB, spec Spec, shared Shared) *Hop {
	t.Helper()
	spec.Edge = edgeAB
	h, err := Start(spec, shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func fault(id, kind string, params parameter.Values) chaos.Fault {
	return chaos.Fault{ID: id, Kind: kind, Edges: []chaos.Edge{edgeAB}, Params: params}
}

func add(t testing.TB, rules *Rules, f chaos.Fault) {
	t.Helper()
	if err := rules.Add(f, 1); err != nil {
		t.Fatal(err)
	}
}

func tally(rules *Rules, id string) Tally {
	found, _ := rules.Tally(id)
	return found
}

// echo is a gRPC service: Say answers, Fail fails, Chat is a stream, Hang waits for the caller to go.
type echo struct {
	asked, gone atomic.Int64
}

func (e *echo) register(s *grpc.Server) {
	unary := func(handle func(context.Context, string) (string, error)) func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
		return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := &wrapperspb.StringValue{}
			if err := decode(in); err != nil {
				return nil, err
			}
			e.asked.Add(1)
			out, err := handle(ctx, in.GetValue())
			if err != nil {
				return nil, err
			}
			return wrapperspb.String(out), nil
		}
	}
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Echo", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		{MethodName: "Say", Handler: unary(func(ctx context.Context, text string) (string, error) {
			in, _ := metadata.FromIncomingContext(ctx)
			_ = grpc.SetTrailer(ctx, metadata.Pairs("after", strings.Join(in.Get("before"), "")))
			return text, nil
		})},
		{MethodName: "Fail", Handler: unary(func(ctx context.Context, text string) (string, error) {
			_ = grpc.SetTrailer(ctx, metadata.Pairs("after", "all"))
			return "", grpcstatus.Error(codes.FailedPrecondition, text)
		})},
		{MethodName: "Hang", Handler: unary(func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			e.gone.Add(1)
			return "", ctx.Err()
		})},
	}, Streams: []grpc.StreamDesc{{StreamName: "Chat", ServerStreams: true, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
		for {
			in := &wrapperspb.StringValue{}
			if err := stream.RecvMsg(in); errors.Is(err, io.EOF) {
				return grpcstatus.Error(codes.Aborted, "enough")
			} else if err != nil {
				return err
			}
			if err := stream.SendMsg(in); err != nil {
				return err
			}
		}
	}}}}, e)
}

func (e *echo) serve(t testing.TB) string {
	t.Helper()
	listener := listen(t)
	server := grpc.NewServer()
	e.register(server)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return listener.Addr().String()
}

// listen opens a port.
func listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// gone is the address of a port that was closed again.
func gone(t testing.TB) string {
	t.Helper()
	listener := listen(t)
	_ = listener.Close()
	return listener.Addr().String()
}

func dial(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func say(ctx context.Context, conn *grpc.ClientConn, method, text string, opts ...grpc.CallOption) (string, error) {
	out := &wrapperspb.StringValue{}
	err := conn.Invoke(ctx, "/test.Echo/"+method, wrapperspb.String(text), out, opts...)
	return out.GetValue(), err
}

func TestGRPCPassesAsItIs(t *testing.T) {
	callee := &echo{}
	conn := dial(t, start(t, GRPC, callee.serve(t), Shared{}).Addr())
	var trailer metadata.MD
	out, err := say(metadata.AppendToOutgoingContext(t.Context(), "before", "x"), conn, "Say", strings.Repeat("long ", 100_000), grpc.Trailer(&trailer))
	if err != nil || len(out) != 500_000 || strings.Join(trailer.Get("after"), "") != "x" {
		t.Errorf("got %d bytes, %v, trailers %v", len(out), err, trailer)
	}
	for _, message := range []string{"plain", "100 % with ümlaut\n"} { // trailers only
		_, err = say(t.Context(), conn, "Fail", message, grpc.Trailer(&trailer))
		if st := grpcstatus.Convert(err); st.Code() != codes.FailedPrecondition || st.Message() != message || len(trailer.Get("after")) != 1 {
			t.Errorf("got %v, trailers %v", err, trailer)
		}
	}
	if _, err = say(t.Context(), conn, "Unknown", ""); grpcstatus.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
	if callee.asked.Load() != 3 {
		t.Errorf("the callee was asked %d times", callee.asked.Load())
	}
}

// Each message has to arrive before the next is sent: nothing may wait in a buffer.
func TestGRPCStreamsPassMessageByMessage(t *testing.T) {
	conn := dial(t, start(t, GRPC, (&echo{}).serve(t), Shared{}).Addr())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Chat")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		back := &wrapperspb.StringValue{}
		if err := stream.SendMsg(wrapperspb.String(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(back); err != nil || back.GetValue() != fmt.Sprint(i) {
			t.Fatalf("message %d: got %q, %v", i, back.GetValue(), err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&wrapperspb.StringValue{}); grpcstatus.Code(err) != codes.Aborted {
		t.Errorf("the stream ended with %v", err)
	}
}

func TestCancelledCallsReachTheCallee(t *testing.T) {
	callee := &echo{}
	conn := dial(t, start(t, GRPC, callee.serve(t), Shared{}).Addr())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := say(ctx, conn, "Hang", ""); done <- err }()
	until(t, func() bool { return callee.asked.Load() == 1 })
	cancel()
	if err := <-done; grpcstatus.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	until(t, func() bool { return callee.gone.Load() == 1 })
	timed, stop := context.WithTimeout(t.Context(), time.Second) // time enough to reach the callee
	defer stop()
	if _, err := say(timed, conn, "Hang", ""); grpcstatus.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	until(t, func() bool { return callee.gone.Load() == 2 })
}

// until waits for a condition that a goroutine of somebody else brings about.
func until(t testing.TB, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("it did not happen in time")
		}
	}
}

func TestACalleeThatIsGone(t *testing.T) {
	nobody := gone(t)
	_, err := say(t.Context(), dial(t, start(t, GRPC, nobody, Shared{}).Addr()), "Say", "")
	if grpcstatus.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("got %v", err)
	}
	client := newClient(t)
	_, err = client.Get("http://" + start(t, HTTP, nobody, Shared{}).Addr())
	if err == nil || !errors.Is(err, io.EOF) {
		t.Errorf("want the connection to end without an answer, got %v", err)
	}
}

func newClient(t testing.TB) *http.Client {
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// The share is exact whatever the order in which calls come: many at once, on one connection.
func TestRatiosAreExactOnOneConnection(t *testing.T) {
	const calls = 5000
	callee, rules := &echo{}, NewRules()
	add(t, rules, fault("some", chaos.RequestError, parameter.Values{"code": "RESOURCE_EXHAUSTED", "ratio": 0.1}))
	h := start(t, GRPC, callee.serve(t), Shared{Rules: rules})
	conn := dial(t, h.Addr())
	var failed, other atomic.Int64
	var calling sync.WaitGroup
	for range 20 {
		calling.Go(func() {
			for range calls / 20 {
				switch _, err := say(t.Context(), conn, "Say", "x"); grpcstatus.Code(err) {
				case codes.OK:
				case codes.ResourceExhausted:
					failed.Add(1)
				default:
					other.Add(1)
				}
			}
		})
	}
	calling.Wait()
	if n := failed.Load(); n < calls/10-1 || n > calls/10+1 || other.Load() > 0 {
		t.Errorf("%d of %d calls failed, %d otherwise", n, calls, other.Load())
	}
	if got := tally(rules, "some"); got.Hit != failed.Load() || got.Matched != calls || !got.Active {
		t.Errorf("the tally is %+v", got)
	}
	if callee.asked.Load() != calls-failed.Load() {
		t.Errorf("the callee was asked %d times", callee.asked.Load())
	}
}

func TestLostAnswersOfGRPC(t *testing.T) {
	callee, rules := &echo{}, NewRules()
	add(t, rules, fault("lost", chaos.LoseAnswer, parameter.Values{"first": int64(2), "route": "Say"}))
	conn := dial(t, start(t, GRPC, callee.serve(t), Shared{Rules: rules}).Addr())
	var got []codes.Code
	for _, method := range []string{"Say", "Fail", "Say", "Say"} {
		_, err := say(t.Context(), conn, method, "x")
		got = append(got, grpcstatus.Code(err))
	}
	if fmt.Sprint(got) != "[Unavailable FailedPrecondition Unavailable OK]" || callee.asked.Load() != 4 {
		t.Errorf("got %v; the callee was asked %d times", got, callee.asked.Load())
	}
	if counted := tally(rules, "lost"); counted.Hit != 2 || counted.Matched != 3 {
		t.Errorf("the tally is %+v", counted)
	}
}

func TestLostAnswersOfHTTP(t *testing.T) {
	var asked atomic.Int64
	rules := NewRules()
	callee := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); _, _ = io.WriteString(w, "done") }))
	defer callee.Close()
	h := start(t, HTTP, callee.Listener.Addr().String(), Shared{Rules: rules})
	client := newClient(t)
	post := func() string {
		answer, err := client.Post("http://"+h.Addr()+"/charges", "text/plain", io.MultiReader(strings.NewReader("x"))) // a body that net/http cannot send again
		if err != nil {
			return "cut"
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		return fmt.Sprint(answer.StatusCode, " ", string(body))
	}
	if got := post(); got != "200 done" {
		t.Fatalf("without a fault: %s", got)
	}
	add(t, rules, fault("cut", chaos.LoseAnswer, parameter.Values{"route": "POST /charges"}))
	if got := post(); got != "cut" || asked.Load() != 2 {
		t.Errorf("got %q; the callee was asked %d times", got, asked.Load())
	}
	rules.Remove("cut")
	add(t, rules, fault("told", chaos.LoseAnswer, parameter.Values{"status": int64(502)}))
	if got := post(); got != "502 answered by the fault told" || asked.Load() != 3 {
		t.Errorf("got %q; the callee was asked %d times", got, asked.Load())
	}
	if rules.Clear() != 1 || post() != "200 done" {
		t.Error("it did not go")
	}
}

func TestHTTPErrorsNeverReachTheCallee(t *testing.T) {
	rules := NewRules()
	callee := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Error("the callee was asked") }))
	defer callee.Close()
	h := start(t, HTTP, callee.Listener.Addr().String(), Shared{Rules: rules})
	add(t, rules, fault("bad", chaos.RequestError, parameter.Values{"status": int64(503)}))
	answer, err := newClient(t).Post("http://"+h.Addr(), "text/plain", strings.NewReader(strings.Repeat("x", 1<<16)))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != 503 || answer.Header.Get(FaultHeader) != "bad" {
		t.Errorf("got %d, %v", answer.StatusCode, answer.Header)
	}
}

func TestDelaysHoldAndLetGo(t *testing.T) {
	callee, rules := &echo{}, NewRules()
	conn := dial(t, start(t, GRPC, callee.serve(t), Shared{Rules: rules}).Addr())
	add(t, rules, fault("slow", chaos.RequestDelay, parameter.Values{"delay": "40ms", "jitter": "10ms", "first": int64(1)}))
	began := time.Now()
	if _, err := say(t.Context(), conn, "Say", "x"); err != nil || time.Since(began) < 30*time.Millisecond {
		t.Errorf("got %v after %s", err, time.Since(began))
	}
	rules.Remove("slow")
	add(t, rules, fault("slow", chaos.RequestDelay, parameter.Values{"delay": "5m"}))
	done := make(chan error)
	go func() { _, err := say(t.Context(), conn, "Say", "x"); done <- err }()
	until(t, func() bool { return tally(rules, "slow").Hit == 1 })
	rules.Remove("slow")
	if err := <-done; err != nil {
		t.Errorf("what was held back ended with %v", err)
	}
	if rules.Remove("slow") || rules.Remove("never") {
		t.Error("removed what is not there")
	}
}

// A request that is delayed, refused and lost counts as hit by what happened to it.
func TestFaultsTogether(t *testing.T) {
	callee, rules := &echo{}, NewRules()
	conn := dial(t, start(t, GRPC, callee.serve(t), Shared{Rules: rules}).Addr())
	add(t, rules, fault("lost", chaos.LoseAnswer, nil))
	add(t, rules, fault("refused", chaos.RequestError, parameter.Values{"code": "INTERNAL", "ratio": 0.5}))
	add(t, rules, fault("slow", chaos.RequestDelay, parameter.Values{"delay": "1ms"}))
	for range 10 {
		_, _ = say(t.Context(), conn, "Say", "x")
	}
	if slow, refused, lost := tally(rules, "slow"), tally(rules, "refused"), tally(rules, "lost"); slow.Hit != 10 || refused.Hit != 5 || lost.Hit != 5 || callee.asked.Load() != 5 {
		t.Errorf("slow %+v, refused %+v, lost %+v, asked %d", slow, refused, lost, callee.asked.Load())
	}
}

func TestStreamsOfHTTPAreNotBuffered(t *testing.T) {
	next := make(chan struct{})
	callee := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines := bufio.NewReader(r.Body)
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(w, line)
			_ = control.Flush()
			<-next
		}
	}))
	defer callee.Close()
	h := start(t, HTTP, callee.Listener.Addr().String(), Shared{})
	body, send := io.Pipe()
	go func() { _, _ = io.WriteString(send, "first\n") }()
	answer, err := newClient(t).Post("http://"+h.Addr(), "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	for _, want := range []string{"first\n", "second\n"} {
		if got, err := lines.ReadString('\n'); got != want {
			t.Fatalf("got %q, %v", got, err)
		}
		if want == "first\n" { // the callee waits: the answer's beginning has arrived without its end
			next <- struct{}{}
			_, _ = io.WriteString(send, "second\n")
		}
	}
	_ = send.Close()
	next <- struct{}{}
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v", rest, err)
	}
}

func TestHTTPPassesAsItIs(t *testing.T) {
	type seen struct{ host, query, forwarded, agent, encoding string }
	var got seen
	callee := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = seen{r.Host, r.URL.RawQuery, r.Header.Get("X-Forwarded-For"), r.Header.Get("User-Agent"), r.Header.Get("Accept-Encoding")}
		w.Header().Set("X-Own", "1")
		w.WriteHeader(http.StatusTeapot)
	}))
	defer callee.Close()
	h := start(t, HTTP, callee.Listener.Addr().String(), Shared{})
	r, _ := http.NewRequest(http.MethodGet, "http://"+h.Addr()+"/a%2Fb?x;y=%zz", nil)
	r.Host = "bank"
	r.Header.Set("X-Forwarded-For", "192.0.2.1")
	r.Header.Set("User-Agent", "")
	answer, err := newClient(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if want := (seen{"bank", "x;y=%zz", "192.0.2.1", "", ""}); got != want {
		t.Errorf("the callee saw %+v, want %+v", got, want)
	}
	if answer.StatusCode != http.StatusTeapot || answer.Header.Get("X-Own") != "1" {
		t.Errorf("got %d, %v", answer.StatusCode, answer.Header)
	}
}

// net/http sends a GET again when the connection that it had kept ends before the answer. The hop must not.
func TestNothingIsSentTwice(t *testing.T) {
	var asked atomic.Int64
	callee := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			conn, _, _ := http.NewResponseController(w).Hijack()
			_ = conn.Close()
		}
	}))
	defer callee.Close()
	h := start(t, HTTP, callee.Listener.Addr().String(), Shared{})
	for want := int64(1); want <= 2; want++ {
		answer, err := newClient(t).Get("http://" + h.Addr()) // a connection of its own each: the client does not repeat
		if err == nil {
			_ = answer.Body.Close()
		}
		if (err == nil) != (want == 1) || asked.Load() != want {
			t.Errorf("request %d: %v; the callee was asked %d times", want, err, asked.Load())
		}
	}
}

func TestEachHitHasASpanInItsOwnTrace(t *testing.T) {
	telemetry, err := observability.Setup(t.Context(), observability.Config{Service: "proxy"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = telemetry.Shutdown(context.Background()) }()
	spans := &recording{TracerProvider: telemetry.TracerProvider}
	callee, rules := &echo{}, NewRules()
	add(t, rules, fault("lost", chaos.LoseAnswer, nil))
	conn := dial(t, start(t, GRPC, callee.serve(t), Shared{Rules: rules, TracerProvider: spans, Registerer: telemetry.Registry}).Addr())
	const parent = "0123456789abcdef0123456789abcdef"
	_, _ = say(metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+parent+"-0123456789abcdef-01"), conn, "Say", "x")
	if got := fmt.Sprint(spans.names()); got != "[fault lost in "+parent+"]" {
		t.Errorf("the spans are %s", got)
	}
	families, err := telemetry.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == names.RequestFaults && family.GetMetric()[0].GetCounter().GetValue() == 1 {
			return
		}
	}
	t.Error("the hit was not counted")
}

// recording remembers the spans that it starts.
type recording struct {
	trace.TracerProvider
	mu      sync.Mutex
	started []string
}

func (r *recording) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	return recorder{r.TracerProvider.Tracer(name, opts...), r}
}

// names lists the spans, each with its trace.
func (r *recording) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.started)
}

type recorder struct {
	trace.Tracer
	to *recording
}

func (r recorder) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	ctx, span := r.Tracer.Start(ctx, name, opts...)
	r.to.mu.Lock()
	defer r.to.mu.Unlock()
	r.to.started = append(r.to.started, name+" in "+span.SpanContext().TraceID().String())
	return ctx, span
}

func TestStartRefuses(t *testing.T) {
	for name, spec := range map[string]Spec{
		"tcp":             {Edge: edgeAB, Protocol: "tcp", Upstream: "127.0.0.1:1"},
		"a bad address":   {Edge: edgeAB, Protocol: HTTP, Listen: "nowhere", Upstream: "127.0.0.1:1"},
		"no protocol":     {Edge: edgeAB},
		"another machine": {Edge: edgeAB, Protocol: GRPC, Listen: "192.0.2.1:80"},
	} {
		if h, err := Start(spec, Shared{}); err == nil {
			_ = h.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

// BenchmarkHop is what a hop costs: compare with the same call without one. Caller, callee and hop are
// in one process, so that what is left after taking direct away is the hop's.
func BenchmarkHop(b *testing.B) {
	for _, through := range []string{"direct", "hop"} {
		b.Run("grpc/"+through, func(b *testing.B) {
			addr := (&echo{}).serve(b)
			if through == "hop" {
				addr = start(b, GRPC, addr, Shared{}).Addr()
			}
			benchmarkGRPC(b, addr)
		})
		b.Run("http/"+through, func(b *testing.B) {
			callee := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "x") }))
			defer callee.Close()
			addr := callee.Listener.Addr().String()
			if through == "hop" {
				addr = start(b, HTTP, addr, Shared{}).Addr()
			}
			benchmarkHTTP(b, addr)
		})
	}
}

func benchmarkGRPC(b *testing.B, addr string) {
	conn := dial(b, addr)
	measure(b, func() error { _, err := say(b.Context(), conn, "Say", "x"); return err })
}

func benchmarkHTTP(b *testing.B, addr string) {
	client := newClient(b)
	measure(b, func() error {
		answer, err := client.Get("http://" + addr)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		return answer.Body.Close()
	})
}

// measure also reports the processor time of a call, which other programs on the machine change less than its duration.
func measure(b *testing.B, call func() error) {
	if err := call(); err != nil { // connect
		b.Fatal(err)
	}
	b.ReportAllocs()
	before := used(b)
	for b.Loop() {
		if err := call(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(used(b)-before)/float64(time.Microsecond)/float64(b.N), "cpu-us/op")
}

func used(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// The caller's deadline runs at the callee too, and may be over there first.
func TestACalleeThatCancelsOnItsDeadline(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout string
		err     error
		want    codes.Code
	}{
		"its deadline":    {"30m", http2.StreamError{StreamID: 3, Code: http2.ErrCodeCancel}, codes.DeadlineExceeded},
		"of its own":      {"", http2.StreamError{StreamID: 3, Code: http2.ErrCodeCancel}, codes.Canceled},
		"another reset":   {"30m", http2.StreamError{StreamID: 3, Code: http2.ErrCodeRefusedStream}, codes.Unavailable},
		"no stream error": {"30m", io.EOF, codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/test.Echo/Hang", nil)
			if tt.timeout != "" {
				r.Header.Set("Grpc-Timeout", tt.timeout)
			}
			if got := codeOfLoss(r, fmt.Errorf("reading: %w", tt.err)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
