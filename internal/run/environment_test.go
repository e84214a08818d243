package run

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/resilience"
)

// policies makes a chain of a timeout for each place.
func policies(t *testing.T, places ...string) resilience.Policies {
	t.Helper()
	out := resilience.Policies{}
	for _, place := range places {
		spec, problems := resilience.Parse("timeout", "500ms")
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		out[place] = []resilience.Spec{spec}
	}
	return out
}

func TestPoliciesOf(t *testing.T) {
	all := policies(t, "front->bank", "front", "front-door->bank", "front-door", "bank->front")
	for service, want := range map[string][]string{
		"front":      {"front", "front->bank"},
		"front-door": {"front-door", "front-door->bank"},
		"bank":       {"bank->front"},
		"orders":     nil,
	} {
		if got := slices.Sorted(maps.Keys(policiesOf(all, service))); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", service, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	p := &plan.Plan{Seed: 42, Policies: policies(t, "front->bank", "bank"), MaxLag: time.Second}
	got, err := environment(p, "bank", "bank-2", "http://127.0.0.1:1", "http://127.0.0.1:2")
	if err != nil {
		t.Fatal(err)
	}
	own, err := resilience.ParsePolicies([]byte(got["RESILIENCE_POLICIES"]))
	if err != nil || !slices.Equal(slices.Collect(maps.Keys(own)), []string{"bank"}) || len(own["bank"]) != 1 {
		t.Errorf("policies %s: got %v, %v; want the door's", got["RESILIENCE_POLICIES"], own, err)
	}
	delete(got, "RESILIENCE_POLICIES")
	want := map[string]string{
		"OTEL_SERVICE_NAME": "bank", "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=bank-2",
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
		"PYROSCOPE_URL": "http://127.0.0.1:2", "SEED": "42",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
