package check

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/loadgen"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
)

// doubts says why the run as a whole proves nothing; empty when it was the
// experiment that was planned.
func doubts(run *record.Run, set *measure.Set, lag measure.Value) []string {
	out := []string{}
	if run.Meta.Outcome != record.Completed {
		out = append(out, ending(run.Meta))
	}
	if len(run.Plan.Expect) == 0 {
		out = append(out, "nothing was expected, so nothing was judged")
	}
	if run.Meta.Load.IsZero() {
		return append(out, "the load never started")
	}
	out = append(out, loadDoubts(run, set)...)
	if limit := MaxLag(run.Plan); lag.Known && lag.Number > limit.Seconds() {
		got, allowed := figure.Seconds.Apart(lag.Number, limit.Seconds())
		out = append(out, fmt.Sprintf("the load generator lagged: p99 of sent - due was %s, and at most %s is allowed", got, allowed))
	}
	out = append(out, handDoubts(run)...)
	out = append(out, leaseDoubts(run)...)
	return append(out, faultDoubts(run)...)
}

// handDoubts tells that somebody changed the run on its way: what was expected of the
// plan cannot be held against it then.
func handDoubts(run *record.Run) []string {
	for _, e := range run.Events {
		if who, _ := e.Data[record.Who].(string); who != "" {
			return []string{fmt.Sprintf("it is not the run that was planned: faults or loads were changed by hand (%s)", who)}
		}
	}
	return nil
}

// leaseDoubts tells of faults that the proxy lifted before their end.
func leaseDoubts(run *record.Run) []string {
	for _, e := range run.Events {
		if toxics, _ := e.Data["toxics"].(float64); e.Kind == record.EventNote && e.Text == record.LeaseLapsed && toxics > 0 {
			return []string{"the lab stood still for so long that the proxy lifted the faults before their end"}
		}
	}
	return nil
}

func ending(meta record.Meta) string {
	text := "the run was " + meta.Outcome
	if meta.Outcome == "" {
		text = "the run does not say how it ended"
	}
	if meta.Reason != "" {
		text += ": " + meta.Reason
	}
	return text
}

// The default limit of the generator's lag.
const (
	leastLag   = 5 * time.Millisecond
	shareOfSLO = 20 // a twentieth: 5 % of the tightest slo
)

// MaxLag is the plan's limit of the generator's lag: its own, else 5 ms or 5 %
// of the tightest slo, whichever is more.
func MaxLag(p *plan.Plan) time.Duration {
	if p.MaxLag > 0 {
		return p.MaxLag
	}
	tightest := time.Duration(0)
	for _, load := range p.Loads {
		if load.SLO > 0 && (tightest == 0 || load.SLO < tightest) {
			tightest = load.SLO
		}
	}
	return max(leastLag, tightest/shareOfSLO)
}

// loadDoubts are about the load: whether it was sent as planned, and by a
// generator that did not get in its own way.
func loadDoubts(run *record.Run, set *measure.Set) []string {
	var out []string
	own := map[string]int{}
	for _, r := range run.Results {
		own[r.Error]++
	}
	for _, kind := range []string{loadgen.ErrorFiles, loadgen.ErrorPorts, loadgen.ErrorRequest} {
		if n := own[kind]; n > 0 {
			out = append(out, fmt.Sprintf("requests failed within the load generator (%s): %s", kind, figure.Count.Text(float64(n))))
		}
	}
	if run.Meta.Outcome != record.Completed {
		return out
	}
	for _, load := range run.Plan.Loads {
		due, _ := set.Load(load.Name, measure.Window{Kind: measure.Whole, End: run.Plan.Length()})
		if planned, least := arrivals(load); load.Users == 0 && float64(due.Due) < least {
			out = append(out, fmt.Sprintf("%s was not sent as planned: %d journeys were recorded of about %.0f", load.Name, due.Due, planned))
		} else if load.Users > 0 && due.Due == 0 {
			out = append(out, load.Name+" was not sent: no journey was recorded")
		}
	}
	return out
}

// arrivals is how many journeys a load's stages hold, and how many must at
// least have been due: five standard deviations of a Poisson process below.
func arrivals(load loadgen.Load) (planned, least float64) {
	for _, stage := range load.Stages {
		planned += stage.For.Seconds() * (stage.From + stage.To) / 2
	}
	return planned, planned - 5*math.Sqrt(planned) - 1
}

