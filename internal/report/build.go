package report

import (
	"context"
	"maps"
	"math"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
)

// textLimit bounds one attribute or log line on a page, in runes.
const textLimit = 300

// pageBuilder collects one run's part of a page.
type pageBuilder struct {
	run       *record.Run
	verdict   *check.Verdict
	set       *measure.Set
	telemetry Telemetry
	out       PageRun
	bytes     int // of all traces so far
	profiler  profiler
}

func newPageBuilder(run *record.Run, verdict *check.Verdict, t Telemetry) *pageBuilder {
	return &pageBuilder{run: run, verdict: verdict, set: measure.New(run, t), telemetry: t}
}

func buildRun(ctx context.Context, run *record.Run, verdict *check.Verdict, t Telemetry) (PageRun, error) {
	b := newPageBuilder(run, verdict, t)
	b.out = PageRun{
		ID: run.Meta.ID, Label: run.Meta.Variant, Seed: run.Meta.Seed, About: run.Plan.About, Entry: run.System.Entry,
		Outcome: string(verdict.Outcome), Settings: settingsText(verdict.Settings), Says: says(verdict), Reasons: orEmpty(verdict.Reasons), Notes: orEmpty(slices.Clone(verdict.Notes)),
		Traces: map[string]PageTrace{}, Profiles: map[string]PageProfile{}, Services: []PageService{}, Breakers: []PageBreaker{}, Edges: []PageEdge{}, Processes: []PageProcess{},
	}
	b.out.Grafana = grafanaOf(run)
	b.findings()
	b.out.Shares = sharesOf(b.run)
	b.policies()
	b.timeline()
	b.loads()
	if !run.Meta.Load.IsZero() { // else there is no time to ask about
		for _, step := range []func(context.Context) error{b.doors, b.edges, b.processes} {
			if err := step(ctx); err != nil {
				return PageRun{}, err
			}
		}
	}
	if err := b.listProfiles(ctx); err != nil {
		return PageRun{}, err
	}
	if err := b.violations(ctx); err != nil { // before the requests: these traces are wanted most
		return PageRun{}, err
	}
	if err := b.requests(ctx); err != nil {
		return PageRun{}, err
	}
	b.spread()
	b.alerts()
	b.events()
	b.facts()
	return b.out, ctx.Err()
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
		what, wants, meaning := inWords(f)
		b.out.Findings = append(b.out.Findings, PageFinding{
			That: f.That, What: what, Wants: wants, Meaning: meaning, In: f.In, Value: f.Got, Outcome: string(f.Outcome), Why: f.Why, Source: f.Source,
		})
	}
}

func (b *pageBuilder) policies() {
	b.out.Policies = []PagePolicy{}
	for on, chain := range b.run.Plan.Policies {
		policy := PagePolicy{On: on, Chain: []string{}}
		for _, spec := range chain {
			policy.Chain = append(policy.Chain, describePolicy(spec.Kind, spec.Params))
		}
		b.out.Policies = append(b.out.Policies, policy)
	}
	sort.Slice(b.out.Policies, func(i, j int) bool { return b.out.Policies[i].On < b.out.Policies[j].On })
}

func (b *pageBuilder) timeline() {
	b.out.Phases, b.out.Faults = []PagePhase{}, []PageFault{}
	for _, p := range b.run.Plan.Phases {
		b.out.Phases = append(b.out.Phases, PagePhase{Name: p.Name, Start: p.Start.Seconds(), End: p.End.Seconds(), Fault: faulted(b.run.Plan, p)})
	}
	for _, w := range b.run.Plan.Faults {
		fault := PageFault{
			ID: w.ID, Kind: w.Kind, Target: targetOf(w), Params: describeParams(w.Params), Edges: []string{}, Services: orEmpty(w.Services),
			Load: w.Load, Start: w.Start.Seconds(), End: w.End.Seconds(),
		}
		for _, edge := range w.Edges {
			fault.Edges = append(fault.Edges, edge.String())
		}
		b.out.Faults = append(b.out.Faults, fault)
	}
}

// at is a time as seconds from the start of the load, or of the run where the
// load never started.
func (b *pageBuilder) at(t time.Time) float64 {
	start := b.run.Meta.Load
	if start.IsZero() {
		start = b.run.Meta.Started
	}
	return round(t.Sub(start).Seconds(), 3)
}

func milliseconds(d time.Duration) float64 { return round(float64(d)/float64(time.Millisecond), 3) }

func round(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}

// number is a value for the page; nil where there is none.
func number(v measure.Value, scale float64) *float64 {
	if !v.Known || math.IsInf(v.Number, 0) {
		return nil
	}
	n := v.Number * scale
	if rounded := round(n, 6); rounded != 0 {
		n = rounded
	}
	return &n
}

