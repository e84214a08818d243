package dashboards

import (
	"fmt"

	"github.com/faultline-lab/faultline/observability/names"
)

// Runs come one after the other, so side by side means: the same figure over the whole time that is shown, split by
// the run that was on. faultline_run_info says which it was; each figure is joined to it, second by second.
//
//	figure      -----1111-----2222-----
//	run_info    ----naive---guarded----
//	faults        ----##-------##------
//	                  ^^ these seconds are added up for naive

// brief is over how much time a rate is taken that is then added up by phases: some samples, and much less than a fault.
const brief = "[5s]"

// when is which seconds count.
type when string

const (
	always  when = ""
	faulted when = " and on () (max(" + names.FaultActive + ") == 1)"
	healthy when = " and on () (max(" + names.FaultActive + ") == 0)"
)

// split is an expression by the run that was on, with its labels.
type split struct{ label string }

var (
	byVariant = split{names.Variant}
	byRun     = split{names.Variant + ", " + names.Run}
)

// now joins an expression to the run that is on.
func (s split) now(expr string) string {
	return fmt.Sprintf("%s * on () group_left (%s) max by (%[2]s) (%s)", expr, s.label, selector(names.RunInfo, chosen(names.Scenario), chosen(names.Variant)))
}

// total adds a rate up over the seconds that count.
func (s split) total(rate string, w when) string {
	return fmt.Sprintf("sum_over_time((%s%s)[$__range:2s])", s.now(rate), w)
}

// share is one rate over another, both added up first.
func (s split) share(part, all string, w when) string {
	return s.total(part, w) + " / " + s.total(all, w)
}

// brief rates.
func briefly(labels, name string, matchers ...string) string {
	return sumBy(labels, "rate("+selector(name, matchers...)+brief+")")
}

// latency is a quantile of a load's latency, over the merged histogram of the seconds that count.
func (s split) latency(q float64, w when) string {
	return fmt.Sprintf("histogram_quantile(%g, %s)", q, s.total(briefly("load, le", names.LoadLatency+"_bucket"), w))
}

func (s split) goodput(w when) string {
	return s.share(briefly(names.Load, names.LoadDone, is(names.Outcome, "good")), briefly(names.Load, names.LoadDone), w)
}

// ofSystem leaves the lab's own processes out.
const ofSystem = `process!~"faultline|proxy|load"`

func choices() []Variable {
	return []Variable{
		{Name: names.Scenario, Label: "Scenario", Metric: names.RunInfo, Of: names.Scenario},
		{Name: names.Variant, Label: "Variant", Metric: names.RunInfo, Of: names.Variant},
	}
}

func resilience() Board {
	s := byVariant
	bars := func(p Panel) Panel {
		p.Kind, p.Queries[0].Instant = BarGauge, true
		return p
	}
	return Board{
		Name: "resilience", Title: "Faultline: Resilience",
		About:     "The variants of a scenario side by side, over all that was run in the time that is shown. Choose a time that holds a run of each.",
		Variables: choices(),
		Panels: []Panel{
			{Kind: Row, Title: "While faults act"},
			bars(ratios(Panel{
				Title: "Which variant keeps its goodput?", Width: 8, Height: 9, Steps: []Step{{0, "red"}, {.9, "orange"}, {.99, "green"}},
				Queries: []Query{{Expr: s.goodput(faulted), Legend: "{{variant}} {{load}}"}},
			})),
			bars(Panel{
				Title: "How slow is it then (p99)?", About: "Of all journeys together that ended while a fault acted.", Width: 8, Height: 9, Unit: "s", Min: number(0),
				Queries: []Query{{Expr: s.latency(.99, faulted), Legend: "{{variant}} {{load}}"}},
			}),
			bars(Panel{
				Title: "How many attempts does a call cost?", About: "Amplification, of the edges on which it is not 1.", Width: 8, Height: 9, Unit: "suffix: x", Min: number(0), Steps: []Step{{0, "green"}, {1.5, "red"}},
				Queries: []Query{{Expr: s.share(briefly("caller, callee", names.EdgeAttempts), briefly("caller, callee", names.EdgeCalls), faulted) + " != 1", Legend: "{{variant}} {{caller}}→{{callee}}"}},
			}),
			bars(ratios(Panel{
				Title: "How much work is done for nobody?", About: "Worker time spent for callers who had gone.", Width: 8, Height: 9, Steps: []Step{{0, "green"}, {.2, "red"}},
				Queries: []Query{{Expr: s.share("sum(rate("+names.DoorWastedSeconds+brief+"))", "sum(rate("+names.DoorServiceTime+"_sum"+brief+"))", faulted), Legend: "{{variant}}"}},
			})),
			bars(ratios(Panel{
				Title: "Which share of the calls is rejected, by what?", Width: 8, Height: 9,
				Queries: []Query{{Expr: s.share(briefly("caller, callee", names.EdgeCalls, is(names.Outcome, "rejected")), briefly("caller, callee", names.EdgeCalls), faulted) + " > 0", Legend: "{{variant}} {{caller}}→{{callee}}"}},
			})),
			bars(ratios(Panel{
				Title: "How long were breakers open?", About: "Share of the time, faults or not.", Width: 8, Height: 9,
				Queries: []Query{{Expr: "avg_over_time((" + s.now("max by (on) ("+selector(names.PolicyState, is(names.Policy, "circuit_breaker"))+" == bool 2)") + ")[$__range:2s])", Legend: "{{variant}} {{on}}"}},
			})),
			{Kind: Row, Title: "When all is well, and in the end"},
			bars(Panel{
				Title: "What does it cost in processor time?", About: "Of the system's processes, while no fault acts.", Width: 8, Height: 9, Unit: "suffix: cores", Min: number(0),
				Queries: []Query{{Expr: "avg_over_time((" + s.now("sum(rate("+selector(names.ProcessCPU, ofSystem)+brief+"))") + string(healthy) + ")[$__range:2s])", Legend: "{{variant}}"}},
			}),
			bars(Panel{
				Title: "What does it cost in latency (p99)?", About: "While no fault acts: warmup and recovery are in it.", Width: 8, Height: 9, Unit: "s", Min: number(0),
				Queries: []Query{{Expr: s.latency(.99, healthy), Legend: "{{variant}} {{load}}"}},
			}),
			{
				Kind: Stat, Title: "Did it hold?", About: "Brought by faultline replay; a run that still goes on is not judged yet.", Width: 8, Height: 9, Unit: "none", Values: verdicts(),
				Queries: []Query{{Expr: "max by (variant) (max_over_time(" + selector(names.RunVerdict, chosen(names.Scenario), chosen(names.Variant)) + "[$__range]))", Legend: "{{variant}}", Instant: true}},
			},
			{Kind: Row, Title: "Over time"},
			ratios(Panel{
				Kind: TimeSeries, Title: "When did goodput fall, and when was it back?", Width: 12, Height: 10,
				Queries: []Query{{Expr: s.now(sumBy(names.Load, rate(names.LoadDone, is(names.Outcome, "good"))) + " / " + sumBy(names.Load, rate(names.LoadDone))), Legend: "{{variant}} {{load}}"}},
			}),
			{
				Kind: TimeSeries, Title: "When did retries amplify?", Width: 12, Height: 10, Unit: "suffix: x", Min: number(0),
				Queries: []Query{{Expr: s.now(sumBy("caller, callee", rate(names.EdgeAttempts))+" / "+sumBy("caller, callee", rate(names.EdgeCalls))) + " != 1", Legend: "{{variant}} {{caller}}→{{callee}}"}},
			},
		},
	}
}

