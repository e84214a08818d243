package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/observability/names"
)

// The texts of events.
const (
	EventInjected     = "injected"
	EventFelt         = "felt"
	EventNotFelt      = "not felt"
	EventRecovered    = "recovered"
	EventNotRecovered = "not recovered"
	EventNote         = "note"
)

// Event is something that happened to a fault.
type Event struct {
	Fault  Fault
	Text   string  // an Event constant
	Effect *Effect // on felt, not felt, recovered, not recovered, when it could be measured
	Note   string  // on note; elsewhere the error, if there was one
}

// Config says how a Controller works. Zero values are usable.
type Config struct {
	// Injectors by family. A fault of a family without one is refused.
	Injectors map[string]Injector
	// Gate is asked before each fault; its error keeps the fault from being
	// injected. Nil means no gate.
	Gate func(ctx context.Context, f Fault) error
	// OnEvent hears of everything that happens, one call at a time. Nil means nobody does.
	OnEvent func(Event)
	// Registerer takes the gauge of active faults. Nil means no gauge.
	Registerer prometheus.Registerer
	// Poll is the pause between two measurements of an effect; 0 means 250 ms.
	Poll time.Duration
	// InjectWithin bounds the injecting of one fault; 0 means 10 s.
	InjectWithin time.Duration
	// RecoverWithin bounds the taking back of one fault, and again the proof that it is gone; 0 means 15 s.
	RecoverWithin time.Duration
}

// Controller brings faults about and takes them back, and proves both. Its methods may be
// called at the same time.
type Controller struct {
	config Config
	gauge  *prometheus.GaugeVec

	emitting sync.Mutex // held while OnEvent runs

	mu      sync.Mutex
	windows map[string]*window
	order   []string // ids, oldest first
}

// window is a fault from its injection to the proof that it is gone.
type window struct {
	fault    Fault
	injector Injector
	stop     context.CancelFunc // ends the watching
	watched  chan struct{}      // closed when the watching has ended
	verdict  sync.Once          // felt or not felt, said once

	recovering sync.Mutex // one recovery at a time
}

// NewController returns a Controller without faults.
func NewController(config Config) *Controller {
	config.Poll = orDefault(config.Poll, 250*time.Millisecond)
	config.InjectWithin = orDefault(config.InjectWithin, 10*time.Second)
	config.RecoverWithin = orDefault(config.RecoverWithin, 15*time.Second)
	c := &Controller{config: config, gauge: activeGauge(config.Registerer), windows: map[string]*window{}}
	for _, injector := range config.Injectors {
		if notifier, ok := injector.(Notifier); ok {
			notifier.Notify(func(f Fault, note string) { c.emit(Event{Fault: f, Text: EventNote, Note: note}) })
		}
	}
	return c
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

func activeGauge(registerer prometheus.Registerer) *prometheus.GaugeVec {
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: names.FaultActive,
		Help: "1 while the fault acts, 0 once it is over.",
	}, []string{names.Fault, names.Kind, names.Target})
	if registerer == nil {
		return gauge
	}
	var already prometheus.AlreadyRegisteredError
	if err := registerer.Register(gauge); errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(*prometheus.GaugeVec); ok {
			return existing // an earlier run of the same process
		}
	}
	return gauge
}

// Show sets the gauge of active faults for a fault that is not injected here: one that is yet to
// come, or one of the family load, which others bring about. target is what it acts on.
func (c *Controller) Show(f Fault, target string, active bool) {
	value := 0.0
	if active {
		value = 1
	}
	c.gauge.WithLabelValues(f.ID, f.Kind, target).Set(value)
}

