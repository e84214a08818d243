package measure_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/telemetry"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
)

const (
	ms     = time.Millisecond
	second = time.Second
)

// began is when the load of every run in these tests begins.
var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newRun is a completed run without results or events:
//
//	0       5         15          25                    45 s
//	|warmup | baseline | fault     | recovery            |
//	                   |-- slow ---|
func newRun() *record.Run {
	return &record.Run{
		Meta: record.Meta{Load: began, Ended: began.Add(50 * second), Outcome: record.Completed},
		Plan: &plan.Plan{
			Phases: []plan.Phase{
				{Name: "warmup", End: 5 * second}, {Name: "baseline", Start: 5 * second, End: 15 * second},
				{Name: "fault", Start: 15 * second, End: 25 * second}, {Name: "recovery", Start: 25 * second, End: 45 * second},
			},
			Loads: []loadgen.Load{
				{Name: "browse", Service: "gateway", SLO: 300 * ms, Steps: []loadgen.Step{{Name: "page"}}},
				{Name: "checkout", Service: "gateway", SLO: second, Steps: []loadgen.Step{{Name: "login"}, {Name: "buy"}}},
				{Name: "free", Service: "bank", Steps: []loadgen.Step{{Name: "pay"}}},
			},
			Faults: []plan.Window{{Fault: chaos.Fault{ID: "slow", Kind: "latency", Edges: []chaos.Edge{{Caller: "payments", Callee: "bank"}}}, Start: 15 * second, End: 25 * second}},
		},
		System: &system.System{Entry: "gateway", Services: []*system.Service{
			{Name: "gateway", Replicas: 1, Calls: []string{"payments"}}, {Name: "payments", Replicas: 2, Calls: []string{"bank"}, Capacity: &system.Capacity{Workers: 16}}, {Name: "bank", Replicas: 1},
		}},
	}
}

// journey is due at an offset and takes a time.
func journey(load string, at, took time.Duration, ok bool) loadgen.Result {
	due := began.Add(at)
	r := loadgen.Result{Load: load, Seq: uint64(at), Due: due, Sent: due.Add(ms), Done: due.Add(took), OK: ok, Status: 200}
	if !ok {
		r.Status, r.Error = 503, "status 503"
	}
	return r
}

// steady adds journeys evenly, so many a second, from and up to.
func steady(run *record.Run, load string, from, to time.Duration, perSecond int, took time.Duration, ok bool) {
	gap := second / time.Duration(perSecond)
	for at := from; at < to; at += gap {
		run.Results = append(run.Results, journey(load, at, took, ok))
	}
}

