package measure_test

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/record"
)

// labelled builds a series' labels from its name and pairs.
func labelled(name string, pairs ...string) map[string]string {
	labels := map[string]string{"__name__": name}
	for i := 0; i+1 < len(pairs); i += 2 {
		labels[pairs[i]] = pairs[i+1]
	}
	return labels
}

// bankCalls are the labels of a counter of the edge payments->bank.
func bankCalls(name, instance, outcome string) map[string]string {
	return labelled(name, names.Caller, "payments", names.Callee, "bank", names.Outcome, outcome, names.Service, "payments", names.Instance, instance)
}

// line is n samples that go up by so much each second.
func line(n int, start, by float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = start + float64(i)*by
	}
	return out
}

var gone = math.NaN()

func TestMeasuresOfAnEdge(t *testing.T) {
	m := &fakeMetrics{}
	// Two replicas of payments; samples from 0 to 45 s.
	m.add(bankCalls(names.EdgeCalls, "payments-1", "ok"), 0, line(46, 100, 8)...)
	m.add(bankCalls(names.EdgeCalls, "payments-2", "ok"), 0, line(46, 0, 8)...)
	// Appears at 20.5 s with 1: had been 0. 20 by 25 s.
	m.add(bankCalls(names.EdgeCalls, "payments-1", "timeout"), 20*second+500*ms, 1, 5, 10, 15, 20, 20)
	m.add(bankCalls(names.EdgeCalls, "payments-2", "rejected"), 0, line(46, 7, 2)...)
	m.add(bankCalls(names.EdgeAttempts, "payments-1", "ok"), 0, line(46, 0, 12)...)
	// Restarted within 18 s: 60 at 17 s, 0 at 18 s.
	m.add(bankCalls(names.EdgeAttempts, "payments-2", "ok"), 0, append(line(18, 60-17*12, 12), line(28, 0, 12)...)...)
	run := newRun()
	// From 15 to 25 s: calls 80 + 80 + 20 + 20 = 200, of which 20 timed out and 20 were rejected;
	// attempts 120 + (24 until 17 s, then 0 at 18 s and 84 at 25 s) = 228.
	for _, test := range []struct {
		text, in string
		want     float64
	}{
		{"amplification(payments->bank) < 2", "fault", 228.0 / 200},
		{"attempts(payments->bank) < 2", "fault", 22.8},
		{"errors(payments->bank) < 1%", "fault", 0.2},
		{"rejected(payments->bank) < 1%", "fault", 0.1},
		// 8 + 8 + 2 calls a second, 24 attempts.
		{"amplification(payments->bank) < 2", "baseline", 24.0 / 18},
		{"errors(payments->bank) < 1%", "baseline", 2.0 / 18},
	} {
		expect(t, test.text+" in "+test.in, value(t, run, m, test.text, test.in), test.want, "")
	}
}

func TestEdgeWithoutNumbers(t *testing.T) {
	idle := &fakeMetrics{}
	idle.add(bankCalls(names.EdgeCalls, "payments-1", "ok"), 0, line(46, 5, 0)...)
	for _, test := range []struct {
		name, text string
		m          measure.Metrics
		want       float64
		why        string
	}{
		{"no metrics", "errors(payments->bank) < 1%", nil, 0, "the run has no metrics"},
		{"no samples", "errors(payments->bank) < 1%", &fakeMetrics{}, 0, "payments recorded no calls of bank"},
		{"no calls", "errors(payments->bank) < 1%", idle, 0, "payments->bank was not called"},
		{"no calls to amplify", "amplification(payments->bank) < 1", idle, 0, "payments->bank was not called"},
		{"no attempts is a number", "attempts(payments->bank) < 1", idle, 0, ""},
		{"damaged", "attempts(payments->bank) < 1", &fakeMetrics{err: errors.New("block is damaged")}, 0,
			`querying edge_calls_total{caller="payments",callee="bank"}: block is damaged`},
	} {
		expect(t, test.name, value(t, newRun(), test.m, test.text, "fault"), test.want, test.why)
	}
}

