package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
)

// faults turns the faults of the scenario and the variant into windows, by their start.
func (c *compiler) faults() {
	for _, fault := range c.effective() {
		if fault.Value.Off {
			continue
		}
		if slices.Contains(c.phaseNames(), fault.Name) {
			c.fail(fault.Path, fmt.Sprintf("%q is the name of a phase too", fault.Name), "expectations could mean either; give one another name")
		}
		w := Window{Fault: chaos.Fault{
			ID: fault.Name, Kind: fault.Value.Kind, Params: fault.Value.Params, Replica: fault.Value.Target.Replica,
		}}
		w.Start, w.End = c.when(fault.Path, fault.Value.When)
		c.aim(fault.Path+"."+fault.Value.Kind, fault.Value.Target, &w)
		if !c.src.Failed(fault.Path) {
			c.plan.Faults = append(c.plan.Faults, w)
		}
	}
	slices.SortStableFunc(c.plan.Faults, func(a, b Window) int { return cmp.Compare(a.Start, b.Start) })
}

// effective is the scenario's faults with the variant's in place of those of the same name, and the others after them.
func (c *compiler) effective() strictyaml.Map[scenario.Fault] {
	own := c.variant.Value.Faults
	var out strictyaml.Map[scenario.Fault]
	for _, fault := range c.sc.Faults {
		if i := slices.Index(own.Names(), fault.Name); i >= 0 {
			fault = own[i]
		}
		out = append(out, fault)
	}
	for _, fault := range own {
		_, replaced := c.sc.Faults.Get(fault.Name)
		switch {
		case replaced:
		case fault.Value.Off:
			c.unknown(fault.Path, "fault", fault.Name, c.sc.Faults.Names())
		default:
			out = append(out, fault)
		}
	}
	return out
}

// when works out the window of a fault, and checks that it lies within the run.
func (c *compiler) when(path string, when scenario.When) (start, end time.Duration) {
	if when.During != "" {
		phase, known := c.plan.Phase(when.During)
		if !known {
			c.unknown(path+".during", "phase", when.During, c.phaseNames())
		}
		return phase.Start, phase.End
	}
	if when.At == nil { // which has been said
		return 0, 0
	}
	start = when.At.Offset
	if when.At.Phase != "" {
		phase, known := c.plan.Phase(when.At.Phase)
		if !known {
			c.unknown(path+".at", "phase", when.At.Phase, c.phaseNames())
			return 0, 0
		}
		if length := phase.End - phase.Start; when.At.Offset >= length && length > 0 {
			c.fail(path+".at", fmt.Sprintf("phase %s lasts %s only", phase.Name, length), "")
			return 0, 0
		}
		start, end = phase.Start+when.At.Offset, phase.End
	}
	if when.For != nil {
		end = start + *when.For
	}
	if length := c.plan.Length(); !c.src.Failed("phases") && end > length {
		c.fail(path, fmt.Sprintf("it would last until %s, and the run ends at %s", end, length), "the run is as long as its phases together")
	}
	return start, end
}

// aim checks that what the fault acts on exists, and notes it in the window.
func (c *compiler) aim(path string, target chaos.Target, w *Window) {
	edges := c.sys.Edges()
	for i, edge := range target.Edges {
		at := c.targetPath(path, "edge", i)
		if !slices.Contains(edges, edge) {
			c.unknown(at, "edge", edge.String(), c.edgeNames())
			continue
		}
		c.replica(path, edge.Callee, target.Replica)
		if err := chaos.CheckProtocol(w.Fault, c.sys.Service(edge.Callee).Protocol); err != nil && !c.src.Failed(path) {
			c.fail(at, fmt.Sprintf("%s cannot act on %s: %v", w.Kind, edge, err), "")
		}
	}
	w.Edges = target.Edges
	for i, service := range target.Services {
		at := c.targetPath(path, "service", i)
		if c.sys.Service(service) == nil {
			c.unknown(at, "service", service, c.serviceNames())
			continue
		}
		c.replica(path, service, target.Replica)
		if w.Kind == chaos.Admin && !c.sys.Service(service).HasAdmin() {
			c.fail(at, fmt.Sprintf("%s serves no admin port that could be asked", service), "a service does whose health or metrics in the system file have port: admin")
		}
	}
	w.Services = target.Services
	if target.Groups != nil {
		w.Edges = c.between(path+".groups", target.Groups)
	}
	if target.Load != "" {
		w.Load = target.Load
		if _, known := c.sc.Loads.Get(target.Load); !known {
			c.unknown(path+".load", "load", target.Load, c.sc.Loads.Names())
		}
	}
}

