package check

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
)

// Judge compares a run with what its plan expects. Metrics may be nil, where
// there are none; what needs them is inconclusive then. The error is the context's alone.
func Judge(ctx context.Context, run *record.Run, metrics measure.Metrics) (*Verdict, error) {
	set := measure.New(run, metrics)
	v := &Verdict{
		Run: run.Meta.ID, Scenario: run.Meta.Scenario, Variant: run.Meta.Variant, System: run.Meta.System, Seed: run.Meta.Seed, Settings: run.Plan.Settings,
		Version: run.Meta.Version, Machine: run.Meta.Machine, Started: run.Meta.Started, Seconds: run.Plan.Length().Seconds(),
		Findings: []Finding{}, Lag: set.Lag(set.Whole()),
	}
	for _, expectation := range run.Plan.Expect {
		f, err := find(ctx, set, expectation)
		if err != nil {
			return nil, fmt.Errorf("judging run %s: %w", run.Meta.ID, err)
		}
		v.Findings = append(v.Findings, f)
	}
	v.Reasons = doubts(run, set, v.Lag)
	v.Notes = notes(run)
	v.Violations = violated(set)
	v.Outcome = conclude(v)
	return v, nil
}

// conclude lets the worst finding win, unless the run as a whole proves
// nothing. Data that is broken stays broken, whatever else the run was.
func conclude(v *Verdict) Outcome {
	if len(v.Reasons) > 0 {
		if slices.ContainsFunc(v.Findings, tooManyBroken) {
			return Fail
		}
		return Inconclusive
	}
	outcomes := make([]Outcome, 0, len(v.Findings))
	for _, f := range v.Findings {
		outcomes = append(outcomes, f.Outcome)
	}
	return worst(outcomes)
}

// tooManyBroken tells whether more invariants are broken than were to be.
func tooManyBroken(f Finding) bool {
	c, err := grammar.Parse(f.That)
	return err == nil && c.Measure.Name == "violations" && f.Outcome == Fail && f.Value.Number > c.Wanted
}

// find measures one expectation and compares.
func find(ctx context.Context, set *measure.Set, e plan.Expectation) (Finding, error) {
	f := Finding{That: e.That, In: e.In, Source: e.Source, Outcome: Inconclusive, Got: figure.Unknown}
	c, err := grammar.Parse(e.That)
	if err != nil {
		f.Why = "the expectation cannot be read: " + err.Error()
		return f, nil
	}
	f.Wanted = string(c.Op) + " " + c.WantedUnit.Text(c.Wanted)
	window, err := set.Window(e.In)
	if err != nil {
		f.Why = err.Error()
		return f, nil
	}
	f.Value, err = set.Measure(ctx, c, window)
	switch {
	case err != nil:
		return f, err
	case !f.Value.Known:
		f.Why = f.Value.Why
		return f, nil
	}
	compare(&f, c)
	return f, nil
}

// compare fills in the outcome of a value that is known.
func compare(f *Finding, c *grammar.Comparison) {
	got, wanted := c.WantedUnit.Apart(f.Value.Number, c.Wanted)
	f.Got, f.Wanted = got, string(c.Op)+" "+wanted
	if c.Holds(f.Value.Number) {
		f.Outcome = Pass
		return
	}
	f.Outcome = Fail
	f.Why = fmt.Sprintf("wanted %s, got %s", f.Wanted, got)
	if math.IsInf(f.Value.Number, 1) && c.Measure.Of == grammar.Load && c.Measure.Name != "recovery" {
		f.Why += ": too many never finished"
	}
}
