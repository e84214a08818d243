package run

import (
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/internal/system/compose"
	"github.com/faultline-lab/faultline/loadgen"
)

// stackOf is a stack on which everything of a system runs.
func stackOf(sys *system.System) *compose.Stack {
	stack := &compose.Stack{}
	for _, c := range compose.Containers(sys) {
		stack.Containers = append(stack.Containers, compose.Container{Service: c.Name, State: "running", Labels: map[string]string{}})
	}
	return &compose.Stack{Containers: append(stack.Containers,
		compose.Container{Service: "postgres", State: "running"},
		compose.Container{Service: compose.ProxyHost, State: "running", Labels: map[string]string{compose.SystemLabel: sys.Name},
			Ports: map[int]string{compose.ProxyAPIPort: "127.0.0.1:1", compose.FirstEdgePort: "127.0.0.1:2"}})}
}

// What a stack cannot do is refused before anything starts, with what to do about it.
func TestCheckStack(t *testing.T) {
	kill := plan.Window{Fault: chaos.Fault{ID: "gone", Kind: chaos.Kill, Services: []string{"bank"}}}
	for _, test := range []struct {
		name   string
		change func(*plan.Plan, *compose.Stack)
		want   string
	}{
		{"a plan that it can carry out", func(*plan.Plan, *compose.Stack) {}, ""},
		{"nothing is up", func(_ *plan.Plan, s *compose.Stack) { s.Containers = nil }, "the stack is not up: make up"},
		{"another system", func(_ *plan.Plan, s *compose.Stack) {
			s.Containers[len(s.Containers)-1].Labels[compose.SystemLabel] = "shop"
		}, "the stack runs the system shop, and the scenario is about three"},
		{"a load elsewhere", func(p *plan.Plan, _ *compose.Stack) { p.Loads[0].Service = "bank" }, "the load browse calls bank: the stack lets loads in at front only"},
		{"hops", func(p *plan.Plan, _ *compose.Stack) { p.Enforce = plan.Proxy }, "variant naive has layer-7 hops before its edges"},
		{"more replicas", func(p *plan.Plan, _ *compose.Stack) { p.Services = map[string]plan.Change{"bank": {Replicas: 5}} }, "variant naive wants 5 of bank: the stack has 2"},
		{"as many replicas", func(p *plan.Plan, _ *compose.Stack) { p.Services = map[string]plan.Change{"bank": {Replicas: 2}} }, ""},
		{"a kill without leave", func(p *plan.Plan, _ *compose.Stack) { p.Faults = append(p.Faults, kill) }, "the fault gone is a kill of bank, and the stack was brought up without leave"},
		{"a kill with leave", func(p *plan.Plan, s *compose.Stack) {
			p.Faults = append(p.Faults, kill)
			for _, c := range s.Containers[:3] {
				c.Labels[compose.ChaosLabel] = compose.ChaosAllowed
			}
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			sys := threeServices()
			stack := stackOf(sys)
			p := &plan.Plan{Variant: "naive", System: "three", Loads: []loadgen.Load{{Name: "browse", Service: "front"}}}
			test.change(p, stack)
			err := CheckStack(p, sys, stack)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// Failures come first, then what was slow.
func TestTraceIDs(t *testing.T) {
	got := traceIDs([]candidate{{"fast", false, time.Millisecond}, {"slow", false, time.Second}, {"failed", true, time.Microsecond}}, 2)
	if strings.Join(got, " ") != "failed slow" {
		t.Errorf("got %q", got)
	}
}
