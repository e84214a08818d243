package network

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/proxy"
)

const (
	feltShare = 0.7                   // of the asked delay, to count as felt
	goneShare = 1 - feltShare         // of the asked delay, to count as gone
	goneSlack = 50 * time.Millisecond // what a probe may differ by on a busy machine
	heldLeast = time.Millisecond      // at the mean, for bandwidth to count as felt
)

// finding is what was measured at one target.
type finding struct {
	felt           bool
	before, during float64
	detail         string
	measure, unit  string // when they are not those of the kind
}

// Active implements chaos.Injector. During the fault it measures the fault's
// effect; after Recover, whether the effect is gone.
func (i *Injector) Active(ctx context.Context, f chaos.Fault) (chaos.Effect, error) {
	j := i.injection(f)
	if j == nil {
		return chaos.Effect{}, fmt.Errorf("%s was not injected", f.ID)
	}
	j.mu.Lock()
	recovered := j.recovered
	j.mu.Unlock()
	if recovered {
		return i.after(ctx, f, j), nil
	}
	return i.during(ctx, f, j)
}

// during measures while the fault acts.
func (i *Injector) during(ctx context.Context, f chaos.Fault, j *injection) (chaos.Effect, error) {
	probes := make([]*finding, len(j.targets))
	_ = parallel(len(j.targets), func(n int) error {
		probes[n] = i.probe(ctx, f, j.targets[n])
		return nil
	})
	marks, err := i.marks(ctx, j)
	if err != nil {
		return chaos.Effect{}, err
	}
	if byCounting(f.Kind) {
		return effect(f, counts(f, marks), len(marks)), nil
	}
	findings := make([]finding, len(j.targets))
	var crossed int64
	for n, t := range j.targets {
		crossed += t.others(marks[n])
		findings[n] = judge(f, probes[n], counts(f, marks[n:n+1]))
	}
	least := pick(findings, func(a, b finding) bool {
		return !a.felt && b.felt || a.felt == b.felt && a.during-a.before < b.during-b.before
	})
	switch {
	case crossed > 0:
		least.detail = join(least.detail, fmt.Sprintf("calls of %d bytes crossed so far", crossed))
	case !disables(f.Kind): // where connections are refused nothing can cross
		least.felt = false
		least.detail = join(least.detail, "no call crossed so far")
	}
	return effect(f, least, len(findings)), nil
}

// judge puts together what a probe found, if it could ask, and what the proxy counted. A
// delay has to be seen by both: on a busy machine a probe alone may be slow by chance.
func judge(f chaos.Fault, probe *finding, counted finding) finding {
	switch {
	case probe == nil:
		return counted
	case f.Kind == chaos.Latency && probe.felt && !counted.felt:
		probe.felt = false
		probe.detail = fmt.Sprintf("but the proxy held chunks for %v ms only", counted.during)
	}
	return *probe
}

// byCounting tells the kinds that are measured by what the proxy did to calls of others.
func byCounting(kind string) bool {
	switch kind {
	case chaos.Bandwidth, chaos.SlowClose, chaos.Slicer, chaos.LimitData:
		return true
	}
	return false
}

func disables(kind string) bool { return kind == chaos.Down || kind == chaos.Partition }

// others returns the bytes that callers sent since the fault began, without those of probes.
func (t *target) others(now mark) int64 {
	return max(0, now.traffic.UpstreamBytes-t.start.traffic.UpstreamBytes-(now.sent-t.start.sent))
}

// counts is the finding of what the toxics of a fault did, at all the proxies given.
func counts(f chaos.Fault, marks []mark) finding {
	var done proxy.Effect
	for _, m := range marks {
		for _, toxic := range m.traffic.Toxics {
			if strings.HasPrefix(toxic.Name, f.ID+".") {
				done.Hits += toxic.Hits
				done.Seconds += toxic.Seconds
			}
		}
	}
	held := time.Duration(0)
	if done.Hits > 0 {
		held = time.Duration(done.Seconds / float64(done.Hits) * float64(time.Second))
	}
	switch f.Kind {
	case chaos.Latency:
		return finding{felt: held > 0 && held >= share(feltShare, f.Params.Duration("delay")), during: ms(held), measure: "time that chunks were held back", detail: fmt.Sprintf("the mean of %d chunks that the proxy held back", done.Hits)}
	case chaos.Timeout:
		return finding{felt: done.Hits > 0, during: float64(done.Hits), measure: "swallowed chunks", unit: "chunks", detail: "counted by the proxy"}
	case chaos.ResetPeer:
		return finding{detail: "the service speaks first or not at all, so no probe can see a reset; tell its probe what to send"}
	case chaos.Bandwidth:
		return finding{felt: held >= heldLeast, during: ms(held), detail: fmt.Sprintf("the mean of %d chunks that the proxy held back", done.Hits)}
	}
	return finding{felt: done.Hits > 0, during: float64(done.Hits), detail: "counted by the proxy"}
}

