package grammar

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/faultline-lab/faultline/internal/figure"
)

// Argument says what a measure is taken of.
type Argument string

// What measures are taken of. Load, Edge, Service and Alert are names that the
// scenario or its system must know.
const (
	None    Argument = "none"
	Load    Argument = "load"
	Edge    Argument = "edge"
	Service Argument = "service"
	Alert   Argument = "alert"
	PromQL  Argument = "promql"
)

// Data says where a measure's number comes from, and so what spoils it.
type Data string

// The sources of data.
const (
	FromResults Data = "results" // results.parquet: one row for every request sent
	FromEvents  Data = "events"  // events.jsonl
	FromMetrics Data = "metrics" // the recorded time series
)

// Measure describes one measure.
type Measure struct {
	Name    string
	Of      Argument
	Unit    figure.Unit
	Meaning string // one sentence
	Formula string // how the number comes about, edge cases with it
	Data    Data
	Source  string // the columns, events or metrics that it is computed from
	Example string
	// WholeRun is set where `in` makes no difference, and so may not be given.
	WholeRun bool
	// Live is set where the measure exists while the run goes on, so that
	// an abort condition may use it.
	Live bool
}

// Catalog returns every measure there is, in the order in which it is
// printed. The slice is the caller's own.
func Catalog() []Measure {
	return slices.Concat(loadMeasures(), timeMeasures(), edgeMeasures(), serviceMeasures(), runMeasures())
}

// Find returns the measure of that name.
func Find(name string) (Measure, bool) {
	for _, m := range Catalog() {
		if m.Name == name {
			return m, true
		}
	}
	return Measure{}, false
}

// Quantile returns the share of journeys that a percentile such as p99 names.
func Quantile(name string) (float64, bool) {
	switch name {
	case "p50":
		return 0.5, true
	case "p90":
		return 0.9, true
	case "p95":
		return 0.95, true
	case "p99":
		return 0.99, true
	case "p99.9":
		return 0.999, true
	}
	return 0, false
}

func loadMeasures() []Measure {
	const rows = "results.parquet: rows of the load with an empty step (a journey, or a load's only request), by due"
	measures := []Measure{
		{
			Name: "success", Of: Load, Unit: figure.Ratio, Data: FromResults, Live: true,
			Meaning: "Share of the journeys due that were answered with success, however late.",
			Formula: "ok / due. A journey that was not sent or never finished counts as due and not as ok. Nothing due: unknown.",
			Source:  rows, Example: "success(checkout) >= 99.5%",
		},
		{
			Name: "goodput", Of: Load, Unit: figure.Ratio, Data: FromResults, Live: true,
			Meaning: "Share of the journeys due that were answered with success within the load's slo.",
			Formula: "(ok and done - due <= slo) / due. Without an slo it is the same as success. " +
				"A journey that was not sent or never finished counts as due and not as good. Nothing due: unknown.",
			Source: rows, Example: "goodput(browse) >= 99%",
		},
	}
	for _, p := range []struct{ name, example string }{
		{"p50", "p50(browse) < 50ms"}, {"p90", "p90(browse) < 100ms"}, {"p95", "p95(browse) < 150ms"},
		{"p99", "p99(checkout) < 800ms"}, {"p99.9", "p99.9(checkout) < 1.5s"},
	} {
		measures = append(measures, Measure{
			Name: p.name, Of: Load, Unit: figure.Seconds, Data: FromResults, Live: true,
			Meaning: fmt.Sprintf("Latency within which %s %% of the journeys due had ended, well or not.", p.name[1:]),
			Formula: fmt.Sprintf("The smallest done - due that is not below those of %s %% of the journeys due: exact, from every row. "+
				"Failures count with the time they took, so read goodput beside it; a journey that was not sent or never finished is slower "+
				"than any number, shown as never. Nothing due: unknown.", p.name[1:]),
			Source: rows, Example: p.example,
		})
	}
	return append(measures,
		Measure{
			Name: "max", Of: Load, Unit: figure.Seconds, Data: FromResults, Live: true,
			Meaning: "The longest latency of any journey due.",
			Formula: "max(done - due), exact; never when a journey was not sent or did not finish. Nothing due: unknown.",
			Source:  rows, Example: "max(browse) < 5s",
		},
		Measure{
			Name: "rate", Of: Load, Unit: figure.PerSecond, Data: FromResults, Live: true,
			Meaning: "Journeys that came due per second: what the load really offered.",
			Formula: "due / length of the window. A window in which the plan holds no load gives 0/s.",
			Source:  rows, Example: "rate(checkout) >= 19/s",
		})
}

