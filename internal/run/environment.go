package run

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/resilience"
)

// environment is what a service gets besides its ports and addresses: where
// its telemetry goes, the seed, and the policies that concern it.
func environment(p *plan.Plan, service, instance string, otlp, pyroscope string) (map[string]string, error) {
	policies, err := json.Marshal(policiesOf(p.Policies, service))
	if err != nil {
		return nil, fmt.Errorf("writing the policies of %s: %w", service, err)
	}
	return map[string]string{
		"OTEL_SERVICE_NAME":           service,
		"OTEL_RESOURCE_ATTRIBUTES":    "service.instance.id=" + instance,
		"OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
		"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
		"PYROSCOPE_URL":               pyroscope,
		"RESILIENCE_POLICIES":         string(policies),
		"SEED":                        strconv.FormatUint(p.Seed, 10),
	}, nil
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
