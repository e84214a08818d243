package oracle

import (
	"context"
	"fmt"
	"math"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/observability/names"
)

const (
	width   = 100  // of the fan-out
	slowCut = 0.35 // seconds: slow ones take half a second, others a small part of this; a bound of the door's histogram
)

func judgeShapes(ctx context.Context, e *evidence) ([]Row, error) {
	wide, err := judgeFanOut(ctx, e)
	if err != nil {
		return nil, err
	}
	deep, err := judgeLayers(ctx, e)
	if err != nil {
		return nil, err
	}
	return []Row{wide, deep}, nil
}

func judgeFanOut(ctx context.Context, e *evidence) (Row, error) {
	steady, err := e.phase("steady")
	if err != nil {
		return Row{}, err
	}
	_, all, err := e.mean(ctx, names.DoorServiceTime, "leaf", steady)
	if err != nil {
		return Row{}, err
	}
	quick, err := e.increase(ctx, names.DoorServiceTime+"_bucket", "leaf", fmt.Sprintf(",le=\"%g\"", slowCut), steady)
	if err != nil {
		return Row{}, err
	}
	share := 1 - quick/all
	slow, n := 0, 0
	for _, r := range e.requests("wide", steady.Start, steady.End) {
		n++
		if r.latency() > slowCut {
			slow++
		}
	}
	if n == 0 {
		return Row{}, fmt.Errorf("no request was due in the phase %s", steady.Name)
	}
	predicted := AnySlow(share, width)
	spread := 1.96 * math.Sqrt(predicted*(1-predicted)/float64(n))
	return Row{
		What: fmt.Sprintf("slow requests, fan-out %d", width), Premises: fmt.Sprintf("%s of %.0f calls slow", figure.Ratio.Text(share), all),
		Unit: figure.Ratio, Predicted: predicted, Measured: float64(slow) / float64(n),
		Interval: &Interval{predicted - spread, predicted + spread}, How: fmt.Sprintf("interval: binomial, of %d requests", n),
	}, nil
}

func judgeLayers(ctx context.Context, e *evidence) (Row, error) {
	const attempts, layers = 3, 3
	whole, err := e.phase("steady")
	if err != nil {
		return Row{}, err
	}
	top, err := e.increase(ctx, names.DoorRequests, "top", "", whole)
	if err != nil {
		return Row{}, err
	}
	bottom, err := e.increase(ctx, names.DoorRequests, "bottom", "", whole)
	if err != nil {
		return Row{}, err
	}
	if top == 0 {
		return Row{}, fmt.Errorf("no request reached the top in the phase %s", whole.Name)
	}
	return Row{
		What: "calls at the bottom for one at the top", Premises: "3 attempts at each of 3 layers", Unit: figure.Times,
		Predicted: Layered(attempts, layers), Measured: bottom / top,
	}, nil
}