func timeMeasures() []Measure {
	return []Measure{
		{
			Name: "recovery", Of: Load, Unit: figure.Seconds, Data: FromResults,
			Meaning: "Time after the last fault's end until the load's goodput is back, and stays.",
			Formula: "The smallest whole second s after the end of the last fault such that, from s to the end of the window, " +
				"goodput is at least 99 % of the baseline's, and no single second falls below that by more than chance explains " +
				"(binomial, one in a thousand). At least 3 s must be left after s. Otherwise never, which is greater than any time. " +
				"Baseline: the phase baseline, else what lies between warmup and the first fault. With `in: a fault`, that fault's end counts, " +
				"and the window ends where the next fault begins; with `in: a phase`, the last fault that ended before the phase did. " +
				"No fault, no baseline, nothing due afterwards or less than 3 s to look at: unknown.",
			Source: "results.parquet as goodput; plan.json for phases and faults", Example: "recovery(checkout) <= 10s",
		},
		{
			Name: "detected", Of: Alert, Unit: figure.Seconds, Data: FromEvents,
			Meaning: "Time from the first fault's start until the alert fired.",
			Formula: "First alert event `firing` after the start of the first fault, minus that start. It does not fire before the run ends: never. " +
				"With `in: a fault` that fault counts, with `in: a phase` the first that starts in the phase. " +
				"The alert was firing already when the fault began, or there was no fault: unknown.",
			Source: "events.jsonl: kind alert", Example: "detected(HighErrorRate) <= 15s",
		},
	}
}

func edgeMeasures() []Measure {
	const counted = " Calls and attempts count when they end. Increases are exact differences of the recorded samples, restarts of the caller allowed for; nothing is extrapolated."
	const none = " No calls in the window, or no samples: unknown."
	return []Measure{
		{
			Name: "amplification", Of: Edge, Unit: figure.Times, Data: FromMetrics, Live: true,
			Meaning: "Attempts for each call on the edge: what retries and hedges make of the caller's traffic.",
			Formula: "increase(attempts) / increase(calls). Below 1x where policies answer without asking." + counted + none,
			Source:  "edge_attempts_total, edge_calls_total", Example: "amplification(payments->bank) <= 1.2",
		},
		{
			Name: "attempts", Of: Edge, Unit: figure.PerSecond, Data: FromMetrics, Live: true,
			Meaning: "Attempts per second that the edge's caller made.",
			Formula: "increase(attempts) / length of the window." + counted + " No samples: unknown.",
			Source:  "edge_attempts_total", Example: "attempts(payments->bank) < 60/s",
		},
		{
			Name: "errors", Of: Edge, Unit: figure.Ratio, Data: FromMetrics, Live: true,
			Meaning: "Share of the edge's calls that did not end well for the caller, retries and fallbacks included.",
			Formula: "increase(calls whose outcome is not ok) / increase(calls)." + counted + none,
			Source:  "edge_calls_total by outcome", Example: "errors(gateway->orders) <= 1%",
		},
		{
			Name: "rejected", Of: Edge, Unit: figure.Ratio, Data: FromMetrics, Live: true,
			Meaning: "Share of the edge's calls that a policy turned away: an open breaker, a full bulkhead, a limit.",
			Formula: "increase(calls whose outcome is rejected) / increase(calls)." + counted + none,
			Source:  "edge_calls_total{outcome=\"rejected\"}", Example: "rejected(payments->bank) > 50%",
		},
	}
}

func serviceMeasures() []Measure {
	const worst = " Of several replicas the greatest counts."
	return []Measure{
		{
			Name: "queue", Of: Service, Unit: figure.Count, Data: FromMetrics, Live: true,
			Meaning: "The deepest queue seen at the service's door.",
			Formula: "max(queue depth) over the window's samples, one a second: a shorter peak may be missed." + worst + " No samples: unknown.",
			Source:  "door_queue_depth", Example: "queue(orders) < 64",
		},
		{
			Name: "busy", Of: Service, Unit: figure.Ratio, Data: FromMetrics, Live: true,
			Meaning: "Mean share of the service's workers that were busy.",
			Formula: "mean over the window's samples of busy workers / workers." + worst + " No samples, or a door without a limit of workers: unknown.",
			Source:  "door_busy_workers, door_workers", Example: "busy(gateway) > 90%",
		},
		{
			Name: "wasted", Of: Service, Unit: figure.Ratio, Data: FromMetrics, Live: true,
			Meaning: "Share of the worker time that was spent for callers who had gone.",
			Formula: "increase(wasted seconds) / increase(seconds that workers were held), counted when the work ends." + worst +
				" No work in the window, or no samples: unknown.",
			Source: "door_wasted_seconds_total, door_service_time_seconds_sum", Example: "wasted(orders) <= 5%",
		},
		{
			Name: "cpu", Of: Service, Unit: figure.Cores, Data: FromMetrics, Live: true,
			Meaning: "CPU that a process of the service used, in cores.",
			Formula: "increase(CPU seconds) / length of the window." + worst + " No samples: unknown.",
			Source:  "faultline_process_cpu_seconds", Example: "cpu(catalog) < 0.5",
		},
		{
			Name: "memory", Of: Service, Unit: figure.Bytes, Data: FromMetrics, Live: true,
			Meaning: "The most resident memory (RSS) that a process of the service held; the pages that processes share count in each.",
			Formula: "max(resident bytes) over the window's samples." + worst + " No samples: unknown.",
			Source:  "faultline_process_resident_bytes", Example: "memory(catalog) < 100MB",
		},
	}
}