func TestFailedScrapesMakeMetricsUnknown(t *testing.T) {
	scraped := func(up ...float64) *fakeMetrics {
		m := &fakeMetrics{}
		m.add(bankCalls(names.EdgeCalls, "payments-1", "ok"), 0, line(46, 0, 10)...)
		m.add(labelled(names.DoorQueueDepth, names.Service, "payments", names.Instance, "payments-1"), 0, line(46, 3, 0)...)
		m.add(labelled("up", names.Service, "payments", names.Instance, "payments-1"), 15*second, up...)
		return m
	}
	good := []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	ill := []float64{1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1} // read each half second: 6 of 21
	expect(t, "all good", value(t, newRun(), scraped(good...), "errors(payments->bank) < 1%", "fault"), 0, "")
	for _, text := range []string{"errors(payments->bank) < 1%", "queue(payments) < 9"} {
		expect(t, text, value(t, newRun(), scraped(ill...), text, "fault"), 0, "29 % of the scrapes of payments failed in the window")
	}
	// A fault that holds the process explains them.
	run := newRun()
	run.Plan.Faults[0].Fault = chaos.Fault{ID: "stop", Kind: "pause", Services: []string{"payments"}}
	run.Plan.Faults[0].Start, run.Plan.Faults[0].End = 17*second, 21*second
	expect(t, "explained", value(t, run, scraped(ill...), "errors(payments->bank) < 1%", "fault"), 0, "")
}

func TestMeasuresOfAService(t *testing.T) {
	m := &fakeMetrics{}
	of := func(name, instance string) map[string]string {
		return labelled(name, names.Service, "payments", names.Instance, instance)
	}
	// From 15 s to 25 s.
	m.add(of(names.DoorQueueDepth, "payments-1"), 14*second, 99, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 99)
	m.add(of(names.DoorQueueDepth, "payments-2"), 14*second, 0, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 0)
	m.add(of(names.DoorBusy, "payments-1"), 15*second, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8)
	m.add(of(names.DoorBusy, "payments-2"), 15*second, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16)
	m.add(of(names.DoorWorkers, "payments-1"), 0, line(46, 16, 0)...)
	m.add(of(names.DoorWorkers, "payments-2"), 0, line(46, 64, 0)...)
	m.add(of(names.DoorWastedSeconds, "payments-2"), 0, line(46, 0, 1)...)
	m.add(of(names.DoorServiceTime+"_sum", "payments-1"), 0, line(46, 0, 9)...)
	m.add(of(names.DoorServiceTime+"_sum", "payments-2"), 0, line(46, 0, 4)...)
	m.add(labelled(names.ProcessCPU, names.Process, "payments-1"), 0, line(46, 3, 0.25)...)
	m.add(labelled(names.ProcessCPU, names.Process, "payments-2"), 0, line(46, 3, 0.5)...)
	m.add(labelled(names.ProcessCPU, names.Process, "paymentsystem"), 0, line(46, 0, 9)...)
	m.add(labelled(names.ProcessResident, names.Process, "payments-1"), 15*second, 10, 70, 30)
	// A door without a limit.
	m.add(labelled(names.DoorBusy, names.Service, "bank", names.Instance, "bank"), 0, line(46, 5, 0)...)
	m.add(labelled(names.DoorWorkers, names.Service, "bank", names.Instance, "bank"), 0, line(46, 0, 0)...)
	for _, test := range []struct {
		text string
		want float64
		why  string
	}{
		{"queue(payments) < 1", 40, ""},
		{"busy(payments) < 1", 0.5, ""}, // 8 of 16, and 16 of 64
		{"wasted(payments) < 1", 0.25, ""},
		{"cpu(payments) < 1", 0.5, ""},
		{"memory(payments) < 1", 70, ""},
		{"queue(bank) < 1", 0, "bank recorded nothing for queue in the window"},
		{"busy(bank) < 1", 0, "bank recorded no busy workers, or its door has no limit"},
		{"wasted(bank) < 1", 0, "bank did no work in the window, or recorded none"},
		{"queue(nobody) < 1", 0, `the system has no service "nobody"`},
	} {
		expect(t, test.text, value(t, newRun(), m, test.text, "fault"), test.want, test.why)
	}
	for _, text := range []string{"queue(bank) < 1", "wasted(bank) < 1", "cpu(bank) < 1"} {
		if v := value(t, newRun(), &fakeMetrics{err: errors.New("gone")}, text, "fault"); v.Known || !strings.HasSuffix(v.Why, "gone") {
			t.Errorf("%s: got %+v", text, v)
		}
	}
}

