package measure

import (
	"fmt"
	"time"

	"github.com/faultline-lab/faultline/internal/plan"
)

// Kind says what a window is.
type Kind string

// The kinds of window.
const (
	Whole Kind = "run" // all but the warmup
	Phase Kind = "phase"
	Fault Kind = "fault"
)

// Window is a stretch of the run, as offsets from the start of the load: from
// Start on, up to but without End. A journey belongs to it that was due in it.
type Window struct {
	Kind       Kind
	Name       string // of the phase or fault; "" of the whole run
	Start, End time.Duration
}

// String names the window for messages.
func (w Window) String() string {
	if w.Name == "" {
		return "the plan"
	}
	return fmt.Sprintf("%s %s (%s to %s)", w.Kind, w.Name, round(w.Start), round(w.End))
}

// The phases that measures know by name.
const (
	warmup   = "warmup"
	baseline = "baseline"
)

// Window returns the window that the `in` of an expectation names: a phase, a
// fault, or with "" the whole run without its warmup.
func (s *Set) Window(in string) (Window, error) {
	if in == "" {
		return s.whole(), nil
	}
	if phase, found := s.run.Plan.Phase(in); found {
		return Window{Kind: Phase, Name: in, Start: phase.Start, End: phase.End}, nil
	}
	for _, fault := range s.run.Plan.Faults {
		if fault.ID == in {
			return Window{Kind: Fault, Name: in, Start: fault.Start, End: fault.End}, nil
		}
	}
	return Window{}, fmt.Errorf("the plan has no phase and no fault %q", in)
}

func (s *Set) whole() Window {
	w := Window{Kind: Whole, End: s.run.Plan.Length()}
	if phase, found := s.run.Plan.Phase(warmup); found {
		w.Start = phase.End
	}
	return w
}

// baseline is the stretch that later ones are compared with: the phase of that
// name, else what lies between the warmup and the first fault.
func (s *Set) baseline() (Window, bool) {
	if phase, found := s.run.Plan.Phase(baseline); found {
		return Window{Kind: Phase, Name: baseline, Start: phase.Start, End: phase.End}, true
	}
	w := s.whole()
	first, found := s.firstFault(w)
	if !found || first.Start <= w.Start {
		return Window{}, false
	}
	w.End = first.Start
	return w, true
}

// firstFault is the fault that a time until something is counted from: the
// one that the window names, else the first that starts in the window.
func (s *Set) firstFault(w Window) (plan.Window, bool) {
	var first plan.Window
	found := false
	for _, fault := range s.run.Plan.Faults {
		if w.Kind == Fault {
			if fault.ID == w.Name {
				return fault, true
			}
			continue
		}
		inside := w.Kind == Whole || fault.Start >= w.Start && fault.Start < w.End
		if inside && (!found || fault.Start < first.Start) {
			first, found = fault, true
		}
	}
	return first, found
}

// aftermath is the stretch in which a load may recover: from the end of the
// last fault to the window's end. For a fault's own window it goes from that
// fault's end to the start of the next fault that begins after it.
func (s *Set) aftermath(w Window) (Window, bool) {
	if w.Kind == Fault {
		out := Window{Kind: Whole, Start: w.End, End: s.run.Plan.Length()}
		for _, fault := range s.run.Plan.Faults {
			if fault.ID != w.Name && fault.Start >= w.End {
				out.End = min(out.End, fault.Start)
			}
		}
		return out, true
	}
	out, found := Window{Kind: Whole, End: w.End}, false
	for _, fault := range s.run.Plan.Faults {
		if fault.End <= w.End && (!found || fault.End > out.Start) {
			out.Start, found = fault.End, true
		}
	}
	return out, found
}