func runMeasures() []Measure {
	return []Measure{
		{
			Name: "violations", Of: None, Unit: figure.Count, Data: FromEvents, WholeRun: true,
			Meaning: "Broken invariants of the system's data, after the load ended and the system came to rest.",
			Formula: "Number of violations in the last audit's answer, and of those that show when its operations are held against what clients were told (system-file.md). No audit or an answer that cannot be read: unknown. A system that had not settled: unknown, unless something is broken already.",
			Source:  "events.jsonl: kind audit, the answer of the probe invariants; results.parquet: rows of steps with an operation", Example: "violations() == 0",
		},
		{
			Name: "lag", Of: None, Unit: figure.Seconds, Data: FromResults, Live: true,
			Meaning: "The load generator's own delay: p99 of sent - due over all loads.",
			Formula: "As the percentiles of latency, over the journeys that were sent. Nothing sent: unknown.",
			Source:  "results.parquet: sent, due", Example: "lag() > 50ms",
		},
		{
			Name: "promql", Of: PromQL, Unit: figure.Plain, Data: FromMetrics, Live: true,
			Meaning: "Whatever else the recorded metrics tell, in PromQL.",
			Formula: "The query's value at the window's end; $window stands for the window's length, as in increase(sagas_total[$window]). " +
				"It must give a scalar or exactly one series. Nothing, several series or NaN: unknown. " +
				"Limits may carry any unit: % is a hundredth, times are in seconds, sizes in bytes.",
			Source: "the recorded time series", Example: "promql('max(sagas_pending)') < 3",
		},
	}
}

// Signature is how the measure is called: goodput(load).
func (m Measure) Signature() string {
	switch m.Of {
	case None:
		return m.Name + "()"
	case PromQL:
		return m.Name + "('query')"
	case Edge:
		return m.Name + "(caller->callee)"
	default:
		return m.Name + "(" + string(m.Of) + ")"
	}
}

// Describe prints the catalog for a terminal that is so many columns wide.
// Below 40 columns it is printed as for 40.
func Describe(w io.Writer, width int) error {
	width = max(width, 40)
	var b strings.Builder
	b.WriteString(wrap("An expectation or an abort condition is one comparison: a measure, an operator (< <= > >= == !=), a number with its unit.", "", width))
	heading := ""
	for _, m := range Catalog() {
		if h := m.heading(); h != heading {
			heading = h
			b.WriteString("\n" + h + "\n")
		}
		fmt.Fprintf(&b, "\n  %s\n", m.Signature())
		b.WriteString(wrap(m.Meaning, "      ", width))
		for _, part := range []struct{ name, text string }{
			{"formula", m.Formula}, {"unit", m.UnitText()}, {"from", m.Source}, {"example", m.Example},
		} {
			b.WriteString(wrap(part.name+": "+part.text, "      ", width))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// UnitText says how a limit of the measure is written.
func (m Measure) UnitText() string {
	switch m.Unit {
	case figure.Ratio:
		return "per cent, as 99.5%, or a number from 0 to 1"
	case figure.Seconds:
		return "time, as 800ms, 1.5s or 2m"
	case figure.Times:
		return "times, as 1.2x or 1.2"
	case figure.PerSecond:
		return "per second, as 80/s or 80"
	case figure.Count:
		return "a whole number"
	case figure.Bytes:
		return "size, as 100MB (1 MB is 1024 KB)"
	case figure.Cores:
		return "cores, as 0.5"
	default:
		return "any"
	}
}

func (m Measure) heading() string {
	switch m.Of {
	case Load:
		return "OF A LOAD"
	case Edge:
		return "OF AN EDGE"
	case Service:
		return "OF A SERVICE"
	case Alert:
		return "OF AN ALERT"
	default:
		return "OF THE RUN"
	}
}

// wrap breaks text into lines of at most width columns; the first line starts
// with indent, the others two columns further in where there is an indent.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	line, empty := indent, true
	for word := range strings.FieldsSeq(text) {
		if !empty && len([]rune(line))+1+len([]rune(word)) > width {
			b.WriteString(line + "\n")
			line, empty = indent, true
			if indent != "" {
				line += "  "
			}
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	return b.String() + line + "\n"
}
