package report

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/system"
)

// drawnPoints bounds the points of one line: more than a chart is wide, nobody sees.
const drawnPoints = 600

// doors asks how busy each service was, second by second.
func (b *pageBuilder) doors(ctx context.Context) error {
	lines, err := b.set.DoorLines(ctx)
	if err != nil {
		return fmt.Errorf("asking for the doors of services: %w", err)
	}
	byName := map[string]measure.DoorLine{}
	for _, line := range lines {
		byName[line.Service] = line
	}
	for _, svc := range b.run.System.Services {
		line := byName[svc.Name]
		page := PageService{
			Name: svc.Name, About: svc.About, Protocol: svc.Protocol, Replicas: svc.Replicas,
			Busy: b.line(line.Busy), Queue: b.line(line.Queue), Shed: notZero(b.line(line.Shed)), Phases: map[string]*float64{},
		}
		if svc.Capacity != nil {
			page.Workers, page.QueueLimit = svc.Capacity.Workers, svc.Capacity.Queue
		}
		for _, phase := range b.run.Plan.Phases {
			page.Phases[phase.Name] = meanOf(line.Busy, phase)
		}
		b.out.Services = append(b.out.Services, page)
	}
	return nil
}

// line is a line for the page. Where it has more points than can be drawn, the
// greatest of several stands for them.
func (b *pageBuilder) line(line measure.Line) [][2]float64 {
	out := [][2]float64{}
	each := (len(line) + drawnPoints - 1) / drawnPoints
	for i, p := range line {
		if i%max(1, each) == 0 {
			out = append(out, [2]float64{round(p.At.Seconds(), 3), round(p.Value, 3)})
			continue
		}
		last := &out[len(out)-1]
		last[1] = max(last[1], round(p.Value, 3))
	}
	return out
}

func notZero(line [][2]float64) [][2]float64 {
	return slices.DeleteFunc(line, func(p [2]float64) bool { return p[1] <= 0 })
}

func meanOf(line measure.Line, phase plan.Phase) *float64 {
	sum, n := 0.0, 0
	for _, p := range line {
		if p.At >= phase.Start && p.At < phase.End {
			sum, n = sum+p.Value, n+1
		}
	}
	if n == 0 {
		return nil
	}
	mean := round(sum/float64(n), 4)
	return &mean
}

// edges asks for each edge's figures in each phase, as its caller saw it, and
// for the states of circuit breakers.
func (b *pageBuilder) edges(ctx context.Context) error {
	index := map[chaos.Edge]int{}
	for _, edge := range b.run.System.Edges() {
		index[edge] = len(b.out.Edges)
		page := PageEdge{Caller: edge.Caller, Callee: edge.Callee, Exact: edge.Caller == system.LoadCaller, Faults: []string{}, Phases: map[string]PageEdgeTime{}}
		for _, w := range b.run.Plan.Faults {
			if slices.Contains(w.Edges, edge) {
				page.Faults = append(page.Faults, w.ID)
			}
		}
		b.out.Edges = append(b.out.Edges, page)
	}
	for _, phase := range b.run.Plan.Phases {
		table, err := b.set.Edges(ctx, windowOf(phase))
		if err != nil {
			return fmt.Errorf("asking for the edges in %s: %w", phase.Name, err)
		}
		for _, row := range table {
			page := PageEdgeTime{
				Rate: number(row.CallRate, 1), Errors: number(row.Errors, 1), Rejected: number(row.Rejected, 1), Amplification: number(row.Amplification, 1),
				P50: number(row.P50, 1000), P99: number(row.P99, 1000),
			}
			if !row.CallRate.Known {
				page.Why = row.CallRate.Why
			}
			b.out.Edges[index[row.Edge]].Phases[phase.Name] = page
		}
	}
	return b.breakers(ctx)
}

func (b *pageBuilder) breakers(ctx context.Context) error {
	lines, err := b.set.EdgeLines(ctx)
	if err != nil {
		return fmt.Errorf("asking for circuit breakers: %w", err)
	}
	for _, line := range lines {
		if len(line.Breaker) == 0 {
			continue
		}
		breaker := PageBreaker{Edge: line.Edge.String(), States: [][2]float64{}}
		for _, p := range line.Breaker {
			if n := len(breaker.States); n == 0 || breaker.States[n-1][1] != p.Value {
				breaker.States = append(breaker.States, [2]float64{round(p.At.Seconds(), 3), p.Value})
			}
		}
		b.out.Breakers = append(b.out.Breakers, breaker)
	}
	return nil
}

// full is the share of busy workers from which on a service counts as full; the
// alert DoorSaturated of the bundled system goes by the same.
const full = 0.95

