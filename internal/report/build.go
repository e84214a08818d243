package report

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// Telemetry is what the page asks of a recorded run besides its numbers.
type Telemetry interface {
	measure.Metrics
	Trace(ctx context.Context, id string) (telemetry.Trace, error)
	Logs(ctx context.Context, q telemetry.LogQuery) ([]telemetry.LogRecord, error)
}

// Bounds of what one run may add to a page, so that its size stays bounded.
const (
	listedRequests = 20  // of the slowest, and of the failed
	listedSpans    = 150 // of one trace
	listedLogs     = 60  // of one trace
	listedEvents   = 200
	textLimit      = 300 // of one attribute or log line, in runes
)

// pageBuilder collects one run's part of a page.
type pageBuilder struct {
	run       *record.Run
	verdict   *check.Verdict
	set       *measure.Set
	telemetry Telemetry
	out       PageRun
}

func buildRun(ctx context.Context, run *record.Run, verdict *check.Verdict, t Telemetry) (PageRun, error) {
	b := &pageBuilder{run: run, verdict: verdict, set: measure.New(run, t), telemetry: t}
	b.out = PageRun{
		ID: run.Meta.ID, Variant: run.Meta.Variant, About: run.Plan.About, Entry: run.System.Entry, Outcome: string(verdict.Outcome),
		Reasons: orEmpty(verdict.Reasons), Traces: map[string]PageTrace{},
	}
	b.findings()
	b.policies()
	b.timeline()
	b.loads()
	for _, step := range []func(context.Context) error{b.services, b.edges, b.requests, b.processes} {
		if err := step(ctx); err != nil {
			return PageRun{}, err
		}
	}
	b.events()
	b.facts()
	return b.out, nil
}

// orEmpty makes a nil list one that JSON writes as [].
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (b *pageBuilder) findings() {
	b.out.Findings = []PageFinding{}
	for _, f := range b.verdict.Findings {
		b.out.Findings = append(b.out.Findings, PageFinding{That: f.That, In: f.In, Value: f.Got, Outcome: string(f.Outcome), Why: f.Why})
	}
}

func (b *pageBuilder) policies() {
	b.out.Policies = []PagePolicy{}
	for _, on := range slices.Sorted(maps.Keys(b.run.Plan.Policies)) {
		var chain []string
		for _, spec := range b.run.Plan.Policies[on] {
			chain = append(chain, describePolicy(spec.Kind, spec.Params))
		}
		b.out.Policies = append(b.out.Policies, PagePolicy{On: on, Chain: strings.Join(chain, " > ")})
	}
}

func describePolicy(kind string, params map[string]any) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		parts = append(parts, fmt.Sprintf("%s: %v", name, params[name]))
	}
	return kind + " {" + strings.Join(parts, ", ") + "}"
}

func (b *pageBuilder) timeline() {
	b.out.Phases, b.out.Faults = []PagePhase{}, []PageFault{}
	for _, p := range b.run.Plan.Phases {
		b.out.Phases = append(b.out.Phases, PagePhase{Name: p.Name, Start: p.Start.Seconds(), End: p.End.Seconds()})
	}
	for _, w := range b.run.Plan.Faults {
		fault := PageFault{ID: w.ID, Kind: w.Kind, Target: targetOf(w), Edges: []string{}, Services: orEmpty(w.Services), Start: w.Start.Seconds(), End: w.End.Seconds()}
		for _, edge := range w.Edges {
			fault.Edges = append(fault.Edges, edge.String())
		}
		b.out.Faults = append(b.out.Faults, fault)
	}
}

func targetOf(w plan.Window) string {
	if w.Load != "" {
		return w.Load
	}
	return w.Target()
}

// at is a time as seconds from the start of the load.
func (b *pageBuilder) at(t time.Time) float64 { return round(t.Sub(b.run.Meta.Load).Seconds(), 3) }

func milliseconds(d time.Duration) float64 { return round(float64(d)/float64(time.Millisecond), 3) }

func round(v float64, digits int) float64 {
	scale := math.Pow(10, float64(digits))
	return math.Round(v*scale) / scale
}

