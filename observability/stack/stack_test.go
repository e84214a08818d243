package stack_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/faultline-lab/faultline/dashboards"
	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/embedded/ruletest"
)

// readYAML reads a file; goccy/go-yaml refuses keys that are there twice.
func readYAML(t *testing.T, name string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := yaml.Unmarshal(data, &out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

func files(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"../*/*.yaml", "../*/*.yml", "../prometheus/rules/*.yaml", "../grafana/provisioning/*/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, found...)
	}
	return out
}

func TestFilesSayWhereTheyGo(t *testing.T) {
	all := files(t)
	if len(all) != 9 {
		t.Errorf("%d files: %q", len(all), all)
	}
	for _, name := range all {
		readYAML(t, name)
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(data), "\n\n")
		if !strings.HasPrefix(first, "#") || !strings.Contains(first, "/etc/") || !strings.Contains(first, "compose.yaml mounts") {
			t.Errorf("%s does not say in its first lines where it is mounted", name)
		}
	}
}

func TestPrometheusConfig(t *testing.T) {
	got, err := ruletest.Config("../prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	if got.ScrapeInterval != time.Second || got.OutOfOrder < 24*time.Hour || !got.NativeHistograms || got.Exemplars < 50_000 {
		t.Errorf("%+v", got)
	}
	if want := shopTargets(t); !slices.Equal(got.Targets["shop"], want) {
		t.Errorf("it scrapes\n%s\nthe shop has\n%s", strings.Join(got.Targets["shop"], "\n"), strings.Join(want, "\n"))
	}
	for _, pattern := range []string{"/prometheus/rules/*.yaml", "/etc/faultline/alerts.yaml"} {
		if !slices.ContainsFunc(got.RuleFiles, func(file string) bool { return strings.HasSuffix(file, pattern) }) {
			t.Errorf("it does not read %s, but %q", pattern, got.RuleFiles)
		}
	}
}

// shopTargets are the services of the shop, as "service instance address". The broker is a NATS server in the stack, whose
// metrics another container has.
func shopTargets(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../services/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var shop struct {
		Services yaml.MapSlice
	}
	if err := yaml.Unmarshal(data, &shop); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, item := range shop.Services {
		name := fmt.Sprint(item.Key)
		replicas := 1
		if body, ok := item.Value.(map[string]any); ok && body["replicas"] != nil {
			replicas, _ = strconv.Atoi(fmt.Sprint(body["replicas"]))
		}
		for i := range replicas {
			instance := name
			if replicas > 1 {
				instance = fmt.Sprintf("%s-%d", name, i+1)
			}
			host := instance
			if name == "broker" {
				host = "broker-metrics"
			}
			out = append(out, fmt.Sprintf("%s %s %s:8081", name, instance, host))
		}
	}
	return out
}

// The rules speak of what is emitted, or what they make themselves.
func TestRulesUseNamesThatAreEmitted(t *testing.T) {
	known := emitted(t)
	made, err := ruletest.Rules("../prometheus/rules/slo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, expressions := range made {
		for _, expr := range expressions {
			in, err := embedded.NamesIn(expr)
			if err != nil {
				t.Error(err)
			}
			for _, name := range in.Metrics {
				if !known[name] && made[name] == nil {
					t.Errorf("nobody emits %s: %s", name, expr)
				}
			}
		}
	}
}

// emitted are the metrics of package names, and what a histogram makes of them.
func emitted(t *testing.T) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../names/names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if name, err := strconv.Unquote(literal.Value); err == nil {
				for _, suffix := range []string{"", "_count", "_sum", "_bucket"} {
					known[name+suffix] = true
				}
			}
		}
		return true
	})
	return known
}

func TestProductionRules(t *testing.T) {
	report, err := ruletest.Run(t.Context(), "../prometheus/rules/testdata/slo_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(report.Alerts, "ErrorBudgetBurn") {
		t.Errorf("tested %q", report)
	}
}

const sources = "../grafana/provisioning/datasources/faultline.yaml"

