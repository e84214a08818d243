package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// Bounds of what one run may add to a page, so that its size stays bounded.
const (
	listedSlow     = 8       // of each load
	listedKinds    = 12      // of failure
	lookedAt       = 16      // traces of one kind of failure
	listedFailures = 5       // of one kind
	listedSpans    = 150     // of one trace
	listedLogs     = 60      // of one trace
	alike          = 2       // with one cause
	attributes     = 32      // of one span, event or log line
	traceBytes     = 1 << 20 // of all traces of a run
)

// journey is one journey with the step that decided its fate.
type journey struct {
	loadgen.Result
	step *loadgen.Result // nil for a load of single requests, and where the step is not known
}

func (j journey) stepName() string {
	if j.step == nil {
		return ""
	}
	return j.step.Step
}

// requests lists the slowest journeys and the kinds of failure, with traces.
func (b *pageBuilder) requests(ctx context.Context) error {
	ended, failed := b.journeys()
	b.out.Failed = len(failed)
	b.out.Slow, b.out.Failures = []PageSlow{}, []PageFailure{}
	for _, kind := range kindsOf(failed) {
		page, err := b.failure(ctx, kind)
		if err != nil {
			return err
		}
		b.out.Failures = append(b.out.Failures, page)
	}
	for _, load := range b.run.Plan.Loads {
		slow := PageSlow{Load: load.Name, Requests: []PageRequest{}}
		for _, j := range slowest(ended, load.Name) {
			trace, err := b.trace(ctx, j)
			if err != nil {
				return err
			}
			if err := b.keep(ctx, j, trace); err != nil {
				return err
			}
			slow.Requests = append(slow.Requests, b.request(j, ""))
		}
		b.out.Slow = append(b.out.Slow, slow)
	}
	return nil
}

// journeys tells those that ended well from those that failed, each with the step
// that has its trace.
func (b *pageBuilder) journeys() (ended, failed []journey) {
	steps := map[string]*loadgen.Result{}
	for i, r := range b.run.Results {
		if r.Step != "" && r.TraceID != "" {
			steps[r.TraceID] = &b.run.Results[i]
		}
	}
	for _, r := range b.run.Results {
		if r.Step != "" {
			continue
		}
		j := journey{Result: r, step: steps[r.TraceID]}
		if r.OK && measure.Finished(r) {
			ended = append(ended, j)
		} else {
			failed = append(failed, j)
		}
	}
	return ended, failed
}

func slowest(ended []journey, load string) []journey {
	var out []journey
	for _, j := range ended {
		if j.Load == load {
			out = append(out, j)
		}
	}
	sort.SliceStable(out, func(i, k int) bool { return out[i].Latency() > out[k].Latency() })
	return out[:min(len(out), listedSlow)]
}

// kind is the journeys that failed alike, by due.
type kind struct {
	load, step, error string
	journeys          []journey
}

// kindsOf sorts failures into kinds, the most frequent first. What is beyond the
// bound comes together as one last kind.
func kindsOf(failed []journey) []kind {
	index := map[kindKey]int{}
	var kinds []kind
	for _, j := range failed {
		key := kindKey{j.Load, j.stepName(), errorOf(j.Result)}
		i, have := index[key]
		if !have {
			i = len(kinds)
			index[key] = i
			kinds = append(kinds, kind{load: key.load, step: key.step, error: key.error})
		}
		kinds[i].journeys = append(kinds[i].journeys, j)
	}
	slices.SortStableFunc(kinds, func(a, b kind) int {
		return cmp.Or(len(b.journeys)-len(a.journeys), cmp.Compare(a.load, b.load), cmp.Compare(a.step, b.step), cmp.Compare(a.error, b.error))
	})
	if len(kinds) > listedKinds {
		rest := kind{load: "all loads", error: counted(len(kinds)-listedKinds+1, "other kind")}
		for _, k := range kinds[listedKinds-1:] {
			rest.journeys = append(rest.journeys, k.journeys...)
		}
		kinds = append(kinds[:listedKinds-1], rest)
	}
	for _, k := range kinds {
		slices.SortStableFunc(k.journeys, func(a, b journey) int { return a.Due.Compare(b.Due) })
	}
	return kinds
}