// services asks how busy each service was: shares of its workers and its queue, each second.
func (b *pageBuilder) services(ctx context.Context) error {
	busy, err := b.shares(ctx, names.DoorBusy, names.DoorWorkers)
	if err != nil {
		return err
	}
	queue, err := b.shares(ctx, names.DoorQueueDepth, names.DoorQueueLimit)
	if err != nil {
		return err
	}
	b.out.Services = []PageService{}
	for _, svc := range b.run.System.Services {
		service := PageService{Name: svc.Name, About: svc.About, Protocol: svc.Protocol, Replicas: svc.Replicas,
			Busy: b.line(busy[svc.Name]), Queue: b.line(queue[svc.Name]), Phases: map[string]PageServicePhase{}}
		if svc.Capacity != nil {
			service.Workers, service.QueueLimit = svc.Capacity.Workers*max(1, svc.Replicas), svc.Capacity.Queue*max(1, svc.Replicas)
		}
		for _, phase := range b.run.Plan.Phases {
			service.Phases[phase.Name] = PageServicePhase{Busy: b.mean(busy[svc.Name], phase)}
		}
		b.out.Services = append(b.out.Services, service)
	}
	return nil
}

// shares gives part/whole by service, over all replicas, each second of the run.
func (b *pageBuilder) shares(ctx context.Context, part, whole string) (map[string][]telemetry.Point, error) {
	expr := fmt.Sprintf("sum by (%[1]s) (%[2]s) / (sum by (%[1]s) (%[3]s) > 0)", names.Service, part, whole)
	series, err := b.overRun(ctx, expr)
	if err != nil {
		return nil, err
	}
	out := map[string][]telemetry.Point{}
	for _, s := range series {
		out[s.Labels[names.Service]] = s.Points
	}
	return out, nil
}

func (b *pageBuilder) overRun(ctx context.Context, expr string) ([]telemetry.Series, error) {
	if b.run.Meta.Load.IsZero() {
		return nil, nil
	}
	series, err := b.telemetry.QueryRange(ctx, expr, b.run.Meta.Load, b.run.Meta.Load.Add(b.run.Plan.Length()), time.Second)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", expr, err)
	}
	return series, nil
}

func (b *pageBuilder) line(points []telemetry.Point) [][2]float64 {
	out := [][2]float64{}
	for _, p := range points {
		if !math.IsNaN(p.Value) {
			out = append(out, [2]float64{b.at(p.Time), round(p.Value, 3)})
		}
	}
	return out
}

func (b *pageBuilder) mean(points []telemetry.Point, phase plan.Phase) *float64 {
	sum, n := 0.0, 0
	for _, p := range points {
		if at := p.Time.Sub(b.run.Meta.Load); at >= phase.Start && at < phase.End && !math.IsNaN(p.Value) {
			sum, n = sum+p.Value, n+1
		}
	}
	if n == 0 {
		return nil
	}
	mean := round(sum/float64(n), 4)
	return &mean
}

// edges asks for each edge's figures in each phase, as its caller saw it.
func (b *pageBuilder) edges(ctx context.Context) error {
	b.out.Edges = []PageEdge{}
	index := map[string]int{}
	for _, edge := range b.run.System.Edges() {
		index[edge.String()] = len(b.out.Edges)
		page := PageEdge{Caller: edge.Caller, Callee: edge.Callee, Faults: []string{}, Phases: map[string]PageEdgePhase{}}
		for _, w := range b.run.Plan.Faults {
			if slices.Contains(w.Edges, edge) {
				page.Faults = append(page.Faults, w.ID)
			}
		}
		b.out.Edges = append(b.out.Edges, page)
	}
	for _, phase := range b.run.Plan.Phases {
		figures, err := b.edgePhase(ctx, phase)
		if err != nil {
			return err
		}
		for edge, f := range figures {
			if i, known := index[edge]; known {
				b.out.Edges[i].Phases[phase.Name] = f
			}
		}
	}
	return nil
}