// probe asks one target while the fault acts. It returns nil when asking says nothing.
func (i *Injector) probe(ctx context.Context, f chaos.Fault, t *target) *finding {
	switch {
	case disables(f.Kind):
		return i.probeDown(ctx, t)
	case byCounting(f.Kind) || t.silent || t.blind() && f.Params.Text("direction") == chaos.Upstream:
		return nil
	case f.Kind == chaos.Latency:
		return i.probeLatency(ctx, f, t)
	}
	return i.probeLost(ctx, f, t)
}

func (i *Injector) probeDown(ctx context.Context, t *target) *finding {
	ctx, cancel := context.WithTimeout(ctx, i.config.ProbeWithin)
	defer cancel()
	conn, err := t.prober.dial(ctx)
	if err == nil {
		_ = conn.Close() // only that it opened matters
		return &finding{detail: "a connection was accepted"}
	}
	if isRefused(err) {
		return &finding{felt: true, during: 1}
	}
	return &finding{detail: err.Error()}
}

// blind tells that a probe sends nothing: the callee speaks first. What befalls the way to the callee
// does not show in how long its first word takes.
func (t *target) blind() bool {
	return t.edge.Probe.Protocol == "tcp" && t.edge.Probe.Send == ""
}

// probeLatency times one question over the connection that was open before
// the fault. When the callee does not answer, what the proxy measured has to do.
func (i *Injector) probeLatency(ctx context.Context, f chaos.Fault, t *target) *finding {
	asked := asked(f, t)
	most := asked + 2*f.Params.Duration("jitter")
	took, err := t.askWithin(ctx, t.before+3*most/2+i.config.ProbeWithin)
	if err != nil {
		return nil
	}
	return &finding{felt: took-t.before >= share(feltShare, asked), before: ms(t.before), during: ms(took)}
}

// asked is by how much a fault is to delay the answer to a probe.
func asked(f chaos.Fault, t *target) time.Duration {
	delay := f.Params.Duration("delay")
	if f.Params.Text("direction") == chaos.Both && !t.blind() {
		delay *= 2
	}
	return delay
}

// probeLost asks over a new connection, which is to be swallowed (timeout) or cut (reset_peer).
func (i *Injector) probeLost(ctx context.Context, f chaos.Fault, t *target) *finding {
	limit := min(i.config.ProbeWithin, max(4*t.before, 500*time.Millisecond))
	if f.Kind == chaos.ResetPeer {
		limit = i.config.ProbeWithin + f.Params.Duration("after")
	}
	took, err := i.askAnew(ctx, t, t.edge.Addr, limit)
	switch {
	case err == nil:
		return &finding{detail: fmt.Sprintf("a probe was answered after %s", took.Round(time.Millisecond))}
	case isRefused(err), f.Kind == chaos.ResetPeer && isTimeout(err):
		return &finding{detail: err.Error()}
	}
	return &finding{felt: true, during: 1, detail: fmt.Sprintf("after %s: %v", took.Round(100*time.Microsecond), err)}
}

// askAnew asks over a new connection, through the proxy or past it.
func (i *Injector) askAnew(ctx context.Context, t *target, addr string, limit time.Duration) (time.Duration, error) {
	sent := &t.edge.sent
	if addr != t.edge.Addr {
		sent = nil
	}
	prober, err := newProber(t.edge.Probe, i.config.Dial, addr, sent)
	if err != nil {
		return 0, err
	}
	defer prober.close()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return prober.ask(ctx)
}

// after measures whether a fault that was taken back is gone.
func (i *Injector) after(ctx context.Context, f chaos.Fault, j *injection) chaos.Effect {
	findings := make([]finding, len(j.targets))
	_ = parallel(len(j.targets), func(n int) error {
		findings[n] = i.remains(ctx, f, j.targets[n])
		return nil
	})
	most := pick(findings, func(a, b finding) bool {
		return a.felt && !b.felt || a.felt == b.felt && a.during-a.before > b.during-b.before
	})
	after := effect(f, most, len(findings))
	after.Measure, after.Unit = "probe latency of "+f.Target(), "ms"
	return after
}

