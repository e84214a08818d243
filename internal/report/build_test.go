package report

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/names"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
)

// naiveAndContained are the fixtures' runs as the page has them.
func naiveAndContained(t testing.TB) (naive, contained PageRun) {
	t.Helper()
	page := pages(t, newFixture("naive").judge(t), newFixture("contained").judge(t))
	return page.Runs[0], page.Runs[1]
}

func near(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > 1e-6*math.Max(1, math.Abs(want)) {
		t.Errorf("%s: got %v, want %v", what, text(deref(got)), want)
	}
}

func deref(v *float64) any {
	if v == nil {
		return nil
	}
	return *v
}

func TestPageHead(t *testing.T) {
	page := pages(t, newFixture("naive").judge(t), newFixture("contained").judge(t))
	if page.Scenario != "slow-bank" || page.System != "shop" || page.About != "The bank turns slow." || page.Outcome != "fail" || len(page.Sources) != 1 {
		t.Errorf("got %+v", page)
	}
	naive := page.Runs[0]
	if naive.Label != "naive" || naive.Seed != 7 || naive.Outcome != "pass" || naive.Says != "All 4 expectations held." {
		t.Errorf("got %+v", naive)
	}
	want := PageFinding{That: "goodput(browse) < 50%", What: "goodput of browse", Wants: "below 50%", In: "fault", Value: "37.5%", Outcome: "pass", Source: "x.yaml:3", Meaning: naive.Findings[0].Meaning}
	if got := naive.Findings[0]; got != want || got.Meaning == "" {
		t.Errorf("got %+v, want %+v", got, want)
	}
	fault := PageFault{ID: "slow", Kind: "latency", Target: "orders->bank", Params: "delay 3s, jitter 0s", Edges: []string{"orders->bank"}, Services: []string{}, Start: 6, End: 10}
	if !reflect.DeepEqual(naive.Faults, []PageFault{fault}) {
		t.Errorf("got %+v, want %+v", naive.Faults, fault)
	}
	if p := naive.Phases[2]; p != (PagePhase{Name: "fault", Start: 6, End: 10, Fault: true}) || naive.Phases[3].Fault {
		t.Errorf("got %+v", naive.Phases)
	}
	policies := []PagePolicy{{On: "orders->bank", Chain: page.Runs[1].Policies[0].Chain}}
	if got := page.Runs[1].Policies; !reflect.DeepEqual(got, policies) || got[0].Chain[0] != "timeout (after 500ms)" || !strings.HasPrefix(got[0].Chain[1], "circuit_breaker (failure ratio 0.5, ") {
		t.Errorf("got %+v", got)
	}
}

func TestPageLoads(t *testing.T) {
	naive, _ := naiveAndContained(t)
	browse, buy := naive.Loads[0], naive.Loads[1]
	if browse.About != "GET / at 10/s, poisson arrivals" || buy.About != "a journey of 2 steps at 4/s to 8/s, constant arrivals" || browse.SLO != 300 || browse.Recovery != "0s" {
		t.Errorf("got %+v", browse)
	}
	if len(browse.Bins) != 15 {
		t.Fatalf("%d bins", len(browse.Bins))
	}
	// From 7.5 s on 900 ms, from 9.2 s on turned away.
	for at, want := range map[int][4]int{6: {10, 10, 0, 0}, 7: {10, 5, 5, 0}, 8: {10, 0, 10, 0}, 9: {10, 0, 2, 8}, 10: {10, 10, 0, 0}} {
		if b := browse.Bins[at]; b.T != float64(at) || [4]int{b.Offered, b.Good, b.Slow, b.Failed} != want {
			t.Errorf("second %d: got %+v, want %v", at, b, want)
		}
	}
	near(t, "p99 at 8 s", browse.Bins[8].P99, 900)
	fault := browse.Phases[2]
	near(t, "goodput", fault.Goodput, 15.0/40)
	near(t, "success", fault.Success, 32.0/40)
	near(t, "max", fault.Max, 900)
	if fault.Offered != 40 || !reflect.DeepEqual(fault.Failures, []PageCount{{"status 503", 8}}) {
		t.Errorf("got %+v", fault)
	}
	steps := buy.Phases[2].Steps
	if len(steps) != 2 || steps[0].Name != "login" || steps[1].Requests != 20 {
		t.Fatalf("got %+v", steps)
	}
	near(t, "p50 of login", steps[0].P50, 10)
	near(t, "p50 of pay", steps[1].P50, 3000)
}

