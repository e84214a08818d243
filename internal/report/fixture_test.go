package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"
	"github.com/faultline-lab/faultline/parameter"
	"github.com/faultline-lab/faultline/resilience"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
)

// began is when the load of every fixture begins.
var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func second(n float64) time.Time { return began.Add(time.Duration(n * float64(time.Second))) }

// fixture is a run that was never run: a shop of three services whose bank turns
// slow from 6 to 10 s.
type fixture struct {
	variant   string
	plan      *plan.Plan
	system    *system.System
	events    []record.Event
	results   []loadgen.Result
	telemetry *fakeTelemetry
	outcome   string
	ended     time.Time
}

func newFixture(variant string) *fixture {
	f := &fixture{variant: variant, system: fixtureSystem(), telemetry: newFakeTelemetry(), outcome: record.Completed, ended: second(17)}
	f.plan = fixturePlan(f)
	f.events = fixtureEvents()
	f.send()
	f.measure()
	return f
}

// interrupt lets the run end shortly after the fault began.
func (f *fixture) interrupt() {
	f.outcome, f.ended, f.events = record.Interrupted, second(6.2), f.events[:6]
	f.results = slices.DeleteFunc(f.results, func(r loadgen.Result) bool { return r.Due.After(second(6.2)) })
}

func fixtureSystem() *system.System {
	capacity := func(workers, queue int) *system.Capacity { return &system.Capacity{Workers: workers, Queue: queue} }
	return &system.System{
		Name: "shop", Entry: "gateway",
		Services: []*system.Service{
			{Name: "gateway", About: "The door to the world.", Protocol: "http", Replicas: 1, Calls: []string{"orders"}, Capacity: capacity(10, 20)},
			{Name: "orders", Protocol: "grpc", Replicas: 2, Calls: []string{"bank"}, Capacity: capacity(8, 10)},
			{Name: "bank", Protocol: "http", Replicas: 1, Capacity: capacity(50, 0)},
			{Name: "broker", Protocol: "tcp", Replicas: 1},
		},
	}
}

func fixturePlan(f *fixture) *plan.Plan {
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	p := &plan.Plan{
		Scenario: "slow-bank", Variant: f.variant, System: "shop", Seed: 7, Story: "The bank turns slow.", Sources: []string{"A book"}, About: "As it is.",
		Phases: []plan.Phase{
			{Name: "warmup", End: seconds(2)},
			{Name: "baseline", Start: seconds(2), End: seconds(6)},
			{Name: "fault", Start: seconds(6), End: seconds(10)},
			{Name: "recovery", Start: seconds(10), End: seconds(15)},
		},
		Loads: []loadgen.Load{
			{
				Name: "browse", Service: "gateway", SLO: 300 * time.Millisecond,
				Steps:  []loadgen.Step{{Name: "GET /", Method: "GET", Path: "/"}},
				Stages: []loadgen.Stage{{For: seconds(15), From: 10, To: 10}},
			},
			{
				Name: "buy", Service: "gateway", SLO: time.Second, Arrivals: loadgen.Constant,
				Steps:  []loadgen.Step{{Name: "login", Method: "POST", Path: "/login"}, {Name: "pay", Method: "POST", Path: "/pay"}},
				Stages: []loadgen.Stage{{For: seconds(15), From: 4, To: 8}},
			},
		},
		Faults: []plan.Window{{
			Fault: chaos.Fault{
				ID: "slow", Kind: "latency", Edges: []chaos.Edge{{Caller: "orders", Callee: "bank"}}, Params: parameter.Values{"delay": "3s", "jitter": "0s"},
			},
			Start: seconds(6), End: seconds(10),
		}},
		Expect: []plan.Expectation{
			{In: "fault", That: "goodput(browse) < 50%", Source: "x.yaml:3"},
			{In: "baseline", That: "success(buy) >= 99.5%", Source: "x.yaml:4"},
			{That: "recovery(buy) <= 10s", Source: "x.yaml:5"},
			{In: "fault", That: "errors(orders->bank) < 1%", Source: "x.yaml:6"},
		},
		MaxLag: 15 * time.Millisecond,
	}
	if f.variant == "contained" {
		breaker, _ := resilience.Parse("circuit_breaker", map[string]any{"failure_ratio": 0.5})
		timeout, _ := resilience.Parse("timeout", "500ms")
		p.About, p.Policies = "With a breaker.", resilience.Policies{"orders->bank": {timeout, breaker}}
		p.Expect[0].That = "goodput(browse) >= 99%"
	}
	return p
}