// Supports says why a fault cannot be brought about here and now, or returns
// nil: its kind is unknown, its family has no injector, the injector cannot
// do it, or it conflicts with a fault that is active. Faults of the family load are
// supported always, for there is nothing to inject.
func (c *Controller) Supports(f Fault) error {
	injector, err := c.injectorFor(f)
	if err != nil || injector == nil {
		return err
	}
	if checker, ok := injector.(Checker); ok {
		if err := checker.Check(f); err != nil {
			return fmt.Errorf("fault %s: %w", f.ID, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conflict(f)
}

func (c *Controller) injectorFor(f Fault) (Injector, error) {
	kind, found := Find(f.Kind)
	if !found {
		return nil, fmt.Errorf("fault %s: %s", f.ID, unknownKind(f.Kind).Message)
	}
	if kind.Family == FamilyLoad {
		return nil, nil
	}
	injector := c.config.Injectors[kind.Family]
	if injector == nil {
		return nil, fmt.Errorf("fault %s: %s is a fault of the family %s, which this target does not offer", f.ID, f.Kind, kind.Family)
	}
	return injector, nil
}

func (c *Controller) conflict(f Fault) error {
	if f.ID == "" {
		return errors.New("a fault without id")
	}
	if _, taken := c.windows[f.ID]; taken {
		return fmt.Errorf("fault %s is active already", f.ID)
	}
	for _, id := range c.order {
		if err := Conflict(c.windows[id].fault, f); err != nil {
			return err
		}
	}
	return nil
}

// Inject asks the gate, brings the fault about and returns; from then on the
// effect is measured until it is felt or the fault ends. On an error nothing
// of the fault stands, unless Active still lists it: RecoverAll tries again then.
func (c *Controller) Inject(ctx context.Context, f Fault) error {
	if err := c.Supports(f); err != nil {
		return err
	}
	injector, _ := c.injectorFor(f)
	if injector == nil {
		return fmt.Errorf("fault %s: %s is part of the load; there is nothing to inject", f.ID, f.Kind)
	}
	w := &window{fault: f, injector: injector, stop: func() {}, watched: make(chan struct{})}
	if err := c.reserve(w); err != nil {
		return err
	}
	if err := c.begin(ctx, w); err != nil {
		c.emit(Event{Fault: f, Text: EventNote, Note: err.Error()})
		return err
	}
	return nil
}

func (c *Controller) reserve(w *window) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.conflict(w.fault); err != nil {
		return err
	}
	c.windows[w.fault.ID] = w
	c.order = append(c.order, w.fault.ID)
	w.recovering.Lock() // until it stands, nobody may take it back
	return nil
}

func (c *Controller) begin(ctx context.Context, w *window) error {
	defer w.recovering.Unlock()
	f := w.fault
	if err := c.pass(ctx, f); err != nil {
		close(w.watched)
		c.remove(w)
		return err
	}
	err := within(ctx, c.config.InjectWithin, func(ctx context.Context) error { return w.injector.Inject(ctx, f) })
	if err != nil {
		close(w.watched)
		return c.undoHalf(ctx, w, err)
	}
	c.gauge.WithLabelValues(f.ID, f.Kind, f.Target()).Set(1)
	c.emit(Event{Fault: f, Text: EventInjected})
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stop = stop
	go c.watch(watching, w)
	return nil
}

// pass asks the gate.
func (c *Controller) pass(ctx context.Context, f Fault) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("not injecting %s: %w", f.ID, err)
	}
	if c.config.Gate == nil {
		return nil
	}
	err := within(ctx, c.config.InjectWithin, func(ctx context.Context) error { return c.config.Gate(ctx, f) })
	if err != nil {
		return fmt.Errorf("not injecting %s: the gate is closed: %w", f.ID, err)
	}
	return nil
}

// undoHalf takes back what a failed injection left.
func (c *Controller) undoHalf(ctx context.Context, w *window, cause error) error {
	cause = fmt.Errorf("injecting %s: %w", w.fault.ID, cause)
	w.verdict.Do(func() {}) // it never stood, so there is nothing to say of its effect
	if err := c.undo(context.WithoutCancel(ctx), w); err != nil {
		return errors.Join(cause, fmt.Errorf("taking back what stands of %s: %w", w.fault.ID, err))
	}
	c.remove(w)
	return cause
}

func (c *Controller) remove(w *window) {
	c.mu.Lock()
	delete(c.windows, w.fault.ID)
	c.order = slices.DeleteFunc(c.order, func(id string) bool { return id == w.fault.ID })
	c.mu.Unlock()
	if releaser, ok := w.injector.(Releaser); ok {
		releaser.Release(w.fault)
	}
}

// watch measures until the fault is felt or ctx ends with the fault.
func (c *Controller) watch(ctx context.Context, w *window) {
	defer close(w.watched)
	var last *Effect
	var failed error
	for ctx.Err() == nil {
		effect, err := c.measure(ctx, w)
		switch {
		case err == nil && effect.Felt:
			w.verdict.Do(func() { c.emit(Event{Fault: w.fault, Text: EventFelt, Effect: &effect}) })
			return
		case err == nil:
			last, failed = &effect, nil
		case ctx.Err() == nil:
			failed = err
		}
		pause(ctx, c.config.Poll)
	}
	w.verdict.Do(func() { c.emit(Event{Fault: w.fault, Text: EventNotFelt, Effect: last, Note: text(failed)}) })
}