func TestPageServices(t *testing.T) {
	naive, contained := naiveAndContained(t)
	gateway, orders, broker := naive.Services[0], naive.Services[1], naive.Services[3]
	if orders.Workers != 8 || orders.QueueLimit != 10 || orders.Replicas != 2 || len(orders.Busy) != 16 || len(broker.Busy) != 0 {
		t.Errorf("got %+v", orders)
	}
	// Of two replicas the busier counts.
	if at7 := orders.Busy[7]; at7 != [2]float64{7, 1} || orders.Queue[8] != [2]float64{8, 4} {
		t.Errorf("got busy %v, queue %v", at7, orders.Queue[8])
	}
	near(t, "busy in fault", orders.Phases["fault"], .7813)
	if broker.Phases["fault"] != nil {
		t.Errorf("a service without a door is %v busy", *broker.Phases["fault"])
	}
	if !reflect.DeepEqual(gateway.Shed, [][2]float64{{10, 5}, {11, 5}}) {
		t.Errorf("turned away: %v", gateway.Shed)
	}
	if want := (PageSpread{Text: "After slow began, services filled up: orders +1s, gateway +3s.", Steps: []PageSpreadStep{{"orders", 7}, {"gateway", 9}}}); !reflect.DeepEqual(naive.Spread, want) {
		t.Errorf("got %+v, want %+v", naive.Spread, want)
	}
	if want := "No service filled up after slow began: the busiest, orders, had at most 37.5% of its workers busy."; contained.Spread.Text != want {
		t.Errorf("got %q, want %q", contained.Spread.Text, want)
	}
	breakers := []PageBreaker{{Edge: "orders->bank", States: [][2]float64{{0, 0}, {7, 2}, {10, 1}, {11, 0}}}}
	if !reflect.DeepEqual(contained.Breakers, breakers) || len(naive.Breakers) != 0 {
		t.Errorf("got %+v, want %+v", contained.Breakers, breakers)
	}
}

func TestFillsUp(t *testing.T) {
	second := time.Second
	for _, test := range []struct {
		name string
		line []float64 // one point a second
		at   time.Duration
		peak float64
	}{
		{"climbs", []float64{0, 0, .5, .96, 1, 0}, 3 * second, 1},
		{"for a moment only", []float64{0, 0, 1, .2, 1, 1}, 4 * second, 1},
		{"full before", []float64{1, 1, 1, 1, 1, 1}, -1, 1},
		{"full before, then again", []float64{1, 1, 0, 1, 1, 1}, 3 * second, 1},
		{"never", []float64{0, .9, .3, .94, 0, 0}, -1, .94},
		{"after the end", []float64{0, 0, 0, 0, 0, 0, 1, 1}, -1, 0},
		{"nothing recorded", nil, -1, 0},
	} {
		var line [][2]float64
		for i, v := range test.line {
			line = append(line, [2]float64{float64(i), v})
		}
		if at, peak := fillsUp(line, second, 6*second); at != test.at || peak != test.peak {
			t.Errorf("%s: got %v and %v, want %v and %v", test.name, at, peak, test.at, test.peak)
		}
	}
}

