package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/golden"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/parameter"
	"github.com/faultline-lab/faultline/resilience"
)

const reference = "../../docs/scenario-language.md"

// The tables of the reference come from what reading obeys.
func TestReferenceTables(t *testing.T) {
	for name, of := range map[string]any{
		"scenario": scenario.Scenario{}, "load": scenario.LoadSpec{}, "stage": scenario.Stage{}, "variant": scenario.Variant{},
		"load of a variant": scenario.LoadChange{}, "service": scenario.Change{}, "expectation": scenario.Expectation{}, "abort": scenario.Abort{},
	} {
		golden.Section(t, reference, name, keys(of))
	}
	golden.Section(t, reference, "faults", faults())
	golden.Section(t, reference, "policies", policies())
	golden.Section(t, reference, "measures", measures())
}

func keys(of any) string {
	var rows [][]string
	for _, f := range strictyaml.Fields(of) {
		about := f.About
		if f.Required {
			about = "**required**; " + about
		}
		rows = append(rows, []string{"`" + f.Name + "`", f.Value, about})
	}
	return golden.Table([]string{"key", "value", "meaning"}, rows)
}

func faults() string {
	targets := map[string]string{
		chaos.TargetEdge:    "`edge` or `edges`; `replica` of the callee, all when left out",
		chaos.TargetService: "`service` or `services`; `replica`, all when left out",
		chaos.TargetGroups:  "`groups`: two or more lists of services",
		chaos.TargetLoad:    "`load`",
	}
	var rows [][]string
	for _, kind := range chaos.Catalog() {
		params := slices.DeleteFunc(slices.Clone(kind.Params), func(p parameter.Parameter) bool {
			return slices.Contains([]string{"edge", "edges", "service", "services", "replica", "groups", "load"}, p.Name)
		})
		about := kind.About + " *When it ends:* " + kind.Undo
		rows = append(rows, []string{"`" + kind.Name + "`", about, targets[kind.Target], parameters(params)})
	}
	return golden.Table([]string{"kind", "what it does", "acts on", "parameters"}, rows)
}

func policies() string {
	var rows [][]string
	for _, kind := range resilience.Catalog() {
		rows = append(rows, []string{"`" + kind.Name + "`", strings.Join(kind.Sides, ", "), kind.About, parameters(kind.Params)})
	}
	return golden.Table([]string{"kind", "stands at", "what it does", "parameters"}, rows)
}

func parameters(list []parameter.Parameter) string {
	var parts []string
	for _, p := range list {
		text := fmt.Sprintf("`%s` (%s", p.Name, p.Type)
		switch {
		case p.Required:
			text += ", required"
		case p.Default != nil:
			text += fmt.Sprintf(", %v when left out", p.Default)
		}
		if len(p.Allowed) > 0 {
			text += ": " + strings.Join(p.Allowed, ", ")
		}
		parts = append(parts, text+")")
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, "; ")
}

func measures() string {
	var rows [][]string
	for _, m := range grammar.Catalog() {
		when := ""
		if m.Live {
			when = "yes"
		}
		rows = append(rows, []string{"`" + m.Signature() + "`", m.UnitText(), when, m.Meaning})
	}
	return golden.Table([]string{"measure", "compared with", "in abort", "meaning"}, rows)
}

// What an example of the reference leaves out is filled in from here.
var rest = []struct{ key, text string }{
	{"name", "name: example"},
	{"system", "system: shop"},
	{"load", "load: {browse: {request: GET /products, rate: 80/s, slo: 300ms}, checkout: {journey: checkout, rate: 20/s}}"},
	{"phases", "phases: {warmup: 5s, baseline: 15s, fault: 20s, recovery: 25s}"},
	{"faults", "faults: {slow-bank: {latency: {edge: payments->bank, delay: 3s}, during: fault}}"},
}

func complete(example string) string {
	for _, part := range rest {
		if !strings.HasPrefix(example, part.key+":") && !strings.Contains(example, "\n"+part.key+":") {
			example += part.text + "\n"
		}
	}
	return example
}

// Every example of the reference is read: those marked yaml compile, and of
// those marked "yaml wrong" the errors are what the block after them says.
func TestReferenceExamples(t *testing.T) {
	sys := readSystem(t, "../../services/shop.yaml")
	blocks := golden.Blocks(t, reference)
	read := 0
	for i, block := range blocks {
		if !strings.HasPrefix(block.Info, "yaml") {
			continue
		}
		read++
		sc, _ := scenario.Load("scenarios/x.yaml", []byte(complete(block.Text)))
		if sc == nil {
			t.Errorf("line %d: nothing could be read", block.Line)
			continue
		}
		err := plan.Check(sc, sys)
		if block.Info == "yaml" {
			if err != nil {
				t.Errorf("line %d: %v", block.Line, err)
			}
			continue
		}
		if err == nil || i+1 == len(blocks) || err.Error()+"\n" != blocks[i+1].Text {
			t.Errorf("line %d: the errors are\n%v", block.Line, err)
		}
	}
	if read < 10 {
		t.Errorf("only %d examples were found", read)
	}
}