func (b *pageBuilder) edgePhase(ctx context.Context, phase plan.Phase) (map[string]PageEdgePhase, error) {
	by := fmt.Sprintf("sum by (%s, %s", names.Caller, names.Callee)
	window := fmt.Sprintf("[%dms]", (phase.End - phase.Start).Milliseconds())
	calls := func(selector string) string { return by + ") (rate(" + names.EdgeCalls + selector + window + "))" }
	quantile := func(q string) string {
		return "histogram_quantile(" + q + ", " + by + ", le) (rate(" + names.EdgeCallDuration + "_bucket" + window + "))) * 1000"
	}
	out := map[string]PageEdgePhase{}
	for _, question := range []struct {
		expr string
		put  func(f *PageEdgePhase, v *float64)
	}{
		{calls(""), func(f *PageEdgePhase, v *float64) { f.Rate = v }},
		{calls(`{outcome=~"error|timeout|rejected"}`) + " / " + calls(""), func(f *PageEdgePhase, v *float64) { f.Errors = v }},
		{calls(`{outcome="rejected"}`) + " / " + calls(""), func(f *PageEdgePhase, v *float64) { f.Rejected = v }},
		{by + ") (rate(" + names.EdgeAttempts + window + ")) / " + calls(""), func(f *PageEdgePhase, v *float64) { f.Amplification = v }},
		{quantile("0.5"), func(f *PageEdgePhase, v *float64) { f.P50 = v }},
		{quantile("0.99"), func(f *PageEdgePhase, v *float64) { f.P99 = v }},
	} {
		series, err := b.telemetry.Query(ctx, question.expr, b.run.Meta.Load.Add(phase.End))
		if err != nil {
			return nil, fmt.Errorf("asking for %s: %w", question.expr, err)
		}
		for _, s := range series {
			if len(s.Points) == 0 || math.IsNaN(s.Points[0].Value) || math.IsInf(s.Points[0].Value, 0) {
				continue
			}
			edge, v := s.Labels[names.Caller]+"->"+s.Labels[names.Callee], round(s.Points[0].Value, 4)
			f := out[edge]
			question.put(&f, &v)
			out[edge] = f
		}
	}
	return out, nil
}

// requests lists the slowest and the failed requests, and fetches their traces.
func (b *pageBuilder) requests(ctx context.Context) error {
	var failed, ended []loadgen.Result
	for _, r := range b.run.Results {
		if r.Step != "" {
			continue
		}
		if r.OK {
			ended = append(ended, r)
		} else {
			failed = append(failed, r)
		}
	}
	sort.SliceStable(ended, func(i, j int) bool { return ended[i].Latency() > ended[j].Latency() })
	b.out.FailedTotal = len(failed)
	b.out.Slow = b.list(ended[:min(len(ended), listedRequests)])
	b.out.Failed = b.list(spread(failed, listedRequests))
	for _, r := range append(slices.Clone(b.out.Slow), b.out.Failed...) {
		if err := b.trace(ctx, r.Trace); err != nil {
			return err
		}
	}
	return nil
}

// spread picks n evenly over the list: failures of one second are much alike.
func spread(list []loadgen.Result, n int) []loadgen.Result {
	if len(list) <= n {
		return list
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Due.Before(list[j].Due) })
	out := make([]loadgen.Result, 0, n)
	for i := range n {
		out = append(out, list[i*(len(list)-1)/(n-1)])
	}
	return out
}

func (b *pageBuilder) list(results []loadgen.Result) []PageRequest {
	out := []PageRequest{}
	for _, r := range results {
		out = append(out, PageRequest{Load: r.Load, Step: r.Step, Due: b.at(r.Due), MS: milliseconds(r.Latency()), OK: r.OK, Status: r.Status,
			Error: r.Error, Faults: r.Faults, Trace: r.TraceID})
	}
	return out
}

func (b *pageBuilder) trace(ctx context.Context, id string) error {
	if _, have := b.out.Traces[id]; have || id == "" {
		return nil
	}
	trace, err := b.telemetry.Trace(ctx, id)
	if err != nil || len(trace.Spans) == 0 {
		return nil // the page says that no trace with this id was kept
	}
	logs, err := b.telemetry.Logs(ctx, telemetry.LogQuery{TraceID: id, Limit: listedLogs})
	if err != nil {
		return fmt.Errorf("asking for the logs of trace %s: %w", id, err)
	}
	b.out.Traces[id] = b.pageTrace(trace, logs)
	return nil
}