// remains is the finding of what remains of a fault at one target: nothing,
// unless felt.
func (i *Injector) remains(ctx context.Context, f chaos.Fault, t *target) finding {
	if err := i.clean(ctx, f, t.edge.name); err != nil {
		return finding{felt: true, detail: err.Error()}
	}
	if t.silent {
		return i.connects(ctx, t, "the callee gave no answer before the fault either")
	}
	through, err := i.askAnew(ctx, t, t.edge.Addr, i.config.ProbeWithin)
	found := finding{before: ms(t.before), during: ms(through)}
	tolerance := goneSlack
	if f.Kind == chaos.Latency {
		tolerance = max(tolerance, share(goneShare, asked(f, t)))
	}
	if err == nil && (f.Kind != chaos.Latency || through <= t.before+tolerance) {
		return found
	}
	past, pastErr := i.askAnew(ctx, t, t.edge.Upstream, i.config.ProbeWithin)
	switch {
	case pastErr != nil:
		return i.connects(ctx, t, "the callee gives no answer past the proxy either")
	case err != nil:
		found.felt, found.detail = true, fmt.Sprintf("no answer through the proxy (%v), but past it after %s", err, past.Round(time.Millisecond))
	case through <= past+tolerance:
		found.detail = fmt.Sprintf("the callee itself is slow: %s past the proxy", past.Round(time.Millisecond))
	default:
		found.felt, found.detail = true, fmt.Sprintf("past the proxy it takes %s", past.Round(time.Millisecond))
	}
	return found
}

// connects judges by a connection alone, where nobody answers.
func (i *Injector) connects(ctx context.Context, t *target, why string) finding {
	ctx, cancel := context.WithTimeout(ctx, i.config.ProbeWithin)
	defer cancel()
	start := time.Now()
	conn, err := t.prober.dial(ctx)
	if err != nil {
		return finding{felt: true, before: ms(t.before), detail: err.Error()}
	}
	_ = conn.Close() // only that it opened matters
	return finding{before: ms(t.before), during: ms(time.Since(start)), detail: why + "; judged by the proxy's list of toxics and by connecting"}
}

// clean returns an error when something of a fault still stands in a proxy.
func (i *Injector) clean(ctx context.Context, f chaos.Fault, name string) error {
	now, err := i.client.show(ctx, name)
	if err != nil {
		return err
	}
	if !now.Enabled {
		return fmt.Errorf("the proxy of %s is disabled", name)
	}
	for _, toxic := range now.Toxics {
		if strings.HasPrefix(toxic.Name, f.ID+".") {
			return fmt.Errorf("the toxic %s still stands in %s", toxic.Name, name)
		}
	}
	return nil
}

// effect says in the words of the record what was found.
func effect(f chaos.Fault, found finding, proxies int) chaos.Effect {
	measure, unit := measures(f.Kind)
	if found.measure != "" {
		measure = found.measure
	}
	if found.unit != "" {
		unit = found.unit
	}
	if proxies > 1 {
		found.detail = join(fmt.Sprintf("of %d proxies", proxies), found.detail)
	}
	return chaos.Effect{Felt: found.felt, Measure: measure + " of " + f.Target(), Unit: unit, Before: found.before, During: found.during, Detail: found.detail}
}

func measures(kind string) (measure, unit string) {
	switch kind {
	case chaos.Latency:
		return "probe latency", "ms"
	case chaos.Bandwidth:
		return "time that chunks waited for bandwidth", "ms"
	case chaos.SlowClose:
		return "delayed closings", "connections"
	case chaos.Timeout:
		return "unanswered probes", "errors"
	case chaos.ResetPeer:
		return "probes cut off", "errors"
	case chaos.Slicer:
		return "sliced chunks", "chunks"
	case chaos.LimitData:
		return "connections closed at their limit", "connections"
	}
	return "refused probes", "errors"
}

// pick returns the finding that comes before all others.
func pick(findings []finding, before func(a, b finding) bool) finding {
	first := findings[0]
	for _, one := range findings[1:] {
		if before(one, first) {
			first = one
		}
	}
	return first
}

func join(parts ...string) string {
	var said []string
	for _, part := range parts {
		if part != "" {
			said = append(said, part)
		}
	}
	return strings.Join(said, "; ")
}

func share(of float64, d time.Duration) time.Duration { return time.Duration(of * float64(d)) }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