// Callees come before their callers, a cycle does not keep it from ending, and
// without data or faults nothing is said.
func TestSpreadIsCareful(t *testing.T) {
	f := newFixture("naive")
	f.system.Services[2].Calls = []string{"gateway"}
	b := newPageBuilder(&record.Run{Plan: f.plan, System: f.system}, &check.Verdict{}, f.telemetry)
	full := [][2]float64{{5, 0}, {6, 0}, {7, 1}, {8, 1}}
	b.out.Services = []PageService{{Name: "gateway", Busy: full}, {Name: "orders", Busy: full}}
	b.spread()
	if want := "After slow began, services filled up: orders +1s, gateway +1s."; b.out.Spread.Text != want {
		t.Errorf("got %q, want %q", b.out.Spread.Text, want)
	}
	b.out.Services, b.out.Spread = []PageService{{Name: "gateway"}}, PageSpread{}
	if b.spread(); b.out.Spread.Text != "" {
		t.Errorf("without data: %q", b.out.Spread.Text)
	}
	b.out.Services = []PageService{{Name: "gateway", Busy: [][2]float64{{7, .3}}}}
	if b.spread(); b.out.Spread.Text != "" {
		t.Errorf("cut short: %q", b.out.Spread.Text)
	}
	b.out.Loads = []PageLoad{{Bins: make([]PageBin, 15)}}
	if b.spread(); b.out.Spread.Text != "No service filled up after slow began: the busiest, gateway, had at most 30% of its workers busy." {
		t.Errorf("got %q", b.out.Spread.Text)
	}
	b.out.Services, b.out.Spread = []PageService{{Name: "gateway", Busy: [][2]float64{{7, 0}}}}, PageSpread{}
	if b.spread(); b.out.Spread.Text != "" {
		t.Errorf("all idle: %q", b.out.Spread.Text)
	}
	b.out.Services = []PageService{{Name: "gateway", Busy: [][2]float64{{6, 0}, {7, 1}, {8, 0}}}}
	if b.spread(); b.out.Spread.Text != "No service filled up and stayed full after slow began: the busiest, gateway, had 100% of its workers busy at times." {
		t.Errorf("for a moment: %q", b.out.Spread.Text)
	}
	end := f.plan.Faults[0].End.Seconds()
	late := [][2]float64{{6, 0}, {end + 1, 1}, {end + 2, 1}}
	b.out.Services = []PageService{{Name: "gateway", Busy: late}}
	if b.spread(); !strings.HasPrefix(b.out.Spread.Text, "After slow began, services filled up: gateway +") {
		t.Errorf("when the fault had gone: %q", b.out.Spread.Text)
	}
	next := f.plan.Faults[0]
	next.ID, next.Start, next.End = "next", next.End+time.Second/2, next.End+2*time.Second
	f.plan.Faults = append(f.plan.Faults, next)
	b.out.Spread = PageSpread{}
	if b.spread(); b.out.Spread.Text != "" {
		t.Errorf("what the next fault did: %q", b.out.Spread.Text)
	}
	f.plan.Faults = nil
	b.out.Services = []PageService{{Name: "gateway", Busy: full}}
	if b.spread(); b.out.Spread.Text != "" {
		t.Errorf("without a fault: %q", b.out.Spread.Text)
	}
}

func TestPageEdges(t *testing.T) {
	naive, contained := naiveAndContained(t)
	if len(naive.Edges) != 3 || naive.Edges[0].Caller != system.LoadCaller || !naive.Edges[0].Exact || naive.Edges[1].Exact {
		t.Fatalf("got %+v", naive.Edges)
	}
	// The edge of the load: 10 browse and twice 5 buy a second, of which 8 failed.
	load := naive.Edges[0].Phases["fault"]
	near(t, "load rate", load.Rate, 20)
	near(t, "load errors", load.Errors, 8.0/80)
	near(t, "load p99", load.P99, 3000)
	bank := contained.Edges[2]
	if !reflect.DeepEqual(bank.Faults, []string{"slow"}) || len(contained.Edges[1].Faults) != 0 {
		t.Errorf("faults of the edge to the bank: %v", bank.Faults)
	}
	fault := bank.Phases["fault"]
	near(t, "rate", fault.Rate, 8)
	near(t, "errors", fault.Errors, 3.0/8)
	near(t, "rejected", fault.Rejected, 3.0/8)
	near(t, "attempts a call", fault.Amplification, 5.0/8)
	near(t, "p50", fault.P50, 62.5) // the middle of the first bucket, 0 to 100 ms, which has 80 %
}

func TestEdgeWithoutFiguresSaysWhy(t *testing.T) {
	f := newFixture("naive")
	f.system.Services[0].Calls = append(f.system.Services[0].Calls, "broker")
	naive := pages(t, f.judge(t)).Runs[0]
	last := naive.Edges[2].Phases["fault"]
	if naive.Edges[2].Callee != "broker" || last.Rate != nil || last.Why != "gateway recorded no calls of broker" {
		t.Errorf("got %+v", last)
	}
}