func (b *pageBuilder) pageTrace(trace telemetry.Trace, logs []telemetry.LogRecord) PageTrace {
	begin := trace.Spans[0].Start
	for _, s := range trace.Spans {
		if s.Start.Before(begin) {
			begin = s.Start
		}
	}
	out := PageTrace{At: b.at(begin), Spans: []PageSpan{}, Logs: []PageLog{}, Dropped: max(0, len(trace.Spans)-listedSpans)}
	for _, s := range trace.Spans[:min(len(trace.Spans), listedSpans)] {
		span := PageSpan{ID: s.SpanID, Parent: s.ParentID, Name: s.Name, Kind: s.Kind, Service: s.Service, Instance: s.Instance,
			Start: milliseconds(s.Start.Sub(begin)), MS: milliseconds(s.Duration()), Error: s.Error, Message: shorten(s.Message), Attributes: shortened(s.Attributes)}
		for _, e := range s.Events {
			span.Events = append(span.Events, PageSpanEvent{At: milliseconds(e.Time.Sub(begin)), Name: e.Name, Attributes: shortened(e.Attributes)})
		}
		out.Spans = append(out.Spans, span)
	}
	for _, l := range logs {
		out.Logs = append(out.Logs, PageLog{At: milliseconds(l.Time.Sub(begin)), Severity: l.Severity, Service: l.Service, Body: shorten(l.Body), Attributes: shortened(l.Attributes)})
	}
	return out
}

func shorten(text string) string {
	if runes := []rune(text); len(runes) > textLimit {
		return string(runes[:textLimit]) + "…"
	}
	return text
}

func shortened(attributes map[string]any) map[string]any {
	out := make(map[string]any, len(attributes))
	for name, value := range attributes {
		if text, is := value.(string); is {
			value = shorten(text)
		}
		out[name] = value
	}
	return out
}

func (b *pageBuilder) events() {
	b.out.Events = []PageEvent{}
	for _, e := range b.run.Events {
		if e.Kind == record.EventProcess && (e.Text == "started" || e.Text == "ready") && e.Time.Before(b.run.Meta.Load) {
			continue // the start of every process is in the record; here it would bury the rest
		}
		if len(b.out.Events) == listedEvents {
			break
		}
		b.out.Events = append(b.out.Events, PageEvent{T: b.at(e.Time), Kind: e.Kind, Name: e.Name, Text: shorten(e.Text), Detail: eventDetail(e)})
	}
}

func eventDetail(e record.Event) string {
	switch {
	case e.Effect != nil && e.Effect.Measure != "":
		text := fmt.Sprintf("%s: %s %s before, %s %s now", e.Effect.Measure, number(e.Effect.Before), e.Effect.Unit, number(e.Effect.During), e.Effect.Unit)
		if e.Effect.Detail != "" {
			text += " (" + e.Effect.Detail + ")"
		}
		return text
	case len(e.Data) > 0:
		text, err := json.Marshal(e.Data)
		if err == nil {
			return shorten(string(text))
		}
	}
	return ""
}

// processes gives what each process used: cores on average over the load, memory at most.
func (b *pageBuilder) processes(ctx context.Context) error {
	b.out.Processes = []PageProcess{}
	cpu, err := b.overRun(ctx, names.ProcessCPU)
	if err != nil {
		return err
	}
	most := map[string]float64{}
	for _, metric := range []string{names.ProcessProportional, names.ProcessResident} {
		if len(most) > 0 {
			break // the sum of resident sizes would count what processes share again and again
		}
		memory, err := b.overRun(ctx, metric)
		if err != nil {
			return err
		}
		for _, s := range memory {
			for _, p := range s.Points {
				most[s.Labels[names.Process]] = max(most[s.Labels[names.Process]], p.Value)
			}
		}
	}
	for _, s := range cpu {
		name := s.Labels[names.Process]
		b.out.Processes = append(b.out.Processes, PageProcess{Name: name, Cores: round(coresOf(s.Points), 4), MB: round(most[name]/(1<<20), 1)})
	}
	sort.Slice(b.out.Processes, func(i, j int) bool { return b.out.Processes[i].Name < b.out.Processes[j].Name })
	return nil
}

