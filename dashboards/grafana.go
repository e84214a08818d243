package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// The uids of the data sources, as observability/grafana/provisioning has them.
const (
	Prometheus = "faultline-prometheus"
	Tempo      = "faultline-tempo"
	Loki       = "faultline-loki"
	Pyroscope  = "faultline-pyroscope"
)

// Board is one dashboard.
type Board struct {
	Name      string // of its file, and of its uid after "faultline-"
	Title     string
	About     string
	Variables []Variable
	Panels    []Panel
}

// Variable is a choice that a dashboard offers: the values of a label. All of them are chosen at first.
type Variable struct {
	Name, Label string
	Metric      string // the series that have the label
	Of          string // the label
}

// Query is one query of a panel.
type Query struct {
	Source    string // a data source's uid; "" means Prometheus
	Expr      string // PromQL, TraceQL, LogQL, or a selector of profiles
	Legend    string // {{label}} stands for a label's value
	Exemplars bool   // shows the traces behind it as well
	Heatmap   bool   // gives buckets
	Instant   bool   // one value, at the end of the time that is shown
}

// Panel is one panel, or the heading of those that follow when Kind is Row.
type Panel struct {
	Kind    string // one of the constants below
	Title   string // the question that the panel answers
	About   string // how to read it
	Unit    string // as Grafana names it
	Width   int    // of 24; 0 means 8
	Height  int    // 0 means 8
	Queries []Query

	Min, Max *float64
	Stack    bool
	Steps    []Step    // thresholds, upwards; the first holds from the beginning
	Values   []Meaning // what numbers mean
	Columns  []string  // of a table, in their order
}

// The kinds of panel.
const (
	Row        = "row"
	TimeSeries = "timeseries"
	Stat       = "stat"
	Timeline   = "state-timeline"
	Heatmap    = "heatmap"
	BarGauge   = "bargauge"
	Table      = "table"
	Logs       = "logs"
	NodeGraph  = "nodeGraph"
	Flames     = "flamegraph"
)

// Step colours what is at least From.
type Step struct {
	From  float64
	Color string
}

// Meaning is a number in words.
type Meaning struct {
	Value int
	Text  string
	Color string
}

// object is a piece of JSON.
type object = map[string]any

// JSON is the dashboard as Grafana reads it, with its keys sorted.
func (b Board) JSON() ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(b.model()); err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", b.Name, err)
	}
	return out.Bytes(), nil
}

// schemaVersion is Grafana's, of version 11.5; later ones read it too.
const schemaVersion = 41

func (b Board) model() object {
	variables := []object{}
	for _, v := range b.Variables {
		variables = append(variables, v.model())
	}
	return object{
		"uid": "faultline-" + b.Name, "title": b.Title, "description": b.About, "tags": []string{"faultline"},
		"schemaVersion": schemaVersion, "version": 1, "editable": true, "graphTooltip": 1, // one crosshair for all panels
		"refresh": "5s", "time": object{"from": "now-5m", "to": "now"},
		"timepicker":  object{"refresh_intervals": []string{"1s", "5s", "10s", "30s", "1m"}},
		"timezone":    "browser",
		"annotations": object{"list": annotations()},
		"links": []object{{
			"type": "dashboards", "title": "Faultline", "tags": []string{"faultline"}, "asDropdown": true, "keepTime": true, "includeVars": true,
			"icon": "external link", "targetBlank": false, "tooltip": "", "url": "",
		}},
		"templating": object{"list": variables},
		"panels":     layOut(b.Panels),
	}
}

func source(uid string) object {
	kind := map[string]string{Prometheus: "prometheus", Tempo: "tempo", Loki: "loki", Pyroscope: "grafana-pyroscope-datasource"}[uid]
	return object{"type": kind, "uid": uid}
}

// everything is what a variable stands for of which all is chosen. Loki refuses a query that may match nothing at all, such as .*
const everything = ".+"

func (v Variable) model() object {
	query := fmt.Sprintf("label_values(%s, %s)", v.Metric, v.Of)
	return object{
		"type": "query", "name": v.Name, "label": v.Label, "datasource": source(Prometheus),
		"definition": query, "query": object{"query": query, "refId": "variable"},
		"refresh": 2, // when the time that is shown changes
		"sort":    1, "multi": true, "includeAll": true, "allValue": everything, "hide": 0, "regex": "", "skipUrlSync": false, "options": []object{},
		"current": object{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}},
	}
}

// layOut places the panels from left to right, line by line.
func layOut(panels []Panel) []object {
	out := []object{}
	x, y, line := 0, 0, 0 // line is the height of the present line
	for i, p := range panels {
		w, h := orElse(p.Width, 8), orElse(p.Height, 8)
		if p.Kind == Row {
			w, h = columns, 1
		}
		if x+w > columns {
			x, y, line = 0, y+line, 0
		}
		model := p.model(i + 1)
		model["gridPos"] = object{"x": x, "y": y, "w": w, "h": h}
		out = append(out, model)
		x, line = x+w, max(line, h)
	}
	return out
}

// columns is how many units wide a dashboard is.
const columns = 24