type kindKey struct{ load, step, error string }

func errorOf(r loadgen.Result) string {
	if r.Error != "" {
		return r.Error
	}
	return fmt.Sprintf("status %d", r.Status)
}

// failure looks at traces of one kind of failure, evenly over time, and lists
// examples: one of each cause first, then more of the frequent ones.
func (b *pageBuilder) failure(ctx context.Context, k kind) (PageFailure, error) {
	first, last := k.journeys[0], k.journeys[len(k.journeys)-1]
	page := PageFailure{
		Load: k.load, Step: k.step, Error: shorten(k.error), N: len(k.journeys), First: b.at(first.Due), Last: b.at(last.Due),
		Causes: []PageCount{}, Requests: []PageRequest{},
	}
	examples := map[string][]example{}
	var causes []string
	for _, j := range evenly(k.journeys, lookedAt) {
		trace, err := b.trace(ctx, j)
		if err != nil {
			return page, err
		}
		e := example{journey: j, trace: trace, cause: causeOf(trace)}
		if e.cause != "" {
			page.Looked++
		}
		if len(examples[e.cause]) == 0 {
			causes = append(causes, e.cause)
		}
		examples[e.cause] = append(examples[e.cause], e)
	}
	slices.SortStableFunc(causes, func(a, b string) int { return len(examples[b]) - len(examples[a]) })
	for _, cause := range causes {
		if cause != "" {
			page.Causes = append(page.Causes, PageCount{Name: cause, N: len(examples[cause])})
		}
	}
	for _, e := range choose(causes, examples, listedFailures) {
		if err := b.keep(ctx, e.journey, e.trace); err != nil {
			return page, err
		}
		page.Requests = append(page.Requests, b.request(e.journey, e.cause))
	}
	return page, nil
}

// example is a failed journey that was looked at.
type example struct {
	journey journey
	trace   telemetry.Trace
	cause   string
}

// choose takes one example of each cause, then a second of each, up to n, and
// puts them in the order of time.
func choose(causes []string, examples map[string][]example, n int) []example {
	var out []example
	for round := range alike {
		for _, cause := range causes {
			if round < len(examples[cause]) && len(out) < n {
				out = append(out, examples[cause][round])
			}
		}
	}
	slices.SortStableFunc(out, func(a, b example) int { return a.journey.Due.Compare(b.journey.Due) })
	return out
}

// evenly picks n spread evenly over the list: failures of one second are much alike.
func evenly[T any](list []T, n int) []T {
	if len(list) <= n {
		return list
	}
	out := make([]T, 0, n)
	for i := range n {
		out = append(out, list[i*(len(list)-1)/(n-1)])
	}
	return out
}

func (b *pageBuilder) request(j journey, cause string) PageRequest {
	return PageRequest{
		Load: j.Load, Step: j.stepName(), Due: b.at(j.Due), MS: milliseconds(max(0, j.Latency())), OK: j.OK, Status: j.Status,
		Error: shorten(j.Error), Cause: cause, Faults: j.Faults, Trace: j.TraceID,
	}
}

// trace asks for a journey's trace; it has no spans where none were kept. That
// they cannot be read is a note: the rest of the page is worth having.
func (b *pageBuilder) trace(ctx context.Context, j journey) (telemetry.Trace, error) {
	if j.TraceID == "" {
		return telemetry.Trace{}, nil
	}
	trace, err := b.telemetry.Trace(ctx, j.TraceID)
	switch {
	case ctx.Err() != nil:
		return telemetry.Trace{}, ctx.Err()
	case errors.Is(err, embedded.ErrNotFound):
		return telemetry.Trace{}, nil
	case err != nil:
		b.note("traces could not be read: " + err.Error())
		return telemetry.Trace{}, nil
	}
	return trace, nil
}

// note adds a note, once.
func (b *pageBuilder) note(text string) {
	if text = shorten(text); !slices.Contains(b.out.Notes, text) && len(b.out.Notes) < 30 {
		b.out.Notes = append(b.out.Notes, text)
	}
}