// What fault events say.
const (
	felt         = "felt"
	notFelt      = "not felt"
	recovered    = "recovered"
	notRecovered = "not recovered"
)

// faultDoubts says what is not proved of the faults. A fault of the load is
// part of the load, which is proved by what was due. Of a run that was cut short, proof
// that is missing says nothing new.
func faultDoubts(run *record.Run) []string {
	var out []string
	for _, w := range run.Plan.Faults {
		if w.Load != "" {
			continue
		}
		why, missing := faultDoubt(w.ID, run.Events)
		if why != "" && (!missing || run.Meta.Outcome == record.Completed) {
			out = append(out, why)
		}
	}
	return out
}

// faultDoubt says what is not proved of a fault: that it was felt, and that it
// was gone afterwards; and whether the proof is missing rather than against it. A fault
// that was felt once was felt; whether it was gone, the last event says.
func faultDoubt(id string, events []record.Event) (why string, missing bool) {
	var effect, end record.Event
	for _, e := range events {
		if e.Kind != record.EventFault || e.Name != id {
			continue
		}
		switch e.Text {
		case felt:
			effect = e
		case notFelt:
			if effect.Text != felt {
				effect = e
			}
		case recovered, notRecovered:
			end = e
		}
	}
	switch {
	case effect.Text == notFelt:
		return fmt.Sprintf("the fault %s was not felt%s", id, proof(effect)), false
	case end.Text == notRecovered:
		return fmt.Sprintf("the fault %s was not gone after its end%s", id, proof(end)), false
	case effect.Text == "":
		return fmt.Sprintf("nothing shows that the fault %s was felt", id), true
	case end.Text == "":
		return fmt.Sprintf("nothing shows that the fault %s was gone after its end", id), true
	}
	return "", false
}

// proof words an effect: what was measured, before and during.
func proof(e record.Event) string {
	if e.Effect == nil || e.Effect.Measure == "" {
		return ""
	}
	number := func(v float64) string {
		text := figure.Plain.Text(v)
		if e.Effect.Unit != "" {
			text += " " + e.Effect.Unit
		}
		return text
	}
	text := fmt.Sprintf(": %s was %s before and %s then", e.Effect.Measure, number(e.Effect.Before), number(e.Effect.During))
	if e.Effect.Detail != "" {
		text += " (" + e.Effect.Detail + ")"
	}
	return text
}

// notes are what a reader should know, though no measure depends on it: a
// measure whose samples are missing says so itself.
func notes(run *record.Run) []string {
	out := []string{}
	loss := run.Meta.Loss
	for _, lost := range []struct {
		n    int64
		what string
	}{
		{loss.SpansDropped, "spans were lost, so traces may have holes"},
		{loss.LogsDropped, "log records were lost"},
		{loss.ScrapesFailed, "scrapes failed; stopped processes count as well"},
		{loss.ProfilesDropped, "profiles were lost"},
	} {
		if lost.n > 0 {
			out = append(out, figure.Count.Text(float64(lost.n))+" "+lost.what)
		}
	}
	out = append(out, deaths(run)...)
	return out[:min(len(out), maxNotes)]
}

// deaths are the processes that ended although nobody asked them to: no fault, and not the end of the run.
func deaths(run *record.Run) []string {
	var out []string
	for _, e := range run.Events {
		how, ended := strings.CutPrefix(e.Text, "exited")
		if e.Kind != record.EventProcess || !ended {
			continue
		}
		when := "while the system started"
		if at := e.Time.Sub(run.Meta.Load); !run.Meta.Load.IsZero() && at >= 0 {
			when = "after " + figure.Duration(at)
		}
		out = append(out, fmt.Sprintf("%s ended by itself %s%s", e.Name, when, how))
	}
	return out
}

// maxNotes bounds the notes.
const maxNotes = 20

// maxViolations bounds the violations that a verdict names: the audit in the record has all.
const maxViolations = 100

// violated lists what is broken. One of each invariant comes first, so that none is hidden behind many of another.
func violated(set *measure.Set) []measure.Violation {
	audit, found := set.Audit()
	if !found {
		return nil
	}
	seen := map[string]bool{}
	var first, rest []measure.Violation
	for _, v := range audit.Violations {
		if seen[v.Invariant] {
			rest = append(rest, v)
			continue
		}
		seen[v.Invariant] = true
		first = append(first, v)
	}
	first = append(first, rest...)
	return first[:min(len(first), maxViolations)]
}