func orElse(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

func (p Panel) model(id int) object {
	if p.Kind == Row {
		return object{"id": id, "type": Row, "title": p.Title, "collapsed": false, "panels": []object{}}
	}
	targets := []object{}
	for i, q := range p.Queries {
		targets = append(targets, q.model(p, string(rune('A'+i))))
	}
	model := object{
		"id": id, "type": p.Kind, "title": p.Title, "description": p.About,
		"datasource": targets[0]["datasource"], "targets": targets,
		"fieldConfig": object{"defaults": p.defaults(), "overrides": []object{}},
		"options":     p.options(),
	}
	if p.Kind == Table && len(p.Columns) > 0 {
		model["transformations"] = p.tidy()
	}
	return model
}

func (q Query) model(p Panel, ref string) object {
	uid := q.Source
	if uid == "" {
		uid = Prometheus
	}
	model := object{"refId": ref, "datasource": source(uid)}
	switch uid {
	case Prometheus:
		model["expr"], model["legendFormat"], model["editorMode"] = q.Expr, q.Legend, "code"
		model["range"], model["instant"], model["exemplar"] = !q.Instant, q.Instant, q.Exemplars
		switch {
		case q.Heatmap:
			model["format"] = "heatmap"
		case p.Kind == Table:
			model["format"] = "table"
		default:
			model["format"] = "time_series"
		}
	case Tempo:
		if p.Kind == NodeGraph {
			model["queryType"], model["serviceMapQuery"] = "serviceMap", q.Expr
			break
		}
		model["queryType"], model["query"], model["limit"], model["tableType"] = "traceql", q.Expr, 20, "traces"
	case Loki:
		model["queryType"], model["expr"], model["editorMode"], model["maxLines"] = "range", q.Expr, "code", 200
	case Pyroscope:
		model["queryType"], model["labelSelector"], model["profileTypeId"], model["groupBy"] = "profile", q.Expr, "process_cpu:cpu:nanoseconds:cpu:nanoseconds", []string{}
	}
	return model
}

// defaults say how values look.
func (p Panel) defaults() object {
	steps := []object{{"color": "green", "value": nil}}
	for i, s := range p.Steps {
		if i == 0 {
			steps = []object{{"color": s.Color, "value": nil}}
			continue
		}
		steps = append(steps, object{"color": s.Color, "value": s.From})
	}
	out := object{"unit": p.Unit, "thresholds": object{"mode": "absolute", "steps": steps}, "color": object{"mode": "palette-classic"}, "mappings": p.mappings()}
	if len(p.Steps) > 0 && p.Kind != TimeSeries {
		out["color"] = object{"mode": "thresholds"}
	}
	if p.Min != nil {
		out["min"] = *p.Min
	}
	if p.Max != nil {
		out["max"] = *p.Max
	}
	if p.Kind == TimeSeries {
		out["custom"] = p.lines()
	}
	return out
}

// lines say how a time series is drawn.
func (p Panel) lines() object {
	out := object{
		"drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "fillOpacity": 0, "showPoints": "never", "spanNulls": 5000,
		"stacking": object{"mode": "none", "group": "A"}, "thresholdsStyle": object{"mode": "off"},
	}
	if p.Stack {
		out["stacking"], out["fillOpacity"] = object{"mode": "normal", "group": "A"}, 40
	}
	if len(p.Steps) > 0 {
		out["thresholdsStyle"] = object{"mode": "dashed"}
	}
	return out
}

func (p Panel) mappings() []object {
	if len(p.Values) == 0 {
		return []object{}
	}
	options := object{}
	for i, m := range p.Values {
		options[fmt.Sprint(m.Value)] = object{"index": i, "text": m.Text, "color": m.Color}
	}
	return []object{{"type": "value", "options": options}}
}

// options are those of the kind of panel.
func (p Panel) options() object {
	reduce := object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}
	switch p.Kind {
	case TimeSeries:
		return object{
			"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
	case Stat:
		return object{
			"reduceOptions": reduce, "orientation": "horizontal", "textMode": "value_and_name", "colorMode": "background", "graphMode": "none",
			"justifyMode": "auto", "wideLayout": true,
		}
	case Timeline:
		return object{
			"mergeValues": true, "showValue": "auto", "alignValue": "left", "rowHeight": 0.8,
			"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": false}, "tooltip": object{"mode": "single"},
		}
	case Heatmap:
		return object{
			"calculate": false, "cellGap": 0, "color": object{"mode": "scheme", "scheme": "Oranges", "exponent": 0.5, "steps": 64, "reverse": false},
			"yAxis": object{"unit": p.Unit, "axisPlacement": "left", "reverse": false}, "filterValues": object{"le": 1e-9},
			"exemplars": object{"color": "rgba(255,0,255,0.7)"}, "tooltip": object{"mode": "single", "yHistogram": true}, "legend": object{"show": true},
			"rowsFrame": object{"layout": "auto"},
		}
	case BarGauge:
		return object{
			"reduceOptions": reduce, "orientation": "horizontal", "displayMode": "basic", "valueMode": "color", "showUnfilled": true, "minVizHeight": 16, "minVizWidth": 8,
			"namePlacement": "auto", "sizing": "auto", "legend": object{"showLegend": false},
		}
	case Table:
		return object{"showHeader": true, "cellHeight": "sm", "footer": object{"show": false}}
	case Logs:
		return object{
			"showTime": true, "wrapLogMessage": true, "enableLogDetails": true, "sortOrder": "Descending", "dedupStrategy": "none",
			"showLabels": false, "showCommonLabels": false, "prettifyLogMessage": false,
		}
	default:
		return object{}
	}
}

// tidy leaves a table the columns that are wanted.
func (p Panel) tidy() []object {
	index := object{}
	for i, column := range p.Columns {
		index[column] = i
	}
	return []object{
		{"id": "merge", "options": object{}},
		{"id": "filterFieldsByName", "options": object{"include": object{"names": p.Columns}}},
		{"id": "organize", "options": object{"indexByName": index, "excludeByName": object{}, "renameByName": object{}}},
	}
}
