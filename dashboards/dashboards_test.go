package dashboards

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/faultline-lab/faultline/observability/embedded"
)

var update = flag.Bool("update", false, "write the dashboards' files anew")

func TestFilesAreCurrent(t *testing.T) {
	var made []string
	for _, b := range Boards() {
		want, err := b.JSON()
		if err != nil {
			t.Fatal(err)
		}
		file := b.Name + ".json"
		made = append(made, file)
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != string(want) {
			t.Errorf("%s is not what the sources say (%v): go generate ./dashboards", file, err)
		}
	}
	files, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.Contains(made, file) {
			t.Errorf("%s is made from nothing", file)
		}
	}
}

// dashboard is one as Grafana reads it.
type dashboard struct {
	UID           string
	Title         string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Definition, AllValue string }
	}
	Annotations struct {
		List []struct {
			Name       string
			Datasource struct{ UID string }
			Target     struct{ Expr string }
		}
	}
	Panels []panelModel
}

type panelModel struct {
	ID          int
	Type, Title string
	Datasource  struct{ Type, UID string }
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []targetModel
}

type targetModel struct {
	RefID                string
	Datasource           struct{ Type, UID string }
	Expr                 string
	LegendFormat         string
	Query, LabelSelector string
	ServiceMapQuery      string
	Instant, Exemplar    bool
}

func models(t *testing.T) map[string]dashboard {
	t.Helper()
	out := map[string]dashboard{}
	for _, b := range Boards() {
		data, err := os.ReadFile(b.Name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var m dashboard
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		out[b.Name] = m
	}
	return out
}

// units are those of Grafana's that the dashboards use, and the form of an own one.
var units = regexp.MustCompile(`^(none|short|s|bytes|Bps|percentunit|reqps|ops|suffix: .+)$`)

func TestDashboardsAreWellFormed(t *testing.T) {
	uids := map[string]bool{}
	for name, m := range models(t) {
		if m.UID != "faultline-"+name || uids[m.UID] || m.SchemaVersion != schemaVersion || m.Title == "" {
			t.Errorf("%s: uid %q, schema version %d, title %q", name, m.UID, m.SchemaVersion, m.Title)
		}
		uids[m.UID] = true
		ids := map[int]bool{}
		for _, p := range m.Panels {
			if ids[p.ID] || p.ID == 0 {
				t.Errorf("%s: %q has an id that another panel has", name, p.Title)
			}
			ids[p.ID] = true
			if p.Type != Row {
				for _, problem := range problems(p) {
					t.Errorf("%s: %q: %s", name, p.Title, problem)
				}
			}
		}
		if overlap := overlapping(m.Panels); overlap != "" {
			t.Errorf("%s: %s", name, overlap)
		}
	}
}

// problems lists what is wrong with one panel.
func problems(p panelModel) []string {
	var out []string
	if !strings.HasSuffix(p.Title, "?") {
		out = append(out, "the title asks nothing")
	}
	kinds := map[string]string{Prometheus: "prometheus", Tempo: "tempo", Loki: "loki", Pyroscope: "grafana-pyroscope-datasource"}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if kind := kinds[q.Datasource.UID]; kind == "" || kind != q.Datasource.Type {
			out = append(out, fmt.Sprintf("query %s is of a data source that nobody provides: %v", q.RefID, q.Datasource))
		}
		if q.Expr+q.Query+q.LabelSelector+q.ServiceMapQuery == "" || refs[q.RefID] {
			out = append(out, fmt.Sprintf("query %s asks nothing, or is there twice", q.RefID))
		}
		refs[q.RefID] = true
		if q.Datasource.UID == Prometheus && !units.MatchString(p.FieldConfig.Defaults.Unit) {
			out = append(out, fmt.Sprintf("unit %q", p.FieldConfig.Defaults.Unit))
		}
		if q.Exemplar && !strings.Contains(q.Expr, "_bucket") {
			out = append(out, "asks for exemplars, which only histograms have")
		}
	}
	if len(p.Targets) == 0 {
		out = append(out, "has no query")
	}
	return out
}

func overlapping(panels []panelModel) string {
	taken := map[[2]int]string{}
	for _, p := range panels {
		if p.GridPos.W < 1 || p.GridPos.H < 1 || p.GridPos.X < 0 || p.GridPos.X+p.GridPos.W > columns {
			return fmt.Sprintf("%q lies outside: %+v", p.Title, p.GridPos)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					return fmt.Sprintf("%q lies over %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	return ""
}

// The checks see what they are there for.
func TestChecksOfPanels(t *testing.T) {
	p := panelModel{Type: TimeSeries, Title: "Latency"}
	p.FieldConfig.Defaults.Unit = "seconds"
	p.Targets = []targetModel{{RefID: "A", Exemplar: true, Expr: "up"}, {RefID: "A"}}
	p.Targets[0].Datasource.UID, p.Targets[0].Datasource.Type = Prometheus, "prometheus"
	got := strings.Join(problems(p), "; ")
	for _, want := range []string{"asks nothing", `unit "seconds"`, "only histograms", "nobody provides", "there twice"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not among: %s", want, got)
		}
	}
	p.GridPos.W, p.GridPos.H = 8, 8
	if overlapping([]panelModel{p, p}) == "" {
		t.Error("two panels in one place were not seen")
	}
	p.GridPos.X = 20
	if overlapping([]panelModel{p}) == "" {
		t.Error("a panel that reaches over the edge was not seen")
	}
}

// builtin are the variables that Grafana has by itself.
var builtin = []string{"__rate_interval", "__range", "__interval"}

var variable = regexp.MustCompile(`\$(\w+)`)

func TestVariablesAreDeclared(t *testing.T) {
	for name, m := range models(t) {
		used, declared := map[string]bool{}, map[string]bool{}
		for _, v := range m.Templating.List {
			declared[v.Name] = true
		}
		for _, p := range m.Panels {
			for _, q := range p.Targets {
				for _, found := range variable.FindAllStringSubmatch(q.Expr+q.Query+q.LabelSelector+q.ServiceMapQuery, -1) {
					used[found[1]] = true
				}
			}
		}
		for v := range used {
			if !declared[v] && !slices.Contains(builtin, v) {
				t.Errorf("%s: $%s is not declared", name, v)
			}
		}
		for v := range declared {
			if !used[v] {
				t.Errorf("%s: $%s chooses nothing", name, v)
			}
		}
	}
}

// Every query speaks of metrics and labels that the recorded run has.
func TestQueriesUseNamesThatAreEmitted(t *testing.T) {
	run := recorded(t)
	for name, m := range models(t) {
		for _, p := range m.Panels {
			for _, q := range p.Targets {
				if q.Datasource.UID != Prometheus {
					continue
				}
				used, err := embedded.NamesIn(run.fill(q.Expr))
				if err != nil {
					t.Errorf("%s: %q: %v", name, p.Title, err)
				}
				for _, metric := range used.Metrics {
					if !run.has(metric) {
						t.Errorf("%s: %q: nobody emits %s", name, p.Title, metric)
					}
				}
				for _, label := range used.Labels {
					if !run.labels[label] {
						t.Errorf("%s: %q: nothing has a label %s", name, p.Title, label)
					}
				}
			}
		}
	}
}
