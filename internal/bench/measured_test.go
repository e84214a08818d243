package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/resilience"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
)

const second = time.Second

func fault(id string, start, end time.Duration, edges ...chaos.Edge) plan.Window {
	return plan.Window{Fault: chaos.Fault{ID: id, Edges: edges}, Start: start, End: end}
}

func phases(lengths ...any) []plan.Phase {
	var out []plan.Phase
	var at time.Duration
	for i := 0; i < len(lengths); i += 2 {
		length := lengths[i+1].(time.Duration)
		out = append(out, plan.Phase{Name: lengths[i].(string), Start: at, End: at + length})
		at += length
	}
	return out
}

func TestWindows(t *testing.T) {
	usual := phases("warmup", 2*second, "baseline", 5*second, "fault", 5*second, "recovery", 10*second)
	for _, c := range []struct {
		name  string
		plans []*plan.Plan
		want  string
	}{
		{"usual", []*plan.Plan{{Phases: usual, Faults: []plan.Window{fault("a", 7*second, 12*second)}}}, "baseline 2s-7s fault 7s-12s recovery 12s-22s run 2s-22s"},
		{"faults of all variants", []*plan.Plan{{Phases: usual}, {Phases: usual, Faults: []plan.Window{fault("a", 8*second, 9*second), fault("b", 10*second, 15*second)}}},
			"baseline 2s-7s fault 8s-15s recovery 15s-22s run 2s-22s"},
		{"no phase baseline", []*plan.Plan{{Phases: phases("warmup", 2*second, "all", 20*second), Faults: []plan.Window{fault("a", 7*second, 12*second)}}},
			"baseline 2s-7s fault 7s-12s recovery 12s-22s run 2s-22s"},
		{"no warmup, a fault from the start to the end", []*plan.Plan{{Phases: phases("all", 20*second), Faults: []plan.Window{fault("a", 0, 20*second)}}}, "fault 0s-20s run 0s-20s"},
		{"no fault", []*plan.Plan{{Phases: phases("all", 20*second)}}, "run 0s-20s"},
		{"no fault, a baseline", []*plan.Plan{{Phases: phases("baseline", 5*second, "more", 15*second)}}, "baseline 0s-5s run 0s-20s"},
	} {
		var got []string
		for _, w := range windows(c.plans) {
			got = append(got, fmt.Sprintf("%s %s-%s", w.Name, w.Start, w.End))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: got %s", c.name, text)
		}
	}
}

func TestFrame(t *testing.T) {
	sys := &system.System{Entry: "a", Services: []*system.Service{{Name: "a", Calls: []string{"b", "c", "d"}}, {Name: "b"}, {Name: "c"}, {Name: "d"}}}
	load := loadgen.Load{Name: "browse", SLO: second, Timeout: 3 * second, Steps: make([]loadgen.Step, 2)}
	usual := phases("baseline", 5*second, "fault", 5*second, "recovery", 10*second)
	f := NewFrame([]*plan.Plan{
		{Phases: usual, Loads: []loadgen.Load{load}, Faults: []plan.Window{fault("x", 5*second, 10*second, chaos.Edge{Caller: "a", Callee: "d"}, chaos.Edge{Caller: system.LoadCaller, Callee: "a"})}},
		{Phases: usual, Loads: []loadgen.Load{load}, Policies: resilience.Policies{"a->b": nil, "c": nil}},
	}, sys)
	if got := strings.Join(f.Edges, " "); got != "a->b a->d" {
		t.Errorf("edges %s", got)
	}
	if f.Loads[0].Limit != 6*second {
		t.Errorf("the load's clients give up after %s", f.Loads[0].Limit)
	}
	keys := map[string]Figure{}
	for _, figure := range f.Figures {
		if _, twice := keys[figure.Key]; twice {
			t.Errorf("%s stands twice", figure.Key)
		}
		keys[figure.Key] = figure
	}
	for _, key := range []string{"goodput.browse.baseline", "success.browse.run", "p99.9.browse.recovery", "recovery.browse", "amplification.a->d", "wasted.fault", "cpu.baseline", "cpu.run"} {
		if _, found := keys[key]; !found {
			t.Errorf("no figure %s", key)
		}
	}
	if _, found := keys["violations"]; found {
		t.Error("a system without a probe has no violations")
	}
	if p99 := keys["p99.browse.run"]; p99.Limit != 6 || p99.Scale != Ratio || p99.Better != Less || !p99.Headline {
		t.Errorf("%+v", p99)
	}
}

