package measure

import (
	"context"
	"strings"

	"github.com/faultline-lab/faultline/observability/names"

	"github.com/faultline-lab/faultline/internal/figure"
)

// Wasted is the share of all worker time of the system, over all its services,
// that was spent for callers who had gone. A service without a capacity has no part
// in it: it has no workers to lose, and what it holds is mostly the wait for its callees.
func (s *Set) Wasted(ctx context.Context, w Window) Value {
	held, err := s.increases(ctx, w, names.DoorServiceTime+"_sum")
	if err != nil {
		return unknown(figure.Ratio, "%v", err)
	}
	wasted, err := s.increases(ctx, w, names.DoorWastedSeconds)
	if err != nil {
		return unknown(figure.Ratio, "%v", err)
	}
	limited := []string{}
	for _, service := range s.run.System.Services {
		if why := s.gaps(ctx, service.Name, w); why != "" {
			return unknown(figure.Ratio, "%s", why)
		}
		if service.Capacity != nil {
			limited = append(limited, service.Name)
		}
	}
	worked := total(held, names.Service, limited...)
	if worked <= 0 {
		return unknown(figure.Ratio, "no service with a capacity did work in the window, or none recorded it")
	}
	return known(part(total(wasted, names.Service, limited...), worked), figure.Ratio, 0)
}

// CPU is what all processes of the system used together, in cores, without
// the lab's own: the controller, the proxies, the load generator.
func (s *Set) CPU(ctx context.Context, w Window) Value {
	used, err := s.increases(ctx, w, names.ProcessCPU)
	if err != nil {
		return unknown(figure.Cores, "%v", err)
	}
	sum := 0.0
	for _, service := range s.run.System.Services {
		found := false
		for _, u := range used {
			if isProcessOf(u.labels[names.Process], service.Name) {
				sum, found = sum+u.by, true
			}
		}
		if !found {
			return unknown(figure.Cores, "the CPU of %s was not recorded", service.Name)
		}
	}
	return known(sum/(w.End-w.Start).Seconds(), figure.Cores, 0)
}

// isProcessOf tells whether a process is one of a service's: the service's
// name, and with replicas the name, a hyphen and a number.
func isProcessOf(process, service string) bool {
	rest, found := strings.CutPrefix(process, service)
	if !found || rest == "" {
		return found
	}
	number, found := strings.CutPrefix(rest, "-")
	return found && number != "" && strings.Trim(number, "0123456789") == ""
}
