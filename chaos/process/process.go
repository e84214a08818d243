// Package process owns the faults of the family process: kill, pause and
// restart. It does them through whoever runs the services (Processes), and so
// knows nothing of pids, signals or containers.
//
// What counts as felt:
//
//	kill, pause  the service's health check fails, or gives no answer in time
//	restart      the service's health check failed while it was restarted; the outage is timed
//
// A fault counts as gone when the health check succeeds.
package process

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/faultline-lab/faultline/chaos"
)

// Processes runs the services. Replicas count from 1; 0 means all of them.
type Processes interface {
	// Kill ends the processes at once, without a chance to clean up, and returns when they have gone.
	// One that is dead already is no error.
	Kill(ctx context.Context, service string, replica int) error
	// Restart ends the processes if they run, starts them, and returns when they are healthy.
	Restart(ctx context.Context, service string, replica int) error
	// Ready asks the health check once, and returns nil when all are healthy.
	Ready(ctx context.Context, service string, replica int) error
}

// Pauser is an optional power of Processes. Without it, the fault pause is refused.
type Pauser interface {
	// Pause stops the processes where they stand.
	Pause(ctx context.Context, service string, replica int) error
	// Resume lets them go on. One that was not paused is no error.
	Resume(ctx context.Context, service string, replica int) error
}

const (
	answerWithin  = time.Second      // for a health check, to count as answered
	restartWithin = 60 * time.Second // for a restart, which goes on after Inject
	watchEvery    = 5 * time.Millisecond
)

// Injector is the chaos.Injector of the family process.
type Injector struct {
	processes Processes

	mu         sync.Mutex
	injections map[string]*injection // by the fault's id
}

// The optional powers that this injector has.
var (
	_ chaos.Injector = (*Injector)(nil)
	_ chaos.Checker  = (*Injector)(nil)
	_ chaos.Releaser = (*Injector)(nil)
)

// injection is a fault that was injected.
type injection struct {
	before error // of the health check

	cancel    context.CancelFunc // ends the restart
	restarted chan struct{}      // closed when it has ended

	mu        sync.Mutex
	recovered bool
	outage    time.Duration // restart: how long the health check failed so far
	failed    error         // restart: why it failed
}

// New returns an Injector for the services that processes runs.
func New(processes Processes) *Injector {
	return &Injector{processes: processes, injections: map[string]*injection{}}
}

// Check implements chaos.Checker.
func (i *Injector) Check(f chaos.Fault) error {
	kind, found := chaos.Find(f.Kind)
	if !found || kind.Family != chaos.FamilyProcess {
		return fmt.Errorf("%s is not a fault of processes", f.Kind)
	}
	if len(f.Services) == 0 {
		return errors.New("it names no service")
	}
	if _, ok := i.processes.(Pauser); !ok && f.Kind == chaos.Pause {
		return errors.New("whoever runs the services cannot pause them")
	}
	return nil
}

// Inject implements chaos.Injector. A restart goes on after it has returned.
func (i *Injector) Inject(ctx context.Context, f chaos.Fault) error {
	if err := i.Check(f); err != nil {
		return err
	}
	j := &injection{before: i.ready(ctx, f), cancel: func() {}, restarted: make(chan struct{})}
	if f.Kind == chaos.Restart {
		restarting, cancel := context.WithTimeout(context.WithoutCancel(ctx), restartWithin)
		j.cancel = cancel
		i.keep(f, j)
		go i.restart(restarting, f, j)
		return nil
	}
	close(j.restarted)
	i.keep(f, j)
	return each(f, func(service string) error {
		if f.Kind == chaos.Pause {
			return i.processes.(Pauser).Pause(ctx, service, f.Replica)
		}
		return i.processes.Kill(ctx, service, f.Replica)
	})
}

func (i *Injector) keep(f chaos.Fault, j *injection) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.injections[f.ID] = j
}

func (i *Injector) injection(f chaos.Fault) *injection {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.injections[f.ID]
}

// each runs do for every service of the fault, all at the same time.
func each(f chaos.Fault, do func(service string) error) error {
	failures := make([]error, len(f.Services))
	var running sync.WaitGroup
	for n, service := range f.Services {
		running.Go(func() {
			if err := do(service); err != nil {
				failures[n] = fmt.Errorf("%s of %s: %w", f.Kind, service, err)
			}
		})
	}
	running.Wait()
	return errors.Join(failures...)
}