// filled is a service that had no worker free any more after a fault began.
type filled struct {
	service string
	at      time.Duration
}

// spread says in which order services filled up after the first fault began, until
// another one begins: a failure climbs from the callee to its callers, and may do so
// when its trigger has gone.
func (b *pageBuilder) spread() {
	b.out.Spread.Steps = []PageSpreadStep{}
	fault, found := firstFault(b.run.Plan)
	if !found || !slices.ContainsFunc(b.out.Services, func(s PageService) bool { return len(s.Busy) > 0 }) {
		return
	}
	end := b.spreadEnds(fault)
	steps, busiest, most := []filled{}, "", 0.0
	for _, svc := range b.callersLast() {
		at, peak := fillsUp(svc.Busy, fault.Start, end)
		if at >= 0 {
			steps = append(steps, filled{svc.Name, at})
		}
		if peak > most {
			busiest, most = svc.Name, peak
		}
	}
	sort.SliceStable(steps, func(i, j int) bool { return steps[i].at < steps[j].at })
	for _, s := range steps {
		b.out.Spread.Steps = append(b.out.Spread.Steps, PageSpreadStep{Service: s.service, At: s.at.Seconds()})
	}
	if len(steps) == 0 && b.reached() < end {
		return // nobody knows what would have filled up
	}
	b.out.Spread.Text = spreadText(fault, steps, busiest, most)
}

// spreadEnds is when the next fault begins after this one has ended, or the run ends.
func (b *pageBuilder) spreadEnds(fault plan.Window) time.Duration {
	end := max(fault.End, b.run.Plan.Length())
	for _, other := range b.run.Plan.Faults {
		if other.Start >= fault.End {
			end = min(end, other.Start)
		}
	}
	return end
}

// reached is how far the run came.
func (b *pageBuilder) reached() time.Duration {
	seconds := 0
	for _, load := range b.out.Loads {
		seconds = max(seconds, len(load.Bins))
	}
	return time.Duration(seconds) * time.Second
}

func firstFault(p *plan.Plan) (plan.Window, bool) {
	if len(p.Faults) == 0 {
		return plan.Window{}, false
	}
	return slices.MinFunc(p.Faults, func(a, b plan.Window) int { return int(a.Start - b.Start) }), true
}

// fillsUp is when a line reached full between begin and end and stayed there for
// another point, and its greatest value in between; -1 when it did not, or was
// full when begin came.
func fillsUp(line [][2]float64, begin, end time.Duration) (at time.Duration, peak float64) {
	at = -1
	for i, p := range line {
		when := time.Duration(p[0] * float64(time.Second))
		switch {
		case when < begin || when >= end:
			continue
		case p[1] > peak:
			peak = p[1]
		}
		rises := i == 0 || line[i-1][1] < full
		if at < 0 && p[1] >= full && rises && i+1 < len(line) && line[i+1][1] >= full {
			at = when
		}
	}
	return at, peak
}

// callersLast gives the services so that callees stand before their callers:
// where two filled up in the same second, the deeper is named first.
func (b *pageBuilder) callersLast() []PageService {
	depth := b.depths()
	out := slices.Clone(b.out.Services)
	sort.SliceStable(out, func(i, j int) bool { return depth[out[i].Name] > depth[out[j].Name] })
	return out
}

// depths is how many calls away from the entry a service is at most. Cycles end
// the search.
func (b *pageBuilder) depths() map[string]int {
	depth := map[string]int{b.run.System.Entry: 0}
	edges := b.run.System.Edges()
	for range b.run.System.Services {
		for _, e := range edges {
			from, reached := depth[e.Caller]
			if to, seen := depth[e.Callee]; reached && from < len(edges) && (!seen || to < from+1) {
				depth[e.Callee] = from + 1
			}
		}
	}
	return depth
}

func spreadText(fault plan.Window, steps []filled, busiest string, most float64) string {
	if len(steps) == 0 {
		if busiest == "" {
			return ""
		}
		share := figure.Ratio.Text(min(1, round(most, 3)))
		if most >= full {
			return fmt.Sprintf("No service filled up and stayed full after %s began: the busiest, %s, had %s of its workers busy at times.", fault.ID, busiest, share)
		}
		return fmt.Sprintf("No service filled up after %s began: the busiest, %s, had at most %s of its workers busy.", fault.ID, busiest, share)
	}
	parts := make([]string, 0, len(steps))
	for _, s := range steps {
		parts = append(parts, s.service+" "+after(s.at-fault.Start))
	}
	return fmt.Sprintf("After %s began, services filled up: %s.", fault.ID, strings.Join(parts, ", "))
}