func TestCountersOfAProcessThatWasGone(t *testing.T) {
	m := &fakeMetrics{}
	// Killed at 18 s with 1018, back at 21 s and at 3: 3 s of work, then 4 more.
	m.add(bankCalls(names.EdgeCalls, "payments-1", "ok"), 13*second, 1013, 1014, 1015, 1016, 1017, 1018, gone, gone, 3, 4, 5, 6, 7, 8)
	v := value(t, newRun(), m, "errors(payments->bank) < 1%", "fault")
	if v.Count != 3+7 { // 1015 to 1018, 0 to 7 at 25 s
		t.Errorf("counted %d calls, want 10", v.Count)
	}
}

func TestPromQL(t *testing.T) {
	one := []telemetry.Series{{Points: []telemetry.Point{{Value: 3}}}}
	for _, test := range []struct {
		name string
		m    *fakeMetrics
		want float64
		why  string
	}{
		{"one", &fakeMetrics{answer: one}, 3, ""},
		{"none", &fakeMetrics{}, 0, "the query gives nothing at 25s"},
		{"two", &fakeMetrics{answer: append(one, one...)}, 0, "the query gives 2 series; make it one, with sum() or max()"},
		{"a range", &fakeMetrics{answer: []telemetry.Series{{Points: make([]telemetry.Point, 2)}}}, 0,
			"the query gives a range; make it one number, with max_over_time() or the like"},
		{"not a number", &fakeMetrics{answer: []telemetry.Series{{Points: []telemetry.Point{{Value: math.NaN()}}}}}, 0, "the number is not a number"},
		{"wrong", &fakeMetrics{err: errors.New("parse error")}, 0, "the query failed: parse error"},
	} {
		expect(t, test.name, value(t, newRun(), test.m, "promql('x') > 1", "fault"), test.want, test.why)
	}
	m := &fakeMetrics{answer: one}
	if v := value(t, newRun(), m, "promql('increase(x[$window])') > 250%", "fault"); v.Unit != figure.Ratio || v.Text() != "300%" {
		t.Errorf("got %+v", v)
	}
	if want := []string{"increase(x[10000ms]) @25s"}; !reflect.DeepEqual(m.asked, want) {
		t.Errorf("asked %q, want %q", m.asked, want)
	}
	expect(t, "no metrics", value(t, newRun(), nil, "promql('x') > 1", "fault"), 0, "the run has no metrics")
}

func TestTableOfEdges(t *testing.T) {
	run := newRun()
	for i := range 10 {
		r := journey("checkout", 16*second+time.Duration(i)*100*ms, 900*ms, true)
		login, buy := r, r
		login.Step, login.Done = "login", r.Due.Add(100*ms)
		buy.Step, buy.Due, buy.OK = "buy", login.Done, i > 0
		run.Results = append(run.Results, r, login, buy)
	}
	steady(run, "browse", 15*second, 25*second, 2, 50*ms, true)
	m := &fakeMetrics{}
	m.add(bankCalls(names.EdgeCalls, "payments-1", "ok"), 0, line(46, 0, 10)...)
	m.add(bankCalls(names.EdgeAttempts, "payments-1", "ok"), 0, line(46, 0, 15)...)
	for le, perSecond := range map[string]float64{"0.1": 5, "0.2": 9, "0.5": 9, "+Inf": 10} {
		labels := bankCalls(names.EdgeCallDuration+"_bucket", "payments-1", "")
		labels["le"] = le
		m.add(labels, 0, line(46, 0, perSecond)...)
	}
	set := measure.New(run, m)
	fault, err := set.Window("fault")
	if err != nil {
		t.Fatal(err)
	}
	edges, err := set.Edges(t.Context(), fault)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, e := range edges {
		order = append(order, e.Edge.String())
	}
	if want := []string{"load->gateway", "gateway->payments", "payments->bank"}; !reflect.DeepEqual(order, want) {
		t.Fatalf("got %q, want %q", order, want)
	}
	// Of the load: 10 x 2 steps of checkout, of which one failed, and 20 requests of browse.
	expect(t, "requests a second", edges[0].CallRate, 4, "")
	expect(t, "errors of requests", edges[0].Errors, 1.0/40, "")
	expect(t, "amplification of requests", edges[0].Amplification, 1, "")
	expect(t, "p50 of requests", edges[0].P50, 0.05, "") // 20 at 50 ms, 10 at 100 ms, 10 at 800 ms
	expect(t, "p99 of requests", edges[0].P99, 0.8, "")
	expect(t, "an edge without samples", edges[1].P99, 0, "gateway recorded no calls of payments")
	expect(t, "calls a second", edges[2].CallRate, 10, "")
	expect(t, "amplification", edges[2].Amplification, 1.5, "")
	expect(t, "p50 from buckets", edges[2].P50, 0.1, "")
	expect(t, "p99 above the last bound", edges[2].P99, 0.5, "")
}

