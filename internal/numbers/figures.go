package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/names"
)

// row is a line of the table: a number, what was measured, and what is to be reached.
type row struct{ what, got, goal string }

// costs are the numbers of a run that is as a user's would be.
func costs(ctx context.Context, m measured) ([]row, error) {
	run, err := record.Open(m.dir)
	if err != nil {
		return nil, err
	}
	after := "unknown: the run was " + run.Meta.Outcome
	if run.Meta.Outcome == record.Completed {
		after = figure.Duration(m.verdict.Sub(run.Meta.Load.Add(run.Plan.Length())))
	}
	rows := []row{
		{"from the command to the first request due", figure.Duration(run.Meta.Load.Sub(m.command)), "<= 3 s"},
		{"from the end of the last phase to the end of the command", after, "<= 3 s"},
	}
	archive, err := embedded.OpenArchive(m.dir)
	if err != nil {
		return nil, err
	}
	used, err := resources(ctx, run, archive)
	return append(rows, used...), errors.Join(err, archive.Close())
}

// resources are what all processes of the run together used in its baseline.
func resources(ctx context.Context, run *record.Run, metrics measure.Metrics) ([]row, error) {
	phase, found := run.Plan.Phase("baseline")
	if !found {
		return nil, fmt.Errorf("the run %s has no baseline", run.Meta.ID)
	}
	end := run.Meta.Load.Add(phase.End)
	length := figure.Duration(phase.End - phase.Start)
	rate := 0.0
	for _, load := range run.Plan.Loads {
		rate += load.Rate(phase.Start)
	}
	where := fmt.Sprintf(", all processes, at %s", figure.PerSecond.Text(rate))
	var rows []row
	for _, asked := range []struct {
		what, expr, goal string
		unit             figure.Unit
	}{
		{"resident memory" + where + " (each shared page once)", fmt.Sprintf("max_over_time(sum(%s)[%s:1s])", names.ProcessProportional, length), "<= 700 MB", figure.Bytes},
		{"resident memory" + where + " (sum of RSS)", fmt.Sprintf("max_over_time(sum(%s)[%s:1s])", names.ProcessResident, length), "", figure.Bytes},
		{"processor" + where, fmt.Sprintf("sum(rate(%s[%s]))", names.ProcessCPU, length), "<= 1 core", figure.Cores},
	} {
		series, err := metrics.Query(ctx, asked.expr, end)
		if err != nil {
			return nil, fmt.Errorf("asking for the %s: %w", asked.what, err)
		}
		got := "unknown: not recorded here"
		switch {
		case run.Meta.Ended.Before(end):
			got = "unknown: the run was " + run.Meta.Outcome
		case len(series) == 1 && len(series[0].Points) == 1:
			got = asked.unit.Text(series[0].Points[0].Value)
		}
		rows = append(rows, row{asked.what, got, asked.goal})
	}
	return rows, nil
}

// lag is the generator's own delay in a run.
func lag(m measured) (row, error) {
	run, err := record.Open(m.dir)
	if err != nil {
		return row{}, err
	}
	set := measure.New(run, nil)
	value := set.Lag(set.Whole())
	return row{
		fmt.Sprintf("p99 of the generator's own delay, at %s (%s requests)", figure.PerSecond.Text(run.Plan.Loads[0].Rate(time.Second)), figure.Count.Text(float64(value.Count))),
		value.Text(), "<= 5 ms",
	}, nil
}

// table prints rows in columns, as Markdown.
func table(out io.Writer, rows []row) {
	rows = append([]row{{"number", "measured", "to reach"}}, rows...)
	var width [3]int
	for _, r := range rows {
		for i, cell := range []string{r.what, r.got, r.goal} {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for i, r := range rows {
		fmt.Fprintf(out, "| %-*s | %-*s | %-*s |\n", width[0], r.what, width[1], r.got, width[2], r.goal)
		if i == 0 {
			fmt.Fprintf(out, "|%s|%s|%s|\n", strings.Repeat("-", width[0]+2), strings.Repeat("-", width[1]+2), strings.Repeat("-", width[2]+2))
		}
	}
}