func TestPageFailures(t *testing.T) {
	naive, contained := naiveAndContained(t)
	if naive.Failed != 8 || len(naive.Failures) != 1 {
		t.Fatalf("%d failed, %d kinds", naive.Failed, len(naive.Failures))
	}
	got := naive.Failures[0]
	if got.Load != "browse" || got.Step != "" || got.Error != "status 503" || got.N != 8 || got.First != 9.2 || got.Last != 9.9 || got.Looked != 8 {
		t.Errorf("got %+v", got)
	}
	if want := []PageCount{{"gateway turned it away: its queue was full", 8}}; !reflect.DeepEqual(got.Causes, want) {
		t.Errorf("got %+v, want %+v", got.Causes, want)
	}
	if len(got.Requests) != alike {
		t.Errorf("%d examples of one cause", len(got.Requests))
	}
	// In contained the same step fails in two ways.
	if contained.Failed != 20 || len(contained.Failures) != 2 {
		t.Fatalf("%d failed, kinds %+v", contained.Failed, contained.Failures)
	}
	for i, want := range []PageFailure{{Load: "buy", Step: "pay", Error: "status 503", N: 10}, {Load: "buy", Step: "pay", Error: "status 504", N: 10}} {
		k := contained.Failures[i]
		if k.Load != want.Load || k.Step != want.Step || k.Error != want.Error || k.N != want.N {
			t.Errorf("got %+v, want %+v", k, want)
		}
	}
	if a, b := contained.Failures[0].Causes, contained.Failures[1].Causes; a[0].Name != "circuit_breaker on orders->bank: open" || b[0].Name != "timeout on orders->bank" {
		t.Errorf("got %v and %v", a, b)
	}
	r := contained.Failures[1].Requests[0]
	if r.Step != "pay" || r.Status != 504 || r.OK || r.Faults != "slow" || r.Cause != "timeout on orders->bank" || r.MS != 510 {
		t.Errorf("got %+v", r)
	}
	if trace := contained.Traces[r.Trace]; len(trace.Spans) != 2 || len(trace.Logs) != 1 || trace.Client == nil {
		t.Errorf("got %+v", trace)
	}
}

// Kinds of failure are bounded; what is beyond comes together.
func TestKindsOfFailureAreBounded(t *testing.T) {
	var failed []journey
	for i := range 40 {
		for range 41 - i {
			failed = append(failed, journey{Result: loadgen.Result{Load: "a", Status: i, Due: second(float64(i))}})
		}
	}
	kinds := kindsOf(failed)
	last := kinds[len(kinds)-1]
	if len(kinds) != listedKinds || kinds[0].error != "status 0" || last.error != "29 other kinds" || last.load != "all loads" {
		t.Errorf("%d kinds, the last %q", len(kinds), last.error)
	}
	n := 0
	for _, k := range kinds {
		n += len(k.journeys)
	}
	if n != len(failed) {
		t.Errorf("%d of %d failures", n, len(failed))
	}
}

func TestChoose(t *testing.T) {
	of := func(cause string, at ...float64) []example {
		var out []example
		for _, s := range at {
			out = append(out, example{cause: cause, journey: journey{Result: loadgen.Result{Due: second(s)}}})
		}
		return out
	}
	examples := map[string][]example{"often": of("often", 1, 2, 3, 4), "seldom": of("seldom", 2.5), "now and then": of("now and then", .5, 5)}
	var got []string
	for _, e := range choose([]string{"often", "now and then", "seldom"}, examples, 4) {
		got = append(got, e.cause)
	}
	if want := "now and then, often, often, seldom"; strings.Join(got, ", ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if n := len(choose([]string{"often"}, examples, 4)); n != alike {
		t.Errorf("%d of one cause", n)
	}
}

func TestEvenly(t *testing.T) {
	list := make([]int, 100)
	for i := range list {
		list[i] = i
	}
	if got := evenly(list, 4); !reflect.DeepEqual(got, []int{0, 33, 66, 99}) {
		t.Errorf("got %v", got)
	}
	if got := evenly(list[:3], 4); len(got) != 3 {
		t.Errorf("got %v", got)
	}
}

func TestPageSlow(t *testing.T) {
	naive, _ := naiveAndContained(t)
	if len(naive.Slow) != 2 || naive.Slow[0].Load != "browse" || len(naive.Slow[1].Requests) != listedSlow {
		t.Fatalf("got %+v", naive.Slow)
	}
	r := naive.Slow[1].Requests[0]
	if r.Load != "buy" || r.Step != "pay" || !r.OK || r.MS != 3010 {
		t.Errorf("got %+v", r)
	}
	trace := naive.Traces[r.Trace]
	if trace.At != r.Due+.011 || trace.End != 2980 || *trace.Client != (PageClient{Due: -1, Sent: -.8, Done: 2999}) {
		t.Errorf("got %+v, %+v", trace, trace.Client)
	}
	if r := naive.Slow[0].Requests[0]; r.MS != 900 || r.Step != "" {
		t.Errorf("got %+v", r)
	}
}