func fixtureEvents() []record.Event {
	labels := func(instance string) map[string]any {
		return map[string]any{"instance": instance, "service": instance, "job": instance, "severity": "page"}
	}
	proof := func(felt bool, during float64) *chaos.Effect {
		return &chaos.Effect{Felt: felt, Measure: "probe latency of orders->bank", Unit: "ms", Before: 18.8, During: during}
	}
	return []record.Event{
		{Time: second(-1), Kind: record.EventProcess, Name: "gateway", Text: "started"},
		{Time: second(0), Kind: record.EventPhase, Name: "warmup", Text: "started"},
		{Time: second(2), Kind: record.EventPhase, Name: "warmup", Text: "ended"},
		{Time: second(2), Kind: record.EventPhase, Name: "baseline", Text: "started"},
		{Time: second(6), Kind: record.EventPhase, Name: "fault", Text: "started"},
		{Time: second(6.1), Kind: record.EventFault, Name: "slow", Text: "injected"},
		{Time: second(7.5), Kind: record.EventAlert, Name: "DoorSaturated", Text: "pending", Data: labels("orders-1")},
		{Time: second(8), Kind: record.EventAlert, Name: "DoorSaturated", Text: "firing", Data: labels("orders-1")},
		{Time: second(8.2), Kind: record.EventAlert, Name: "DoorSaturated", Text: "firing", Data: labels("gateway")},
		{Time: second(9.3), Kind: record.EventFault, Name: "slow", Text: "felt", Effect: proof(true, 3192.356)},
		{Time: second(9.5), Kind: record.EventProcess, Name: "orders-2", Text: "exited: signal: killed"},
		{Time: second(10), Kind: record.EventPhase, Name: "recovery", Text: "started"},
		{Time: second(10.1), Kind: record.EventFault, Name: "slow", Text: "recovered", Effect: proof(false, 21.7)},
		{Time: second(11), Kind: record.EventAlert, Name: "DoorSaturated", Text: "resolved", Data: labels("orders-1")},
		{Time: second(15.2), Kind: record.EventAudit, Name: "invariants", Text: "settled", Data: map[string]any{"settled": true, "violations": []any{}, "checked": map[string]any{"orders": 75.0}}},
		{Time: second(17), Kind: record.EventProcess, Name: "gateway", Text: "exited"},
	}
}

// send makes the results: in naive everybody suffers, in contained only who buys.
func (f *fixture) send() {
	for i := range 150 { // browse, 10 a second
		due, took, status, err := second(float64(i)/10), 20*time.Millisecond, 200, ""
		if f.variant == "naive" && i >= 75 && i < 100 {
			took = 900 * time.Millisecond
			if i >= 92 {
				took, status, err = time.Millisecond, 503, "status 503"
				f.telemetry.trace(shedTrace(traceID(1, i), due))
			}
		}
		f.result("browse", "", uint64(i), due, took, status, err, traceID(1, i))
	}
	for i := range 75 { // buy, 5 a second
		due := second(float64(i) / 5)
		f.buy(i, due, due.Sub(began) >= 6*time.Second && due.Sub(began) < 10*time.Second)
	}
}

func (f *fixture) buy(i int, due time.Time, during bool) {
	login, id := traceID(2, i), traceID(3, i)
	f.result("buy", "login", uint64(i), due, 10*time.Millisecond, 200, "", login)
	took, status, err := 40*time.Millisecond, 201, ""
	switch {
	case during && f.variant == "naive":
		took = 3 * time.Second
		f.telemetry.trace(slowTrace(id, due.Add(11*time.Millisecond)))
	case during && i%2 == 0:
		took, status, err = 500*time.Millisecond, 504, "status 504"
		f.telemetry.trace(policyTrace(id, due, "timeout", "timeout", 500*time.Millisecond))
	case during:
		took, status, err = 5*time.Millisecond, 503, "status 503"
		f.telemetry.trace(policyTrace(id, due, "circuit_breaker", "open", 5*time.Millisecond))
	}
	f.result("buy", "pay", uint64(i), due.Add(10*time.Millisecond), took, status, err, id)
	f.result("buy", "", uint64(i), due, took+10*time.Millisecond, status, err, id)
}