// ready asks every service of the fault; it takes an answer's delay for a failure.
func (i *Injector) ready(ctx context.Context, f chaos.Fault) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return each(f, func(service string) error { return i.processes.Ready(ctx, service, f.Replica) })
}

// deaf asks whether the health check of every service fails, and returns one of the failures.
func (i *Injector) deaf(ctx context.Context, f chaos.Fault) (bool, error) {
	within, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	failures := make([]error, len(f.Services))
	var asking sync.WaitGroup
	for n, service := range f.Services {
		asking.Go(func() { failures[n] = i.processes.Ready(within, service, f.Replica) })
	}
	asking.Wait()
	for _, err := range failures {
		if err == nil {
			return false, nil
		}
	}
	return true, failures[0]
}

// restart restarts the services, and times how long their health check fails meanwhile.
func (i *Injector) restart(ctx context.Context, f chaos.Fault, j *injection) {
	defer close(j.restarted)
	defer j.cancel()
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { i.timeOutage(watching, f, j) })
	err := each(f, func(service string) error { return i.processes.Restart(ctx, service, f.Replica) })
	stop()
	watch.Wait()
	j.mu.Lock()
	j.failed = err
	j.mu.Unlock()
}

func (i *Injector) timeOutage(ctx context.Context, f chaos.Fault, j *injection) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var since time.Time // of the outage
	for {
		asked := time.Now()
		err := i.ready(ctx, f)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			since = time.Time{}
		} else if since.IsZero() {
			since = asked
		}
		if !since.IsZero() {
			j.mu.Lock()
			j.outage = max(j.outage, time.Since(since))
			j.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Active implements chaos.Injector.
func (i *Injector) Active(ctx context.Context, f chaos.Fault) (chaos.Effect, error) {
	j := i.injection(f)
	if j == nil {
		return chaos.Effect{}, fmt.Errorf("%s was not injected", f.ID)
	}
	j.mu.Lock()
	recovered, outage, failed := j.recovered, j.outage, j.failed
	j.mu.Unlock()
	if recovered || f.Kind != chaos.Restart {
		return i.health(ctx, f, j, recovered)
	}
	effect := chaos.Effect{Felt: outage > 0, Measure: "outage of " + f.Target(), Unit: "ms", During: float64(outage.Microseconds()) / 1000}
	if failed != nil {
		effect.Detail = failed.Error()
	}
	return effect, nil
}

// health measures by the health check: during the fault every service has to
// fail it, after it none may.
func (i *Injector) health(ctx context.Context, f chaos.Fault, j *injection, recovered bool) (chaos.Effect, error) {
	effect := chaos.Effect{Measure: "failing health checks of " + f.Target(), Unit: "errors"}
	var err error
	if recovered {
		err = i.ready(ctx, f)
		effect.Felt = err != nil
	} else {
		effect.Felt, err = i.deaf(ctx, f)
	}
	if ctx.Err() != nil {
		return chaos.Effect{}, ctx.Err()
	}
	if err != nil {
		effect.During, effect.Detail = 1, err.Error()
	}
	if j.before != nil {
		effect.Before = 1
		if !recovered {
			effect.Felt, effect.Detail = false, "it was not healthy before the fault: "+j.before.Error()
		}
	}
	return effect, nil
}

// Recover implements chaos.Injector: it resumes what is paused and starts what does not answer.
func (i *Injector) Recover(ctx context.Context, f chaos.Fault) error {
	j := i.injection(f)
	if j != nil {
		select { // a restart that is under way is on the best way to recovery
		case <-j.restarted:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", f.ID, ctx.Err())
		}
	}
	err := each(f, func(service string) error { return i.recover(ctx, f, service) })
	if err != nil {
		return err
	}
	if j != nil {
		j.mu.Lock()
		j.recovered = true
		j.mu.Unlock()
	}
	return nil
}

func (i *Injector) recover(ctx context.Context, f chaos.Fault, service string) error {
	if pauser, ok := i.processes.(Pauser); ok && f.Kind == chaos.Pause {
		return pauser.Resume(ctx, service, f.Replica)
	}
	within, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if i.processes.Ready(within, service, f.Replica) == nil {
		return nil
	}
	return i.processes.Restart(ctx, service, f.Replica)
}

// Release implements chaos.Releaser.
func (i *Injector) Release(f chaos.Fault) {
	i.mu.Lock()
	j := i.injections[f.ID]
	delete(i.injections, f.ID)
	i.mu.Unlock()
	if j != nil {
		j.cancel()
		<-j.restarted
	}
}
