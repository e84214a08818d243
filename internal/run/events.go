package run

import (
	"context"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
)

// event records what happened, and tells who watches. A run whose events
// cannot be recorded proves nothing and ends.
func (r *runner) event(e record.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if err := r.record.Event(e); err != nil {
		r.abort(err)
	}
	if r.cfg.Watch != nil {
		r.telling.Lock()
		defer r.telling.Unlock()
		r.cfg.Watch.Event(e)
	}
}

func (r *runner) progress(p Progress) {
	if r.cfg.Watch != nil {
		r.telling.Lock()
		defer r.telling.Unlock()
		r.cfg.Watch.Progress(p)
	}
}

func (r *runner) phase(phase plan.Phase, begins bool) {
	text, value := "ended", 0.0
	if begins {
		text, value = "started", 1
	}
	r.rig.metrics.phase.WithLabelValues(phase.Name).Set(value)
	r.event(record.Event{Kind: record.EventPhase, Name: phase.Name, Text: text})
}

// inject brings about one fault of the plan. What goes wrong is an event: a
// fault that was not felt makes the verdict inconclusive, not the run broken.
func (r *runner) inject(ctx context.Context, w plan.Window) {
	if w.Load != "" { // part of the load already
		r.rig.controller.Show(w.Fault, w.Load, true)
		r.event(record.Event{Kind: record.EventFault, Name: w.ID, Text: chaos.EventInjected})
		return
	}
	if err := r.rig.controller.Supports(w.Fault); err != nil {
		r.event(record.Event{Kind: record.EventNote, Name: w.ID, Text: err.Error()})
		return
	}
	_ = r.rig.controller.Inject(ctx, w.Fault) // the controller's events tell what went wrong
}

// recover takes back one fault of the plan, if it stands.
func (r *runner) recover(ctx context.Context, w plan.Window) {
	if w.Load != "" {
		r.rig.controller.Show(w.Fault, w.Load, false)
		r.event(record.Event{Kind: record.EventFault, Name: w.ID, Text: chaos.EventRecovered})
		return
	}
	for _, f := range r.rig.controller.Active() {
		if f.ID == w.ID {
			_ = r.rig.controller.Recover(ctx, w.ID) // the controller's events tell what went wrong
		}
	}
}

// onFault turns what the controller says into an event.
func (r *runner) onFault(e chaos.Event) {
	event := record.Event{Kind: record.EventFault, Name: e.Fault.ID, Text: e.Text, Effect: e.Effect}
	switch {
	case e.Text == chaos.EventNote:
		event.Kind, event.Text = record.EventNote, e.Note
		if event.Name == "" {
			event.Name = "proxy" // of the lease, which is no single fault's
		}
	case e.Note != "":
		event.Data = map[string]any{"note": e.Note}
	}
	event.Time = time.Now()
	r.control.Load().mark(&event, e.Fault)
	r.event(event)
}
