package system

import (
	"reflect"
	"testing"

	"github.com/faultline-lab/faultline/internal/golden"
	"github.com/faultline-lab/faultline/internal/strictyaml"
)

const reference = "../../docs/system-file.md"

// The tables of the reference come from what reading obeys.
func TestReferenceTables(t *testing.T) {
	for name, of := range map[string]any{
		"document": document{}, "service": service{}, "health": healthFile{}, "metrics": metricsFile{},
		"capacity": CapacityFile{}, "step": stepFile{},
	} {
		var rows [][]string
		for _, f := range strictyaml.Fields(of) {
			about := f.About
			if f.Required {
				about = "**required**; " + about
			}
			rows = append(rows, []string{"`" + f.Name + "`", f.Value, about})
		}
		golden.Section(t, reference, name, golden.Table([]string{"key of " + called(of), "value", "meaning"}, rows))
	}
}

func called(of any) string {
	return map[reflect.Type]string{
		reflect.TypeFor[document](): "the file", reflect.TypeFor[service](): "a service", reflect.TypeFor[healthFile](): "`health`",
		reflect.TypeFor[metricsFile](): "`metrics`", reflect.TypeFor[CapacityFile](): "`capacity`", reflect.TypeFor[stepFile](): "a step",
	}[reflect.TypeOf(of)]
}

// Every example of the reference is read.
func TestReferenceExamples(t *testing.T) {
	read := 0
	for _, block := range golden.Blocks(t, reference) {
		if block.Info != "yaml" {
			continue
		}
		read++
		if _, err := Load("system.yaml", []byte(block.Text), nil); err != nil {
			t.Errorf("line %d: %v", block.Line, err)
		}
	}
	if read < 4 {
		t.Errorf("only %d examples were found", read)
	}
}
