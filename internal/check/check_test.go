package check_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/telemetry"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	ms     = time.Millisecond
	second = time.Second
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newRun is a run that went as planned: 10 browses a second, all good but in
// the fault, where every second one fails; 200 of them.
func newRun(expect ...plan.Expectation) *record.Run {
	run := &record.Run{
		Meta: record.Meta{
			ID: "20260301-115958-slow-bank-naive", Scenario: "slow-bank", Variant: "naive", System: "shop", Seed: 7, Version: "v0.1.0",
			Machine: "linux/amd64, 2 CPUs", Started: began.Add(-2 * second), Load: began, Ended: began.Add(21 * second), Outcome: record.Completed,
		},
		Plan: &plan.Plan{
			Phases: []plan.Phase{
				{Name: "baseline", End: 5 * second}, {Name: "fault", Start: 5 * second, End: 10 * second}, {Name: "recovery", Start: 10 * second, End: 20 * second},
			},
			Loads: []loadgen.Load{{
				Name: "browse", Service: "gateway", SLO: 300 * ms, Steps: []loadgen.Step{{Name: "page"}},
				Stages: []loadgen.Stage{{For: 20 * second, From: 10, To: 10}},
			}},
			Faults: []plan.Window{{Fault: chaos.Fault{ID: "slow", Kind: "latency"}, Start: 5 * second, End: 10 * second}},
			Expect: expect,
		},
		System: &system.System{Name: "shop", Entry: "gateway", Services: []*system.Service{{Name: "gateway", Calls: []string{"bank"}}, {Name: "bank"}}},
		Events: []record.Event{
			fault("injected", nil), fault("felt", &chaos.Effect{Felt: true}), fault("recovered", &chaos.Effect{}),
			{Time: began.Add(21 * second), Kind: record.EventAudit, Name: "invariants", Data: map[string]any{"violations": []any{}, "settled": true}},
		},
	}
	for i := range 200 {
		due := began.Add(time.Duration(i) * 100 * ms)
		r := loadgen.Result{Load: "browse", Seq: uint64(i), Due: due, Sent: due.Add(ms), Done: due.Add(50 * ms), OK: true, Status: 200}
		if i >= 50 && i < 100 && i%2 == 0 {
			r.OK, r.Status, r.Error = false, 503, "status 503"
		}
		run.Results = append(run.Results, r)
	}
	return run
}

func fault(text string, effect *chaos.Effect) record.Event {
	return record.Event{Time: began.Add(6 * second), Kind: record.EventFault, Name: "slow", Text: text, Effect: effect}
}

func expectation(in, that string) plan.Expectation {
	return plan.Expectation{In: in, That: that, Source: "scenarios/slow-bank.yaml:12"}
}