func TestPageAlertsAndEvents(t *testing.T) {
	naive, _ := naiveAndContained(t)
	end := 11.0
	alerts := []PageAlert{{Name: "DoorSaturated", On: "orders-1", Severity: "page", Start: 8, End: &end}, {Name: "DoorSaturated", On: "gateway", Severity: "page", Start: 8.2}}
	if !reflect.DeepEqual(naive.Alerts, alerts) {
		t.Errorf("got %+v, want %+v", naive.Alerts, alerts)
	}
	var got []string
	for _, e := range naive.Events {
		got = append(got, strings.TrimSpace(e.Kind+" "+e.Name+" "+e.Text+" | "+e.Detail))
	}
	want := []string{
		"phase warmup started |", "phase baseline started |", "phase fault started |", "fault slow injected |",
		"fault slow felt | probe latency of orders->bank 18.8ms -> 3.19s", "process orders-2 exited: signal: killed |", "phase recovery started |",
		"fault slow recovered | probe latency of orders->bank 18.8ms -> 21.7ms", "audit invariants settled | checked orders 75: 0 violations",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEventsAreBounded(t *testing.T) {
	f := newFixture("naive")
	for range 2 * listedEvents {
		f.events = append(f.events, record.Event{Time: second(12), Kind: record.EventNote, Name: "proxy", Text: strings.Repeat("x", 2*textLimit)})
	}
	for i := range 2 * listedAlerts {
		f.events = append(f.events, record.Event{Time: second(12), Kind: record.EventAlert, Name: "A", Text: "firing", Data: map[string]any{"instance": i}})
	}
	run := pages(t, f.judge(t)).Runs[0]
	last := run.Events[len(run.Events)-1]
	if len(run.Events) != listedEvents+1 || last.Text != "209 events left out; events.jsonl has them all" || len(run.Alerts) != listedAlerts {
		t.Errorf("%d events, the last %+v; %d alerts", len(run.Events), last, len(run.Alerts))
	}
	if n := len([]rune(run.Events[20].Text)); n != textLimit+1 {
		t.Errorf("a text of %d letters", n)
	}
}

func TestEventDetail(t *testing.T) {
	for _, test := range []struct {
		event record.Event
		want  string
	}{
		{record.Event{Data: map[string]any{"note": "cut 3 connections"}}, "cut 3 connections"},
		{record.Event{Data: map[string]any{"b": 1, "a": "x"}}, `{"a":"x","b":1}`},
		{record.Event{Data: map[string]any{"f": func() {}}}, ""},
		{record.Event{Effect: &chaos.Effect{Measure: "errors", Unit: "errors", During: 3, Detail: "refused"}}, "errors 0 errors -> 3 errors (refused)"},
		{record.Event{Kind: record.EventAudit, Text: "no answer"}, ""},
	} {
		if got := eventDetail(test.event); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.event, got, test.want)
		}
	}
}

func TestPageFacts(t *testing.T) {
	naive, _ := naiveAndContained(t)
	facts := map[string]string{}
	for _, f := range naive.Facts {
		facts[f.Name] = f.Value
	}
	for name, want := range map[string]string{
		"how the run ended": "completed", "seed": "7", "generator lag, p99": "200µs", "lag allowed": "15ms", "spans": "1,200 kept, 0 lost", "log lines": "60 kept, 0 lost",
		"CPU of all processes, mean": "0.05 cores", "resident memory, the most of each process added up": "40 MB", "from the command to the first request": "1.5s",
	} {
		if facts[name] != want {
			t.Errorf("%s: got %q, want %q", name, facts[name], want)
		}
	}
	if want := []PageProcess{{Name: "gateway", Cores: .05, MB: 40}}; !reflect.DeepEqual(naive.Processes, want) {
		t.Errorf("got %+v, want %+v: the resident size, as memory() has it", naive.Processes, want)
	}
}

