package names_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// emitters are the folders whose code makes telemetry. Others only ask for it.
var emitters = []string{"services", "resilience", "chaos", "internal/run", "observability"}

// Every metric of this package has code that makes it: what dashboards and alerts may ask for is there. A test
// that merely uses a name, and code that asks, do not count.
func TestEveryMetricHasAnEmitter(t *testing.T) {
	metrics := metrics(t)
	if len(metrics) < 40 {
		t.Fatalf("found only %d metrics in names.go: does this test still read it?", len(metrics))
	}
	var code strings.Builder
	for _, folder := range emitters {
		err := filepath.WalkDir(filepath.Join("../..", folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && (entry.Name() == "embedded" || entry.Name() == "names" || entry.Name() == "testdata") {
				return filepath.SkipDir
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			data, err := os.ReadFile(path)
			code.Write(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for constant, metric := range metrics {
		if !regexp.MustCompile(`\bnames\.` + constant + `\b`).MatchString(code.String()) {
			t.Errorf("nobody emits %s (names.%s)", metric, constant)
		}
	}
}

// metrics are the constants whose values look like a metric's name, by their own names.
func metrics(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^[a-z]+(_[a-z]+)+$`)
	out := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		if value, err := strconv.Unquote(literal.Value); err == nil && form.MatchString(value) {
			out[spec.Names[0].Name] = value
		}
		return true
	})
	return out
}