func parse(t *testing.T, text string) *grammar.Comparison {
	t.Helper()
	c, err := grammar.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// value measures what stands left of the operator.
func value(t *testing.T, run *record.Run, m measure.Metrics, text, in string) measure.Value {
	t.Helper()
	set := measure.New(run, m)
	w, err := set.Window(in)
	if err != nil {
		t.Fatal(err)
	}
	v, err := set.Measure(t.Context(), parse(t, text), w)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// expect compares with a number, or where there is none with the reason.
func expect(t *testing.T, name string, v measure.Value, want float64, why string) {
	t.Helper()
	switch {
	case v.Known != (why == ""), !v.Known && v.Why != why:
		t.Errorf("%s: got %+v, want %v %s", name, v, want, why)
	case v.Known && v.Number != want && math.Abs(v.Number-want) > 1e-9:
		t.Errorf("%s: got %v, want %v", name, v.Number, want)
	}
}

func TestMeasuresOfALoad(t *testing.T) {
	run := newRun()
	// In the fault phase: 90 at 100 ms, 5 at 400 ms (ok, but over the slo), 3 failed
	// after 10 ms, 1 never sent, 1 cut off.
	for i := range 100 {
		r := journey("browse", 15*second+time.Duration(i)*50*ms, 100*ms, true)
		switch {
		case i < 5:
			r.Done = r.Due.Add(400 * ms)
		case i < 8:
			r.OK, r.Status, r.Done = false, 503, r.Due.Add(10*ms)
		case i == 8:
			r.OK, r.Status, r.Error, r.Sent, r.Done = false, 0, loadgen.ErrorNotSent, time.Time{}, time.Time{}
		case i == 9:
			r.OK, r.Status, r.Error, r.Done = false, 0, loadgen.ErrorCutOff, r.Due.Add(3*second)
		}
		run.Results = append(run.Results, r)
	}
	// Outside of it, on both edges: the first is not due in it, the second is due in recovery.
	run.Results = append(run.Results, journey("browse", 15*second-1, 9*second, false), journey("browse", 25*second, 9*second, false))
	// A step of a journey is no journey.
	step := journey("browse", 16*second, 5*second, false)
	step.Step = "page"
	run.Results = append(run.Results, step)
	steady(run, "free", 15*second, 25*second, 10, 20*second, true)

	for _, test := range []struct {
		text string
		want float64
		why  string
	}{
		{"success(browse) > 0", 0.95, ""},
		{"goodput(browse) > 0", 0.90, ""},
		{"p50(browse) > 0", 0.1, ""},
		{"p90(browse) > 0", 0.1, ""}, // sorted: 3 x 10 ms, 90 x 100 ms, 5 x 400 ms, 2 x never
		{"p95(browse) > 0", 0.4, ""},
		{"p99(browse) > 0", math.Inf(1), ""},
		{"p99.9(browse) > 0", math.Inf(1), ""},
		{"max(browse) > 0", math.Inf(1), ""},
		{"rate(browse) > 0", 10, ""},
		{"goodput(free) > 0", 1, ""}, // no slo
		{"max(free) > 0", 20, ""},
		{"goodput(checkout) > 0", 0, "nothing was due"},
		{"p99(checkout) > 0", 0, "nothing was due"},
		{"max(checkout) > 0", 0, "nothing was due"},
		{"rate(checkout) > 0", 0, ""},
		{"goodput(nobody) > 0", 0, `the plan has no load "nobody"`},
	} {
		expect(t, test.text, value(t, run, nil, test.text, "fault"), test.want, test.why)
	}
	if v := value(t, run, nil, "goodput(browse) > 0", "slow"); v.Count != 100 || v.Number != 0.9 {
		t.Errorf("by the fault's own window: got %+v", v)
	}
}

func TestRequestThatNeverFinishedHasFailed(t *testing.T) {
	run := newRun()
	r := journey("browse", 16*second, 10*ms, true)
	r.Done = time.Time{}
	run.Results = append(run.Results, r, journey("browse", 17*second, 10*ms, true))
	expect(t, "success", value(t, run, nil, "success(browse) > 0", "fault"), 0.5, "")
	expect(t, "goodput", value(t, run, nil, "goodput(browse) > 0", "fault"), 0.5, "")
	expect(t, "max", value(t, run, nil, "max(browse) > 0", "fault"), math.Inf(1), "")
}

func TestGoodIsUpToAndWithTheSLO(t *testing.T) {
	for took, want := range map[time.Duration]bool{300*ms - 1: true, 300 * ms: true, 300*ms + 1: false} {
		if got := measure.Good(journey("browse", 0, took, true), 300*ms); got != want {
			t.Errorf("%v: got %v", took, got)
		}
	}
}

func TestLag(t *testing.T) {
	run := newRun()
	for i := range 200 {
		r := journey([]string{"browse", "checkout"}[i%2], 5*second+time.Duration(i)*100*ms, 50*ms, true)
		r.Sent = r.Due.Add(time.Duration(i+1) * 10 * time.Microsecond)
		run.Results = append(run.Results, r)
	}
	run.Results[199].Error = loadgen.ErrorNotSent
	run.Results[198].Sent = time.Time{}
	// 198 were sent, with 10 µs to 1.98 ms; rank ceil(0.99*198) = 197.
	expect(t, "p99 of both loads", value(t, run, nil, "lag() > 0", ""), 1.97e-3, "")
	expect(t, "in warmup", value(t, run, nil, "lag() > 0", "warmup"), 0, "nothing was sent")
	early := newRun()
	r := journey("browse", 6*second, 50*ms, true)
	r.Sent = r.Due.Add(-ms)
	early.Results = append(early.Results, r)
	expect(t, "sent early", value(t, early, nil, "lag() > 0", ""), 0, "")
}

func TestWindows(t *testing.T) {
	run := newRun()
	run.Plan.Phases[0].Name = "prelude" // no phase is called warmup
	set := measure.New(run, nil)
	if w := set.Whole(); w.Start != 0 || w.End != 45*second {
		t.Errorf("without warmup: got %+v", w)
	}
	set = measure.New(newRun(), nil)
	for in, want := range map[string]measure.Window{
		"":         {Kind: measure.Whole, Start: 5 * second, End: 45 * second},
		"warmup":   {Kind: measure.Phase, Name: "warmup", End: 5 * second},
		"recovery": {Kind: measure.Phase, Name: "recovery", Start: 25 * second, End: 45 * second},
		"slow":     {Kind: measure.Fault, Name: "slow", Start: 15 * second, End: 25 * second},
	} {
		if w, err := set.Window(in); err != nil || w != want {
			t.Errorf("%q: got %+v, %v", in, w, err)
		}
	}
	if _, err := set.Window("lunch"); err == nil || err.Error() != `the plan has no phase and no fault "lunch"` {
		t.Errorf("got %v", err)
	}
}

func TestRunThatWasCutShort(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*record.Run)
		in     string
		want   float64
		why    string
	}{
		{"the phase was over", func(*record.Run) {}, "baseline", 1, ""},
		{"in the midst of the phase", func(*record.Run) {}, "fault", 0, "the run was cut short at 20s, before the end of phase fault (15s to 25s)"},
		{"the whole run", func(*record.Run) {}, "", 0, "the run was cut short at 20s, before the end of the plan"},
		{"the page names no end", func(r *record.Run) { r.Meta.Ended = time.Time{} }, "recovery", 0, "the run was cut short at 17s, before the end of phase recovery (25s to 45s)"},
		{"it never began", func(r *record.Run) { r.Meta.Load = time.Time{} }, "baseline", 0, "the load never started"},
		{"an empty phase", func(r *record.Run) { r.Plan.Phases[1].End = 5 * second }, "baseline", 0, "phase baseline (5s to 5s) has no length"},
	} {
		run := newRun()
		steady(run, "browse", 0, 20*second, 10, 50*ms, true)
		run.Meta.Outcome, run.Meta.Ended = record.Interrupted, began.Add(20*second)
		run.Events = append(run.Events, record.Event{Time: began.Add(17 * second), Kind: record.EventNote})
		test.change(run)
		expect(t, test.name, value(t, run, nil, "goodput(browse) > 0", test.in), test.want, test.why)
	}
	run := newRun()
	run.Meta.Outcome = record.Aborted
	run.Events = append(run.Events, record.Event{Time: began.Add(24 * second), Kind: record.EventAbort}, record.Event{Time: began.Add(26 * second), Kind: record.EventNote})
	expect(t, "an abort counts, not what came after", value(t, run, nil, "rate(browse) > 0", "fault"), 0, "the run was cut short at 24s, before the end of phase fault (15s to 25s)")
}