// A run whose load never started has a page all the same.
func TestPageOfARunThatNeverStarted(t *testing.T) {
	f := newFixture("naive")
	run := &record.Run{Meta: record.Meta{Started: began, Outcome: record.Broken, Reason: "no port"}, Plan: f.plan, System: f.system,
		Events: []record.Event{{Time: second(1), Kind: record.EventProcess, Name: "bank", Text: "started"}}}
	verdict, err := check.Judge(t.Context(), run, nil)
	if err != nil {
		t.Fatal(err)
	}
	page, err := buildRun(t.Context(), run, verdict, &fakeTelemetry{err: errors.New("asked")})
	if err != nil {
		t.Fatal(err)
	}
	if page.Outcome != "inconclusive" || page.Says != "This run proves nothing, whatever its figures say:" || len(page.Events) != 1 || page.Events[0].T != 1 {
		t.Errorf("got %+v", page)
	}
	if page.Facts[1] != (PageFact{"because", "no port"}) {
		t.Errorf("got %+v", page.Facts)
	}
}

func TestBuildTellsWhatWentWrong(t *testing.T) {
	f := newFixture("naive")
	j := f.judge(t)
	f.telemetry.err = errors.New("block is damaged")
	if _, err := buildPage(t.Context(), []*Judged{j}); err == nil || !strings.Contains(err.Error(), "block is damaged") || !strings.Contains(err.Error(), j.Run.Meta.ID) {
		t.Errorf("got %v", err)
	}
	if err := j.WriteFiles(t.Context()); err == nil || !strings.Contains(err.Error(), "report.html") {
		t.Errorf("got %v", err)
	}
	// What machines read stands there nonetheless.
	if _, err := os.Stat(filepath.Join(j.Run.Dir, record.VerdictFile)); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := buildRun(ctx, j.Run, j.Verdict, newFixture("naive").telemetry); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Traces that cannot be read are a note, not the end of the report.
func TestTracesThatCannotBeRead(t *testing.T) {
	f := newFixture("naive")
	f.telemetry.broken = errors.New("database is malformed")
	run := pages(t, f.judge(t)).Runs[0]
	if run.Notes[len(run.Notes)-1] != "traces could not be read: database is malformed" || len(run.Traces) != 0 || len(run.Failures) != 1 {
		t.Errorf("got %v, %d traces", run.Notes, len(run.Traces))
	}
}

func TestFilesOfARun(t *testing.T) {
	a, b := newFixture("naive").judge(t), newFixture("contained").judge(t)
	for _, j := range []*Judged{a, b} {
		if err := j.WriteFiles(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{record.VerdictFile, record.JUnitFile, record.MarkdownFile, record.ReportFile} {
			if info, err := os.Stat(filepath.Join(j.Run.Dir, name)); err != nil || info.Size() == 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	root := t.TempDir()
	path, err := WritePage(t.Context(), []*Judged{a, b}, root)
	if err != nil || path != filepath.Join(root, "20260301-115958-slow-bank.html") {
		t.Errorf("%s, %v", path, err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), `"label":"contained"`) {
		t.Errorf("%v", err)
	}
	if one, err := WritePage(t.Context(), []*Judged{a}, root); err != nil || one != filepath.Join(a.Run.Dir, record.ReportFile) {
		t.Errorf("%s, %v", one, err)
	}
	if err := a.Close(); err != nil || !a.telemetry.(*fakeTelemetry).closed {
		t.Errorf("%v", err)
	}
}

// What Judge opens is what a backend wrote.
func TestJudgeWithABackend(t *testing.T) {
	dir := newFixture("naive").judge(t).Run.Dir
	backend, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backend.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	j, err := Judge(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.WriteFiles(t.Context()); err != nil {
		t.Error(err)
	}
	if got := j.Verdict.Findings[3]; got.Outcome != check.Inconclusive || j.page.Failures[0].N != 8 || len(j.page.Traces) != 0 {
		t.Errorf("got %+v: no metrics and no traces were recorded", got)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

func TestJudgeReadsTheDirectory(t *testing.T) {
	if _, err := Judge(t.Context(), t.TempDir()); err == nil {
		t.Error("an empty directory was judged")
	}
	j := newFixture("naive").judge(t)
	if _, err := Judge(t.Context(), j.Run.Dir); err == nil || !strings.Contains(err.Error(), "telemetry") {
		t.Errorf("without telemetry: %v", err)
	}
}

// Every measure of the catalog can be said in words.
func TestInWords(t *testing.T) {
	for _, m := range grammar.Catalog() {
		_, percentile := grammar.Quantile(m.Name)
		if phrases[m.Name] == "" && !percentile {
			t.Errorf("no words for %s", m.Name)
		}
		c, err := grammar.Parse(m.Example)
		if err != nil {
			t.Fatal(err)
		}
		what, wants, meaning := inWords(check.Finding{That: m.Example, Wanted: string(c.Op) + " " + c.WantedUnit.Text(c.Wanted)})
		if what == m.Example || meaning != m.Meaning || strings.Contains(what, "%") && m.Of != grammar.PromQL {
			t.Errorf("%s: %q %q", m.Example, what, wants)
		}
	}
	for _, test := range [][4]string{
		{"goodput(browse) < 50%", "< 50%", "goodput of browse", "below 50%"},
		{"p99.9(browse) <= 1s", "<= 1s", "p99.9 latency of browse", "at most 1s"},
		{"violations() == 0", "== 0", "no broken invariants", ""},
		{"success(x) == 0%", "== 0%", "success of x", "exactly 0%"},
		{"not an expectation", "< 3", "not an expectation", "< 3"},
		{"lag() < 5ms", "5ms", "lag of the load generator", "5ms"},
	} {
		if what, wants, _ := inWords(check.Finding{That: test[0], Wanted: test[1]}); what != test[2] || wants != test[3] {
			t.Errorf("%s: got %q %q, want %q %q", test[0], what, wants, test[2], test[3])
		}
	}
}

func TestDescribe(t *testing.T) {
	for _, test := range [][2]string{
		{describePolicy("timeout", nil), "timeout"},
		{describePolicy("retry", map[string]any{"max_attempts": int64(3), "ratio": .5, "big": 1234567.0}), "retry (big 1,234,567, max attempts 3, ratio 0.5)"},
		{describeLoad(loadgen.Load{Users: 1, Steps: []loadgen.Step{{RPC: "shop.Orders/Pay"}}}), "shop.Orders/Pay, 1 user in a closed loop"},
		{describeLoad(loadgen.Load{Steps: make([]loadgen.Step, 2)}), "a journey of 2 steps at 0/s, poisson arrivals"},
		{targetOf(plan.Window{Load: "browse"}), "browse"},
		{targetOf(plan.Window{Fault: chaos.Fault{Services: []string{"bank"}, Replica: 2}}), "bank#2"},
		{after(-time.Second), "+0s"},
		{counted(1, "event"), "1 event"},
	} {
		if test[0] != test[1] {
			t.Errorf("got %q, want %q", test[0], test[1])
		}
	}
}

func TestNumber(t *testing.T) {
	for _, test := range []struct {
		v    measure.Value
		want any
	}{
		{measure.Value{Why: "none"}, nil},
		{known(math.Inf(1), figure.Seconds), nil},
		{known(.1234567891, figure.Ratio), .123457},
		{known(1e-9, figure.Ratio), 1e-9}, // one in a million is not none
		{known(0, figure.Ratio), 0.0},
	} {
		if got := deref(number(test.v, 1)); got != test.want {
			t.Errorf("%+v: got %v, want %v", test.v, got, test.want)
		}
	}
}

func TestLinesAreThinned(t *testing.T) {
	b := &pageBuilder{}
	var line measure.Line
	for i := range 2 * drawnPoints {
		line = append(line, measure.Point{At: time.Duration(i) * time.Second, Value: float64(i % 7)})
	}
	got := b.line(line)
	if len(got) != drawnPoints || got[0] != [2]float64{0, 1} || got[3] != [2]float64{6, 6} {
		t.Errorf("%d points, %v", len(got), got[:4])
	}
}

func TestShortened(t *testing.T) {
	got := shortened(map[string]any{"long": strings.Repeat("é", 2*textLimit), "n": 4.0, "nan": math.NaN(), names.AttrLoad: "browse"}, names.AttrLoad)
	if n := len([]rune(got["long"].(string))); n != textLimit+1 || got["n"] != 4.0 || got["nan"] != "NaN" || len(got) != 3 {
		t.Errorf("got %v", got)
	}
}
