package oracle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/observability/names"
)

// What becomes of a queue after an outage.
const (
	comesBack = "comes back"
	staysDown = "stays down"
	undecided = "undecided"
)

// The last stretch of a run decides what became of it.
const (
	lastStretch = 5 * time.Second
	backFrom    = 0.90 // share of the requests that succeed
	downTo      = 0.10
)

const fateNote = "stays down: at most 10 % of the requests of the last 5 s of 26 s after the outage succeeded; comes back: at least 90 %"

// judgeFate predicts and tells what became of a caller's queue after the outage.
func judgeFate(ctx context.Context, e *evidence, caller, what string, retries float64) (Row, error) {
	after, err := e.phase("after")
	if err != nil {
		return Row{}, err
	}
	utilisation, err := utilisationOf(ctx, e, caller, caller+"-queue", after)
	if err != nil {
		return Row{}, err
	}
	row := Row{
		What: what, Premises: fmt.Sprintf("utilisation %.3f, boundary %.3f", utilisation, Boundary(retries)),
		Fate: &Fate{Predicted: comesBack}, How: fateNote,
	}
	if StaysDown(utilisation, retries) {
		row.Fate.Predicted = staysDown
	}
	row.Fate.Measured, err = fate(e.requests(caller, after.End-lastStretch, after.End))
	return row, err
}

// utilisationOf is that by first attempts: what the queue would be asked for if nobody retried.
func utilisationOf(ctx context.Context, e *evidence, load, service string, p plan.Phase) (float64, error) {
	workers, err := e.workers(service)
	if err != nil {
		return 0, err
	}
	held, _, err := e.mean(ctx, names.DoorServiceTime, service, p)
	if err != nil {
		return 0, err
	}
	due := e.requests(load, p.Start, p.End)
	return float64(len(due)) / (p.End - p.Start).Seconds() * held / float64(workers), nil
}

func fate(last []request) (string, error) {
	if len(last) == 0 {
		return "", errors.New("no request was due at the end")
	}
	ok := 0
	for _, r := range last {
		if r.ok {
			ok++
		}
	}
	switch share := float64(ok) / float64(len(last)); {
	case share >= backFrom:
		return comesBack, nil
	case share <= downTo:
		return staysDown, nil
	}
	return undecided, nil
}

func judgeRetries(ctx context.Context, e *evidence) ([]Row, error) {
	var rows []Row
	for _, c := range []struct {
		caller, what string
		retries      float64
	}{
		{"one-below", "1 retry, below 1/2", 1},
		{"one-above", "1 retry, above 1/2", 1},
		{"two-below", "2 retries, below 1/3", 2},
		{"two-above", "2 retries, above 1/3", 2},
	} {
		row, err := judgeFate(ctx, e, c.caller, c.what, c.retries)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func judgeOutage(ctx context.Context, e *evidence) ([]Row, error) {
	const budget = 0.1
	safe, err := judgeFate(ctx, e, "safe", "budget 10 % at 0.80", budget)
	if err != nil {
		return nil, err
	}
	unsafe, err := judgeFate(ctx, e, "unsafe", "budget 10 % at 0.94", budget)
	if err != nil {
		return nil, err
	}
	drain, err := judgeDrain(ctx, e)
	if err != nil {
		return nil, err
	}
	return []Row{safe, unsafe, drain}, nil
}

// judgeDrain measures how long the queue of the service drain was late after its outage.
func judgeDrain(ctx context.Context, e *evidence) (Row, error) {
	after, err := e.phase("after")
	if err != nil {
		return Row{}, err
	}
	utilisation, err := utilisationOf(ctx, e, "drain", "drain", after)
	if err != nil {
		return Row{}, err
	}
	d, err := measureDrain(e.requests("drain", 0, after.End))
	if err != nil {
		return Row{}, err
	}
	return Row{
		What: "drain time", Premises: fmt.Sprintf("outage %s, utilisation %.3f", figure.Seconds.Text(d.outage), utilisation),
		Unit: figure.Seconds, Predicted: Drain(d.outage, utilisation), Measured: d.drained, Interval: &d.interval,
		How: "drain time: the line through the falling latencies, followed to the latency before the outage; interval: 2 standard errors of it",
	}, nil
}

// drained is what was seen of an outage and its end.
type drained struct {
	outage, drained float64
	interval        Interval
}

// measureDrain reads the outage from the longest gap in the answers, and the time of draining
// from the latencies after it, which fall in a straight line.
//
//	latency |      /\
//	        |     /  `\        outage: no answer from here ...
//	        |    /     `\      drained: ... from its end to where the line
//	        |___/        `\___          meets the latency of before
//	             due
func measureDrain(all []request) (drained, error) {
	var answers []float64
	peak := 0.0
	for _, r := range all {
		if !r.ok {
			return drained{}, errors.New("a request failed; in draining none may be given up")
		}
		answers, peak = append(answers, r.done), max(peak, r.latency())
	}
	slices.Sort(answers)
	begin, end := 0.0, 0.0
	for i := range len(answers) - 1 {
		if answers[i+1]-answers[i] > end-begin {
			begin, end = answers[i], answers[i+1]
		}
	}
	var before []float64
	var falling []request
	for _, r := range all {
		switch {
		case r.done <= begin:
			before = append(before, r.latency())
		case r.due > end && r.latency() > 0.15*peak && r.latency() < 0.85*peak:
			falling = append(falling, r)
		}
	}
	if len(before) == 0 {
		return drained{}, errors.New("no request was answered before the outage")
	}
	level := meanOf(before)
	if end-begin < 10*level {
		return drained{}, errors.New("answers came all the time: there was no outage")
	}
	zero, err := crossing(falling, level)
	if err != nil {
		return drained{}, err
	}
	return drained{outage: end - begin, drained: zero.value - end, interval: Interval{zero.value - end - 2*zero.err, zero.value - end + 2*zero.err}}, nil
}

type estimate struct{ value, err float64 }

// crossing fits a line to latency over due and returns when it comes down to a level.
func crossing(points []request, level float64) (estimate, error) {
	n := float64(len(points))
	if n < 10 {
		return estimate{}, fmt.Errorf("only %d requests were seen while the queue drained", len(points))
	}
	var mx, my, sxx, sxy float64
	for _, p := range points {
		mx, my = mx+p.due/n, my+p.latency()/n
	}
	for _, p := range points {
		sxx += (p.due - mx) * (p.due - mx)
		sxy += (p.due - mx) * (p.latency() - my)
	}
	slope := sxy / sxx
	if !(slope < 0) {
		return estimate{}, errors.New("the latency did not fall after the outage")
	}
	residual := 0.0
	for _, p := range points {
		d := p.latency() - my - slope*(p.due-mx)
		residual += d * d
	}
	at := mx + (level-my)/slope
	spread := math.Sqrt(residual/(n-2)) / -slope * math.Sqrt(1/n+(at-mx)*(at-mx)/sxx)
	return estimate{at, spread}, nil
}