func TestBuckets(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 333 * time.Millisecond, second, 99 * second} {
		n := bucket(d)
		if bound := bucketBound(n); bound < d.Seconds()*(1-1e-9) || bound > d.Seconds()*1.06 {
			t.Errorf("%s is in the bucket up to %v s", d, bound)
		}
	}
	if bucket(time.Nanosecond) != 0 || bucket(time.Hour) != bucketsPerDecade*bucketsDecades {
		t.Error("what is beyond the ends does not count with them")
	}
}

// recorded is a run of 20 s: 10 requests a second, of which all but one in two
// fail in the fault; the rest never comes back when broken.
func recorded(broken bool) *record.Run {
	run := &record.Run{
		Meta:   record.Meta{Load: dawn, Started: dawn.Add(-second), Ended: dawn.Add(21 * second), Outcome: record.Completed},
		System: &system.System{Entry: "a", Services: []*system.Service{{Name: "a", Calls: []string{"b"}}, {Name: "b"}}, Probes: system.Probes{Invariants: &system.Probe{}}},
		Plan: &plan.Plan{
			Phases: phases("baseline", 5*second, "fault", 5*second, "recovery", 10*second),
			Loads: []loadgen.Load{{Name: "browse", Service: "a", SLO: 300 * time.Millisecond, Timeout: 2 * second, Steps: make([]loadgen.Step, 1),
				Stages: []loadgen.Stage{{For: 20 * second, From: 10, To: 10}}}},
			Faults: []plan.Window{fault("slow", 5*second, 10*second, chaos.Edge{Caller: "a", Callee: "b"})},
			Expect: []plan.Expectation{{In: "baseline", That: "goodput(browse) >= 99%"}},
		},
	}
	for _, text := range []string{"injected", "felt", "recovered"} {
		run.Events = append(run.Events, record.Event{Time: dawn.Add(7 * second), Kind: record.EventFault, Name: "slow", Text: text, Effect: &chaos.Effect{Felt: text == "felt"}})
	}
	run.Events = append(run.Events, record.Event{Time: dawn.Add(21 * second), Kind: record.EventAudit, Name: "invariants", Data: map[string]any{"violations": []any{map[string]any{"invariant": "x"}}, "settled": true}})
	for i := range 200 {
		due := dawn.Add(time.Duration(i) * 100 * time.Millisecond)
		r := loadgen.Result{Load: "browse", Seq: uint64(i), Due: due, Sent: due.Add(time.Millisecond), Done: due.Add(50 * time.Millisecond), OK: true}
		bad := i >= 50 && (i < 100 || broken)
		if bad && i%2 == 0 {
			r.OK, r.Error = false, "status 503"
		}
		run.Results = append(run.Results, r)
	}
	return run
}

