package services_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/services"
)

type rule struct {
	Alert       string
	Record      string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := services.FS.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(read(t, "alerts.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func TestAlertsAreComplete(t *testing.T) {
	var names []string
	for _, r := range rules(t) {
		if r.Record != "" {
			continue
		}
		names = append(names, r.Alert)
		if r.Annotations["summary"] == "" || r.Annotations["look"] == "" {
			t.Errorf("%s does not say what is wrong and where to look", r.Alert)
		}
		if severity := r.Labels["severity"]; severity != "page" && severity != "ticket" {
			t.Errorf("%s has severity %q", r.Alert, severity)
		}
	}
	for _, want := range []string{
		"HighErrorRate", "HighLatency", "DoorSaturated", "RetryAmplification", "BreakerOpen", "DeadLetters", "OutboxStuck", "QueueBacklog", "ServiceDown",
		"ErrorBudgetBurn",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no alert %s", want)
		}
	}
}

// TestAlertsUseNamesThatAreEmitted holds expressions, and the queries in annotations, to package names.
func TestAlertsUseNamesThatAreEmitted(t *testing.T) {
	known := emitted(t)
	metric := regexp.MustCompile(`\b[a-z]+(?:_[a-z]+)+\b`)
	quoted := regexp.MustCompile(`"[^"]*"`)
	used := map[string]bool{}
	for _, r := range rules(t) {
		known[r.Record] = true
	}
	known["up"] = true
	for _, r := range rules(t) {
		in, err := embedded.NamesIn(r.Expr)
		if err != nil {
			t.Errorf("%s%s: %v", r.Alert, r.Record, err)
		}
		for _, word := range append(in.Metrics, metric.FindAllString(quoted.ReplaceAllString(r.Annotations["look"], ""), -1)...) {
			used[word] = true
		}
	}
	for word := range used {
		if !known[word] {
			t.Errorf("alerts.yaml uses %s, which package names does not have", word)
		}
	}
	if len(used) < 10 {
		t.Errorf("found only %d names in alerts.yaml: does this test still read it?", len(used))
	}
}

// emitted returns the metrics and labels that may be used: those of package
// names, what a histogram makes of them, and what is Prometheus' own.
func emitted(t *testing.T) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../observability/names/names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{
		"histogram_quantile": true, "min_over_time": true, "process_resident_memory_bytes": true, "go_goroutines": true,
		"http_route": true, "http_response_status_code": true,
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			name, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, suffix := range []string{"", "_count", "_sum", "_bucket"} {
				known[name+suffix] = true
			}
		}
		return true
	})
	return known
}

// TestAlertsLoad has Prometheus' own rule manager read the file.
func TestAlertsLoad(t *testing.T) {
	backend, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Rules: read(t, "alerts.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backend.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestShopNamesItsAlerts(t *testing.T) {
	if !strings.Contains(string(read(t, "shop.yaml")), "\nalerts: alerts.yaml") {
		t.Error("shop.yaml does not name alerts.yaml")
	}
}