// loads gives each load second by second, and by phase.
func (b *pageBuilder) loads() {
	b.out.Loads = []PageLoad{}
	for _, load := range b.run.Plan.Loads {
		page := PageLoad{
			Name: load.Name, About: describeLoad(load), Service: load.Service, SLO: milliseconds(load.SLO), Bins: []PageBin{}, Phases: []PageLoadPhase{},
			Recovery: recoveryOf(b.set, load.Name).Text(),
		}
		for _, bin := range b.set.PerSecond(load.Name) {
			page.Bins = append(page.Bins, PageBin{
				T: bin.Start.Seconds(), Offered: bin.Offered, Good: bin.Good, Slow: bin.Slow, Failed: bin.Failed,
				P50: latencyOf(bin.P50), P99: latencyOf(bin.P99),
			})
		}
		for _, phase := range b.run.Plan.Phases {
			page.Phases = append(page.Phases, b.loadPhase(load.Name, phase))
		}
		b.out.Loads = append(b.out.Loads, page)
	}
}

func (b *pageBuilder) loadPhase(load string, phase plan.Phase) PageLoadPhase {
	table, _ := b.set.Load(load, windowOf(phase))
	out := PageLoadPhase{
		Name: phase.Name, Offered: table.Due, Goodput: number(table.Goodput, 1), Success: number(table.Success, 1),
		P50: number(table.P50, 1000), P99: number(table.P99, 1000), Max: number(table.Max, 1000),
	}
	for _, f := range table.Failures {
		out.Failures = append(out.Failures, PageCount{Name: f.Name, N: f.N})
	}
	for _, s := range table.Steps {
		out.Steps = append(out.Steps, PageStep{Name: s.Name, Requests: s.Requests, Success: number(s.Success, 1), P50: number(s.P50, 1000), P99: number(s.P99, 1000)})
	}
	return out
}

func windowOf(phase plan.Phase) measure.Window {
	return measure.Window{Kind: measure.Phase, Name: phase.Name, Start: phase.Start, End: phase.End}
}

func latencyOf(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	v := milliseconds(d)
	return &v
}

// processes gives what each process used: cores on average over the load, resident memory at most.
func (b *pageBuilder) processes(ctx context.Context) error {
	all, err := b.set.Processes(ctx, b.whole())
	if err != nil {
		return err
	}
	for _, p := range all {
		row := PageProcess{Name: p.Name}
		if p.CPU.Known {
			row.Cores = round(p.CPU.Number, 4)
		}
		row.MB = round(p.Memory.Number/(1<<20), 1) // the resident size, as memory() measures it
		b.out.Processes = append(b.out.Processes, row)
	}
	return nil
}

// whole is the run with its warmup.
func (b *pageBuilder) whole() measure.Window {
	return measure.Window{Kind: measure.Whole, End: b.run.Plan.Length()}
}

func (b *pageBuilder) facts() {
	meta := b.run.Meta
	fact := func(name, value string) { b.out.Facts = append(b.out.Facts, PageFact{Name: name, Value: value}) }
	kept := func(received, dropped int64) string {
		return figure.Count.Text(float64(received-dropped)) + " kept, " + figure.Count.Text(float64(dropped)) + " lost"
	}
	fact("how the run ended", meta.Outcome)
	if meta.Reason != "" {
		fact("because", meta.Reason)
	}
	fact("seed", strconv.FormatUint(meta.Seed, 10))
	if set := settingsText(b.run.Plan.Settings); set != "" {
		fact("set for the services", set)
	}
	fact("generator lag, p99", b.set.Lag(b.set.Whole()).Text())
	fact("lag allowed", figure.Duration(check.MaxLag(b.run.Plan)))
	cores, mb := 0.0, 0.0
	for _, p := range b.out.Processes {
		cores, mb = cores+p.Cores, mb+p.MB
	}
	if len(b.out.Processes) > 0 {
		fact("CPU of all processes, mean", figure.Cores.Text(round(cores, 2)))
		fact("resident memory, the most of each process added up", figure.Bytes.Text(mb*(1<<20)))
	}
	fact("spans", kept(meta.Loss.SpansReceived, meta.Loss.SpansDropped))
	fact("log lines", kept(meta.Loss.LogsReceived, meta.Loss.LogsDropped))
	fact("scrapes that failed", figure.Count.Text(float64(meta.Loss.ScrapesFailed)))
	if !meta.Load.IsZero() {
		fact("from the command to the first request", figure.Duration(meta.Load.Sub(meta.Started)))
	}
}

// shorten bounds a text of the system under test.
func shorten(text string) string {
	if runes := []rune(text); len(runes) > textLimit {
		return string(runes[:textLimit]) + "…"
	}
	return text
}

// shortened bounds attributes, in their number and their length.
func shortened(from map[string]any, without ...string) map[string]any {
	out := make(map[string]any, min(len(from), attributes))
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if slices.Contains(without, name) {
			continue
		}
		if len(out) == attributes {
			break
		}
		value := from[name]
		if text, is := value.(string); is {
			value = shorten(text)
		}
		if f, is := value.(float64); is && (math.IsNaN(f) || math.IsInf(f, 0)) {
			value = strconv.FormatFloat(f, 'g', -1, 64) // JSON has no such numbers
		}
		out[shorten(name)] = value
	}
	return out
}