// targetPath is where the i-th target stands: edge, edges or edges[i].
func (c *compiler) targetPath(path, one string, i int) string {
	if c.src.Has(path + "." + one) {
		return path + "." + one
	}
	if at := fmt.Sprintf("%s.%ss[%d]", path, one, i); c.src.Has(at) {
		return at
	}
	return fmt.Sprintf("%s.%ss", path, one)
}

func (c *compiler) replica(path, service string, replica int) {
	if n := c.replicas(service); replica > n {
		c.fail(path+".replica", fmt.Sprintf("%s has %d of them, so there is no replica %d%s", service, n, replica, c.only(path)), "replicas count from 1")
	}
}

// edgesOf says which edges the services of some groups have.
func (c *compiler) edgesOf(groups [][]string) string {
	services := slices.Concat(groups...)
	var names []string
	for _, e := range c.sys.Edges() {
		if slices.Contains(services, e.Caller) || slices.Contains(services, e.Callee) {
			names = append(names, e.String())
		}
	}
	if len(names) == 0 {
		return "they have no edges at all"
	}
	return "their edges are " + strings.Join(names, ", ")
}

func (c *compiler) between(path string, groups [][]string) []chaos.Edge {
	known := append(c.serviceNames(), system.LoadCaller)
	for i, group := range groups {
		for j, service := range group {
			if !slices.Contains(known, service) {
				c.unknown(fmt.Sprintf("%s[%d][%d]", path, i, j), "service", service, known)
			}
		}
	}
	edges := chaos.Between(groups, c.sys.Edges())
	if len(edges) == 0 && !c.src.Failed(path) {
		c.fail(path, "no edge goes from one group to another", c.edgesOf(groups))
	}
	return edges
}

// spikes puts the load faults into the loads.
func (c *compiler) spikes() {
	for _, w := range c.plan.Faults {
		i := slices.IndexFunc(c.plan.Loads, func(l loadgen.Load) bool { return l.Name == w.Load })
		if w.Load == "" || i < 0 {
			continue
		}
		load := &c.plan.Loads[i]
		if load.Users > 0 {
			c.fail(c.faultPath(w.ID), fmt.Sprintf("load %s has users, who wait for their answers: no spike can be sent%s", w.Load, c.only(c.faultPath(w.ID))), "give the load a rate")
			continue
		}
		load.Stages = spike(load.Stages, w.Start, w.End, func(rate float64) float64 {
			if w.Params.Has("rate") {
				return w.Params.Float("rate")
			}
			return rate * w.Params.Float("factor")
		})
	}
}

// faultPath is where the fault of that name stands for this variant.
func (c *compiler) faultPath(name string) string {
	for _, fault := range c.effective() {
		if fault.Name == name {
			return fault.Path
		}
	}
	return "faults"
}

// conflicts refuses faults that cannot act at the same time.
func (c *compiler) conflicts() {
	for i, b := range c.plan.Faults {
		for _, a := range c.plan.Faults[:i] {
			if a.Start >= b.End || b.Start >= a.End {
				continue
			}
			err := chaos.Conflict(a.Fault, b.Fault)
			if err == nil && a.Load != "" && a.Load == b.Load {
				err = fmt.Errorf("%s and %s both change load %s at the same time", a.ID, b.ID, a.Load)
			}
			if err == nil {
				err = hidden(a, b)
			}
			if err != nil {
				path := c.faultPath(b.ID)
				c.fail(path, err.Error()+c.only(path), "")
			}
		}
	}
}

// hidden tells whether one of two faults would be felt by nobody, because the
// other lets nothing pass where it acts: the run could never pass.
func hidden(a, b Window) error {
	for _, pair := range [][2]Window{{a, b}, {b, a}} {
		wall, behind := pair[0], pair[1]
		if !stops(wall) || wall.Start > behind.Start || wall.End < behind.End {
			continue
		}
		for _, edge := range behind.Edges {
			if !blocks(wall, edge) {
				return nil
			}
		}
		if len(behind.Edges) > 0 {
			return fmt.Errorf("%s (%s) would be felt by nobody: %s (%s) lets nothing pass there as long", behind.ID, behind.Kind, wall.ID, wall.Kind)
		}
	}
	return nil
}

// stops tells whether nothing reaches what the fault acts on, while it lasts.
func stops(w Window) bool {
	switch w.Kind {
	case chaos.Down, chaos.Partition, chaos.Kill, chaos.Pause:
		return w.Replica == 0
	}
	return false
}

func blocks(w Window, edge chaos.Edge) bool {
	return slices.Contains(w.Edges, edge) || slices.Contains(w.Services, edge.Callee)
}