func (f *fixture) result(load, step string, seq uint64, due time.Time, took time.Duration, status int, err, trace string) {
	f.results = append(f.results, loadgen.Result{
		Load: load, Step: step, Seq: seq, Due: due, Sent: due.Add(200 * time.Microsecond), Done: due.Add(took), Status: status, OK: err == "", Error: err, TraceID: trace,
	})
}

func traceID(kind, n int) string { return fmt.Sprintf("%08x%024x", kind, n+1) }

// The traces of the fixture.

func span(trace, id, parent, service, kind, name string, start time.Time, took time.Duration, attributes map[string]any) telemetry.Span {
	return telemetry.Span{TraceID: trace, SpanID: id, ParentID: parent, Service: service, Instance: service, Kind: kind, Name: name, Start: start, End: start.Add(took), Attributes: attributes}
}

func shedTrace(id string, at time.Time) telemetry.Trace {
	s := span(id, "01", "", "gateway", "server", "GET", at, 50*time.Microsecond, map[string]any{names.AttrOutcome: "shed", names.AttrQueued: 0.0})
	s.Error = true
	return telemetry.Trace{ID: id, Spans: []telemetry.Span{s}}
}

// slowTrace waits 1 s for a worker of orders, and then for the bank.
func slowTrace(id string, at time.Time) telemetry.Trace {
	ms := time.Millisecond
	return telemetry.Trace{ID: id, Spans: []telemetry.Span{
		span(id, "01", "", "gateway", "server", "POST /pay", at, 2980*ms, map[string]any{names.AttrQueued: 0.0}),
		span(id, "02", "01", "gateway", "client", "shop.Orders/Pay", at.Add(10*ms), 2960*ms, map[string]any{names.AttrEdge: "gateway->orders"}),
		span(id, "03", "02", "orders", "server", "shop.Orders/Pay", at.Add(11*ms), 2950*ms, map[string]any{names.AttrQueued: 1000.0, "order": "o-1"}),
		span(id, "04", "03", "orders", "client", "POST", at.Add(1012*ms), 1940*ms, map[string]any{names.AttrEdge: "orders->bank"}),
		span(id, "05", "04", "bank", "server", "POST /charges", at.Add(1013*ms), 20*ms, nil),
		span(id, "06", "03", "orders", "internal", "tidy up", at.Add(9*time.Second), 30*ms, nil),
	}}
}

// policyTrace is one that a policy ended on the way to the bank.
func policyTrace(id string, at time.Time, policy, cause string, took time.Duration) telemetry.Trace {
	server := span(id, "02", "01", "orders", "server", "shop.Orders/Pay", at, took, nil)
	server.Error, server.Message = true, "rpc error: the bank did not answer"
	server.Events = []telemetry.SpanEvent{{Name: eventPolicy, Time: at.Add(took), Attributes: map[string]any{names.AttrEdge: "orders->bank", names.AttrPolicy: policy, attrCause: cause}}}
	root := span(id, "01", "", "gateway", "server", "POST /pay", at, took, nil)
	root.Error = true
	return telemetry.Trace{ID: id, Spans: []telemetry.Span{root, server}}
}

