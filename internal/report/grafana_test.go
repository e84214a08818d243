package report

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// window reads from and to of an address, as offsets from the start of the fixture's load.
func window(t *testing.T, from, to string) (time.Duration, time.Duration) {
	t.Helper()
	var out [2]time.Duration
	for i, text := range []string{from, to} {
		var ms int64
		if err := json.Unmarshal([]byte(text), &ms); err != nil {
			t.Fatalf("%q is no time in milliseconds", text)
		}
		out[i] = time.UnixMilli(ms).Sub(began)
	}
	return out[0], out[1]
}

// explored reads what an address of Grafana's Explore asks: one query of one data source, and of when.
func explored(t *testing.T, address string) (query map[string]any, from, to time.Duration) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || u.Path != "/grafana/explore" || u.Query().Get("schemaVersion") != "1" {
		t.Fatalf("%s is no address of Explore: %v", address, err)
	}
	var panes map[string]struct {
		Datasource string
		Queries    []map[string]any
		Range      struct{ From, To string }
	}
	if err := json.Unmarshal([]byte(u.Query().Get("panes")), &panes); err != nil || len(panes) != 1 {
		t.Fatalf("%s: panes %v: %v", address, panes, err)
	}
	for _, pane := range panes {
		if len(pane.Queries) != 1 || pane.Queries[0]["datasource"].(map[string]any)["uid"] != pane.Datasource {
			t.Fatalf("%s asks %v of %s", address, pane.Queries, pane.Datasource)
		}
		query = pane.Queries[0]
		from, to = window(t, pane.Range.From, pane.Range.To)
	}
	return query, from, to
}

func TestGrafana(t *testing.T) {
	run := newFixture("naive").judge(t).Run
	run.Meta.Grafana = "http://127.0.0.1:3000/grafana/"
	got := grafanaOf(run)
	if got == nil || len(got.Windows) != 5 {
		t.Fatalf("got %+v, want the whole run and four phases", got)
	}
	query, from, to := explored(t, strings.ReplaceAll(got.Trace, "TRACE_ID", "abc"))
	if query["query"] != "abc" || query["queryType"] != "traceql" || from != -5*time.Second || to != 22*time.Second {
		t.Errorf("a trace: %v from %s to %s", query, from, to)
	}
	for i, want := range []struct {
		name     string
		fault    bool
		from, to float64
	}{{"the whole run", false, -5, 22}, {"warmup", false, -5, 7}, {"baseline", false, -3, 11}, {"fault", true, 1, 15}, {"recovery", false, 5, 20}} {
		w := got.Windows[i]
		query, from, to := explored(t, w.Logs)
		if w.Name != want.name || w.Fault != want.fault || query["expr"] != `{service_name=~".+"}` || from.Seconds() != want.from || to.Seconds() != want.to {
			t.Errorf("window %s, fault %t: logs %v from %s to %s; want %+v", w.Name, w.Fault, query, from, to, want)
		}
		for uid, address := range map[string]string{"faultline-lab": w.Lab, "faultline-services": w.Services, "faultline-edges": w.Edges} {
			u, err := url.Parse(address)
			if err != nil || u.Host != "127.0.0.1:3000" || u.Path != "/grafana/d/"+uid {
				t.Fatalf("%s is no address of %s: %v", address, uid, err)
			}
			if from, to := window(t, u.Query().Get("from"), u.Query().Get("to")); from.Seconds() != want.from || to.Seconds() != want.to {
				t.Errorf("%s of %s is from %s to %s", uid, w.Name, from, to)
			}
		}
	}
}

// A record is made by others than those who open its page: only an address of the web becomes a link.
func TestGrafanaOnlyOfTheWeb(t *testing.T) {
	for _, base := range []string{"", "127.0.0.1:3000", "javascript:alert(1)//", "file:///etc/passwd", "http://", "http://a b", "//other"} {
		run := newFixture("naive").judge(t).Run
		run.Meta.Grafana = base
		if got := grafanaOf(run); got != nil {
			t.Errorf("%q became %+v", base, got)
		}
	}
	run := newFixture("naive").judge(t).Run
	run.Meta.Grafana, run.Meta.Load = "http://127.0.0.1:3000", time.Time{}
	if got := grafanaOf(run); got != nil {
		t.Errorf("a run whose load never began has %+v", got)
	}
}

// What addresses name is what Grafana is given.
func TestGrafanaHasWhatIsNamed(t *testing.T) {
	sources, err := os.ReadFile("../../observability/grafana/provisioning/datasources/faultline.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, uid := range []string{grafanaTempo, grafanaLoki} {
		if !strings.Contains(string(sources), "\n    uid: "+uid+"\n") {
			t.Errorf("there is no data source %s", uid)
		}
	}
	files, err := filepath.Glob("../../dashboards/*.json")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, file := range files {
		var board struct{ UID string }
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &board); err != nil {
			t.Fatal(err)
		}
		have[board.UID] = true
	}
	for _, uid := range []string{grafanaLab, grafanaServices, grafanaEdges} {
		if !have[uid] {
			t.Errorf("there is no dashboard %s", uid)
		}
	}
}
