package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/system"
)

// Task is what a Runner has to do.
type Task struct {
	Slot     Slot
	Plan     *plan.Plan
	System   *system.System
	Frame    Frame  // for Measure
	Scenario []byte // the scenario file with the sweep's values, for the record
	Root     string // the folder that gets the record
	Keep     Keep
}

// Runner carries out one run, judges and measures it, and slims its record. It
// returns the record's directory, "" where there is none, also with an error. An error means that the run
// could not be carried out; a run that merely proves nothing is no error but void. Of a run that was given
// up because ctx ended it returns no figures.
type Runner func(ctx context.Context, task Task) (dir string, m *Measured, err error)

// Watcher is told how the campaign goes on.
type Watcher interface {
	// Begins is called before a run, with how long the rest takes, this run included.
	Begins(slot Slot, values []string, of int, left time.Duration)
	// Ends is called after it; m is nil when it could not be carried out.
	Ends(slot Slot, m *Measured, err error)
}

// ErrInterrupted is why Run ended before the campaign did: its context ended.
var ErrInterrupted = errors.New("interrupted")

// inARow is after how many runs in a row that could not be carried out a
// campaign ends: the next would fare no better.
const inARow = 3

// Run carries out the runs that are left, in their order. When ctx ends, the run
// under way is given up and ErrInterrupted returned; Resume goes on from there. now is the clock.
func (c *Campaign) Run(ctx context.Context, run Runner, watch Watcher, now func() time.Time) error {
	return c.run(ctx, &series{run: run, now: now}, watch, func(*Slot) bool { return true })
}

// series is runs one after the other, of one campaign or of several in turn.
type series struct {
	run      Runner
	now      func() time.Time
	failures int // the last so many could not be carried out
}

// run carries out those of the runs left that are wanted.
func (c *Campaign) run(ctx context.Context, in *series, watch Watcher, wanted func(*Slot) bool) error {
	for _, slot := range c.file.Slots {
		if slot.State == Done || slot.State == Failed || !wanted(slot) {
			continue
		}
		if ctx.Err() != nil {
			return ErrInterrupted
		}
		err := c.one(ctx, slot, in.run, watch, in.now)
		switch {
		case errors.Is(err, ErrInterrupted), errors.As(err, new(saving)):
			return err
		case err == nil:
			in.failures = 0
		default:
			if in.failures++; in.failures == inARow {
				return fmt.Errorf("%d runs in a row could not be carried out, the last because: %w", inARow, err)
			}
		}
	}
	return nil
}

// saving is an error of the campaign's own files, with which it cannot go on.
type saving struct{ error }

// Unwrap returns the error itself.
func (s saving) Unwrap() error { return s.error }

// one carries out one run and notes what became of it.
func (c *Campaign) one(ctx context.Context, slot *Slot, run Runner, watch Watcher, now func() time.Time) error {
	cell := c.cells[slot.Cell]
	p, err := c.plan(slot)
	if err != nil {
		return saving{err} // it was compiled before: only damage gets here
	}
	watch.Begins(*slot, cell.Values, len(c.file.Slots), c.Length())
	slot.State, slot.Started = Running, now()
	if err := c.save(); err != nil {
		return saving{err}
	}
	dir, measured, err := run(ctx, Task{Slot: *slot, Plan: p, System: c.source.System, Frame: cell.Frame, Scenario: cell.text, Root: c.path(RunsDir), Keep: c.file.Options.Keep})
	slot.Ended = now()
	if dir != "" {
		if slot.Record, err = relative(c.dir, dir, err); err != nil {
			measured = nil
		}
	}
	switch {
	case ctx.Err() != nil && measured == nil:
		c.giveUp(slot, Planned, "interrupted by the user")
		err = ErrInterrupted
	case err != nil:
		c.giveUp(slot, Failed, err.Error())
		watch.Ends(*slot, nil, err)
	default:
		if err := c.writeMeasured(slot, measured); err != nil {
			return saving{err}
		}
		slot.State = Done
		watch.Ends(*slot, measured, nil)
	}
	if saveErr := c.save(); saveErr != nil {
		return saving{errors.Join(err, saveErr)}
	}
	return err
}

// relative is a record's directory as the campaign notes it, so that the
// campaign may be moved.
func relative(campaign, dir string, err error) (string, error) {
	path, pathErr := filepath.Rel(campaign, dir)
	return path, errors.Join(err, pathErr)
}