func judge(t *testing.T, run *record.Run, m measure.Metrics) *check.Verdict {
	t.Helper()
	v, err := check.Judge(t.Context(), run, m)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestFindings(t *testing.T) {
	for _, test := range []struct {
		in, that    string
		outcome     check.Outcome
		got, wanted string
		why         string
	}{
		{"baseline", "goodput(browse) >= 99%", check.Pass, "100%", ">= 99%", ""},
		{"fault", "goodput(browse) >= 99%", check.Fail, "50%", ">= 99%", "wanted >= 99%, got 50%"},
		{"slow", "goodput(browse) < 50%", check.Fail, "50%", "< 50%", "wanted < 50%, got 50%"},
		{"", "goodput(browse) == 87.5%", check.Pass, "87.5%", "== 87.5%", ""},
		{"", "goodput(browse) >= 87.5001%", check.Fail, "87.5%", ">= 87.5001%", "wanted >= 87.5001%, got 87.5%"},
		{"", "recovery(browse) <= 0s", check.Pass, "0s", "<= 0s", ""},
		{"", "violations() == 0", check.Pass, "0", "== 0", ""},
		{"", "detected(Errors) <= 5s", check.Fail, "never", "<= 5s", "wanted <= 5s, got never"},
		{"", "errors(gateway->bank) < 1%", check.Inconclusive, "unknown", "< 1%", "the run has no metrics"},
		{"lunch", "lag() < 1s", check.Inconclusive, "unknown", "< 1s", `the plan has no phase and no fault "lunch"`},
		{"", "godput(browse) >= 99%", check.Inconclusive, "unknown", "", `the expectation cannot be read: position 1: unknown measure "godput"; did you mean "goodput"?`},
	} {
		v := judge(t, newRun(expectation(test.in, test.that)), nil)
		f := v.Findings[0]
		if f.Outcome != test.outcome || f.Got != test.got || f.Wanted != test.wanted || f.Why != test.why {
			t.Errorf("%s in %q: got %+v", test.that, test.in, f)
		}
		if v.Outcome != test.outcome {
			t.Errorf("%s in %q: verdict is %s", test.that, test.in, v.Outcome)
		}
		if f.That != test.that || f.In != test.in || f.Source == "" {
			t.Errorf("%s in %q: the finding does not say of what it is: %+v", test.that, test.in, f)
		}
	}
}

func TestQuantileThatNeverCameSaysWhy(t *testing.T) {
	run := newRun(expectation("", "max(browse) < 1s"))
	run.Results[7].Error, run.Results[7].OK = loadgen.ErrorCutOff, false
	if f := judge(t, run, nil).Findings[0]; f.Why != "wanted < 1s, got never: too many never finished" {
		t.Errorf("got %q", f.Why)
	}
}

func TestWorstFindingWins(t *testing.T) {
	pass, fail, open := expectation("baseline", "goodput(browse) >= 99%"), expectation("fault", "goodput(browse) >= 99%"), expectation("", "queue(bank) < 3")
	for _, test := range []struct {
		name   string
		expect []plan.Expectation
		want   check.Outcome
	}{
		{"all pass", []plan.Expectation{pass, pass}, check.Pass},
		{"one fails", []plan.Expectation{pass, fail, pass}, check.Fail},
		{"one is open", []plan.Expectation{pass, open}, check.Inconclusive},
		{"one fails, one is open", []plan.Expectation{open, fail, open}, check.Fail},
	} {
		if v := judge(t, newRun(test.expect...), nil); v.Outcome != test.want || len(v.Reasons) != 0 {
			t.Errorf("%s: got %s, %q", test.name, v.Outcome, v.Reasons)
		}
	}
}

func TestDoubtsVoidTheRun(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*record.Run)
		want   []string
	}{
		{"aborted", func(r *record.Run) { r.Meta.Outcome, r.Meta.Reason = record.Aborted, "lag() > 50ms" }, []string{"the run was aborted: lag() > 50ms"}},
		{"aborted before the fault", func(r *record.Run) { r.Meta.Outcome, r.Events = record.Aborted, nil }, []string{"the run was aborted"}},
		{"interrupted, and not felt", func(r *record.Run) {
			r.Meta.Outcome, r.Events = record.Interrupted, []record.Event{fault("not felt", nil), fault("not recovered", nil)}
		}, []string{"the run was interrupted", "the fault slow was not felt"}},
		{"broken", func(r *record.Run) { r.Meta.Outcome = record.Broken }, []string{"the run was broken"}},
		{"unsaid", func(r *record.Run) { r.Meta.Outcome = "" }, []string{"the run does not say how it ended"}},
		{"never began", func(r *record.Run) { r.Meta.Load, r.Meta.Outcome = time.Time{}, record.Interrupted }, []string{"the run was interrupted", "the load never started"}},
		{"expects nothing", func(r *record.Run) { r.Plan.Expect = nil }, []string{"nothing was expected, so nothing was judged"}},
		{"no results", func(r *record.Run) { r.Results = nil }, []string{"browse was not sent as planned: 0 journeys were recorded of about 200"}},
		{"half of the results", func(r *record.Run) { r.Results = r.Results[:100] }, []string{"browse was not sent as planned: 100 journeys were recorded of about 200"}},
		{"no users came", func(r *record.Run) { r.Results, r.Plan.Loads[0].Users = nil, 3 }, []string{"browse was not sent: no journey was recorded"}},
		{"lagged", func(r *record.Run) { lagBy(r, 20*ms) }, []string{"the load generator lagged: p99 of sent - due was 20ms, and at most 15ms is allowed"}},
		{"lagged by little", func(r *record.Run) { lagBy(r, 15*ms+time.Microsecond) }, []string{"the load generator lagged: p99 of sent - due was 15.001ms, and at most 15ms is allowed"}},
		{"lagged over the plan's limit", func(r *record.Run) { lagBy(r, 7*ms); r.Plan.MaxLag = 6 * ms }, []string{"the load generator lagged: p99 of sent - due was 7ms, and at most 6ms is allowed"}},
		{"generator out of ports", func(r *record.Run) { r.Results[3].Error, r.Results[4].Error = loadgen.ErrorPorts, loadgen.ErrorFiles }, []string{
			"requests failed within the load generator (too many open files): 1", "requests failed within the load generator (out of local ports): 1",
		}},
		{"not felt", events(fault("injected", nil), fault("not felt", &chaos.Effect{Measure: "probe latency of payments->bank", Unit: "ms", Before: 1.25, During: 1.5, Detail: "no traffic"}), fault("recovered", nil)),
			[]string{"the fault slow was not felt: probe latency of payments->bank was 1.25 ms before and 1.5 ms then (no traffic)"}},
		{"lifted by the proxy", events(fault("felt", nil), record.Event{Kind: record.EventNote, Name: "proxy", Text: record.LeaseLapsed, Data: map[string]any{"toxics": 2.0}}, fault("recovered", nil)),
			[]string{"the lab stood still for so long that the proxy lifted the faults before their end"}},
		{"changed by hand", events(fault("felt", nil), record.Event{Kind: record.EventLoad, Name: "browse", Text: "rate set", Data: map[string]any{record.Who: "page"}}, fault("recovered", nil)),
			[]string{"it is not the run that was planned: faults or loads were changed by hand (page)"}},
		{"lease lapsed with no fault", events(record.Event{Kind: record.EventNote, Name: "proxy", Text: record.LeaseLapsed, Data: map[string]any{"toxics": 0.0}}),
			[]string{"nothing shows that the fault slow was felt"}},
		{"nothing of it", events(), []string{"nothing shows that the fault slow was felt"}},
		{"not gone", events(fault("felt", nil), fault("not recovered", nil)), []string{"the fault slow was not gone after its end"}},
		{"nothing of its end", events(fault("felt", nil)), []string{"nothing shows that the fault slow was gone after its end"}},
		{"of another fault", func(r *record.Run) { r.Plan.Faults[0].ID = "other" }, []string{"nothing shows that the fault other was felt"}},
	} {
		for that, outcome := range map[string]check.Outcome{"goodput(browse) <= 100%": check.Pass, "goodput(browse) < 1%": check.Fail} {
			run := newRun(expectation("", that))
			test.change(run)
			v := judge(t, run, nil)
			if v.Outcome != check.Inconclusive || !reflect.DeepEqual(v.Reasons, test.want) {
				t.Errorf("%s: got %s, %q, want %q", test.name, v.Outcome, v.Reasons, test.want)
			}
			// What could be measured is still told.
			if len(v.Findings) == 1 && test.name == "lagged" && v.Findings[0].Outcome != outcome {
				t.Errorf("%s: finding is %s, want %s", test.name, v.Findings[0].Outcome, outcome)
			}
		}
	}
}

