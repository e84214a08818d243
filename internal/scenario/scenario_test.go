package scenario_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/golden"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/parameter"
	"github.com/faultline-lab/faultline/resilience"
)

func load(t *testing.T, file string) *scenario.Scenario {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sc, err := scenario.Load(filepath.Base(file), data)
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

func TestLoad(t *testing.T) {
	sc := load(t, "testdata/full.yaml")
	if sc.Name != "full" || sc.System != "./system.yaml" || sc.SeedOrDefault() != 7 || len(sc.Sources) != 1 || *sc.MaxLag != 20*time.Millisecond {
		t.Errorf("got %+v", sc)
	}
	if !slices.Equal(sc.VariantNames(), []string{"naive", "bounded", "quiet"}) {
		t.Errorf("the variants are not in the order of the file: %q", sc.VariantNames())
	}
	wantPhases := strictyaml.Map[time.Duration]{
		{Name: "warmup", Path: "phases.warmup", Value: 5 * time.Second},
		{Name: "trouble", Path: "phases.trouble", Value: 10 * time.Second},
		{Name: "after", Path: "phases.after", Value: time.Minute},
	}
	if !reflect.DeepEqual(sc.Phases, wantPhases) {
		t.Errorf("got %+v", sc.Phases)
	}
	browse, _ := sc.Loads.Get("browse")
	rate := strictyaml.Rate(80)
	wait := 2 * time.Second
	want := scenario.LoadSpec{
		RequestFile: system.RequestFile{Request: "GET /products", Headers: strictyaml.Map[strictyaml.Word]{{Name: "X-A", Path: "load.browse.headers.X-A", Value: "1"}}, Accept: []int{404}},
		Rate:        &rate, Arrivals: "constant", SLO: 300 * time.Millisecond, Timeout: &wait,
	}
	if !reflect.DeepEqual(browse, want) {
		t.Errorf("got  %+v\nwant %+v", browse, want)
	}
	ramp, _ := sc.Loads.Get("ramp")
	if len(ramp.Stages) != 2 || ramp.Stages[1].For != 20*time.Second || *ramp.Stages[1].From != 10 || *ramp.Stages[1].To != 50 {
		t.Errorf("got %+v", ramp)
	}
	if got := sc.Source.Where("faults.slow-bank"); got != "full.yaml:17" {
		t.Errorf("got %s", got)
	}
}

func TestFaults(t *testing.T) {
	sc := load(t, "testdata/full.yaml")
	ten := 10 * time.Second
	for name, want := range map[string]scenario.Fault{
		"slow-bank": {
			About: "it is slow", Kind: "latency", Target: chaos.Target{Edges: []chaos.Edge{{Caller: "payments", Callee: "bank"}}},
			Params: parameter.Values{"delay": "3s", "jitter": "0s", "direction": "downstream"}, When: scenario.When{During: "trouble"},
		},
		"dead": {
			Kind: "kill", Target: chaos.Target{Services: []string{"catalog"}, Replica: 2},
			Params: parameter.Values{}, When: scenario.When{At: &scenario.At{Offset: 20 * time.Second}, For: &ten},
		},
		"rush": {
			Kind: "spike", Target: chaos.Target{Load: "browse"},
			Params: parameter.Values{"factor": 5.0}, When: scenario.When{At: &scenario.At{Phase: "trouble", Offset: 1500 * time.Millisecond}, For: &ten},
		},
		"late": {
			Kind: "down", Target: chaos.Target{Edges: []chaos.Edge{{Caller: "gateway", Callee: "catalog"}}},
			Params: parameter.Values{}, When: scenario.When{At: &scenario.At{Phase: "after"}},
		},
	} {
		got, found := sc.Faults.Get(name)
		if !found || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
	}
	quiet, _ := sc.Variants.Get("quiet")
	if off, found := quiet.Faults.Get("slow-bank"); !found || !off.Off {
		t.Errorf("got %+v", off)
	}
}

func TestPolicies(t *testing.T) {
	sc := load(t, "testdata/full.yaml")
	bounded, _ := sc.Variants.Get("bounded")
	chain, _ := bounded.Policies.Get("payments->bank")
	var kinds []string
	for _, policy := range chain {
		kinds = append(kinds, policy.Spec.Kind)
	}
	if !slices.Equal(kinds, []string{"retry", "timeout", "bulkhead"}) {
		t.Errorf("got %q", kinds)
	}
	if got := chain[1].Spec.Params.Duration("after"); got != 500*time.Millisecond {
		t.Errorf("timeout: got %s", got)
	}
	if got := chain[2].Spec.Params.Int("max"); got != 16 {
		t.Errorf("bulkhead: got %d", got)
	}
	if attempts := chain[0].Spec.Params.Int("attempts"); attempts == 0 {
		t.Error("retry: the defaults are not filled in")
	}
}

func TestOneVariantByDefault(t *testing.T) {
	sc, err := scenario.Load("x.yaml", []byte("name: x\nsystem: shop\nload: {a: {request: GET /, rate: 1/s}}\nphases: {p: 1s}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sc.VariantNames(), []string{"default"}) || sc.SeedOrDefault() != 1 {
		t.Errorf("got %q, seed %d", sc.VariantNames(), sc.SeedOrDefault())
	}
}

func TestBadScenarios(t *testing.T) {
	golden.Errors(t, "testdata/bad", func(_ *testing.T, name string, data []byte) error {
		_, err := scenario.Load(name, data)
		return withoutCatalogs(err)
	})
}

// withoutCatalogs leaves out the names of all faults and policies, so that a
// new one changes no fixture.
func withoutCatalogs(err error) error {
	if err == nil {
		return nil
	}
	var faults, policies []string
	for _, kind := range chaos.Catalog() {
		faults = append(faults, kind.Name)
	}
	for _, kind := range resilience.Catalog() {
		policies = append(policies, kind.Name)
	}
	return errors.New(strings.NewReplacer(
		strings.Join(faults, ", "), "(faults)", strings.Join(policies, ", "), "(policies)",
	).Replace(err.Error()))
}

// What can be read in spite of errors is returned for plan.Compile to go on with.
func TestErrorsLeaveTheRest(t *testing.T) {
	sc, err := scenario.Load("x.yaml", []byte("name: x\nsystem: shop\nload: {a: {request: GET /, rate: many}}\nphases: {p: 1s}\n"))
	if err == nil || sc == nil || len(sc.Phases) != 1 {
		t.Errorf("got %+v, %v", sc, err)
	}
	if sc, err := scenario.Load("x.yaml", []byte("[")); err == nil || sc != nil {
		t.Errorf("got %+v, %v", sc, err)
	}
}

func TestSchemaIsCurrent(t *testing.T) {
	schema, err := scenario.Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "../../scenarios/scenario.schema.json", string(schema))
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/bad/*.yaml", "../../scenarios/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sc, err := scenario.Load("x.yaml", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x.yaml:") {
				t.Errorf("an error without a place: %v", err)
			}
			return
		}
		if sc.Name == "" || sc.System == "" || len(sc.Loads) == 0 || len(sc.Phases) == 0 || len(sc.Variants) == 0 {
			t.Errorf("something that is required is missing: %+v", sc)
		}
	})
}
