package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/loadgen"
)

// phrases say what a measure is of, before the name of what it is taken of.
var phrases = map[string]string{
	"success": "success of %s", "goodput": "goodput of %s", "max": "longest latency of %s", "rate": "rate of %s",
	"recovery":      "time until %s recovered",
	"detected":      "time until %s fired",
	"amplification": "attempts for each call on %s", "attempts": "attempts on %s", "errors": "errors on %s", "rejected": "calls rejected on %s",
	"queue": "longest queue of %s", "busy": "busy workers of %s", "wasted": "work of %s thrown away", "cpu": "CPU of %s", "memory": "memory of %s",
	"violations": "broken invariants", "lag": "lag of the load generator", "promql": "%s",
}

// operators say comparisons in words.
var operators = map[string]string{"<": "below", "<=": "at most", ">": "above", ">=": "at least", "==": "exactly", "!=": "other than"}

// inWords says an expectation in words: what is measured, and what is wanted of it.
// An expectation that cannot be read stays as it was written.
func inWords(f check.Finding) (what, wants, meaning string) {
	c, err := grammar.Parse(f.That)
	if err != nil {
		return f.That, f.Wanted, ""
	}
	phrase, known := phrases[c.Measure.Name]
	if _, percentile := grammar.Quantile(c.Measure.Name); percentile {
		phrase, known = c.Measure.Name+" latency of %s", true
	}
	if !known {
		phrase = c.Measure.Name + " of %s"
	}
	what = phrase
	if strings.Contains(phrase, "%s") {
		what = strings.TrimSpace(fmt.Sprintf(phrase, c.Argument))
	}
	op, limit, found := strings.Cut(f.Wanted, " ")
	word := operators[op]
	switch {
	case !found || word == "":
		return what, f.Wanted, c.Measure.Meaning
	case op == "==" && limit == "0" && c.Measure.Unit == figure.Count:
		return "no " + what, "", c.Measure.Meaning
	}
	return what, word + " " + limit, c.Measure.Meaning
}

// says puts an outcome into a sentence.
func says(v *check.Verdict) string {
	failed, open := 0, 0
	for _, f := range v.Findings {
		switch f.Outcome {
		case check.Fail:
			failed++
		case check.Inconclusive:
			open++
		}
	}
	all := len(v.Findings)
	switch {
	case len(v.Reasons) > 0 && v.Outcome == check.Inconclusive:
		return "This run proves nothing, whatever its figures say:"
	case failed > 0:
		return fmt.Sprintf("%d of %s did not hold.", failed, counted(all, "expectation"))
	case open > 0:
		return fmt.Sprintf("%d of %s could not be judged.", open, counted(all, "expectation"))
	case all == 1:
		return "The expectation held."
	}
	return fmt.Sprintf("All %d expectations held.", all)
}

// describePolicy says a policy as a scenario writes it, shorter.
func describePolicy(kind string, params map[string]any) string {
	if inside := describeParams(params); inside != "" {
		return kind + " (" + inside + ")"
	}
	return kind
}

func describeParams(params map[string]any) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		if number, is := value.(float64); is {
			value = figure.Plain.Text(number)
		}
		parts = append(parts, fmt.Sprintf("%s %v", strings.ReplaceAll(name, "_", " "), value))
	}
	return strings.Join(parts, ", ")
}

// describeLoad says what a load sends, and how often.
func describeLoad(load loadgen.Load) string {
	what := fmt.Sprintf("a journey of %s", counted(len(load.Steps), "step"))
	if len(load.Steps) == 1 {
		step := load.Steps[0]
		what = strings.TrimSpace(step.Method + " " + step.Path + step.RPC)
	}
	if load.Users > 0 {
		return fmt.Sprintf("%s, %s in a closed loop", what, counted(load.Users, "user"))
	}
	arrivals := load.Arrivals
	if arrivals == "" {
		arrivals = loadgen.Poisson
	}
	return fmt.Sprintf("%s at %s, %s arrivals", what, describeRate(load.Stages), arrivals)
}

func describeRate(stages []loadgen.Stage) string {
	if len(stages) == 0 {
		return figure.PerSecond.Text(0)
	}
	least, most := stages[0].From, stages[0].From
	for _, stage := range stages {
		least, most = min(least, stage.From, stage.To), max(most, stage.From, stage.To)
	}
	if least < most {
		return figure.PerSecond.Text(least) + " to " + figure.PerSecond.Text(most)
	}
	return figure.PerSecond.Text(most)
}

// targetOf names what a fault acts on.
func targetOf(w plan.Window) string {
	if w.Load != "" {
		return w.Load
	}
	return w.Target()
}

// after writes a time after something, to the second, as the data is.
func after(d time.Duration) string { return "+" + figure.Duration(max(0, d.Round(time.Second))) }
