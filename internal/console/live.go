package console

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/report"
	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/loadgen"
)

// Bounds of what is kept for pages that connect later, so that a run may last for days.
const (
	keptSeconds  = 900
	keptRequests = 200
	keptEvents   = 300
	keptLogs     = 200
	// newRequests bounds what one second may add of each load: the failures of one second are much alike.
	newRequests = 8
	textLimit   = 400
)

// live is one run as the page sees it. It is safe for concurrent use.
type live struct {
	control *run.Control
	shape   runShape
	slo     map[string]time.Duration

	mu       sync.Mutex
	ended    bool
	seconds  map[string]map[int]*second // by load and by the second in which journeys were due
	dirty    map[string]map[int]bool    // seconds that changed since the last tick
	requests []report.PageRequest
	events   []report.PageEvent
	logs     []logLine
	fresh    struct {
		requests []report.PageRequest
		events   []report.PageEvent
		count    map[string]int
	}
	faults  map[string]string // what was said last of a fault, by its id
	by      map[string]string // who brought a fault about
	logsTo  time.Time
	metrics measured
}

// second is what became of the journeys that were due in one second.
type second struct {
	good, slow, failed int
	took               []float32 // in ms
	heat               []int
}

// buckets are the upper bounds of the heat map's rows in ms; what took longer is in a row above.
func buckets() []float64 {
	return []float64{2, 5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 3000, 5000, 10000}
}

func newLive(control *run.Control) *live {
	l := &live{
		control: control, slo: map[string]time.Duration{}, seconds: map[string]map[int]*second{}, dirty: map[string]map[int]bool{},
		faults: map[string]string{}, by: map[string]string{},
	}
	l.fresh.count = map[string]int{}
	p, sys := control.Plan(), control.System()
	l.shape = runShape{
		ID: control.ID(), Scenario: p.Scenario, Variant: p.Variant, About: p.Story, Bench: control.Bench(), Entry: sys.Entry, Buckets: buckets(),
		Phases: []report.PagePhase{}, Policies: []policyShape{}, Services: []serviceShape{}, Edges: []edgeShape{}, Loads: []loadShape{},
	}
	if p.About != "" {
		l.shape.About = strings.TrimSpace(p.Story + " " + p.About)
	}
	if !control.Bench() {
		l.shape.Length = p.Length().Seconds()
		for _, phase := range p.Phases {
			l.shape.Phases = append(l.shape.Phases, report.PagePhase{Name: phase.Name, Start: phase.Start.Seconds(), End: phase.End.Seconds()})
		}
	}
	for _, load := range p.Loads {
		l.slo[load.Name] = load.SLO
		l.shape.Loads = append(l.shape.Loads, loadShape{Name: load.Name, About: aboutLoad(load), SLO: ms(load.SLO), Open: load.Users == 0})
		l.seconds[load.Name], l.dirty[load.Name] = map[int]*second{}, map[int]bool{}
	}
	for _, svc := range sys.Services {
		shape := serviceShape{Name: svc.Name, About: svc.About, Protocol: svc.Protocol, Replicas: max(1, svc.Replicas)}
		if svc.Capacity != nil {
			shape.Workers, shape.QueueLimit = svc.Capacity.Workers*shape.Replicas, svc.Capacity.Queue*shape.Replicas
		}
		l.shape.Services = append(l.shape.Services, shape)
	}
	for _, edge := range control.Edges() {
		l.shape.Edges = append(l.shape.Edges, edgeShape{edge.Caller, edge.Callee, control.NoRequests(edge)})
	}
	for _, on := range slices.Sorted(maps.Keys(p.Policies)) {
		for _, spec := range p.Policies[on] {
			params, _ := json.Marshal(spec.Params)
			l.shape.Policies = append(l.shape.Policies, policyShape{On: on, Policy: spec.Kind, About: string(params)})
		}
	}
	return l
}

func aboutLoad(load loadgen.Load) string {
	what := fmt.Sprintf("a journey of %d steps", len(load.Steps))
	if len(load.Steps) == 1 {
		what = strings.TrimSpace(load.Steps[0].Method + " " + load.Steps[0].Path + load.Steps[0].RPC)
	}
	if load.Users > 0 {
		what += fmt.Sprintf(", %d users in a closed loop", load.Users)
	}
	return what
}

func ms(d time.Duration) float64 { return round(float64(d) / float64(time.Millisecond)) }

// round keeps three digits after the point.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }

// at is a time as seconds from the start of the load.
func (l *live) at(t time.Time) float64 { return round(t.Sub(l.control.Start()).Seconds()) }

func (l *live) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// result counts a journey in the second in which it was due.
func (l *live) result(r loadgen.Result) {
	if r.Step != "" {
		return
	}
	took := ms(r.Latency())
	good := measure.Good(r, l.slo[r.Load])
	l.mu.Lock()
	defer l.mu.Unlock()
	seconds := l.seconds[r.Load]
	if seconds == nil {
		return
	}
	i := int(math.Floor(r.Due.Sub(l.control.Start()).Seconds()))
	s := seconds[i]
	if s == nil {
		s = &second{heat: make([]int, len(l.shape.Buckets)+1)}
		seconds[i] = s
		delete(seconds, i-keptSeconds)
	}
	switch {
	case good:
		s.good++
	case r.OK:
		s.slow++
	default:
		s.failed++
	}
	s.took = append(s.took, float32(took))
	s.heat[sort.SearchFloat64s(l.shape.Buckets, took)]++
	l.dirty[r.Load][i] = true
	if !good {
		l.remember(r, took)
	}
}

