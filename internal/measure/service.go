package measure

import (
	"context"
	"math"
	"regexp"
	"sort"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
)

func (s *Set) ofService(ctx context.Context, c *grammar.Comparison, w Window) Value {
	service, unit := c.Argument, c.Measure.Unit
	if s.run.System.Service(service) == nil {
		return unknown(unit, "the system has no service %q", service)
	}
	var number float64
	var err error
	switch c.Measure.Name {
	case "queue":
		number, err = s.worst(ctx, w, selector(names.DoorQueueDepth, names.Service, service), greatest)
	case "busy":
		number, err = s.worst(ctx, w, busyShare(service), mean)
	case "wasted":
		number, err = s.wasted(ctx, service, w)
	case "cpu":
		number, err = s.cpu(ctx, service, w)
	case "memory":
		number, err = s.worst(ctx, w, s.processes(names.ProcessResident, service), greatest)
	default:
		return unknown(unit, "no rule for %s", c.Measure.Name)
	}
	if err != nil {
		return unknown(unit, "%v", err)
	}
	if math.IsNaN(number) {
		return unknown(unit, "%s", nothingRecorded(c.Measure.Name, service))
	}
	if why := s.gaps(ctx, service, w); why != "" {
		return unknown(unit, "%s", why)
	}
	return known(number, unit, 0)
}

func nothingRecorded(measure, service string) string {
	switch measure {
	case "busy":
		return service + " recorded no busy workers, or its door has no limit"
	case "wasted":
		return service + " did no work in the window, or recorded none"
	default:
		return service + " recorded nothing for " + measure + " in the window"
	}
}

// busyShare leaves out doors without a limit of workers, whose share would be
// infinite.
func busyShare(service string) string {
	return selector(names.DoorBusy, names.Service, service) + " / (" + selector(names.DoorWorkers, names.Service, service) + " > 0)"
}

// worst reduces each series to one number and returns the greatest; NaN of
// none.
func (s *Set) worst(ctx context.Context, w Window, expr string, reduce func([]telemetry.Point) float64) (float64, error) {
	series, err := s.samples(ctx, w, expr, sampling)
	if err != nil {
		return 0, err
	}
	worst := math.NaN()
	for _, line := range series {
		worst = larger(worst, reduce(line.Points))
	}
	return worst, nil
}

// larger is the greater of two numbers of which either may be NaN, for none.
func larger(a, b float64) float64 {
	if math.IsNaN(a) || b > a {
		return b
	}
	return a
}

func greatest(points []telemetry.Point) float64 {
	most := math.NaN()
	for _, p := range points {
		most = larger(most, p.Value)
	}
	return most
}

func mean(points []telemetry.Point) float64 {
	sum := 0.0
	for _, p := range points {
		sum += p.Value
	}
	return sum / float64(len(points))
}

func (s *Set) wasted(ctx context.Context, service string, w Window) (float64, error) {
	wasted, err := s.increases(ctx, w, selector(names.DoorWastedSeconds, names.Service, service))
	if err != nil {
		return 0, err
	}
	held, err := s.increases(ctx, w, selector(names.DoorServiceTime+"_sum", names.Service, service))
	if err != nil {
		return 0, err
	}
	worst := math.NaN()
	for _, h := range held {
		if h.by > 0 {
			instance := h.labels[names.Instance]
			worst = larger(worst, part(total(wasted, names.Instance, instance), h.by))
		}
	}
	return worst, nil
}

// part is a share of a whole that is counted a moment before or after it: a
// scrape in between must not make it more than all.
func part(of, whole float64) float64 { return min(of/whole, 1) }

func (s *Set) cpu(ctx context.Context, service string, w Window) (float64, error) {
	used, err := s.increases(ctx, w, s.processes(names.ProcessCPU, service))
	if err != nil {
		return 0, err
	}
	worst := math.NaN()
	for _, u := range used {
		worst = larger(worst, u.by/(w.End-w.Start).Seconds())
	}
	return worst, nil
}

// processes selects the processes of a service: the service's name, and with
// replicas the name, a hyphen and a number.
func (s *Set) processes(metric, service string) string {
	return selector(metric, names.Process+"~", regexp.QuoteMeta(service)+"(-[0-9]+)?")
}

// DoorLine is what went on at a service's door, second by second. Of several
// replicas the greatest value counts, except that what was shed is added up.
type DoorLine struct {
	Service string
	Queue   Line // requests waiting
	Busy    Line // share of the workers; empty for a door without a limit
	Shed    Line // requests turned away, per second
}

// DoorLines gives the time lines of every service that recorded any, in the
// order of the system's file, over the whole run with its warmup.
func (s *Set) DoorLines(ctx context.Context) ([]DoorLine, error) {
	queue, err := s.lines(ctx, names.DoorQueueDepth, asIs, math.Max, serviceOf)
	if err != nil {
		return nil, err
	}
	busy, err := s.lines(ctx, names.DoorBusy+" / ("+names.DoorWorkers+" > 0)", asIs, math.Max, serviceOf)
	if err != nil {
		return nil, err
	}
	shed, err := s.lines(ctx, selector(names.DoorRequests, names.Outcome, "shed"), perSecond, sum, serviceOf)
	if err != nil {
		return nil, err
	}
	var out []DoorLine
	for _, service := range s.run.System.Services {
		if name := service.Name; len(queue[name]) > 0 || len(busy[name]) > 0 {
			out = append(out, DoorLine{Service: name, Queue: queue[name], Busy: busy[name], Shed: shed[name]})
		}
	}
	return out, nil
}

func serviceOf(labels map[string]string) string { return labels[names.Service] }

// Process is what a process of the run used.
type Process struct {
	Name   string
	CPU    Value // cores, mean
	Memory Value // bytes, most
}

// Processes gives what each process used in a window, by name.
func (s *Set) Processes(ctx context.Context, w Window) ([]Process, error) {
	used, err := s.increases(ctx, w, names.ProcessCPU)
	if err != nil {
		return nil, err
	}
	resident, err := s.samples(ctx, w, names.ProcessResident, sampling)
	if err != nil {
		return nil, err
	}
	table := map[string]*Process{}
	row := func(name string) *Process {
		if table[name] == nil {
			table[name] = &Process{Name: name, CPU: unknown(figure.Cores, "not recorded"), Memory: unknown(figure.Bytes, "not recorded")}
		}
		return table[name]
	}
	for _, u := range used {
		row(u.labels[names.Process]).CPU = known(u.by/(w.End-w.Start).Seconds(), figure.Cores, 0)
	}
	for _, line := range resident {
		row(line.Labels[names.Process]).Memory = known(greatest(line.Points), figure.Bytes, 0)
	}
	out := make([]Process, 0, len(table))
	for _, p := range table {
		out = append(out, *p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}
