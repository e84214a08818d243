package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/run"
)

// ready is a run.Watcher for a run that people watch on the page: it tells the
// terminal little, and what went wrong.
type ready struct{ out io.Writer }

// Event tells what somebody at the terminal should know.
func (r ready) Event(e record.Event) {
	switch {
	case e.Kind == record.EventPhase && e.Text == "started":
		fmt.Fprintln(r.out, "ready    load is being sent")
	case e.Kind == record.EventFault:
		fmt.Fprintf(r.out, "fault    %s %s\n", e.Name, e.Text)
	case e.Kind == record.EventLoad:
		fmt.Fprintf(r.out, "load     %s %s: %v/s\n", e.Name, e.Text, e.Data["rate"])
	case e.Kind == record.EventNote || e.Kind == record.EventAbort:
		fmt.Fprintf(r.out, "%-8s %s %s\n", e.Kind, e.Name, e.Text)
	case e.Kind == record.EventProcess && strings.HasPrefix(e.Text, "exited"):
		fmt.Fprintf(r.out, "process  %s %s\n", e.Name, e.Text)
	}
}

// Progress is on the page.
func (r ready) Progress(run.Progress) {}