// The uids of the data sources are those that dashboards ask for, and those by which they name each other.
func TestDataSourcesAgree(t *testing.T) {
	kinds := map[string]string{}
	var named []string
	for _, item := range readYAML(t, sources)["datasources"].([]any) {
		source := item.(map[string]any)
		kinds[fmt.Sprint(source["uid"])] = fmt.Sprint(source["type"])
		named = append(named, uidsIn(source["jsonData"])...)
	}
	want := map[string]string{
		dashboards.Prometheus: "prometheus", dashboards.Tempo: "tempo", dashboards.Loki: "loki", dashboards.Pyroscope: "grafana-pyroscope-datasource",
	}
	if !maps.Equal(kinds, want) {
		t.Errorf("provisioned are %v, dashboards ask %v", kinds, want)
	}
	for _, uid := range named {
		if kinds[uid] == "" {
			t.Errorf("%s is spoken of, and not provisioned", uid)
		}
	}
	// Exemplars to traces; traces to the service graph, logs, figures and profiles; logs to traces.
	for uid, least := range map[string]int{dashboards.Tempo: 2, dashboards.Prometheus: 2, dashboards.Loki: 1, dashboards.Pyroscope: 1} {
		n := 0
		for _, other := range named {
			if other == uid {
				n++
			}
		}
		if n != least {
			t.Errorf("%d links lead to %s, not %d", n, uid, least)
		}
	}
}

// uidsIn collects what is said of datasourceUid, however deep.
func uidsIn(tree any) []string {
	var out []string
	switch node := tree.(type) {
	case []any:
		for _, item := range node {
			out = append(out, uidsIn(item)...)
		}
	case map[string]any:
		for key, value := range node {
			if key == "datasourceUid" {
				out = append(out, fmt.Sprint(value))
				continue
			}
			out = append(out, uidsIn(value)...)
		}
	}
	return out
}

// What a trace asks Prometheus is PromQL over what is emitted.
func TestQueriesOfTraces(t *testing.T) {
	known, asked := emitted(t), 0
	for _, item := range readYAML(t, sources)["datasources"].([]any) {
		data, _ := item.(map[string]any)["jsonData"].(map[string]any)
		metrics, _ := data["tracesToMetrics"].(map[string]any)
		queries, _ := metrics["queries"].([]any)
		for _, q := range queries {
			asked++
			in, err := embedded.NamesIn(strings.ReplaceAll(fmt.Sprint(q.(map[string]any)["query"]), "$$__tags", `service="gateway"`))
			if err != nil {
				t.Error(err)
			}
			for _, name := range in.Metrics {
				if !known[name] {
					t.Errorf("nobody emits %s", name)
				}
			}
		}
	}
	if asked == 0 {
		t.Error("a trace asks nothing")
	}
}

// Every pipeline of a collector is made of what is defined, and everything that is defined is used.
func TestCollectorsAreWhole(t *testing.T) {
	for _, name := range []string{"../otelcol/otelcol.yaml", "../otelcol/elk.yaml"} {
		file := readYAML(t, name)
		used := map[string]bool{}
		for _, pipeline := range file["service"].(map[string]any)["pipelines"].(map[string]any) {
			for kind, parts := range pipeline.(map[string]any) {
				for _, part := range parts.([]any) {
					used[kind+"/"+fmt.Sprint(part)] = true
				}
			}
		}
		defined := map[string]bool{}
		for _, kind := range []string{"receivers", "processors", "exporters"} {
			for part := range file[kind].(map[string]any) {
				defined[kind+"/"+part] = true
			}
		}
		if !maps.Equal(used, defined) {
			t.Errorf("%s defines %v and uses %v", name, slices.Sorted(maps.Keys(defined)), slices.Sorted(maps.Keys(used)))
		}
	}
}

// Grafana looks for dashboards where they are mounted.
func TestDashboardsAreProvided(t *testing.T) {
	file := readYAML(t, "../grafana/provisioning/dashboards/faultline.yaml")
	provider := file["providers"].([]any)[0].(map[string]any)
	if path := provider["options"].(map[string]any)["path"]; path != "/var/lib/faultline/dashboards" {
		t.Errorf("dashboards are looked for in %v", path)
	}
}