func TestBucketsGiveQuantilesAsPrometheusDoes(t *testing.T) {
	// histogram_quantile(0.5, ...) of 10, 30, 40 below 1, 2, +Inf is 1 + 10/20.
	for _, test := range []struct {
		name    string
		buckets map[string]float64
		want    float64
	}{
		{"within a bucket", map[string]float64{"1": 10, "2": 30, "+Inf": 40}, 1.5},
		{"in the first", map[string]float64{"1": 40, "2": 40, "+Inf": 40}, 0.5},
		{"above the last bound", map[string]float64{"1": 10, "2": 10, "+Inf": 40}, 2},
	} {
		m := &fakeMetrics{}
		m.add(bankCalls(names.EdgeCalls, "payments-1", "ok"), 0, line(46, 0, 1)...)
		for le, n := range test.buckets {
			labels := bankCalls(names.EdgeCallDuration+"_bucket", "payments-1", "")
			labels["le"] = le
			m.add(labels, 0, line(46, 0, n)...)
		}
		set := measure.New(newRun(), m)
		edges, err := set.Edges(t.Context(), set.Whole())
		if err != nil {
			t.Fatal(err)
		}
		expect(t, test.name, edges[2].P50, test.want, "")
	}
	m := &fakeMetrics{}
	m.add(bankCalls(names.EdgeCalls, "payments-1", "ok"), 0, line(46, 0, 1)...)
	set := measure.New(newRun(), m)
	edges, err := set.Edges(t.Context(), set.Whole())
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "no histogram", edges[2].P99, 0, "no durations were recorded")
}

func TestPerSecond(t *testing.T) {
	run := newRun()
	run.Plan.Phases[3].End = 44*second + 500*ms
	for i, took := range []time.Duration{10 * ms, 20 * ms, 30 * ms, 400 * ms} {
		run.Results = append(run.Results, journey("browse", 3*second+time.Duration(i)*ms, took, i != 0))
	}
	run.Results = append(run.Results, journey("browse", 44*second+400*ms, 15*ms, true))
	never := journey("browse", 4*second, 0, false)
	never.Error = loadgen.ErrorNotSent
	run.Results = append(run.Results, never)
	bins := measure.New(run, nil).PerSecond("browse")
	if len(bins) != 45 {
		t.Fatalf("%d bins, want 45", len(bins))
	}
	for i, want := range map[int]measure.Bin{
		0:  {},
		3:  {Start: 3 * second, Offered: 4, Good: 2, Slow: 1, Failed: 1, P50: 20 * ms, P99: 400 * ms},
		4:  {Start: 4 * second, Offered: 1, Failed: 1},
		44: {Start: 44 * second, Offered: 1, Good: 1, P50: 15 * ms, P99: 15 * ms},
	} {
		if bins[i] != want {
			t.Errorf("second %d: got %+v, want %+v", i, bins[i], want)
		}
	}
	run.Meta.Outcome, run.Meta.Ended = record.Aborted, began.Add(10*second)
	if bins := measure.New(run, nil).PerSecond("browse"); len(bins) != 10 {
		t.Errorf("of a run cut short at 10 s: %d bins", len(bins))
	}
}

func TestTableOfALoad(t *testing.T) {
	run := newRun()
	for i := range 4 {
		r := journey("checkout", 16*second+time.Duration(i)*second, 900*ms, i != 0)
		login, buy := r, r
		login.Step, login.OK, login.Error = "login", true, ""
		buy.Step = "buy"
		run.Results = append(run.Results, r, login)
		if i > 0 {
			run.Results = append(run.Results, buy)
		}
	}
	run.Results[0].Error = "timeout"
	set := measure.New(run, nil)
	fault, err := set.Window("fault")
	if err != nil {
		t.Fatal(err)
	}
	table, found := set.Load("checkout", fault)
	if !found || table.Due != 4 || table.Good != 3 || table.Failed != 1 || table.Goodput.Number != 0.75 || table.P50.Text() != "900ms" || table.Rate.Text() != "0.4/s" {
		t.Errorf("got %+v", table)
	}
	if want := []measure.Count{{Name: "timeout", N: 1}}; !reflect.DeepEqual(table.Failures, want) {
		t.Errorf("failures: got %v", table.Failures)
	}
	if len(table.Steps) != 2 || table.Steps[0].Name != "login" || table.Steps[0].Requests != 4 || table.Steps[1].Requests != 3 || !table.Steps[1].Success.Known {
		t.Errorf("steps: got %+v", table.Steps)
	}
	if _, found := set.Load("nobody", fault); found {
		t.Error("a load that is not there has a table")
	}
}

