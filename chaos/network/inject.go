package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/proxy"
)

// toxic is a toxic as the API takes it. Toxicity is left out, which means 1: anything less
// is drawn for each connection, not for each request.
type toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`
	Attributes map[string]any `json:"attributes"`
}

// toxics returns what a fault puts into each of its proxies; none for the kinds that disable the proxy.
func toxics(f chaos.Fault) []toxic {
	attributes := attributes(f)
	if attributes == nil {
		return nil
	}
	streams := []string{f.Params.Text("direction")}
	switch streams[0] {
	case chaos.Both:
		streams = []string{chaos.Upstream, chaos.Downstream}
	case "":
		streams[0] = chaos.Downstream
	}
	list := make([]toxic, 0, len(streams))
	for _, stream := range streams {
		list = append(list, toxic{Name: f.ID + "." + stream, Type: f.Kind, Stream: stream, Attributes: attributes})
	}
	return list
}

func attributes(f chaos.Fault) map[string]any {
	ms := func(name string) int64 { return f.Params.Duration(name).Milliseconds() }
	switch f.Kind {
	case chaos.Latency:
		return map[string]any{"latency": ms("delay"), "jitter": ms("jitter")}
	case chaos.Bandwidth:
		return map[string]any{"rate": f.Params.Float("rate") / 1000} // in KB of 1,000 bytes
	case chaos.SlowClose:
		return map[string]any{"delay": ms("delay")}
	case chaos.Timeout, chaos.ResetPeer:
		return map[string]any{"timeout": ms("after")}
	case chaos.Slicer:
		return map[string]any{"average_size": f.Params.Int("average_size"), "size_variation": f.Params.Int("size_variation"), "delay": f.Params.Duration("delay").Microseconds()}
	case chaos.LimitData:
		return map[string]any{"bytes": f.Params.Int("bytes")}
	}
	return nil
}

// injection is a fault that was injected, or half.
type injection struct {
	fault   chaos.Fault
	targets []*target

	mu        sync.Mutex
	recovered bool
}

// target is one proxy that a fault acts on.
type target struct {
	edge   *edge
	prober *prober
	before time.Duration // of a probe's answer
	silent bool          // it gave no answer even before
	start  mark          // the counters when the fault began
}

// mark is how far the counters of a proxy were at a moment.
type mark struct {
	traffic proxy.Traffic
	sent    int64 // by probes
}

func (j *injection) close() {
	for _, t := range j.targets {
		t.prober.close()
	}
}

// Inject implements chaos.Injector: it asks each proxy how fast it answers, and then brings the fault about.
func (i *Injector) Inject(ctx context.Context, f chaos.Fault) error {
	edges, err := i.targets(f)
	if err != nil {
		return err
	}
	j := &injection{fault: f}
	for _, e := range edges {
		prober, err := newProber(e.Probe, i.config.Dial, e.Addr, &e.sent)
		if err != nil {
			j.close()
			return err
		}
		j.targets = append(j.targets, &target{edge: e, prober: prober})
	}
	i.keep(f, j)
	_ = parallel(len(j.targets), func(n int) error { i.baseline(ctx, j.targets[n]); return nil })
	marks, err := i.marks(ctx, j)
	if err != nil {
		return err
	}
	for n, t := range j.targets {
		t.start = marks[n]
	}
	return parallel(len(j.targets), func(n int) error { return i.apply(ctx, f, j.targets[n]) })
}

func (i *Injector) keep(f chaos.Fault, j *injection) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if old := i.injections[f.ID]; old != nil {
		old.close()
	}
	i.injections[f.ID] = j
}

func (i *Injector) injection(f chaos.Fault) *injection {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.injections[f.ID]
}

// The baseline is the median of up to three answers, after a first one that
// opens the connection. A slow callee is asked less often: the fault is due.
const (
	baselines      = 3
	baselineWithin = 50 * time.Millisecond
)

func (i *Injector) baseline(ctx context.Context, t *target) {
	start := time.Now()
	if _, err := t.askWithin(ctx, i.config.ProbeWithin); err != nil {
		t.silent = true
		return
	}
	var took []time.Duration
	for len(took) == 0 || len(took) < baselines && time.Since(start) < baselineWithin {
		d, err := t.askWithin(ctx, i.config.ProbeWithin)
		if err != nil {
			t.silent = true
			return
		}
		took = append(took, d)
	}
	slices.Sort(took)
	t.before = took[len(took)/2]
}

func (t *target) askWithin(ctx context.Context, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return t.prober.ask(ctx)
}

// marks reads the counters of each target.
func (i *Injector) marks(ctx context.Context, j *injection) ([]mark, error) {
	traffic, err := i.client.traffic(ctx)
	if err != nil {
		return nil, err
	}
	marks := make([]mark, len(j.targets))
	for n, t := range j.targets {
		at := slices.IndexFunc(traffic, func(one proxy.Traffic) bool { return one.Name == t.edge.name })
		if at < 0 {
			return nil, fmt.Errorf("the proxy of %s has gone", t.edge.name)
		}
		marks[n] = mark{traffic: traffic[at], sent: t.edge.sent.Load()}
	}
	return marks, nil
}

func (i *Injector) apply(ctx context.Context, f chaos.Fault, t *target) error {
	name := t.edge.name
	list := toxics(f)
	if list == nil {
		return i.client.enable(ctx, name, false)
	}
	for _, toxic := range list {
		if err := i.client.add(ctx, name, toxic); err != nil {
			return fmt.Errorf("adding %s to %s: %w", f.Kind, name, err)
		}
	}
	if f.Kind != chaos.ResetPeer {
		return nil
	}
	// The toxic resets connections opened from now on. The fault means all of them.
	if err := i.cut(ctx, name); err != nil {
		return err
	}
	if t.start.traffic.Open > 0 {
		i.note(f, "the connections that were open on %s were cut", name)
	}
	return nil
}

// cut cuts the connections of a proxy.
func (i *Injector) cut(ctx context.Context, name string) error {
	if err := i.client.enable(ctx, name, false); err != nil {
		return fmt.Errorf("cutting the connections of %s: %w", name, err)
	}
	if err := i.client.enable(ctx, name, true); err != nil {
		return fmt.Errorf("opening %s again: %w", name, err)
	}
	return nil
}

// Recover implements chaos.Injector.
func (i *Injector) Recover(ctx context.Context, f chaos.Fault) error {
	edges, err := i.targets(f)
	if err != nil {
		return err
	}
	err = parallel(len(edges), func(n int) error { return i.undo(ctx, f, edges[n].name) })
	if err != nil {
		return err
	}
	if j := i.injection(f); j != nil {
		j.mu.Lock()
		j.recovered = true
		j.mu.Unlock()
	}
	return nil
}

func (i *Injector) undo(ctx context.Context, f chaos.Fault, name string) error {
	list := toxics(f)
	if list == nil {
		return i.client.enable(ctx, name, true)
	}
	var failures []error
	for _, toxic := range list {
		failures = append(failures, i.remove(ctx, f, name, toxic))
	}
	return errors.Join(failures...)
}

// remove removes a toxic, by force if need be, and notes what that took.
func (i *Injector) remove(ctx context.Context, f chaos.Fault, name string, toxic toxic) error {
	cut, why, err := i.client.remove(ctx, name, toxic.Name)
	if err != nil && ctx.Err() == nil {
		// The proxy process cuts by itself when removing hangs; here the process does not answer.
		i.note(f, "removing %s from %s failed (%v); cutting its connections", f.Kind, name, err)
		if err := i.cut(ctx, name); err != nil {
			return err
		}
		cut, why, err = i.client.remove(ctx, name, toxic.Name)
	}
	if err != nil {
		return fmt.Errorf("removing %s from %s: %w", f.Kind, name, err)
	}
	if cut > 0 || why != "" {
		i.note(f, "%d connections of %s were cut to remove %s: %s", cut, name, f.Kind, why)
	}
	return nil
}

// Release implements chaos.Releaser.
func (i *Injector) Release(f chaos.Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if j := i.injections[f.ID]; j != nil {
		j.close()
		delete(i.injections, f.ID)
	}
}