func (c *Controller) measure(ctx context.Context, w *window) (Effect, error) {
	var effect Effect
	err := within(ctx, time.Minute, func(ctx context.Context) error {
		measured, err := w.injector.Active(ctx, w.fault)
		if err == nil {
			effect = measured
		}
		return err
	})
	if err != nil {
		return Effect{}, err
	}
	return effect, nil
}

// Recover takes the fault back and proves that it is gone. It works with a
// cancelled ctx too, and ends in time: twice Config.RecoverWithin at most, and
// what one measurement takes to end.
func (c *Controller) Recover(ctx context.Context, id string) error {
	c.mu.Lock()
	w := c.windows[id]
	c.mu.Unlock()
	if w == nil {
		return fmt.Errorf("fault %s is not active", id)
	}
	return c.end(context.WithoutCancel(ctx), w)
}

func (c *Controller) end(ctx context.Context, w *window) error {
	w.recovering.Lock()
	defer w.recovering.Unlock()
	c.mu.Lock()
	gone := c.windows[w.fault.ID] != w
	c.mu.Unlock()
	if gone {
		return nil // someone else was faster
	}
	w.stop()
	<-w.watched
	if err := c.undo(ctx, w); err != nil {
		err = fmt.Errorf("recovering %s: %w", w.fault.ID, err)
		c.emit(Event{Fault: w.fault, Text: EventNotRecovered, Note: err.Error()})
		return err
	}
	effect, err := c.prove(ctx, w)
	if err != nil {
		err = fmt.Errorf("proving that %s is gone: %w", w.fault.ID, err)
		c.emit(Event{Fault: w.fault, Text: EventNotRecovered, Effect: effect, Note: err.Error()})
		return err
	}
	c.gauge.WithLabelValues(w.fault.ID, w.fault.Kind, w.fault.Target()).Set(0)
	c.emit(Event{Fault: w.fault, Text: EventRecovered, Effect: effect})
	c.remove(w)
	return nil
}

// undo calls Injector.Recover until it succeeds or time is up.
func (c *Controller) undo(ctx context.Context, w *window) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.RecoverWithin)
	defer cancel()
	for {
		err := within(ctx, c.config.RecoverWithin, func(ctx context.Context) error { return w.injector.Recover(ctx, w.fault) })
		if err == nil {
			return nil
		}
		pause(ctx, c.config.Poll)
		if ctx.Err() != nil {
			return err
		}
	}
}

// prove measures until the effect is gone or time is up.
func (c *Controller) prove(ctx context.Context, w *window) (*Effect, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.RecoverWithin)
	defer cancel()
	var last *Effect
	failed := errors.New("it is still felt")
	for {
		effect, err := c.measure(ctx, w)
		switch {
		case err == nil && !effect.Felt:
			return &effect, nil
		case err == nil:
			last = &effect
		case ctx.Err() == nil:
			failed = err
		}
		pause(ctx, c.config.Poll)
		if ctx.Err() != nil {
			return last, failed
		}
	}
}

// RecoverAll takes every fault back, all at the same time, and returns what
// went wrong. It works with a cancelled ctx, and may be called at any time, more than once.
func (c *Controller) RecoverAll(ctx context.Context) error {
	c.mu.Lock()
	all := make([]*window, 0, len(c.order))
	for _, id := range c.order {
		all = append(all, c.windows[id])
	}
	c.mu.Unlock()
	failures := make([]error, len(all))
	var recovering sync.WaitGroup
	for i, w := range all {
		recovering.Go(func() { failures[i] = c.end(context.WithoutCancel(ctx), w) })
	}
	recovering.Wait()
	return errors.Join(failures...)
}

// Active returns the faults that were injected and are not proven gone, oldest first.
func (c *Controller) Active() []Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	active := make([]Fault, 0, len(c.order))
	for _, id := range c.order {
		active = append(active, c.windows[id].fault)
	}
	return active
}

func (c *Controller) emit(event Event) {
	if c.config.OnEvent == nil {
		return
	}
	c.emitting.Lock()
	defer c.emitting.Unlock()
	c.config.OnEvent(event)
}

// grace is what a call may take beyond its context before it is given up.
const grace = 2 * time.Second

// within runs call with a time limit and turns a panic into an error. A call
// that ignores its context is given up after a grace: taking the other faults back must
// not wait for it.
func within(ctx context.Context, limit time.Duration, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		defer func() {
			if panicked := recover(); panicked != nil {
				result <- fmt.Errorf("panic: %v", panicked)
			}
		}()
		result <- call(ctx)
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		return fmt.Errorf("no answer in time: %w", context.Cause(ctx))
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