func TestDetected(t *testing.T) {
	alert := func(at time.Duration, state, service string) record.Event {
		return record.Event{Time: began.Add(at), Kind: record.EventAlert, Name: "Errors", Text: state, Data: map[string]any{"service": service}}
	}
	for _, test := range []struct {
		name   string
		events []record.Event
		in     string
		want   float64
		why    string
	}{
		{"never", nil, "", math.Inf(1), ""},
		{"fires", []record.Event{alert(16*second, "pending", "a"), alert(22*second, "firing", "a")}, "", 7, ""},
		{"the first of two", []record.Event{alert(22*second, "firing", "a"), alert(21*second, "firing", "b")}, "", 6, ""},
		{"on before, off again", []record.Event{alert(3*second, "firing", "a"), alert(9*second, "resolved", "a"), alert(18*second, "firing", "a")}, "", 3, ""},
		{"on already", []record.Event{alert(3*second, "firing", "a"), alert(18*second, "firing", "b")}, "", 0, "Errors was firing already when the fault slow began"},
		{"on and later off", []record.Event{alert(3*second, "firing", "a"), alert(16*second, "resolved", "a"), alert(18*second, "firing", "b")}, "", 0,
			"Errors was firing already when the fault slow began"},
		{"of the fault", []record.Event{alert(22*second, "firing", "a")}, "slow", 7, ""},
		{"of the phase", []record.Event{alert(22*second, "firing", "a")}, "fault", 7, ""},
		{"no fault in the phase", nil, "baseline", 0, "no fault started in phase baseline (5s to 15s)"},
		{"another alert", []record.Event{{Time: began.Add(20 * second), Kind: record.EventAlert, Name: "Other", Text: "firing"}}, "", math.Inf(1), ""},
	} {
		run := newRun()
		run.Events = test.events
		expect(t, test.name, value(t, run, nil, "detected(Errors) < 1s", test.in), test.want, test.why)
	}
	none := newRun()
	none.Plan.Faults = nil
	expect(t, "no fault at all", value(t, none, nil, "detected(Errors) < 1s", ""), 0, "no fault started in the plan")
}

