package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/internal/system/compose"
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
	// Stack is the stack of containers that runs the system; nil means processes of this machine.
	Stack *compose.Stack
	// Watch is told what happens while it happens; nil means nobody watches.
	Watch Watcher
	// Console follows the run and may act on it; nil means there is none.
	Console Console
	// Bench is set for a run without an end of its own: that ctx ends is no interruption then.
	Bench bool
	// Log gets what belongs in no record; nil discards.
	Log *slog.Logger

	loadLate time.Duration // how long after the last phase a load may still be sending; 0 means loadLate
}

// Watcher is told of a run's progress, one call at a time.
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

// Why a run may end before its time without the lab having failed.
var (
	errAborted     = errors.New("an abort condition held")
	errInterrupted = errors.New("it was told to stop")
)

// downWithin bounds taking everything down, after success and failure alike.
const (
	downWithin      = 20 * time.Second
	stackDownWithin = 2 * time.Minute // where containers have to be put back
)

// Run carries out the plan and returns the directory of its record. The record
// is there, and says how the run ended, after an error too, unless it could not be
// made at all: then the directory is "". A run that its scenario aborted or that ended because ctx
// did is no error; one that the lab or the system could not go on with is.
func Run(ctx context.Context, cfg Config) (string, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.System = cfg.Plan.Apply(cfg.System)
	cfg.Watch = watchers(cfg)
	meta := record.Meta{
		Scenario: cfg.Plan.Scenario, Variant: cfg.Plan.Variant, System: cfg.Plan.System, Seed: cfg.Plan.Seed,
		Version: cfg.Version, Machine: fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		Started: time.Now(),
	}
	if cfg.Stack != nil {
		meta.Grafana = compose.New(compose.Config{System: cfg.System, Stack: cfg.Stack}).Grafana()
	}
	w, err := record.Create(cfg.Root, meta, cfg.Plan, cfg.System, cfg.Scenario)
	if err != nil {
		return "", fmt.Errorf("making the run's directory: %w", err)
	}
	r := &runner{cfg: cfg, meta: w.Meta(), record: w, live: measure.NewLive(cfg.Plan.Loads)}
	r.rig = newRig(r)
	why := r.execute(ctx)
	if cfg.Bench && errors.Is(why, errInterrupted) {
		why = nil
	}
	within := downWithin
	if cfg.Stack != nil {
		within = stackDownWithin
	}
	down, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	failed := r.rig.down(down)
	r.meta.Ended = time.Now()
	failed = errors.Join(failed, r.replan())
	r.meta.Outcome, r.meta.Reason = outcome(why, failed)
	if err := w.Close(r.meta); err != nil {
		failed = errors.Join(failed, fmt.Errorf("closing the record: %w", err))
	}
	if errors.Is(why, errAborted) || errors.Is(why, errInterrupted) {
		why = nil
	}
	if errors.Is(why, syscall.ENOSPC) { // the rest follows from it
		failed = nil
	}
	return w.Dir(), errors.Join(why, failed)
}

// outcome words how the run ended for its record, from why it ended early and
// what failed in taking it down.
func outcome(why, failed error) (outcome, reason string) {
	switch {
	case errors.Is(why, errAborted):
		return record.Aborted, why.Error()
	case errors.Is(why, errInterrupted):
		return record.Interrupted, why.Error()
	case why != nil || failed != nil:
		return record.Broken, errors.Join(why, failed).Error()
	default:
		return record.Completed, ""
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

	control atomic.Pointer[Control]
	telling sync.Mutex // held while Config.Watch is called
}

// execute brings everything up and drives the run to its end. It returns what
// ended the run early: not what that brought about, such as a start that was given up.
func (r *runner) execute(parent context.Context) error {
	ctx, abort := context.WithCancelCause(parent)
	defer abort(nil)
	r.abort = abort
	err := r.upAndDrive(ctx)
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return err
	case parent.Err() != nil && errors.Is(cause, context.Cause(parent)):
		return errInterrupted
	default:
		return cause
	}
}

// upAndDrive turns a panic into the end of the run, so that everything is
// taken down in order.
func (r *runner) upAndDrive(ctx context.Context) error {
	defer func() {
		if panicked := recover(); panicked != nil {
			r.cfg.Log.Error("panic", "value", panicked, "stack", string(debug.Stack()))
			r.abort(fmt.Errorf("panic in the lab: %v", panicked))
		}
	}()
	if err := r.rig.up(ctx); err != nil {
		return err
	}
	return r.drive(ctx)
}

// startLead is the time from when all is ready to the first due request.
const startLead = 50 * time.Millisecond

// loadLate is how long after the last phase a load may still be sending: a load that is well ends with it.
const loadLate = 5 * time.Second

// drive sends the load and follows the timeline until both have ended, then
// asks for the invariants.
func (r *runner) drive(ctx context.Context) error {
	worker, err := r.rig.startLoad(ctx, r.result)
	if err != nil {
		return fmt.Errorf("starting the load: %w", err)
	}
	start := time.Now().Add(startLead)
	r.meta.Load = start
	if err := r.record.Update(r.meta); err != nil { // a lab that is killed leaves a record that says how far it came
		return fmt.Errorf("recording the start of the load: %w", err)
	}
	worker.Begin(start)
	detach := r.attach(ctx, worker, start)
	defer detach()

	timeline, endTimeline := context.WithCancelCause(ctx)
	watching, stopWatching := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { r.watch(watching, start) })
	beside.Go(func() {
		if err := worker.Wait(); err != nil {
			endTimeline(fmt.Errorf("the load generator failed: %w", err))
		}
	})
	err = follow(timeline, start, r.actions())
	switch {
	case errors.Is(err, errAborted) || r.cfg.Bench && err != nil: // its end is the planned one
		worker.Stop()
	case err != nil: // nobody waits for the answers any more
		worker.Abandon()
	}
	// By then the load has ended of itself. A worker that hangs is told to stop, and killed when it does not; whoever
	// interrupts the lab does not wait for answers.
	defer time.AfterFunc(cmp.Or(r.cfg.loadLate, loadLate), worker.Stop).Stop()
	defer context.AfterFunc(ctx, worker.Abandon)()
	detach()
	// Faults go before requests that still wait, and before the question whether the
	// data is right: healing is part of the answer.
	r.rig.recoverAll(ctx)
	if loadErr := worker.Wait(); err == nil && loadErr != nil {
		err = fmt.Errorf("the load generator failed: %w", loadErr)
	}
	stopWatching()
	beside.Wait()
	endTimeline(nil)
	if err == nil || errors.Is(err, errAborted) {
		r.audit(context.WithoutCancel(ctx))
	}
	return err
}

func (r *runner) result(result loadgen.Result) {
	r.live.Add(result)
	r.rig.metrics.result(result)
	r.rig.feed.result(result)
	if r.cfg.Console != nil {
		r.cfg.Console.Result(result)
	}
	if err := r.record.Result(result); err != nil {
		r.abort(err)
	}
}
