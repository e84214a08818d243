package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
)

// Config says what to run and with what.
type Config struct {
	Plan   *plan.Plan
	System *system.System // as its file has it; the plan's changes are applied here
	// Scenario is the scenario file as it was read; it is kept in the record.
	Scenario []byte
	// Root is the folder that gets the run's directory.
	Root string
	// Self is the path of this program: the proxy, the load worker and the guard are subcommands of it.
	Self string
	// Bin lists folders that are searched for the system's programs before PATH.
	Bin     []string
	Version string
	// Watch is told what happens while it happens; nil means nobody watches.
	Watch Watcher
	// Log gets what belongs in no record; nil discards.
	Log *slog.Logger
}

// Watcher is told of a run's progress. Calls come from several goroutines.
type Watcher interface {
	Event(record.Event)
	Progress(Progress)
}

// Progress is the state of a run, once a second.
type Progress struct {
	Phase  string
	Left   time.Duration // of the phase
	At     time.Duration // offset in the plan
	Length time.Duration // of the plan
	Loads  []LoadNow
	Faults []string // those active, in words
}

// errAborted is the cause with which an abort condition ends the timeline.
var errAborted = errors.New("an abort condition held")

// recoverWithin bounds taking everything down, after success and failure alike.
const recoverWithin = 20 * time.Second

// Run carries out the plan and returns the directory of its record. The record
// is there, and says how the run ended, after an error too, unless it could not be
// made at all. The error is nil when the run completed or was aborted by its own scenario;
// it wraps context.Canceled when the user interrupted it.
func Run(ctx context.Context, cfg Config) (string, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.System = cfg.Plan.Apply(cfg.System)
	meta := record.Meta{
		Scenario: cfg.Plan.Scenario, Variant: cfg.Plan.Variant, System: cfg.Plan.System, Seed: cfg.Plan.Seed,
		Version: cfg.Version, Machine: fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		Started: time.Now(),
	}
	w, err := record.Create(cfg.Root, meta, cfg.Plan, cfg.System, cfg.Scenario)
	if err != nil {
		return "", fmt.Errorf("making the run's directory: %w", err)
	}
	r := &runner{cfg: cfg, meta: w.Meta(), record: w, live: measure.NewLive(cfg.Plan.Loads)}
	runErr := r.execute(ctx)
	r.meta.Ended = time.Now()
	r.meta.Outcome, r.meta.Reason = outcome(runErr)
	if err := w.Close(r.meta); err != nil {
		runErr = errors.Join(runErr, fmt.Errorf("closing the record: %w", err))
	}
	if errors.Is(runErr, errAborted) {
		runErr = nil
	}
	return w.Dir(), runErr
}

func outcome(err error) (string, string) {
	switch {
	case err == nil:
		return record.Completed, ""
	case errors.Is(err, errAborted):
		return record.Aborted, err.Error()
	case errors.Is(err, context.Canceled):
		return record.Interrupted, "interrupted by the user"
	default:
		return record.Broken, err.Error()
	}
}

// runner is one run while it goes on.
type runner struct {
	cfg    Config
	meta   record.Meta
	record *record.Writer
	live   *measure.Live
	rig    *rig
	abort  context.CancelCauseFunc
}

// execute runs everything between an open and a closed record.
func (r *runner) execute(ctx context.Context) (err error) {
	ctx, r.abort = context.WithCancelCause(ctx)
	defer r.abort(nil)
	r.rig = newRig(r)
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panic in the lab: %v", panicked)
			r.cfg.Log.Error("panic", "value", panicked, "stack", stack())
		}
		downCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recoverWithin)
		defer cancel()
		err = errors.Join(err, r.rig.down(downCtx))
	}()
	if err := r.rig.up(ctx); err != nil {
		return err
	}
	return r.drive(ctx)
}

// drive sends the load and follows the timeline until both have ended, then
// asks for the invariants.
func (r *runner) drive(ctx context.Context) error {
	start := time.Now().Add(startLead)
	r.meta.Load = start
	if err := r.record.Update(r.meta); err != nil { // a lab that is killed leaves a record that says how far it came
		return fmt.Errorf("recording the start of the load: %w", err)
	}
	worker, err := r.rig.startLoad(ctx, start, r.result)
	if err != nil {
		return fmt.Errorf("starting the load: %w", err)
	}
	watching, stopWatching := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { defer close(watched); r.watch(watching, start) }()
	timeline, endTimeline := context.WithCancelCause(ctx)
	loadEnded := make(chan error, 1)
	go func() {
		err := worker.Wait()
		if err != nil {
			endTimeline(fmt.Errorf("the load generator failed: %w", err))
		}
		loadEnded <- err
	}()
	err = follow(timeline, start, r.actions())
	if err != nil {
		worker.Stop()
	}
	loadErr := <-loadEnded
	endTimeline(nil)
	stopWatching()
	<-watched
	if err == nil && loadErr != nil {
		err = fmt.Errorf("the load generator failed: %w", loadErr)
	}
	// Faults go before the question whether the data is right: their healing is part of it.
	err = errors.Join(err, r.rig.recoverAll(ctx))
	if err == nil || errors.Is(err, errAborted) {
		r.audit(context.WithoutCancel(ctx))
	}
	return err
}

// startLead is the time between starting the load worker and its first due
// request: enough for the process to start, on a busy machine too.
const startLead = 400 * time.Millisecond

func (r *runner) result(result loadgen.Result) {
	r.live.Add(result)
	r.rig.metrics.result(result)
	if err := r.record.Result(result); err != nil {
		r.abort(fmt.Errorf("recording results: %w", err))
	}
}

func (r *runner) event(e record.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if err := r.record.Event(e); err != nil {
		r.abort(fmt.Errorf("recording events: %w", err))
	}
	if r.cfg.Watch != nil {
		r.cfg.Watch.Event(e)
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
		r.event(record.Event{Kind: record.EventFault, Name: w.ID, Text: "injected"})
		return
	}
	if err := r.rig.controller.Inject(ctx, w.Fault); err != nil && ctx.Err() == nil {
		r.event(record.Event{Kind: record.EventNote, Name: w.ID, Text: "injecting failed: " + err.Error()})
	}
}

func (r *runner) recover(ctx context.Context, w plan.Window) {
	if w.Load != "" {
		r.event(record.Event{Kind: record.EventFault, Name: w.ID, Text: "recovered"})
		return
	}
	if err := r.rig.controller.Recover(ctx, w.ID); err != nil && ctx.Err() == nil {
		r.event(record.Event{Kind: record.EventNote, Name: w.ID, Text: "recovering failed: " + err.Error()})
	}
}

// onFault turns what the controller says into an event.
func (r *runner) onFault(e chaos.Event) {
	kind, text := record.EventFault, e.Text
	if e.Text == "note" {
		kind, text = record.EventNote, e.Note
	}
	var data map[string]any
	if e.Note != "" && kind == record.EventFault {
		data = map[string]any{"note": e.Note}
	}
	r.event(record.Event{Kind: kind, Name: e.Fault.ID, Text: text, Effect: e.Effect, Data: data})
}
