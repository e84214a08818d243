package run

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/faultline-lab/faultline/internal/plan"
)

// action is something that happens at an offset of the plan.
type action struct {
	at    time.Duration
	order int // among actions of the same offset: endings before beginnings
	do    func(ctx context.Context)
	// apart is set for what may take long: it runs beside the timeline.
	apart bool
}

const (
	orderRecover = iota
	orderPhaseEnd
	orderPhaseStart
	orderInject
)

// actions works out what happens when.
func (r *runner) actions() []action {
	var out []action
	for _, phase := range r.cfg.Plan.Phases {
		out = append(out,
			action{at: phase.Start, order: orderPhaseStart, do: func(context.Context) { r.phase(phase, true) }},
			action{at: phase.End, order: orderPhaseEnd, do: func(context.Context) { r.phase(phase, false) }})
	}
	for _, window := range r.cfg.Plan.Faults {
		injected := make(chan struct{}) // injecting may take longer than the window
		out = append(out,
			action{at: window.Start, order: orderInject, apart: true, do: func(ctx context.Context) { r.inject(ctx, window); close(injected) }},
			action{at: window.End, order: orderRecover, apart: true, do: func(ctx context.Context) { <-injected; r.recover(ctx, window) }})
	}
	sort.SliceStable(out, func(i, j int) bool {
		if out[i].at != out[j].at {
			return out[i].at < out[j].at
		}
		return out[i].order < out[j].order
	})
	return out
}

// follow carries the actions out at their times, counted from start, and
// returns when the last has ended, or with ctx's error.
func follow(ctx context.Context, start time.Time, actions []action) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, a := range actions {
		if err := sleepUntil(ctx, start.Add(a.at)); err != nil {
			return err
		}
		if a.apart {
			wg.Go(func() { a.do(ctx) })
		} else {
			a.do(ctx)
		}
	}
	return nil
}

func sleepUntil(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// phaseAt names the phase at an offset, and how much of it is left.
func phaseAt(p *plan.Plan, offset time.Duration) (string, time.Duration) {
	for _, phase := range p.Phases {
		if offset >= phase.Start && offset < phase.End {
			return phase.Name, phase.End - offset
		}
	}
	return "", 0
}

// describeWindow is a fault in a few words: "latency payments->bank".
func describeWindow(w plan.Window) string {
	text := w.Kind
	for _, edge := range w.Edges {
		text += " " + edge.String()
	}
	for _, service := range w.Services {
		text += " " + service
	}
	if w.Replica > 0 {
		text += fmt.Sprintf("#%d", w.Replica)
	}
	if w.Load != "" {
		text += " " + w.Load
	}
	return text
}
