package plan_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/golden"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/parameter"
	"github.com/faultline-lab/faultline/resilience"
)

const alerts = "groups: [{name: g, rules: [{alert: HighErrorRate, expr: up}]}]"

func readAlerts(string) ([]byte, error) { return []byte(alerts), nil }

func readFile(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func readSystem(t testing.TB, file string) *system.System {
	t.Helper()
	sys, err := system.Load(file, readFile(t, file), readAlerts)
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

func compile(t *testing.T, variant string, opt plan.Options) (*plan.Plan, *system.System) {
	t.Helper()
	sys := readSystem(t, "testdata/system.yaml")
	sc, err := scenario.Load("full.yaml", readFile(t, "testdata/full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(sc, sys, variant, opt)
	if err != nil {
		t.Fatal(err)
	}
	return p, sys
}

func sec(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

func TestPhases(t *testing.T) {
	p, _ := compile(t, "naive", plan.Options{})
	want := []plan.Phase{
		{Name: "warmup", Start: 0, End: sec(5)}, {Name: "baseline", Start: sec(5), End: sec(20)},
		{Name: "fault", Start: sec(20), End: sec(40)}, {Name: "recovery", Start: sec(40), End: sec(60)},
	}
	if !slices.Equal(p.Phases, want) || p.Length() != time.Minute {
		t.Errorf("got %v, %s", p.Phases, p.Length())
	}
	if phase, found := p.Phase("fault"); !found || phase != want[2] {
		t.Errorf("got %v, %v", phase, found)
	}
	if _, found := p.Phase("none"); found {
		t.Error("a phase was found that is not there")
	}
	if (&plan.Plan{}).Length() != 0 {
		t.Error("an empty plan has a length")
	}
}

func TestLoads(t *testing.T) {
	p, sys := compile(t, "naive", plan.Options{})
	want := []loadgen.Load{
		{
			Name: "browse", Service: "gateway", Arrivals: loadgen.Poisson, SLO: sec(0.3), Timeout: sec(2),
			Steps:  []loadgen.Step{{Name: "GET /products", Method: "GET", Path: "/products"}},
			Stages: []loadgen.Stage{{For: sec(60), From: 80, To: 80}}, Baggage: map[string]string{"priority": "critical", "tenant": "7"},
		},
		{
			Name: "checkout", Service: "gateway", Arrivals: loadgen.Poisson, Timeout: sec(30), Users: 5,
			Steps: sys.Journeys["checkout"], Stages: []loadgen.Stage{{For: sec(60)}},
		},
		{
			Name: "ramp", Service: "catalog", Arrivals: loadgen.Constant, Timeout: sec(30), Steps: sys.Journeys["list"],
			Stages: []loadgen.Stage{ // spike of factor 2 from 10s to 15s
				{For: sec(10), From: 0, To: 20}, {For: sec(5), From: 40, To: 60}, {For: sec(5), From: 30, To: 40}, {For: sec(40), From: 40, To: 40},
			},
		},
	}
	for i, load := range p.Loads {
		if load.Seed == 0 {
			t.Errorf("%s: no seed", load.Name)
		}
		load.Seed = 0
		if !reflect.DeepEqual(load, want[i]) {
			t.Errorf("got  %+v\nwant %+v", load, want[i])
		}
	}
}

func TestVariantChangesLoads(t *testing.T) {
	p, _ := compile(t, "bounded", plan.Options{})
	if got := p.Loads[0]; got.Stages[0].From != 160 || got.Timeout != sec(3) || got.SLO != sec(0.3) {
		t.Errorf("got %+v", got)
	}
}

func TestFaults(t *testing.T) {
	p, _ := compile(t, "naive", plan.Options{})
	edge := func(caller, callee string) chaos.Edge { return chaos.Edge{Caller: caller, Callee: callee} }
	want := []plan.Window{
		{
			Fault: chaos.Fault{ID: "split", Kind: "partition", Edges: []chaos.Edge{edge("gateway", "catalog"), edge("gateway", "orders")}, Params: parameter.Values{}},
			Start: sec(1), End: sec(3),
		},
		{Fault: chaos.Fault{ID: "rush", Kind: "spike", Params: parameter.Values{"factor": 2.0}}, Load: "ramp", Start: sec(10), End: sec(15)},
		{
			Fault: chaos.Fault{
				ID: "slow-bank", Kind: "latency", Edges: []chaos.Edge{edge("payments", "bank")},
				Params: parameter.Values{"delay": "3s", "jitter": "300ms", "direction": "downstream"},
			},
			Start: sec(20), End: sec(40),
		},
		{Fault: chaos.Fault{ID: "dead", Kind: "kill", Services: []string{"catalog"}, Replica: 3, Params: parameter.Values{}}, Start: sec(40), End: sec(60)},
	}
	if !reflect.DeepEqual(p.Faults, want) {
		t.Errorf("got  %+v\nwant %+v", p.Faults, want)
	}
	p, _ = compile(t, "bounded", plan.Options{})
	var names []string
	for _, f := range p.Faults {
		names = append(names, f.ID)
	}
	if !slices.Equal(names, []string{"split", "rush", "slow-bank", "extra"}) {
		t.Errorf("bounded: got %q", names)
	}
	if extra := p.Faults[3]; extra.Start != sec(22) || extra.End != sec(22.5) || len(extra.Edges) != 2 {
		t.Errorf("got %+v", extra)
	}
}

func TestPolicies(t *testing.T) {
	kinds := func(p *plan.Plan) map[string]string {
		out := map[string]string{}
		for place, chain := range p.Policies {
			var names []string
			for _, spec := range chain {
				names = append(names, spec.Kind)
			}
			out[place] = strings.Join(names, " ")
		}
		return out
	}
	naive, _ := compile(t, "naive", plan.Options{})
	if want := map[string]string{"orders": "bulkhead", "orders->payments": "timeout"}; !reflect.DeepEqual(kinds(naive), want) {
		t.Errorf("naive: got %v", kinds(naive))
	}
	bounded, _ := compile(t, "bounded", plan.Options{})
	if want := map[string]string{"orders": "bulkhead", "payments->bank": "retry timeout"}; !reflect.DeepEqual(kinds(bounded), want) {
		t.Errorf("bounded: got %v", kinds(bounded))
	}
	text, err := json.Marshal(bounded.Policies)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resilience.ParsePolicies(text); err != nil {
		t.Errorf("a service could not read its policies: %v", err)
	}
}

func TestApply(t *testing.T) {
	p, sys := compile(t, "bounded", plan.Options{})
	changed := p.Apply(sys)
	want := &system.Service{
		Name: "bank", Run: []string{"bank"}, Protocol: "http", Replicas: 2, Env: map[string]string{"A": "1", "B": "{{port}}"},
		Capacity: &system.Capacity{Workers: 8, Queue: 16, ServiceTime: &system.Distribution{Lognormal: &system.Lognormal{Median: sec(0.005), P99: sec(0.02)}}},
		Health:   sys.Service("bank").Health,
	}
	if got := changed.Service("bank"); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := sys.Service("bank"); got.Replicas != 1 || got.Env != nil || got.Capacity.Workers != 2 {
		t.Errorf("the system itself was changed: %+v", got)
	}
	if !reflect.DeepEqual(changed.Service("gateway"), sys.Service("gateway")) {
		t.Error("a service was changed that nothing was said about")
	}
	naive, _ := compile(t, "naive", plan.Options{})
	if got := naive.Apply(sys).Service("bank"); got.Replicas != 2 || got.Capacity.Workers != 2 || !reflect.DeepEqual(got.Env, map[string]string{"A": "1"}) {
		t.Errorf("got %+v", got)
	}
}

func TestExpectations(t *testing.T) {
	p, _ := compile(t, "bounded", plan.Options{})
	want := []plan.Expectation{
		{In: "extra", That: "amplification(payments->bank) <= 1.2", Source: "full.yaml:38"},
		{That: "violations() == 0", Source: "full.yaml:40"},
		{That: "detected(HighErrorRate) <= 15s", Source: "full.yaml:41"},
	}
	if !slices.Equal(p.Expect, want) {
		t.Errorf("got  %+v\nwant %+v", p.Expect, want)
	}
	if want := []plan.Abort{{That: "lag() > 50ms", For: sec(5)}}; !slices.Equal(p.Abort, want) {
		t.Errorf("got %+v", p.Abort)
	}
	if p.MaxLag != sec(0.015) {
		t.Errorf("max_lag: got %s, want 5 %% of 300ms", p.MaxLag)
	}
}

func TestMaxLag(t *testing.T) {
	sys := readSystem(t, "testdata/system.yaml")
	for _, test := range []struct {
		name, slo, maxLag string
		want              time.Duration
	}{
		{"tight slo", "slo: 50ms", "", sec(0.005)},
		{"wide slo", "slo: 1s", "", sec(0.05)},
		{"no slo", "accept: []", "", sec(0.005)},
		{"own", "slo: 1s", "max_lag: 7ms", sec(0.007)},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := compileText(sys, "name: x\nsystem: small\nload: {a: {request: GET /, rate: 1/s, "+test.slo+"}}\nphases: {p: 1s}\n"+test.maxLag, "default")
			if err != nil {
				t.Fatal(err)
			}
			if p.MaxLag != test.want {
				t.Errorf("got %s, want %s", p.MaxLag, test.want)
			}
		})
	}
}

func compileText(sys *system.System, text, variant string) (*plan.Plan, error) {
	sc, err := scenario.Load("x.yaml", []byte(text))
	if sc == nil {
		return nil, err
	}
	return plan.Compile(sc, sys, variant, plan.Options{})
}

func TestSeeds(t *testing.T) {
	first, sys := compile(t, "naive", plan.Options{})
	again, _ := compile(t, "naive", plan.Options{})
	if !reflect.DeepEqual(first, again) {
		t.Error("the same scenario gives two plans")
	}
	if first.Loads[0].Seed == first.Loads[1].Seed {
		t.Error("two loads have the same seed")
	}
	seed := uint64(8)
	other, _ := compile(t, "naive", plan.Options{Seed: &seed})
	if other.Seed != 8 || other.Loads[0].Seed == first.Loads[0].Seed {
		t.Error("another seed changes nothing")
	}
	variant, _ := compile(t, "bounded", plan.Options{})
	if variant.Loads[1].Seed != first.Loads[1].Seed {
		t.Error("variants do not get the same load")
	}
	alone, err := compileText(sys, "name: x\nsystem: small\nseed: 7\nload: {checkout: {request: GET /, rate: 1/s}}\nphases: {p: 1s}\n", "default")
	if err != nil {
		t.Fatal(err)
	}
	if alone.Loads[0].Seed != first.Loads[1].Seed {
		t.Error("the seed of a load depends on the other loads")
	}
	if first.Loads[0].Seed != 5912847412980853470 {
		t.Errorf("seeds are derived otherwise than before (%d): recorded runs cannot be repeated", first.Loads[0].Seed)
	}
}

func TestJSONRoundTrip(t *testing.T) {
	p, _ := compile(t, "bounded", plan.Options{})
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back plan.Plan
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != string(data) {
		t.Errorf("got  %s\nwant %s", again, data)
	}
}

func TestUnknownVariant(t *testing.T) {
	sys := readSystem(t, "testdata/system.yaml")
	sc, err := scenario.Load("full.yaml", readFile(t, "testdata/full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for variant, want := range map[string]string{
		"naiv": `full.yaml has no variant "naiv"; did you mean "naive"?`,
		"zzz":  `full.yaml has no variant "zzz"; there are: naive, bounded`,
	} {
		if _, err := plan.Compile(sc, sys, variant, plan.Options{}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := plan.Compile(nil, sys, "naive", plan.Options{}); err == nil {
		t.Error("a plan was made of nothing")
	}
}

func TestBadPlans(t *testing.T) {
	sys := readSystem(t, "testdata/system.yaml")
	golden.Errors(t, "testdata/bad", func(t *testing.T, name string, data []byte) error {
		sc, err := scenario.Load(name, data)
		if sc == nil {
			t.Fatal(err)
		}
		return withoutCatalogs(plan.Check(sc, sys))
	})
}

// withoutCatalogs leaves out the names of all policies and measures, so that a
// new one changes no fixture.
func withoutCatalogs(err error) error {
	if err == nil {
		return nil
	}
	var policies, live []string
	for _, kind := range resilience.Catalog() {
		policies = append(policies, kind.Name)
	}
	for _, m := range grammar.Catalog() {
		if m.Live {
			live = append(live, m.Name)
		}
	}
	return errors.New(strings.NewReplacer(
		strings.Join(policies, ", "), "(policies)", strings.Join(live, ", "), "(measures)",
	).Replace(err.Error()))
}

func TestSystemWithoutProbesAndAlerts(t *testing.T) {
	sys := readSystem(t, "testdata/system.yaml")
	sys.Probes, sys.Alerts = system.Probes{}, nil
	_, err := compileText(sys, `
name: x
system: small
load: {a: {request: GET /, rate: 1/s}}
phases: {p: 1s}
faults: {f: {down: {edge: payments->bank}, during: p}}
expect:
  - {that: violations() == 0}
  - {that: detected(HighErrorRate) < 1s}
`, "default")
	want := "x.yaml:8: expect[0].that: system small has no probe for its invariants; it goes to probes in the system file\n" +
		`x.yaml:9: expect[1].that: unknown alert "HighErrorRate"; there is none`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestDescribe(t *testing.T) {
	for _, test := range []struct {
		variant string
		width   int
	}{{"naive", 80}, {"bounded", 80}, {"bounded", 50}} {
		p, sys := compile(t, test.variant, plan.Options{})
		var b strings.Builder
		if err := plan.Describe(&b, p, sys, test.width); err != nil {
			t.Fatal(err)
		}
		name := test.variant + map[int]string{80: "", 50: "-narrow"}[test.width]
		golden.Equal(t, filepath.Join("testdata", name+".txt"), b.String())
		for _, line := range strings.Split(b.String(), "\n") {
			if len([]rune(line)) > test.width {
				t.Errorf("%s: %d columns: %s", name, len([]rune(line)), line)
			}
		}
	}
}

// The bundled scenarios compile against the systems that they name, and the load
// generator takes what comes out.
func TestBundled(t *testing.T) {
	files, err := filepath.Glob("../../scenarios/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no bundled scenarios", err)
	}
	for _, file := range files {
		sc, err := scenario.Load(file, readFile(t, file))
		if err != nil {
			t.Fatal(err)
		}
		sys, err := system.LoadFile("../../services/" + sc.System + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := plan.Check(sc, sys); err != nil {
			t.Errorf("%s:\n%v", file, err)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, pattern := range []string{"testdata/full.yaml", "testdata/bad/*.yaml", "../scenario/testdata/*.yaml", "../../scenarios/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			f.Add(readFile(f, file))
		}
	}
	small, shop := readSystem(f, "testdata/system.yaml"), readSystem(f, "../../services/shop.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		sc, _ := scenario.Load("x.yaml", data)
		if sc == nil {
			return
		}
		for _, sys := range []*system.System{small, shop} {
			p, err := plan.Compile(sc, sys, sc.VariantNames()[0], plan.Options{})
			if err != nil {
				continue
			}
			holds(t, p, sys)
		}
	})
}

// holds checks what is true of every plan.
func holds(t *testing.T, p *plan.Plan, sys *system.System) {
	t.Helper()
	for _, load := range p.Loads {
		if load.Length() != p.Length() {
			t.Errorf("load %s takes %s, the run %s", load.Name, load.Length(), p.Length())
		}
		for _, stage := range load.Stages {
			if stage.For <= 0 || stage.From < 0 || stage.To < 0 || math.IsNaN(stage.From+stage.To) {
				t.Errorf("load %s has the stage %+v", load.Name, stage)
			}
		}
	}
	for _, w := range p.Faults {
		if w.Start < 0 || w.Start >= w.End || w.End > p.Length() {
			t.Errorf("fault %s is from %s to %s", w.ID, w.Start, w.End)
		}
		if len(w.Edges)+len(w.Services) == 0 && w.Load == "" {
			t.Errorf("fault %s acts on nothing", w.ID)
		}
	}
	if err := plan.Describe(&strings.Builder{}, p, sys, 80); err != nil {
		t.Error(err)
	}
	p.Apply(sys)
}

func TestObservedEdges(t *testing.T) {
	const rest = "name: x\nsystem: small\nload: {a: {request: GET /, rate: 10/s}}\nphases: {all: 5s}\n"
	sys := readSystem(t, "testdata/system.yaml")
	byFile := *sys
	byFile.Observe = plan.Proxy
	for _, test := range []struct {
		name, text string
		sys        *system.System
		want       string
	}{
		{"by the services", "", sys, "[]"},
		{"by the proxy", "observe: proxy\n", sys, "[gateway->catalog gateway->orders orders->payments payments->bank]"},
		{"by the proxy, says the system", "", &byFile, "[gateway->catalog gateway->orders orders->payments payments->bank]"},
		{"by the services after all", "observe: services\n", &byFile, "[]"},
		{"where policies are enforced, that is measured", "observe: proxy\nenforce: proxy\npolicies: {gateway->orders: [{timeout: 1s}]}\n", sys, "[gateway->catalog orders->payments payments->bank]"},
		{"the library's policies change nothing", "observe: proxy\npolicies: {gateway->orders: [{timeout: 1s}]}\n", sys, "[gateway->catalog gateway->orders orders->payments payments->bank]"},
	} {
		sc, err := scenario.Load("x.yaml", []byte(rest+test.text))
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan.Compile(sc, test.sys, scenario.DefaultVariant, plan.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(p.Observed); got != test.want {
			t.Errorf("%s: %s", test.name, got)
		}
		written, err := scenario.Load("x.yaml", plan.Write(p, test.sys, plan.Written{Name: "x", System: "small"}))
		if err != nil {
			t.Fatal(err)
		}
		again, err := plan.Compile(written, test.sys, scenario.DefaultVariant, plan.Options{})
		if err != nil || fmt.Sprint(again.Observed) != test.want || again.Enforce != p.Enforce {
			t.Errorf("%s: written and read, it is %v, %q: %v", test.name, again.Observed, again.Enforce, err)
		}
	}
}

func TestExperimentOfALoad(t *testing.T) {
	sys := readSystem(t, "testdata/system.yaml")
	for _, test := range []struct {
		text string
		want float64
		err  string
	}{
		{"10%", 0.1, ""},
		{"0.2", 0.2, ""},
		{"50%", 0.5, ""},
		{"60%", 0, "0.6 is above the greatest permitted value, 0.5"},
		{"0", 0, "0 marks nothing as the experiment"},
		{"NaN", 0, "NaN is not a ratio"},
		{"some", 0, "some is not a ratio"},
	} {
		text := "name: x\nsystem: small\nload: {a: {request: GET /, rate: 10/s, experiment: " + test.text + "}}\nphases: {all: 5s}\n"
		sc, err := scenario.Load("x.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		p, err := plan.Compile(sc, sys, scenario.DefaultVariant, plan.Options{})
		switch {
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), "x.yaml:3: load.a.experiment: "+test.err)):
			t.Errorf("%s: got %v, want %q", test.text, err, test.err)
		case test.err == "" && (err != nil || p.Loads[0].Experiment != test.want):
			t.Errorf("%s: got %v and %v, want %v", test.text, p, err, test.want)
		}
	}
}