func TestMeasure(t *testing.T) {
	for _, broken := range []bool{false, true} {
		run := recorded(broken)
		frame := NewFrame([]*plan.Plan{run.Plan}, run.System)
		verdict, err := check.Judge(t.Context(), run, nil)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Measure(t.Context(), frame, run, verdict, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frame.Figures {
			if v, found := m.Figures[f.Key]; !found || !v.Known && v.Why == "" {
				t.Errorf("figure %s: %+v", f.Key, v)
			}
		}
		for key, want := range map[string]float64{"goodput.browse.baseline": 1, "goodput.browse.fault": 0.5, "p50.browse.run": 0.05, "violations": 1} {
			if v := m.Figures[key]; v.Number != want || !v.Known {
				t.Errorf("%s: %+v", key, v)
			}
		}
		recovery := m.Figures["recovery.browse"]
		if *m.Recovered != !broken || math.IsInf(recovery.Number, 1) != broken {
			t.Errorf("broken %v: recovered %v after %v", broken, *m.Recovered, recovery.Number)
		}
		if len(m.Void) != 0 || m.Outcome != check.Pass || len(m.Findings) != 1 || m.Findings[0].Got != "100%" {
			t.Errorf("%+v", m)
		}
		if c := m.Curves[0]; len(c.Due) != 20 || c.Due[6] != 10 || c.Good[6] != 5 || c.Good[0] != 10 {
			t.Errorf("curve %+v", c)
		}
		if l := m.Latencies[1]; l.Window != Fault || l.Due != 50 || len(l.Counts) != 1 || l.Counts[0] != [2]int{bucket(50 * time.Millisecond), 25} {
			t.Errorf("latencies %+v", l)
		}
		data, err := json.Marshal(m)
		var back Measured
		if err != nil || json.Unmarshal(data, &back) != nil || back.Figures["recovery.browse"] != recovery || *back.Recovered != *m.Recovered {
			t.Errorf("came back as %+v (%v)", back.Figures["recovery.browse"], err)
		}
	}
}

// A run that was not the planned experiment is void; that nothing was expected
// makes none void.
func TestVoid(t *testing.T) {
	run := recorded(false)
	run.Plan.Expect, run.Events = nil, run.Events[3:]
	frame := NewFrame([]*plan.Plan{run.Plan}, run.System)
	verdict, err := check.Judge(t.Context(), run, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Measure(t.Context(), frame, run, verdict, nil)
	if err != nil || len(m.Void) != 1 || m.Void[0] != "nothing shows that the fault slow was felt" || m.Outcome != check.Inconclusive {
		t.Errorf("%+v, %v", m.Void, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Measure(ctx, frame, run, verdict, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestProgress(t *testing.T) {
	slot := Slot{Number: 3, Block: 2, Variant: "naive", Twin: true, Seed: 8, Started: dawn, Ended: dawn.Add(72 * second)}
	yes, no := true, false
	var out bytes.Buffer
	p := &Progress{Out: &out}
	p.Begins(slot, nil, 15, 14*time.Minute)
	p.Step("fault", 5*second, 60*second)
	p.Ends(slot, &Measured{Outcome: check.Fail, Recovered: &no}, nil)
	p.Begins(Slot{Number: 4, Variant: "better"}, []string{"20/s"}, 15, 13*time.Minute)
	p.Ends(slot, &Measured{Outcome: check.Inconclusive, Void: []string{"lagged", "not felt"}}, nil)
	p.Ends(slot, &Measured{Outcome: check.Pass, Recovered: &yes}, nil)
	p.Ends(slot, nil, errors.New("starting the system:\n\tno port"))
	want := `[ 3/15] block 2, naive', seed 8; about 14m left
        ended in 72s: counts, not recovered, expectations fail
[ 4/15] warm-up block, better, 20/s, seed 0; about 13m left
        ended in 72s: void: lagged; not felt
        ended in 72s: counts, recovered, expectations pass
        ended: failed: starting the system: no port
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

func TestProgressOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := &Progress{Out: &out, Terminal: true, Style: Style{Width: 72}}
	slot := Slot{Number: 3, Block: 2, Variant: "a-rather-long-variant", Started: dawn, Ended: dawn.Add(72 * second)}
	p.Begins(slot, nil, 15, 14*time.Minute)
	for at := time.Duration(0); at <= 60*second; at += 20 * second {
		p.Step("recovery", at, 60*second)
	}
	p.Begins(slot, []string{"20/s", "2s"}, 15, 14*time.Minute)
	p.Step("recovery", 30*second, 60*second)
	p.Ends(slot, &Measured{Outcome: check.Pass}, nil)
	p.Clear()
	for line := range strings.SplitSeq(out.String(), "\n") {
		if line = strings.TrimPrefix(strings.TrimPrefix(line, "\x1b[1A"), "\x1b[J"); strings.HasSuffix(line, "left") && utf8.RuneCountInString(line) > 72 { // a longer one could not be drawn over
			t.Errorf("%d columns: %q", utf8.RuneCountInString(line), line)
		}
	}
	if !strings.Contains(out.String(), "about 13m20s left") || strings.Count(out.String(), "\x1b[1A\x1b[J") != 7 {
		t.Errorf("got %q", out.String())
	}
}

var _ Watcher = (*Progress)(nil)