func TestFailuresAreListedByFrequency(t *testing.T) {
	run := newRun()
	for i, kind := range []string{"b", "a", "c", "c", ""} {
		r := journey("browse", 16*second+time.Duration(i)*ms, ms, kind == "")
		r.Error = kind
		run.Results = append(run.Results, r)
	}
	set := measure.New(run, nil)
	table, _ := set.Load("browse", set.Whole())
	if want := []measure.Count{{"c", 2}, {"a", 1}, {"b", 1}}; !reflect.DeepEqual(table.Failures, want) {
		t.Errorf("got %v, want %v", table.Failures, want)
	}
}

func TestTimeLines(t *testing.T) {
	m := &fakeMetrics{}
	for i, instance := range []string{"payments-1", "payments-2"} {
		of := func(name string, more ...string) map[string]string {
			return labelled(name, append([]string{names.Service, "payments", names.Instance, instance}, more...)...)
		}
		m.add(of(names.DoorQueueDepth), 0, 0, float64(i), 5, 0)
		m.add(of(names.DoorBusy), 0, 4, 8, gone, gone)
		m.add(of(names.DoorWorkers), 0, line(46, 16, 0)...)
		m.add(of(names.DoorRequests, names.Outcome, "shed"), 0, 10, 12, 15, 2)
		m.add(of(names.DoorRequests, names.Outcome, "served"), 0, 10, 99, 999, 9999)
		m.add(bankCalls(names.EdgeCalls, instance, "ok"), 0, 0, 10, 20, 30)
		m.add(bankCalls(names.EdgeAttempts, instance, "ok"), 0, 0, 12, 24, 36)
		m.add(bankCalls(names.EdgeInFlight, instance, ""), 0, 1, 2, 3, 4)
		m.add(labelled(names.PolicyState, names.On, "payments->bank", names.Policy, "circuit_breaker", names.Instance, instance), 0, 0, float64(2*i), 1, 0)
	}
	m.add(bankCalls(names.EdgeCalls, "payments-1", "error"), 1*second, 3, 4, 5)
	run := newRun()
	run.Plan.Phases = run.Plan.Phases[:1]
	run.Plan.Phases[0].End = 3 * second
	set := measure.New(run, m)

	doors, err := set.DoorLines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := func(i int, v float64) measure.Point { return measure.Point{At: time.Duration(i) * second, Value: v} }
	want := []measure.DoorLine{{
		Service: "payments",
		Queue:   measure.Line{at(0, 0), at(1, 1), at(2, 5), at(3, 0)},
		Busy:    measure.Line{at(0, 0.25), at(1, 0.5)},
		Shed:    measure.Line{at(1, 4), at(2, 6), at(3, 4)}, // restarted before the last
	}}
	if !reflect.DeepEqual(doors, want) {
		t.Errorf("doors: got %+v, want %+v", doors, want)
	}

	edges, err := set.EdgeLines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(edges) != 1 || edges[0].Edge.String() != "payments->bank" {
		t.Fatalf("edges: got %+v", edges)
	}
	for name, lines := range map[string][2]measure.Line{
		"calls":     {edges[0].Calls, {at(1, 23), at(2, 21), at(3, 21)}},
		"attempts":  {edges[0].Attempts, {at(1, 24), at(2, 24), at(3, 24)}},
		"errors":    {edges[0].Errors, {at(1, 3), at(2, 1), at(3, 1)}},
		"in flight": {edges[0].InFlight, {at(0, 2), at(1, 4), at(2, 6), at(3, 8)}},
		"breaker":   {edges[0].Breaker, {at(0, 0), at(1, 2), at(2, 1), at(3, 0)}},
	} {
		if !reflect.DeepEqual(lines[0], lines[1]) {
			t.Errorf("%s: got %v, want %v", name, lines[0], lines[1])
		}
	}
}

