package system_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/internal/golden"
)

// What the schema cannot know: names that refer to other parts of the file,
// texts with a grammar of their own, relations between values.
var beyondSchema = []string{
	"alerts-broken", "alerts-missing", "callee", "entry", "entry-tcp", "names", "no-services", "run", "probe",
	"journeys", "mixed-journey",
}

func TestSchema(t *testing.T) {
	schema, err := golden.ReadSchema("../../services/system.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, good := range []string{"testdata/plain.yaml", "testdata/defaults.yaml", "../../services/shop.yaml", "../../examples/polyglot/system.yaml"} {
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
