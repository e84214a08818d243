package scenario_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/internal/golden"
)

// What the schema cannot know: texts with a grammar of their own, relations between values.
var beyondSchema = []string{"names", "empty-parts", "fault-none"}

func TestSchema(t *testing.T) {
	schema, err := golden.ReadSchema("../../scenarios/scenario.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	bundled, err := filepath.Glob("../../scenarios/*.yaml")
	if err != nil || len(bundled) == 0 {
		t.Fatal("no bundled scenarios", err)
	}
	for _, good := range append(bundled, "testdata/full.yaml", "../../examples/polyglot/slow-quotes.yaml") {
		if err := check(t, schema, good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	bad, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(bad) == 0 {
		t.Fatal("no fixtures", err)
	}
	for _, file := range bad {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		refused := check(t, schema, file) != nil
		if wanted := !slices.Contains(beyondSchema, name); refused != wanted {
			t.Errorf("%s: refused %v, want %v", name, refused, wanted)
		}
	}
}

func check(t *testing.T, schema *golden.Schema, file string) error {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return schema.Check(file, data)
}