func lagBy(run *record.Run, lag time.Duration) {
	for i := range run.Results {
		run.Results[i].Sent = run.Results[i].Due.Add(lag)
	}
}

func events(list ...record.Event) func(*record.Run) {
	return func(r *record.Run) { r.Events = list }
}

func TestNothingIsDoubted(t *testing.T) {
	for name, change := range map[string]func(*record.Run){
		"as planned":                    func(*record.Run) {},
		"lag at the limit":              func(r *record.Run) { lagBy(r, 15*ms) },
		"felt in the end":               events(fault("not felt", nil), fault("felt", nil), fault("not felt", nil), fault("not recovered", nil), fault("recovered", nil)),
		"a fault of the load":           func(r *record.Run) { r.Plan.Faults[0].Load, r.Events = "browse", nil },
		"some fewer arrivals by chance": func(r *record.Run) { r.Results = append(r.Results[:80], r.Results[100:]...) },
	} {
		run := newRun(expectation("", "lag() < 1s"))
		change(run)
		if v := judge(t, run, nil); v.Outcome != check.Pass || len(v.Reasons) != 0 {
			t.Errorf("%s: got %s, %q", name, v.Outcome, v.Reasons)
		}
	}
}

func TestMaxLag(t *testing.T) {
	for _, test := range []struct {
		limit time.Duration
		slos  []time.Duration
		want  time.Duration
	}{
		{0, nil, 5 * ms},
		{0, []time.Duration{0, 0}, 5 * ms},
		{0, []time.Duration{50 * ms}, 5 * ms},
		{0, []time.Duration{second, 0, 300 * ms}, 15 * ms},
		{2 * ms, []time.Duration{second}, 2 * ms},
	} {
		p := &plan.Plan{MaxLag: test.limit}
		for _, slo := range test.slos {
			p.Loads = append(p.Loads, loadgen.Load{SLO: slo})
		}
		if got := check.MaxLag(p); got != test.want {
			t.Errorf("%v of %v: got %v, want %v", test.limit, test.slos, got, test.want)
		}
	}
}