// measure makes the recorded series, a sample a second.
func (f *fixture) measure() {
	naive := f.variant == "naive"
	during := func(from float64, then, else_ float64) func(float64) float64 {
		return func(t float64) float64 {
			if t >= from && t < 10.5 {
				return then
			}
			return else_
		}
	}
	t := f.telemetry
	workers := func(service, instance string, n int, busy, queue func(float64) float64) {
		t.add(names.DoorQueueDepth, queue, names.Service, service, names.Instance, instance)
		t.add("busy", func(at float64) float64 { return busy(at) / float64(n) }, names.Service, service, names.Instance, instance)
	}
	idle := func(float64) float64 { return 0 }
	if naive {
		workers("gateway", "gateway", 10, during(9, 10, 2), during(9, 20, 0))
		workers("orders", "orders-1", 8, during(7, 8, 1), during(8, 4, 0))
		t.add(names.DoorRequests, func(at float64) float64 { return max(0, min(at, 11)-9) * 5 }, names.Service, "gateway", names.Outcome, "shed")
	} else {
		workers("gateway", "gateway", 10, idle, idle)
		workers("orders", "orders-1", 8, during(7, 3, 1), idle)
		t.add(names.PolicyState, func(at float64) float64 {
			switch {
			case at < 7 || at >= 11:
				return 0
			case at >= 9.5 && at < 10.5:
				return 1
			}
			return 2
		}, names.Policy, "circuit_breaker", names.On, "orders->bank")
	}
	workers("orders", "orders-2", 8, idle, idle)
	workers("bank", "bank", 50, idle, idle)
	for _, edge := range []string{"gateway->orders", "orders->bank"} {
		caller, callee, _ := strings.Cut(edge, "->")
		labels := []string{names.Caller, caller, names.Callee, callee, names.Service, caller}
		t.add(names.EdgeCalls, func(at float64) float64 { return 5 * at }, append(labels, names.Outcome, "ok")...)
		t.add(names.EdgeAttempts, func(at float64) float64 { return 5 * at }, append(labels, names.Outcome, "ok")...)
		if !naive {
			t.add(names.EdgeCalls, func(at float64) float64 { return 3 * max(0, min(at, 10)-6) }, append(labels, names.Outcome, "rejected")...)
		}
		t.add(names.EdgeCallDuration+"_bucket", func(at float64) float64 { return 4 * at }, append(labels, "le", "0.1")...)
		t.add(names.EdgeCallDuration+"_bucket", func(at float64) float64 { return 5 * at }, append(labels, "le", "+Inf")...)
	}
	t.add(names.ProcessCPU, func(at float64) float64 { return .05 * at }, names.Process, "gateway")
	t.add(names.ProcessResident, func(float64) float64 { return 40 << 20 }, names.Process, "gateway")
}