func TestViolations(t *testing.T) {
	for _, test := range []struct {
		name, answer, text string
		want               float64
		why                string
	}{
		{"none", `{"violations": [], "checked": {"orders": 120}, "settled": true}`, "settled", 0, ""},
		{"none, as Go writes it", `{"violations": null, "settled": true}`, "settled", 0, ""},
		{"two", `{"violations": [{"invariant": "money", "detail": "3 lost"}, {"invariant": "stock"}], "settled": true}`, "settled", 2, ""},
		{"not settled", `{"violations": [], "settled": false}`, "not settled", 0, "the system had not settled when it was audited"},
		{"settled not said", `{"violations": []}`, "", 0, "the system had not settled when it was audited"},
		{"no answer", `null`, "no answer: connection refused", 0, "the audit came to nothing: no answer: connection refused"},
		{"another answer", `{"status": "fine"}`, "", 0, "the audit's answer says nothing of violations"},
		{"of another shape", `{"violations": 3}`, "", 0, "the audit's answer cannot be read: json: cannot unmarshal number into Go struct field Audit.violations of type []measure.Violation"},
	} {
		run := newRun()
		e := record.Event{Time: began.Add(46 * second), Kind: record.EventAudit, Name: "invariants", Text: test.text}
		if err := json.Unmarshal([]byte(test.answer), &e.Data); err != nil {
			t.Fatal(err)
		}
		early := record.Event{Time: began, Kind: record.EventAudit, Data: map[string]any{"violations": []any{map[string]any{}}, "settled": true}}
		run.Events = []record.Event{e, early}
		expect(t, test.name, value(t, run, nil, "violations() == 0", ""), test.want, test.why)
	}
	expect(t, "no audit", value(t, newRun(), nil, "violations() == 0", ""), 0,
		"there was no audit: the system has no probe for its invariants, or the run ended before it")
	// A run that was cut short may still have been audited.
	run := newRun()
	run.Meta.Outcome, run.Meta.Ended = record.Aborted, began.Add(10*second)
	run.Events = []record.Event{{Time: began.Add(11 * second), Kind: record.EventAudit, Data: map[string]any{"violations": []any{}, "settled": true, "checked": map[string]any{"orders": 3.0, "charges": 4.0}}}}
	if v := value(t, run, nil, "violations() == 0", ""); !v.Known || v.Count != 7 {
		t.Errorf("got %+v, want 0 of 7 that were checked", v)
	}
}