func TestNotes(t *testing.T) {
	run := newRun(expectation("", "violations() == 0"))
	run.Meta.Loss = telemetry.Loss{SpansDropped: 12345, LogsDropped: 1, ScrapesFailed: 2, ProfilesDropped: 3}
	var violations []any
	for range 150 {
		violations = append(violations, map[string]any{"invariant": "money", "detail": "3 lost"})
	}
	violations = append(violations, map[string]any{"invariant": "orders", "detail": "lost", "keys": []any{"o-1"}})
	run.Events[3].Data["violations"] = violations
	v := judge(t, run, nil)
	if v.Outcome != check.Fail || v.Findings[0].Got != "151" {
		t.Errorf("got %s, %+v", v.Outcome, v.Findings)
	}
	if len(v.Notes) != 4 || v.Notes[0] != "12,345 spans were lost, so traces may have holes" {
		t.Errorf("got %q", v.Notes)
	}
	if len(v.Violations) != 100 || v.Violations[0].String() != "money: 3 lost" || v.Violations[1].String() != "orders: lost (o-1)" {
		t.Errorf("got %d violations, first %v", len(v.Violations), v.Violations[:2])
	}
}

func TestDeathsAreNoted(t *testing.T) {
	process := func(at time.Duration, text string) record.Event {
		return record.Event{Time: began.Add(at), Kind: record.EventProcess, Name: "bank", Text: text}
	}
	run := newRun(expectation("", "violations() == 0"))
	run.Events = append(run.Events, process(-second, "started"), process(-500*ms, "exited: exit status 1"), process(-400*ms, "ready"),
		process(7*second, "killed"), process(12500*ms, "exited: signal: killed"), process(13*second, "exited"),
		record.Event{Time: began, Kind: record.EventNote, Name: "bank", Text: "exited"})
	want := []string{
		"bank ended by itself while the system started: exit status 1", "bank ended by itself after 12.5s: signal: killed", "bank ended by itself after 13s",
	}
	if v := judge(t, run, nil); !slices.Equal(v.Notes, want) || v.Outcome != check.Pass {
		t.Errorf("got %s, %q, want %q", v.Outcome, v.Notes, want)
	}
	run.Meta.Load = time.Time{}
	if v := judge(t, run, nil); len(v.Notes) != 3 || v.Notes[2] != "bank ended by itself while the system started" {
		t.Errorf("of a load that never started: got %q", v.Notes)
	}
}

