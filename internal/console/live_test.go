package console

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
)

// TestCatalogIsWhole holds the form's data to the catalog: every parameter of every kind.
func TestCatalogIsWhole(t *testing.T) {
	s := serve(t, Config{})
	response, err := http.Get(s.URL() + "api/catalog")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var kinds []kindShape
	if err := json.NewDecoder(response.Body).Decode(&kinds); err != nil {
		t.Fatal(err)
	}
	if len(kinds) != len(chaos.Catalog()) {
		t.Fatalf("%d kinds, want %d", len(kinds), len(chaos.Catalog()))
	}
	for i, want := range chaos.Catalog() {
		if kinds[i].Name != want.Name || kinds[i].Target != want.Target || len(kinds[i].Params) != len(want.Params) {
			t.Errorf("got %+v, want %+v", kinds[i], want)
		}
	}
}

// TestStream reads the events of a page over the whole of its life.
func TestStream(t *testing.T) {
	w := newWorld(t)
	w.attached(t)
	response, err := http.Get(w.page.URL() + "api/live")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	next := func(kind string, into any) {
		t.Helper()
		for lines.Scan() {
			if name, found := strings.CutPrefix(lines.Text(), "event: "); found && lines.Scan() && name == kind {
				if err := json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "data: ")), into); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
		t.Fatalf("the stream ended before %s: %v", kind, lines.Err())
	}
	var first state
	next("state", &first)
	if first.Run == nil || first.Run.Scenario != "two-bench" || len(first.Run.Services) != 2 || len(first.Run.Edges) != 2 || first.Tick == nil {
		t.Fatalf("got %+v", first)
	}
	journeys := 0
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		var now tick
		next("tick", &now)
		if now.Trouble != "" {
			t.Errorf("trouble: %s", now.Trouble)
		}
		for _, b := range now.Loads["work"].Bins {
			journeys += b.Offered
		}
		edge, from := now.Edges["front->back"], now.Edges["load->front"]
		if journeys > 0 && edge.Rate != nil && *edge.Rate > 0 && edge.P99 != nil && from.Rate != nil && *now.Services["back"].Up == 2 && len(now.Logs) > 0 {
			return
		}
	}
	t.Errorf("after %d journeys something is still missing", journeys)
}

// TestActing asks for what cannot be, and gets told which field is at fault.
func TestActing(t *testing.T) {
	w := newWorld(t)
	w.attached(t)
	for _, tt := range []struct {
		path, body string
		status     int
		want       string
	}{
		{"api/inject", `{"kind": "latency", "params": {"edge": "front->back"}}`, 422, `"fields":{"delay":`},
		{"api/inject", `{"kind": "latency", "params": {"edge": "back->front", "delay": "1s"}}`, 422, `"fields":{"edge":`},
		{"api/inject", `{"kind": "nothing"}`, 422, "unknown kind of fault"},
		{"api/inject", `{"knid": "latency"}`, 400, "unknown field"},
		{"api/inject", `{"kind": "` + strings.Repeat("x", mostBytes) + `"}`, 400, "too large"},
		{"api/inject", ``, 400, "reading the request"},
		{"api/recover", `{"id": "latency-9"}`, 409, "does not act now"},
		{"api/rate", `{"load": "work", "rate": -1}`, 422, `"fields":{"rate":`},
		{"api/rate", `{"load": "nobody", "rate": 1}`, 422, `"fields":{"load":`},
		{"api/save", `{"name": "../up", "keep": true}`, 422, `"fields":{"name":`},
		{"api/save", `{"name": "looked-at"}`, 200, "name: looked-at"},
		{"api/clear", `{}`, 200, "{}"},
		{"api/compare", `{"runs": ["one"]}`, 400, "choose 2 to 6"},
		{"api/compare", `{"runs": ["one", "../two"]}`, 409, "there is no run"},
	} {
		response := w.post(t, tt.path, tt.body)
		var body strings.Builder
		if _, err := bufio.NewReader(response.Body).WriteTo(&body); err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != tt.status || !strings.Contains(body.String(), tt.want) {
			t.Errorf("%s %.80s: got %d %s, want %d %s", tt.path, tt.body, response.StatusCode, body.String(), tt.status, tt.want)
		}
	}
	if _, err := os.Stat(filepath.Join(w.scenarios, "looked-at.yaml")); err == nil {
		t.Error("what was only looked at was written")
	}
	for path, want := range map[string]int{"api/trace/00000000000000000000000000000000": 404, "api/trace/zz": 404, "api/logs?contains=img&severity=WARN": 200, "api/logs?severity=loud": 400} {
		response, err := http.Get(w.page.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: got %s, want %d", path, response.Status, want)
		}
	}
}

func TestRunsIndex(t *testing.T) {
	s := serve(t, Config{})
	dir := filepath.Join(s.cfg.Runs, "20260101-000000-damaged")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, record.MetaFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(s.URL() + "api/runs")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var lines []runLine
	if err := json.NewDecoder(response.Body).Decode(&lines); err != nil || len(lines) != 1 || lines[0].Ended != "damaged" || lines[0].Why == "" {
		t.Errorf("got %+v, %v", lines, err)
	}
}

func TestSavedScenariosAreNeverOverwritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "a.yaml")
	if err := create(file, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := create(file, []byte("two")); err == nil {
		t.Error("it was written over")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "one" {
		t.Errorf("got %q, %v", text, err)
	}
	if err := compiles("x.yaml", []byte("name: x"), &system.System{Name: "two"}); err == nil {
		t.Error("half a scenario compiles")
	}
}

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		list []float32
		q    float64
		want float64
	}{{[]float32{1}, 0.5, 1}, {[]float32{1, 2}, 0.5, 1}, {[]float32{1, 2, 3}, 0.99, 3}, {[]float32{1, 2, 3, 4}, 0, 1}} {
		if got := *quantile(tt.list, tt.q); got != tt.want {
			t.Errorf("%v at %v: got %v, want %v", tt.list, tt.q, got, tt.want)
		}
	}
}