func TestProcesses(t *testing.T) {
	m := &fakeMetrics{}
	m.add(labelled(names.ProcessCPU, names.Process, "orders"), 0, line(46, 1, 0.1)...)
	m.add(labelled(names.ProcessResident, names.Process, "orders"), 10*second, 5, 9, 7)
	m.add(labelled(names.ProcessResident, names.Process, "bank"), 10*second, 3)
	set := measure.New(newRun(), m)
	processes, err := set.Processes(t.Context(), set.Whole())
	if err != nil {
		t.Fatal(err)
	}
	if len(processes) != 2 || processes[0].Name != "bank" || processes[0].CPU.Known || processes[1].CPU.Text() != "0.1 cores" || processes[1].Memory.Number != 9 {
		t.Errorf("got %+v", processes)
	}
}

func TestLinesReportWhatFails(t *testing.T) {
	set := measure.New(newRun(), &fakeMetrics{err: errors.New("gone")})
	_, doors := set.DoorLines(t.Context())
	_, edges := set.EdgeLines(t.Context())
	_, processes := set.Processes(t.Context(), set.Whole())
	for name, err := range map[string]error{"doors": doors, "edges": edges, "processes": processes} {
		if err == nil || !strings.HasSuffix(err.Error(), "gone") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestLive(t *testing.T) {
	live := measure.NewLive(newRun().Plan.Loads)
	for i := range 50 { // ten a second for five seconds, the last two of them slow
		took := 100 * ms
		if i >= 30 {
			took = 500 * ms
		}
		r := journey("browse", time.Duration(i)*100*ms-took, took, true)
		r.Done = began.Add(time.Duration(i) * 100 * ms)
		r.Due, r.Sent = r.Done.Add(-took), r.Done.Add(-took+2*ms)
		live.Add(r)
	}
	never := journey("checkout", 4*second, 0, false)
	never.Error, never.Sent, never.Done = loadgen.ErrorNotSent, time.Time{}, time.Time{}
	live.Add(never)
	step := journey("checkout", 4*second, 0, true)
	step.Step = "buy"
	live.Add(step)
	now := began.Add(4900 * ms)
	for _, test := range []struct {
		text string
		want float64
		why  string
	}{
		{"goodput(browse) < 1", 10.0 / 30, ""}, // those that ended after 1.9 s: 10 good, 20 slow
		{"success(browse) < 1", 1, ""},
		{"p50(browse) < 1s", 0.5, ""},
		{"rate(browse) < 1", 10, ""},
		{"goodput(checkout) < 1", 0, ""},
		{"lag() > 1s", 2e-3, ""},
		{"goodput(free) < 1", 0, "nothing was due"},
		{"goodput(nobody) < 1", 0, `the plan has no load "nobody"`},
		{"recovery(browse) < 1s", 0, "recovery is not known while the run goes on"},
		{"errors(a->b) < 1", 0, "errors is not known while the run goes on"},
	} {
		expect(t, test.text, live.Measure(parse(t, test.text), now), test.want, test.why)
	}
	// What needs metrics is asked of the run so far, over its last five seconds.
	m := &fakeMetrics{}
	m.add(bankCalls(names.EdgeCalls, "payments-1", "ok"), 0, line(46, 0, 3)...)
	m.add(bankCalls(names.EdgeCalls, "payments-1", "error"), 6*second, line(40, 0, 1)...)
	at := live.At(t.Context(), began.Add(10*second), measure.New(newRun(), m))
	expect(t, "an edge", at(parse(t, "errors(payments->bank) < 1%")), 4.0/19, "")
	expect(t, "a load", at(parse(t, "goodput(free) < 1")), 0, "nothing was due")
	at = live.At(t.Context(), began.Add(10*second), nil)
	expect(t, "an edge without metrics", at(parse(t, "errors(payments->bank) < 1%")), 0, "errors is not known while the run goes on")
	early := live.At(t.Context(), began.Add(-second), measure.New(newRun(), m))
	expect(t, "before the load", early(parse(t, "errors(payments->bank) < 1%")), 0, "the load has not begun")
	expect(t, "much later", live.Measure(parse(t, "lag() > 1s"), now.Add(time.Minute)), 0, "nothing was sent")
}