func bench() Board {
	s := byRun
	over := func(q, expr string) string { return fmt.Sprintf("%s by (variant, load) (%s)", q, expr) }
	spread := func(p Panel, expr string) Panel {
		p.Kind, p.Width, p.Height = BarGauge, 8, 10
		p.Queries = []Query{
			{Expr: over("min", expr), Legend: "{{variant}} {{load}} least", Instant: true},
			{Expr: "quantile by (variant, load) (0.5, " + expr + ")", Legend: "{{variant}} {{load}} median", Instant: true},
			{Expr: over("max", expr), Legend: "{{variant}} {{load}} most", Instant: true},
		}
		return p
	}
	return Board{
		Name: "bench", Title: "Faultline: Bench",
		About: "The runs of a campaign (faultline bench) side by side. It shows how far runs of one variant spread; what may be claimed, with intervals, " +
			"is in the campaign's own report.",
		Variables: choices(),
		Panels: []Panel{
			{
				Kind: Timeline, Title: "Which run was on when?", Width: 16, Height: 9, Unit: "none", Values: onOff("on", "blue"),
				Queries: []Query{{Expr: "max by (variant, run) (" + selector(names.RunInfo, chosen(names.Scenario), chosen(names.Variant)) + ")", Legend: "{{variant}}: {{run}}"}},
			},
			{
				Kind: Stat, Title: "How many runs of each are there?", Width: 8, Height: 9, Unit: "short",
				Queries: []Query{{Expr: "count by (variant) (max by (variant, run) (max_over_time(" + selector(names.RunInfo, chosen(names.Scenario), chosen(names.Variant)) + "[$__range])))", Legend: "{{variant}}", Instant: true}},
			},
			spread(ratios(Panel{Title: "How much goodput is left while faults act, from run to run?"}), s.goodput(faulted)),
			spread(Panel{Title: "How slow is it then (p99), from run to run?", Unit: "s", Min: number(0)}, s.latency(.99, faulted)),
			spread(Panel{Title: "How slow is it when all is well (p99), from run to run?", Unit: "s", Min: number(0)}, s.latency(.99, healthy)),
			{
				Kind: Table, Title: "What did each run come to?", About: "Goodput while faults acted. Verdict: 0 not judged, 1 pass, 2 fail, 3 inconclusive.", Width: 12, Height: 11,
				Columns: []string{"variant", "run", "load", "Value", "Value #A"}, Unit: "percentunit",
				Queries: []Query{{Expr: s.goodput(faulted), Instant: true}},
			},
			{
				Kind: Stat, Title: "Which runs count?", About: "An inconclusive run is not the experiment that was planned.", Width: 12, Height: 11, Unit: "none", Values: verdicts(),
				Queries: []Query{{Expr: "max by (run) (max_over_time(" + selector(names.RunVerdict, chosen(names.Scenario), chosen(names.Variant)) + "[$__range]))", Legend: "{{run}}", Instant: true}},
			},
			{
				Kind: TimeSeries, Title: "Was the generator equally punctual in all (p99 of its lag)?", Width: 12, Unit: "s", Min: number(0),
				Queries: []Query{{Expr: s.now("histogram_quantile(0.99, " + sumBy("le", rate(names.LoadLag+"_bucket")) + ")"), Legend: "{{variant}} {{run}}"}},
			},
			{
				Kind: TimeSeries, Title: "Was the machine equally busy in all?", About: "Processor time a second of the lab and the system.", Width: 12, Unit: "suffix: cores", Min: number(0),
				Queries: []Query{{Expr: s.now("sum(rate(" + names.ProcessCPU + window + "))"), Legend: "{{variant}} {{run}}"}},
			},
		},
	}
}
