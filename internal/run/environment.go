package run

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/resilience"
)

// environment is what a service gets besides its ports and addresses: where
// its telemetry goes, the seed, and the policies that concern it.
func environment(p *plan.Plan, service, instance string, otlp, pyroscope string) (map[string]string, error) {
	elsewhere, left := guarded(p), maps.Clone(p.Policies)
	for _, edge := range elsewhere {
		delete(left, edge)
	}
	for _, edge := range p.Observed {
		elsewhere = append(elsewhere, edge.String())
	}
	policies, err := json.Marshal(policiesOf(left, service))
	if err != nil {
		return nil, fmt.Errorf("writing the policies of %s: %w", service, err)
	}
	env := map[string]string{
		"OTEL_SERVICE_NAME":           service,
		"OTEL_RESOURCE_ATTRIBUTES":    "service.instance.id=" + instance,
		"OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
		"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
		"PYROSCOPE_URL":               pyroscope,
		"RESILIENCE_POLICIES":         string(policies),
		"SEED":                        strconv.FormatUint(p.Seed, 10),
	}
	maps.Copy(env, p.Settings)
	if len(elsewhere) > 0 {
		env["EDGES_MEASURED_ELSEWHERE"] = strings.Join(elsewhere, ",")
	}
	return env, nil
}

// policiesOf selects what concerns one service: the edges on which it is the
// caller, and its own door.
func policiesOf(all resilience.Policies, service string) resilience.Policies {
	own := resilience.Policies{}
	for on, chain := range all {
		if on == service || strings.HasPrefix(on, service+"->") {
			own[on] = chain
		}
	}
	return own
}

// guarded lists the edges whose policies a hop enforces. It measures them too, and the services do not:
// each call is counted once, by whoever makes the attempts.
func guarded(p *plan.Plan) []string {
	if p.Enforce != plan.Proxy {
		return nil
	}
	var edges []string
	for on := range p.Policies {
		if resilience.SideOf(on) == resilience.OnEdge {
			edges = append(edges, on)
		}
	}
	slices.Sort(edges)
	return edges
}