func TestExitCodes(t *testing.T) {
	of := func(outcomes ...check.Outcome) []*check.Verdict {
		var out []*check.Verdict
		for _, o := range outcomes {
			out = append(out, &check.Verdict{Outcome: o})
		}
		return out
	}
	for _, test := range []struct {
		verdicts []*check.Verdict
		want     int
	}{
		{of(check.Pass), 0}, {of(check.Fail), 1}, {of(check.Inconclusive), 3}, {of("unheard of"), 3}, {nil, 3},
		{of(check.Pass, check.Pass), 0}, {of(check.Pass, check.Inconclusive), 3}, {of(check.Inconclusive, check.Fail, check.Pass), 1},
	} {
		if got := check.ExitCode(test.verdicts...); got != test.want {
			t.Errorf("%v: got %d, want %d", test.verdicts, got, test.want)
		}
	}
}

func TestJudgeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := check.Judge(ctx, newRun(expectation("", "lag() < 1s")), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The same files give the same verdict, byte for byte, and always the one in
// testdata.
func TestSameRecordSameVerdict(t *testing.T) {
	run := newRun(
		expectation("baseline", "goodput(browse) >= 99%"), expectation("fault", "goodput(browse) >= 99%"),
		expectation("", "recovery(browse) <= 5s"), expectation("", "detected(Errors) <= 5s"),
		expectation("fault", "amplification(gateway->bank) <= 1.2"), expectation("", "violations() == 0"),
	)
	var verdicts [][]byte
	for range 2 {
		slices.Reverse(run.Results)
		w, err := record.Create(t.TempDir(), run.Meta, run.Plan, run.System, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range run.Results {
			if err := w.Result(r); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range run.Events {
			if err := w.Event(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(run.Meta); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			again, err := record.Open(w.Dir())
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.MarshalIndent(judge(t, again, nil), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			verdicts = append(verdicts, append(data, '\n'))
		}
	}
	golden := filepath.Join("testdata", "verdict.json")
	if *update {
		if err := os.WriteFile(golden, verdicts[0], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range verdicts {
		if !bytes.Equal(got, want) {
			t.Errorf("verdict %d: got\n%s\nwant\n%s", i, got, want)
		}
	}
}

func TestAborts(t *testing.T) {
	type step struct {
		lag   float64 // in seconds; below 0 is unknown
		abort bool
	}
	for _, test := range []struct {
		name  string
		hold  time.Duration
		steps []step
	}{
		{"at once", 0, []step{{0.01, false}, {0.06, true}}},
		{"after its time", 3 * second, []step{{0.06, false}, {0.06, false}, {0.06, false}, {0.06, true}}},
		{"broken off", 2 * second, []step{{0.06, false}, {0.06, false}, {0.01, false}, {0.06, false}, {0.06, false}, {0.06, true}}},
		{"unknown in between", 2 * second, []step{{0.06, false}, {-1, false}, {0.06, true}}},
		{"unknown throughout", 0, []step{{-1, false}, {-1, false}}},
		{"at the limit", 0, []step{{0.05, false}}},
	} {
		aborts := check.NewAborts(&plan.Plan{Abort: []plan.Abort{{That: "nonsense"}, {That: "lag() > 50ms", For: test.hold}}})
		for i, s := range test.steps {
			why := aborts.Step(time.Duration(i)*second, func(c *grammar.Comparison) measure.Value {
				return measure.Value{Number: s.lag, Unit: c.Measure.Unit, Known: s.lag >= 0}
			})
			if (why != "") != s.abort {
				t.Errorf("%s: step %d: got %q", test.name, i, why)
			}
			if why != "" && why != "lag() > 50ms held for "+test.hold.String()+": it is 60ms" {
				t.Errorf("%s: got %q", test.name, why)
			}
		}
	}
}

func TestOneOfSeveralAbortsIsEnough(t *testing.T) {
	aborts := check.NewAborts(&plan.Plan{Abort: []plan.Abort{{That: "lag() > 50ms"}, {That: "goodput(browse) < 10%"}}})
	why := aborts.Step(0, func(c *grammar.Comparison) measure.Value {
		return measure.Value{Number: 0.01, Unit: c.Measure.Unit, Known: true}
	})
	if !strings.HasPrefix(why, "goodput(browse) < 10%") {
		t.Errorf("got %q", why)
	}
}