// remember keeps a request that failed or was slow for the list.
func (l *live) remember(r loadgen.Result, took float64) {
	kind := r.Load + r.Error
	if l.fresh.count[kind]++; l.fresh.count[kind] > newRequests {
		return
	}
	request := report.PageRequest{Load: r.Load, Due: l.at(r.Due), MS: took, OK: r.OK, Status: r.Status, Error: shorten(r.Error), Trace: r.TraceID}
	l.fresh.requests = append(l.fresh.requests, request)
	l.requests = last(append(l.requests, request), keptRequests)
}

// event takes in what happened.
func (l *live) event(e record.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended && e.Kind == record.EventProcess {
		return // that everything goes down is no news, or it is the next run's
	}
	if e.Kind == record.EventFault {
		l.faults[e.Name] = e.Text
	}
	who, _ := e.Data[record.Who].(string)
	if who != "" && e.Text == "injected" {
		l.by[e.Name] = who
	}
	event := report.PageEvent{T: l.at(e.Time), Kind: e.Kind, Name: shorten(e.Name), Text: shorten(e.Text), Detail: detail(e)}
	l.events = last(append(l.events, event), keptEvents)
	l.fresh.events = last(append(l.fresh.events, event), keptEvents)
}

func detail(e record.Event) string {
	var parts []string
	if e.Effect != nil && e.Effect.Measure != "" {
		parts = append(parts, fmt.Sprintf("%s: %.4g %s before, %.4g %s now", e.Effect.Measure, e.Effect.Before, e.Effect.Unit, e.Effect.During, e.Effect.Unit))
		if e.Effect.Detail != "" {
			parts = append(parts, e.Effect.Detail)
		}
	}
	parts = append(parts, pairs(e.Data)...)
	return shorten(strings.Join(parts, "; "))
}

// pairs writes what an event says besides as name: value.
func pairs(data map[string]any) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(data)) {
		switch v := data[name].(type) {
		case map[string]any:
			out = append(out, pairs(v)...)
		case []any:
			text, _ := json.Marshal(v) // what came from JSON can be written as such
			out = append(out, name+": "+string(text))
		default:
			out = append(out, fmt.Sprintf("%s: %v", name, v))
		}
	}
	return out
}

func shorten(text string) string {
	if utf8.RuneCountInString(text) <= textLimit {
		return strings.ToValidUTF8(text, "\uFFFD")
	}
	return string([]rune(text)[:textLimit]) + "…"
}

func last[T any](list []T, most int) []T {
	if len(list) <= most {
		return list
	}
	return slices.Clone(list[len(list)-most:])
}

// bins are the seconds asked for, in order.
func (l *live) bins(load string, want []int) []bin {
	slices.Sort(want)
	out := make([]bin, 0, len(want))
	for _, i := range want {
		s := l.seconds[load][i]
		if s == nil {
			continue
		}
		b := bin{PageBin: report.PageBin{T: float64(i), Offered: s.good + s.slow + s.failed, Good: s.good, Slow: s.slow, Failed: s.failed}, Heat: slices.Clone(s.heat)}
		if len(s.took) > 0 {
			slices.Sort(s.took)
			b.P50, b.P99 = quantile(s.took, 0.5), quantile(s.took, 0.99)
		}
		out = append(out, b)
	}
	return out
}

// quantile is the nearest rank's value.
func quantile(sorted []float32, q float64) *float64 {
	rank := min(len(sorted)-1, max(0, int(math.Ceil(q*float64(len(sorted))))-1))
	v := round(float64(sorted[rank]))
	return &v
}

// tick is what pages get that are connected; whole has all that is kept, for one that connects.
func (l *live) tick(now time.Time, whole bool) *tick {
	rates, active, p := l.control.Rates(), l.control.Active(), l.control.Plan()
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &tick{T: l.at(now), Over: l.ended, Loads: map[string]loadTick{}, Services: l.metrics.services, Edges: l.metrics.edges, Policies: l.metrics.policies, Trouble: l.metrics.trouble}
	t.Requests, t.Events, t.Logs = l.fresh.requests, l.fresh.events, l.metrics.logs
	if whole {
		t.Requests, t.Events, t.Logs = l.requests, l.events, l.logs
	}
	for _, load := range l.shape.Loads {
		want := slices.Collect(maps.Keys(l.dirty[load.Name]))
		if whole {
			want = slices.Collect(maps.Keys(l.seconds[load.Name]))
		}
		t.Loads[load.Name] = loadTick{Rate: round(rates[load.Name]), Bins: l.bins(load.Name, want)}
	}
	t.Faults = l.faultsNow(p, active, t.T)
	t.Requests, t.Events, t.Logs, t.Policies = orEmpty(t.Requests), orEmpty(t.Events), orEmpty(t.Logs), orEmpty(t.Policies)
	if !whole {
		l.fresh.requests, l.fresh.events, l.metrics.logs = nil, nil, nil
		clear(l.fresh.count)
		for load := range l.dirty {
			clear(l.dirty[load])
		}
	}
	return t
}

// orEmpty makes a nil list one that JSON writes as [].
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (l *live) faultsNow(p *plan.Plan, active []plan.Window, now float64) []faultTick {
	out := []faultTick{}
	for _, w := range p.Faults {
		f := faultTick{
			PageFault: report.PageFault{ID: w.ID, Kind: w.Kind, Target: w.Target(), Edges: []string{}, Services: orEmpty(w.Services), Start: round(w.Start.Seconds()), End: round(w.End.Seconds())},
			State:     l.faults[w.ID], Who: l.by[w.ID], Load: w.Load,
		}
		if w.Load != "" {
			f.Target = w.Load
		}
		for _, edge := range w.Edges {
			f.Edges = append(f.Edges, edge.String())
		}
		f.Active = slices.ContainsFunc(active, func(a plan.Window) bool { return a.ID == w.ID })
		if f.State == "" {
			f.State = "planned"
		}
		out = append(out, f)
	}
	return out
}
