package plan_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/parameter"
)

// again writes a plan as a scenario and compiles that.
func again(t *testing.T, p *plan.Plan, sys *system.System) *plan.Plan {
	t.Helper()
	text := plan.Write(p, sys, plan.Written{Name: p.Scenario, System: sys.Name})
	sc, err := scenario.Load("written.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	got, err := plan.Compile(sc, sys, scenario.DefaultVariant, plan.Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return got
}

// sameRun takes out what a written plan need not keep: the names of variants,
// places in files, and load faults, which are part of the loads.
func sameRun(p *plan.Plan) *plan.Plan {
	out := p.Clone()
	out.Variant, out.About = "", ""
	gone := map[string]bool{}
	out.Faults = slices.DeleteFunc(out.Faults, func(w plan.Window) bool { gone[w.ID] = w.Load != ""; return w.Load != "" })
	out.Expect = slices.DeleteFunc(slices.Clone(p.Expect), func(e plan.Expectation) bool { return gone[e.In] })
	for i := range out.Expect {
		out.Expect[i].Source = ""
	}
	for i := range out.Faults {
		if out.Faults[i].Kind == chaos.Partition {
			out.Faults[i].Kind = chaos.Down
		}
	}
	return out
}

func TestWrittenPlanIsCompiledAgain(t *testing.T) {
	sys := readSystem(t, "testdata/system.yaml")
	sc, err := scenario.Load("full.yaml", readFile(t, "testdata/full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, variant := range sc.VariantNames() {
		p, err := plan.Compile(sc, sys, variant, plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		want, got := sameRun(p), sameRun(again(t, p, sys))
		for i := range reflect.TypeFor[plan.Plan]().NumField() {
			w, g := reflect.ValueOf(*want).Field(i).Interface(), reflect.ValueOf(*got).Field(i).Interface()
			if !reflect.DeepEqual(w, g) {
				t.Errorf("%s: %s\n got %+v\nwant %+v", variant, reflect.TypeFor[plan.Plan]().Field(i).Name, g, w)
			}
		}
	}
}

// TestWrittenByHand replays what somebody did on a run without an end.
func TestWrittenByHand(t *testing.T) {
	p, sys := compile(t, firstVariant(t), plan.Options{})
	p = p.Clone()
	edge := sys.Edges()[1]
	p.Phases = []plan.Phase{{Name: "bench", End: 24 * time.Hour}}
	p.Faults = []plan.Window{
		{Fault: chaos.Fault{ID: "latency-1", Kind: chaos.Latency, Edges: []chaos.Edge{edge}, Params: parameter.Values{"delay": "1.5s", "jitter": "0s", "direction": chaos.Downstream}}, Start: 1234 * time.Millisecond, End: 20 * time.Second},
		{Fault: chaos.Fault{ID: "kill-1", Kind: chaos.Kill, Services: []string{edge.Callee}, Replica: 1, Params: parameter.Values{}}, Start: 25 * time.Second, End: 24 * time.Hour},
		{Fault: chaos.Fault{ID: "late", Kind: chaos.Down, Edges: []chaos.Edge{edge}, Params: parameter.Values{}}, Start: time.Minute, End: time.Hour},
	}
	p.Expect, p.Abort = nil, nil
	p.Loads = slices.Clone(p.Loads[:1])
	p.Loads[0].Stages = []loadgen.Stage{{For: 24 * time.Hour, From: 10, To: 10}}
	p.Loads[0] = p.Loads[0].WithRate(10*time.Second, 33.5)
	p.End(30 * time.Second)
	got := again(t, p, sys)
	if len(p.Faults) != 2 || p.Length() != 30*time.Second || p.Loads[0].Length() != p.Length() {
		t.Fatalf("cut off: %+v", p)
	}
	if !reflect.DeepEqual(got.Faults, p.Faults) || !reflect.DeepEqual(got.Phases, p.Phases) {
		t.Errorf("got %+v, %+v\nwant %+v, %+v", got.Faults, got.Phases, p.Faults, p.Phases)
	}
	if !slices.Equal(got.Loads[0].Stages, p.Loads[0].Stages) || got.Loads[0].Seed != p.Loads[0].Seed {
		t.Errorf("got %+v\nwant %+v", got.Loads[0], p.Loads[0])
	}
}

func firstVariant(t *testing.T) string {
	t.Helper()
	sc, err := scenario.Load("full.yaml", readFile(t, "testdata/full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return sc.VariantNames()[0]
}

// Texts that YAML could take for something else come back as they were.
func TestWriteQuotes(t *testing.T) {
	p, sys := compile(t, firstVariant(t), plan.Options{})
	for _, about := range []string{"true", "12", "a: b", "{x}", "# no", "\"", "it's\nthis: \u2028 \x07 <&>", "- a", "null", "0x1f", "1e3", "~", "'", "é→ 漢"} {
		text := plan.Write(p, sys, plan.Written{Name: "x", About: about, System: sys.Name})
		sc, err := scenario.Load("x.yaml", text)
		if err != nil || sc.About != about {
			t.Errorf("%q came back as %q (%v)", about, sc.About, err)
		}
	}
	if strings.Contains(string(plan.Write(p, sys, plan.Written{Name: "x", System: sys.Name})), "\t") {
		t.Error("there is a tab")
	}
}