// judge writes the record, reads it back and judges it.
func (f *fixture) judge(t testing.TB) *Judged {
	t.Helper()
	meta := record.Meta{Scenario: f.plan.Scenario, Variant: f.variant, System: "shop", Seed: 7, Version: "v0.1.0", Machine: "linux/amd64, 2 CPUs", Started: second(-1.5)}
	w, err := record.Create(t.TempDir(), meta, f.plan, f.system, []byte("name: slow-bank\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range f.events {
		err = errors.Join(err, w.Event(e))
	}
	for _, r := range f.results {
		err = errors.Join(err, w.Result(r))
	}
	meta = w.Meta()
	meta.Load, meta.Ended, meta.Outcome = began, f.ended, f.outcome
	meta.Reason, meta.Loss = "", telemetry.Loss{SpansReceived: 1200, LogsReceived: 60}
	if err = errors.Join(err, w.Close(meta)); err != nil {
		t.Fatal(err)
	}
	run, err := record.Open(w.Dir())
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := check.Judge(t.Context(), run, f.telemetry)
	if err != nil {
		t.Fatal(err)
	}
	return &Judged{Run: run, Verdict: verdict, telemetry: f.telemetry, closer: f.telemetry}
}

// pages are the fixtures' runs, built.
func pages(t testing.TB, judged ...*Judged) Page {
	t.Helper()
	page, err := buildPage(context.Background(), judged)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// fakeTelemetry answers the few queries that package measure asks.
type fakeTelemetry struct {
	series []fakeSeries
	traces map[string]telemetry.Trace
	logs   []telemetry.LogRecord
	err    error // of queries
	broken error // of traces and logs
	closed bool
}

type fakeSeries struct {
	labels map[string]string
	at     func(seconds float64) float64 // NaN: no sample
}

func newFakeTelemetry() *fakeTelemetry { return &fakeTelemetry{traces: map[string]telemetry.Trace{}} }

func (f *fakeTelemetry) add(name string, at func(float64) float64, pairs ...string) {
	labels := map[string]string{"__name__": name}
	for i := 0; i+1 < len(pairs); i += 2 {
		labels[pairs[i]] = pairs[i+1]
	}
	f.series = append(f.series, fakeSeries{labels: labels, at: at})
}

// trace keeps a trace, with a log line of its deepest span.
func (f *fakeTelemetry) trace(t telemetry.Trace) {
	f.traces[t.ID] = t
	last := t.Spans[len(t.Spans)-1]
	f.logs = append(f.logs, telemetry.LogRecord{
		Time: last.Start.Add(time.Millisecond), TraceID: t.ID, SpanID: last.SpanID, Severity: "WARN", Service: last.Service, Body: "something to say",
		Attributes: map[string]any{"order": "o-1"},
	})
}

var (
	selectorPattern = regexp.MustCompile(`^(\w+)(?:\{(.*)\})?$`)
	matcherPattern  = regexp.MustCompile(`(\w+)(=~|!=|=)"([^"]*)"`)
)

func (f *fakeTelemetry) Query(ctx context.Context, expr string, at time.Time) ([]telemetry.Series, error) {
	return f.QueryRange(ctx, expr, at, at, time.Second)
}

func (f *fakeTelemetry) QueryRange(_ context.Context, expr string, from, to time.Time, step time.Duration) ([]telemetry.Series, error) {
	if f.err != nil {
		return nil, f.err
	}
	if strings.HasPrefix(expr, names.DoorBusy+" / ") {
		expr = "busy"
	}
	parsed := selectorPattern.FindStringSubmatch(expr)
	if parsed == nil {
		return nil, fmt.Errorf("the fake cannot read %s", expr)
	}
	var out []telemetry.Series
	for _, s := range f.series {
		if s.labels["__name__"] != parsed[1] || !matches(s.labels, parsed[2]) {
			continue
		}
		one := telemetry.Series{Labels: s.labels}
		for at := from; !at.After(to); at = at.Add(step) {
			scraped := at.Truncate(time.Second) // a sample stands until the next
			if v := s.at(scraped.Sub(began).Seconds()); !math.IsNaN(v) {
				one.Points = append(one.Points, telemetry.Point{Time: at, Value: v})
			}
		}
		if len(one.Points) > 0 {
			out = append(out, one)
		}
	}
	return out, nil
}

func matches(labels map[string]string, matchers string) bool {
	for _, m := range matcherPattern.FindAllStringSubmatch(matchers, -1) {
		value := labels[m[1]]
		switch m[2] {
		case "=":
			if value != m[3] {
				return false
			}
		case "!=":
			if value == m[3] {
				return false
			}
		default:
			if !regexp.MustCompile("^(?:" + m[3] + ")$").MatchString(value) {
				return false
			}
		}
	}
	return true
}

func (f *fakeTelemetry) Trace(_ context.Context, id string) (telemetry.Trace, error) {
	if f.broken != nil {
		return telemetry.Trace{}, f.broken
	}
	trace, found := f.traces[id]
	if !found {
		return telemetry.Trace{}, fmt.Errorf("trace %s: %w", id, embedded.ErrNotFound)
	}
	trace.Spans = slices.Clone(trace.Spans)
	slices.SortStableFunc(trace.Spans, func(a, b telemetry.Span) int { return cmp.Or(a.Start.Compare(b.Start), 0) })
	return trace, nil
}

func (f *fakeTelemetry) Logs(_ context.Context, q telemetry.LogQuery) ([]telemetry.LogRecord, error) {
	if f.broken != nil {
		return nil, f.broken
	}
	var out []telemetry.LogRecord
	for _, l := range f.logs {
		if l.TraceID == q.TraceID && len(out) < q.Limit {
			out = append(out, l)
		}
	}
	return out, nil
}

func (f *fakeTelemetry) Close() error {
	f.closed = true
	return nil
}
