package report

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/record"
)

// PageGrafana is where a run is explored further, in the Grafana whose programs hold its telemetry as well.
type PageGrafana struct {
	// Trace is the address of a trace, with traceMark in the place of its id.
	Trace   string              `json:"trace"`
	Windows []PageGrafanaWindow `json:"windows"` // the whole run first
}

// PageGrafanaWindow is a stretch of the run, and the addresses that show it.
type PageGrafanaWindow struct {
	Name     string `json:"name"`
	Fault    bool   `json:"fault"` // a fault acts in it
	Lab      string `json:"lab"`
	Services string `json:"services"`
	Edges    string `json:"edges"`
	Logs     string `json:"logs"`
}

// traceMark stands for a trace's id; the page's script puts it there.
const traceMark = "TRACE_ID"

// What observability/grafana/provisioning and dashboards/ call the data sources and the dashboards.
const (
	grafanaTempo    = "faultline-tempo"
	grafanaLoki     = "faultline-loki"
	grafanaLab      = "faultline-lab"
	grafanaServices = "faultline-services"
	grafanaEdges    = "faultline-edges"
)

// How much is shown around a window: what led to it, and the scrape after it.
const grafanaMargin = 5 * time.Second

// grafanaOf gives the addresses of a run in its Grafana; nil where there is none, or nothing to show there. What the
// record says counts as an address of the web only: a page is opened by people who did not write the record.
func grafanaOf(run *record.Run) *PageGrafana {
	base, err := url.Parse(run.Meta.Grafana)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || run.Meta.Load.IsZero() {
		return nil
	}
	g := grafana{base: strings.TrimRight(base.Scheme+"://"+base.Host+base.EscapedPath(), "/")}
	length := run.Plan.Length()
	if ended := run.Meta.Ended.Sub(run.Meta.Load); ended > length {
		length = ended // what was under way came in, and the verdict after it
	}
	at := func(offset time.Duration) time.Time { return run.Meta.Load.Add(offset) }
	out := &PageGrafana{
		Trace:   g.trace(traceMark, at(-grafanaMargin), at(length+grafanaMargin)),
		Windows: []PageGrafanaWindow{g.window("the whole run", false, at(0), at(length))},
	}
	for _, p := range run.Plan.Phases {
		out.Windows = append(out.Windows, g.window(p.Name, faulted(run.Plan, p), at(p.Start), at(p.End)))
	}
	return out
}

// grafana makes addresses of a Grafana 10 or newer.
type grafana struct{ base string }

func (g grafana) window(name string, fault bool, from, to time.Time) PageGrafanaWindow {
	from, to = from.Add(-grafanaMargin), to.Add(grafanaMargin)
	return PageGrafanaWindow{
		Name: name, Fault: fault,
		Lab: g.dashboard(grafanaLab, from, to), Services: g.dashboard(grafanaServices, from, to), Edges: g.dashboard(grafanaEdges, from, to),
		Logs: g.logs(from, to),
	}
}

func unixMilli(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func (g grafana) dashboard(uid string, from, to time.Time) string {
	return g.base + "/d/" + uid + "?" + url.Values{"from": {unixMilli(from)}, "to": {unixMilli(to)}}.Encode()
}

// exploreQuery is a query of Grafana's Explore; which of the texts count depends on the data source.
type exploreQuery struct {
	RefID      string            `json:"refId"`
	Datasource map[string]string `json:"datasource"`
	QueryType  string            `json:"queryType"`
	Query      string            `json:"query,omitempty"` // Tempo's
	Expr       string            `json:"expr,omitempty"`  // Loki's
}

// trace is a trace as Tempo shows it.
func (g grafana) trace(id string, from, to time.Time) string {
	return g.explore(exploreQuery{QueryType: "traceql", Query: id, Datasource: map[string]string{"type": "tempo", "uid": grafanaTempo}}, from, to)
}

// logs is every service's log records.
func (g grafana) logs(from, to time.Time) string {
	return g.explore(exploreQuery{QueryType: "range", Expr: `{service_name=~".+"}`, Datasource: map[string]string{"type": "loki", "uid": grafanaLoki}}, from, to)
}

func (g grafana) explore(query exploreQuery, from, to time.Time) string {
	query.RefID = "A"
	type window struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	type pane struct {
		Datasource string         `json:"datasource"`
		Queries    []exploreQuery `json:"queries"`
		Range      window         `json:"range"`
	}
	panes, _ := json.Marshal(map[string]pane{"run": {query.Datasource["uid"], []exploreQuery{query}, window{unixMilli(from), unixMilli(to)}}}) // texts alone cannot fail
	return g.base + "/explore?" + url.Values{"schemaVersion": {"1"}, "panes": {string(panes)}}.Encode()
}
