package dashboards

import (
	"fmt"
	"strings"

	"github.com/faultline-lab/faultline/observability/names"
)

// annotations are drawn over every panel: faults, and on demand phases and alerts.
func annotations() []object {
	band := func(name, expr, title, text, color string, on bool) object {
		return object{
			"name": name, "datasource": source(Prometheus), "enable": on, "hide": false, "iconColor": color,
			"target":      object{"refId": "annotation", "expr": expr, "step": "1s", "interval": "1s"},
			"titleFormat": title, "textFormat": text, "tagKeys": "", "useValueForTime": false,
		}
	}
	return []object{
		band("Faults", names.FaultActive+" == 1", "↯ {{fault}}", "{{kind}} {{target}}", "red", true),
		band("Phases", names.PhaseActive+" == 1", "phase {{phase}}", "", "blue", false),
		band("Alerts", `ALERTS{alertstate="firing"}`, "{{alertname}}", "{{service}} {{caller}} {{callee}}", "orange", false),
	}
}

// window is over how much time a rate is taken: Grafana makes it four scrapes at least.
const window = "[$__rate_interval]"

// selector writes name{matchers}.
func selector(name string, matchers ...string) string {
	if len(matchers) == 0 {
		return name
	}
	return name + "{" + strings.Join(matchers, ", ") + "}"
}

// rate is the increase per second of a counter.
func rate(name string, matchers ...string) string {
	return "rate(" + selector(name, matchers...) + window + ")"
}

// sumBy adds up, but for the labels given (separated by commas).
func sumBy(labels, expr string) string { return "sum by (" + labels + ") (" + expr + ")" }

// quantile is that of a histogram, by the labels given.
func quantile(q float64, labels, histogram string, matchers ...string) string {
	return fmt.Sprintf("histogram_quantile(%g, %s)", q, sumBy(labels+", le", rate(histogram+"_bucket", matchers...)))
}

// is matches one value of a label; chosen what a variable of the same name selects.
func is(label, value string) string    { return fmt.Sprintf("%s=%q", label, value) }
func isNot(label, value string) string { return fmt.Sprintf("%s!=%q", label, value) }
func like(label, value string) string  { return fmt.Sprintf("%s=~%q", label, value) }
func chosen(label string) string       { return label + `=~"$` + label + `"` }

func number(v float64) *float64 { return &v }

// ratios is a panel of shares.
func ratios(p Panel) Panel {
	p.Unit, p.Min, p.Max = "percentunit", number(0), number(1)
	return p
}

// Colours and words of what has come to an end, or not yet.
func verdicts() []Meaning {
	return []Meaning{{0, "not judged yet", "text"}, {1, "pass", "green"}, {2, "fail", "red"}, {3, "inconclusive", "orange"}}
}

func onOff(on, color string) []Meaning { return []Meaning{{0, " ", "transparent"}, {1, on, color}} }