func TestValueText(t *testing.T) {
	for want, v := range map[string]measure.Value{
		"99%":     {Number: 0.99, Unit: figure.Ratio, Known: true},
		"never":   {Number: math.Inf(1), Unit: figure.Seconds, Known: true},
		"unknown": {Number: 1, Unit: figure.Ratio, Why: "no data"},
	} {
		if got := v.Text(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var back measure.Value
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if v.Known && back != v || back.Known != v.Known || back.Why != v.Why {
			t.Errorf("%s came back as %+v", data, back)
		}
	}
	var v measure.Value
	if err := json.Unmarshal([]byte(`{"number": "x"}`), &v); err == nil {
		t.Error("a text was read as a number")
	}
}

func TestMeasureEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	set := measure.New(newRun(), nil)
	if _, err := set.Measure(ctx, parse(t, "lag() > 0"), set.Whole()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOrderOfTheRecordMakesNoDifference(t *testing.T) {
	run := newRun()
	steady(run, "browse", 5*second, 45*second, 7, 50*ms, true)
	steady(run, "browse", 15*second, 20*second, 3, 50*ms, false)
	before := fmt.Sprint(value(t, run, nil, "goodput(browse) > 0", "fault"), measure.New(run, nil).PerSecond("browse"))
	for i, j := 0, len(run.Results)-1; i < j; i, j = i+1, j-1 {
		run.Results[i], run.Results[j] = run.Results[j], run.Results[i]
	}
	if after := fmt.Sprint(value(t, run, nil, "goodput(browse) > 0", "fault"), measure.New(run, nil).PerSecond("browse")); after != before {
		t.Errorf("got %s, then %s", before, after)
	}
}

func TestEveryMeasureOfTheCatalogIsComputed(t *testing.T) {
	run := newRun()
	steady(run, "browse", 0, 45*second, 5, 50*ms, true)
	for _, m := range grammar.Catalog() {
		argument := map[grammar.Argument]string{
			grammar.Load: "browse", grammar.Edge: "payments->bank", grammar.Service: "payments", grammar.Alert: "Errors", grammar.PromQL: "'up'",
		}[m.Of]
		v := value(t, run, &fakeMetrics{}, m.Name+"("+argument+") != 0", "")
		if strings.HasPrefix(v.Why, "no rule for") {
			t.Errorf("%s: %s", m.Name, v.Why)
		}
		if m.Data == grammar.FromResults && !v.Known {
			t.Errorf("%s: %s", m.Name, v.Why)
		}
		if m.Data == grammar.FromMetrics && v.Known {
			t.Errorf("%s of no samples is %v", m.Name, v.Number)
		}
	}
}

var _ measure.Metrics = (*fakeMetrics)(nil)

// fakeMetrics holds samples and evaluates what measure asks, as Prometheus
// does: at each step stands the last sample of the 5 minutes before, unless the
// series ended there, which a NaN says.
type fakeMetrics struct {
	series []telemetry.Series
	err    error
	asked  []string
	answer []telemetry.Series // of Query
}

// add adds samples, one a second from an offset on.
func (f *fakeMetrics) add(labels map[string]string, from time.Duration, values ...float64) {
	s := telemetry.Series{Labels: labels}
	for i, v := range values {
		s.Points = append(s.Points, telemetry.Point{Time: began.Add(from + time.Duration(i)*second), Value: v})
	}
	f.series = append(f.series, s)
}

func (f *fakeMetrics) Query(_ context.Context, expr string, at time.Time) ([]telemetry.Series, error) {
	f.asked = append(f.asked, expr+" @"+at.Sub(began).String())
	return f.answer, f.err
}

func (f *fakeMetrics) QueryRange(_ context.Context, expr string, from, to time.Time, step time.Duration) ([]telemetry.Series, error) {
	if f.err != nil {
		return nil, f.err
	}
	if left, right, found := strings.Cut(expr, " / ("); found {
		return f.divide(left, strings.TrimSuffix(right, " > 0)"), from, to, step), nil
	}
	var out []telemetry.Series
	for _, s := range f.series {
		if !matches(expr, s.Labels) {
			continue
		}
		if line := resample(s.Points, from, to, step); len(line) > 0 {
			out = append(out, telemetry.Series{Labels: s.Labels, Points: line})
		}
	}
	return out, nil
}

// divide divides series of the same instance, where the divisor is above 0.
func (f *fakeMetrics) divide(left, right string, from, to time.Time, step time.Duration) []telemetry.Series {
	a, _ := f.QueryRange(context.Background(), left, from, to, step)
	b, _ := f.QueryRange(context.Background(), right, from, to, step)
	var out []telemetry.Series
	for _, x := range a {
		for _, y := range b {
			if x.Labels["instance"] != y.Labels["instance"] {
				continue
			}
			line := telemetry.Series{Labels: x.Labels}
			for i, p := range x.Points {
				if i < len(y.Points) && y.Points[i].Value > 0 {
					line.Points = append(line.Points, telemetry.Point{Time: p.Time, Value: p.Value / y.Points[i].Value})
				}
			}
			if len(line.Points) > 0 {
				out = append(out, line)
			}
		}
	}
	return out
}

func resample(points []telemetry.Point, from, to time.Time, step time.Duration) []telemetry.Point {
	var out []telemetry.Point
	for at := from; !at.After(to); at = at.Add(step) {
		last := math.NaN()
		for _, p := range points {
			if !p.Time.After(at) && p.Time.After(at.Add(-5*time.Minute)) {
				last = p.Value
			}
		}
		if !math.IsNaN(last) {
			out = append(out, telemetry.Point{Time: at, Value: last})
		}
	}
	return out
}

// matches reads a selector such as name{a="x",b!="y",c=~"z(-[0-9]+)?"}.
func matches(expr string, labels map[string]string) bool {
	name, rest, _ := strings.Cut(expr, "{")
	if labels["__name__"] != name {
		return false
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(rest, "}"), ",") {
		if part == "" {
			continue
		}
		label, quoted, _ := strings.Cut(part, "=")
		want := strings.Trim(strings.TrimPrefix(quoted, "~"), `"`)
		got := labels[strings.TrimSuffix(label, "!")]
		switch {
		case strings.HasSuffix(label, "!"):
			if got == want {
				return false
			}
		case strings.HasPrefix(quoted, "~"):
			base := strings.TrimSuffix(want, "(-[0-9]+)?")
			rest, found := strings.CutPrefix(got, base)
			if !found || strings.Trim(rest, "-0123456789") != "" {
				return false
			}
		case got != want:
			return false
		}
	}
	return true
}