// coresOf is the growth of a CPU-seconds counter over time. A restart sets it back: then only growth counts.
func coresOf(points []telemetry.Point) float64 {
	if len(points) < 2 {
		return 0
	}
	used := 0.0
	for i := 1; i < len(points); i++ {
		used += max(0, points[i].Value-points[i-1].Value)
	}
	return used / points[len(points)-1].Time.Sub(points[0].Time).Seconds()
}

func (b *pageBuilder) facts() {
	meta := b.run.Meta
	fact := func(name, format string, args ...any) {
		b.out.Facts = append(b.out.Facts, PageFact{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	cores, mb := 0.0, 0.0
	for _, p := range b.out.Processes {
		cores, mb = cores+p.Cores, mb+p.MB
	}
	fact("the run", "%s", meta.Outcome)
	fact("seed", "%d", meta.Seed)
	if lag, ok := b.lag(); ok {
		fact("generator lag, p99", "%s", figure.Duration(lag))
	}
	fact("longest generator lag allowed", "%s", figure.Duration(b.run.Plan.MaxLag))
	if cores > 0 {
		fact("all processes together", "%.2f cores, %.0f MB", cores, mb)
	}
	fact("spans kept, lost", "%d, %d", meta.Loss.SpansReceived-meta.Loss.SpansDropped, meta.Loss.SpansDropped)
	fact("log lines kept, lost", "%d, %d", meta.Loss.LogsReceived-meta.Loss.LogsDropped, meta.Loss.LogsDropped)
	fact("scrapes that failed", "%d", meta.Loss.ScrapesFailed)
	if !meta.Load.IsZero() {
		fact("from command to load", "%s", figure.Duration(meta.Load.Sub(meta.Started)))
	}
}

// loads gives each load second by second, and by phase.
func (b *pageBuilder) loads() {
	b.out.Loads = []PageLoad{}
	for _, load := range b.run.Plan.Loads {
		page := PageLoad{Name: load.Name, About: describeLoad(load), SLO: milliseconds(load.SLO), Bins: []PageBin{}, Phases: []PageLoadPhase{}}
		for _, bin := range b.set.PerSecond(load.Name) {
			page.Bins = append(page.Bins, PageBin{T: bin.Start.Seconds(), Offered: bin.Offered, Good: bin.Good, Slow: bin.Slow, Failed: bin.Failed,
				P50: latencyOf(bin.P50), P99: latencyOf(bin.P99)})
		}
		for _, phase := range b.run.Plan.Phases {
			window, err := b.set.Window(phase.Name)
			if err != nil {
				continue // the run did not get there
			}
			table, _ := b.set.Load(load.Name, window)
			page.Phases = append(page.Phases, PageLoadPhase{Name: phase.Name, Offered: table.Due, Goodput: numberOf(table.Goodput, 1), Success: numberOf(table.Success, 1),
				P50: numberOf(table.P50, 1000), P99: numberOf(table.P99, 1000), Max: numberOf(table.Max, 1000)})
		}
		b.out.Loads = append(b.out.Loads, page)
	}
}

func describeLoad(load loadgen.Load) string {
	what := fmt.Sprintf("a journey of %d steps", len(load.Steps))
	if len(load.Steps) == 1 {
		step := load.Steps[0]
		what = strings.TrimSpace(step.Method + " " + step.Path + step.RPC)
	}
	if load.Users > 0 {
		return fmt.Sprintf("%s, %d users in a closed loop", what, load.Users)
	}
	least, most := math.Inf(1), 0.0
	for _, stage := range load.Stages {
		least, most = min(least, stage.From, stage.To), max(most, stage.From, stage.To)
	}
	rate := figure.PerSecond.Text(most)
	if least < most {
		rate = figure.PerSecond.Text(least) + " to " + rate
	}
	return fmt.Sprintf("%s at %s, %s arrivals", what, rate, load.Arrivals)
}

func latencyOf(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	v := milliseconds(d)
	return &v
}

func numberOf(v measure.Value, scale float64) *float64 {
	if !v.Known || math.IsInf(v.Number, 0) {
		return nil
	}
	n := round(v.Number*scale, 4)
	return &n
}

func (b *pageBuilder) lag() (time.Duration, bool) {
	v := b.set.Lag(b.set.Whole())
	return time.Duration(v.Number * float64(time.Second)), v.Known
}
