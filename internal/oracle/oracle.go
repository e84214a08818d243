// Package oracle holds the lab to what is known beforehand: closed forms of
// queueing, of retries and of fan-out, measured by real runs, with real processes
// behind the real proxy and the real load generator. A lab that does not find
// what must be there is not to be believed about what might be.
//
//	labs/*.yaml ─ run.Run ─> record ─ evidence ─> judge ─> Row: predicted, measured, interval, verdict
//
// Predictions are made from what was measured of their premises (arrival rate, mean
// service time, length of the outage), not from what the file asked for.
package oracle

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/observability/embedded"
)

//go:embed labs
var labs embed.FS

// Oracle is one run and what is known about it beforehand.
type Oracle struct {
	Name  string
	About string
	judge func(context.Context, *evidence) ([]Row, error)
}

// All lists the oracles.
func All() []Oracle {
	return []Oracle{
		{"utilisation", "M/M/1: mean time in system = service time / (1 - utilisation)", judgeUtilisation},
		{"tail", "M/M/3 at 0.93: median and p99 of the time in system, by Erlang C", judgeTail},
		{"retries", "retries keep a queue down from a utilisation of 1 / (1 + retries) on", judgeRetries},
		{"outage", "a retry budget b is safe below 1 / (1 + b); a queue drains in outage x arrivals / (capacity - arrivals)", judgeOutage},
		{"shapes", "fan-out: 1 - (1 - p)^100; retries in layers: attempts ^ layers", judgeShapes},
	}
}

// Find returns the named oracle and whether there is one.
func Find(name string) (Oracle, bool) {
	for _, o := range All() {
		if o.Name == name {
			return o, true
		}
	}
	return Oracle{}, false
}

// Config says with what to run.
type Config struct {
	Root    string   // folder that gets the records
	Self    string   // path of this program, whose subcommands a run starts
	Bin     []string // folders searched for the program shop
	Version string
	Log     *slog.Logger // nil discards
}

// Plan works out the oracle's run.
func (o Oracle) Plan() (*plan.Plan, *system.System, []byte, error) {
	text, err := labs.ReadFile("labs/" + o.Name + ".yaml")
	if err != nil {
		return nil, nil, nil, err
	}
	sc, err := scenario.Load(o.Name+".yaml", text)
	if err != nil {
		return nil, nil, nil, err
	}
	file := o.Name + ".system.yaml"
	described, err := labs.ReadFile("labs/" + file)
	if err != nil {
		return nil, nil, nil, err
	}
	sys, err := system.Load(file, described, labs.ReadFile)
	if err != nil {
		return nil, nil, nil, err
	}
	p, err := plan.Compile(sc, sys, sc.VariantNames()[0], plan.Options{})
	return p, sys, text, err
}

// Run runs the oracle and returns what came of it, and the directory of the record.
func (o Oracle) Run(ctx context.Context, cfg Config) (rows []Row, dir string, err error) {
	p, sys, text, err := o.Plan()
	if err != nil {
		return nil, "", fmt.Errorf("planning %s: %w", o.Name, err)
	}
	dir, err = run.Run(ctx, run.Config{
		Plan: p, System: sys, Scenario: text, Root: cfg.Root, Self: cfg.Self, Bin: cfg.Bin, Version: cfg.Version, Log: cfg.Log,
	})
	if err != nil {
		return nil, dir, fmt.Errorf("running %s: %w", o.Name, err)
	}
	rows, err = o.Judge(ctx, dir)
	return rows, dir, err
}

// Judge reads a recorded run of the oracle.
func (o Oracle) Judge(ctx context.Context, dir string) (rows []Row, err error) {
	recorded, err := record.Open(dir)
	if err != nil {
		return nil, err
	}
	switch {
	case recorded.Meta.Scenario != o.Name:
		return nil, fmt.Errorf("%s is a run of %s, not of %s", dir, recorded.Meta.Scenario, o.Name)
	case recorded.Meta.Outcome != record.Completed:
		return nil, fmt.Errorf("the run was %s: %s", recorded.Meta.Outcome, recorded.Meta.Reason)
	}
	archive, err := embedded.OpenArchive(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the telemetry: %w", err)
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	e := &evidence{run: recorded, metrics: archive}
	return o.rows(ctx, e)
}

// rows judges the evidence. Of a run whose load generator lagged nothing is right or wrong.
func (o Oracle) rows(ctx context.Context, e *evidence) ([]Row, error) {
	rows, err := o.judge(ctx, e)
	lag, allowed := e.lag(), e.run.Plan.MaxLag
	if lag <= allowed {
		if err != nil {
			return nil, fmt.Errorf("judging %s: %w", o.Name, err)
		}
		return rows, nil
	}
	if err != nil { // it may well come of the same
		rows = []Row{{What: "everything", Fate: &Fate{Predicted: o.Name, Measured: err.Error()}}}
	}
	for i := range rows {
		rows[i].Void = fmt.Sprintf("the load generator lagged: p99 %s, at most %s is allowed", lag.Round(time.Millisecond), allowed)
	}
	return rows, nil
}
