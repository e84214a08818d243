package resilience

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/faultline-lab/faultline/parameter"
)

func TestCatalogIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range Catalog() {
		t.Run(kind.Name, func(t *testing.T) {
			if seen[kind.Name] {
				t.Error("is there twice")
			}
			seen[kind.Name] = true
			if kind.About == "" || kind.Example == "" || len(kind.Sides) == 0 {
				t.Error("about, example or sides are missing")
			}
			if kind.Stands(OnEdge) != (kind.edge != nil) || kind.Stands(AtDoor) != (kind.door != nil) {
				t.Error("its sides are not those that it can be built for")
			}
			var names []string
			for _, p := range kind.Params {
				names = append(names, p.Name)
				if p.About == "" || p.Type == "" {
					t.Errorf("%s: about or type is missing", p.Name)
				}
			}
			if kind.Main != "" && !slices.Contains(names, kind.Main) {
				t.Errorf("the main parameter %q is none", kind.Main)
			}
		})
	}
}

// Every example is parsed as a scenario would be, and built at each side that it claims.
func TestCatalogExamplesWork(t *testing.T) {
	for _, kind := range Catalog() {
		t.Run(kind.Name, func(t *testing.T) {
			var raw []map[string]any
			if err := yaml.Unmarshal([]byte(kind.Example), &raw); err != nil {
				t.Fatal(err)
			}
			var chain Chain
			for _, entry := range raw {
				for name, params := range entry {
					spec, problems := Parse(name, params)
					if len(problems) > 0 {
						t.Fatalf("%s: %v", name, problems)
					}
					chain = append(chain, spec)
				}
			}
			if !slices.ContainsFunc(chain, func(s Spec) bool { return s.Kind == kind.Name }) {
				t.Errorf("the example %q does not show it", kind.Example)
			}
			if kind.Stands(OnEdge) {
				if _, err := NewEdge(EdgeConfig{Caller: "a", Callee: "b", Chain: chain, Registerer: &registry{}}); err != nil {
					t.Error(err)
				}
			} else if _, err := NewDoor(DoorConfig{Service: "b", Chain: chain, Registerer: &registry{}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		kind string
		raw  any
		want string // the JSON form, or the problems
	}{
		{"short form", "timeout", "500ms", `{"timeout":{"after":"500ms"}}`},
		{"long form", "timeout", map[string]any{"after": "1s"}, `{"timeout":{"after":"1s"}}`},
		{"defaults", "bulkhead", 16, `{"bulkhead":{"max":16,"wait":"0s"}}`},
		{"no parameters at all", "deadline", nil, `{"deadline":{}}`},
		{"a percentage", "circuit_breaker", map[string]any{"failure_ratio": "25%"},
			`{"circuit_breaker":{"failure_ratio":0.25,"half_open":3,"min_calls":10,"open_for":"5s","window":"10s"}}`},
		{"near miss of the kind", "retyr", nil, `: unknown policy "retyr"; permitted: ` + kinds() + ` (did you mean "retry"?)`},
		{"near miss of a parameter", "bulkhead", map[string]any{"max": 1, "wiat": "1s"}, `wiat: unknown parameter; permitted: max, wait (did you mean "wait"?)`},
		{"missing", "timeout", nil, `after: required, but missing (how long to wait)`},
		{"not a duration", "timeout", 500, `after: 500 is not a duration; write it with a unit, such as 300ms, 2s or 1m (how long to wait)`},
		{"a timeout of nothing", "timeout", "0s", `after: 0s is below the least permitted value, 1ms (how long to wait)`},
		{"no attempts", "retry", 0, `attempts: 0 is below the least permitted value, 1 (how often to send at most, the first time included)`},
		{"what to retry", "retry", map[string]any{"on": []any{"unavailable", "time-out"}},
			`on: "time-out" is not permitted; permitted: unavailable, overloaded, failed, timeout (did you mean "timeout"?)`},
		{"backoff over its cap", "retry", map[string]any{"backoff": "2s"}, `max_backoff: 1s is shorter than backoff, 2s ()`},
		{"hedge after nothing", "hedge", nil, `delay: want either delay or quantile ()`},
		{"hedge after both", "hedge", map[string]any{"delay": "1ms", "quantile": 0.9}, `delay: want either delay or quantile ()`},
		{"a static fallback of nothing", "fallback", "static", `body: belongs to a static fallback, and a static fallback needs one ()`},
		{"a stale fallback with a body", "fallback", map[string]any{"body": "x"}, `body: belongs to a static fallback, and a static fallback needs one ()`},
		{"a fallback from nowhere", "fallback", "luck", `from: "luck" is not permitted; permitted: stale, static (where the answer comes from)`},
		{"a rate of nothing", "rate_limit", "0/s", `rate: 0 is below the least permitted value, 0.01 (calls a second)`},
		{"two budgets", "retry", params{"budget": 0.1, "budget_in_flight": 0.1}, `budget_in_flight: stands in place of budget; give one of them ()`},
		{"a throttle that sends nothing", "adaptive_throttle", 0.5, `k: 0.5 is below the least permitted value, 1 (how many calls each accepted one allows: less rejects sooner, more sends more in vain)`},
		{"a limit below its least", "adaptive_limit", params{"initial": 5, "min": 6, "max": 4}, `min: is more than initial (); max: is less than initial ()`},
		{"priorities the wrong way round", "priority", params{"sheddable": 0.6, "bulk": 0.7},
			`sheddable: is more than default: the more important would be refused first (); bulk: is more than sheddable: the more important would be refused first ()`},
		{"ejecting the faster ones", "outlier_ejection", params{"slow_factor": 1, "max_ejection": "1s"},
			`max_ejection: is shorter than base_ejection (); slow_factor: would eject the faster ones too; want more than 1, or 0 for none ()`},
		{"balancing by luck", "balancing", "random", `by: "random" is not permitted; permitted: round_robin, least_request (how to choose)`},
		{"more attempts than grpc-go makes", "grpc_retry", 6, `attempts: 6 is above the greatest permitted value, 5 (how often to send at most, the first time included)`},
		{"half of the throttling", "grpc_retry", params{"max_tokens": 10}, `max_tokens: max_tokens and token_ratio belong together ()`},
		{"a code of HTTP", "grpc_retry", params{"on": []any{"unavailable"}}, `on: "unavailable" is not permitted; permitted: ` + strings.Join(codeNames[1:], ", ") + ` (did you mean "UNAVAILABLE"?)`},
		{"gRPC backoff over its cap", "grpc_retry", params{"backoff": "2s"}, `max_backoff: 1s is shorter than backoff, 2s ()`},
		{"two problems at once", "bulkhead", map[string]any{"max": -1, "wait": "x"},
			`max: -1 is below the least permitted value, 1 (how many calls may be under way); wait: "x" is not a duration; write it with a unit, such as 300ms, 2s or 1m (how long a call may wait for a place)`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spec, problems := Parse(test.kind, test.raw)
			got := describe(problems)
			if len(problems) == 0 {
				data, err := json.Marshal(spec)
				if err != nil {
					t.Fatal(err)
				}
				got = string(data)
				var again Spec
				if err := json.Unmarshal(data, &again); err != nil || fmt.Sprint(again) != fmt.Sprint(spec) {
					t.Errorf("read back: %v, %v", again, err)
				}
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func describe(problems []parameter.Problem) string {
	var out []string
	for _, p := range problems {
		out = append(out, fmt.Sprintf("%s: %s (%s)", p.Name, p.Message, p.Hint))
	}
	return strings.Join(out, "; ")
}

func kinds() string {
	var out []string
	for _, k := range Catalog() {
		out = append(out, k.Name)
	}
	return strings.Join(out, ", ")
}

func TestParsePolicies(t *testing.T) {
	policies, err := ParsePolicies([]byte(`{"payments->bank": [{"timeout": "500ms"}, {"circuit_breaker": {"window": "5s"}}], "orders": [{"deadline": null}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if c := policies["payments->bank"]; len(c) != 2 || c[0].Kind != "timeout" || c[1].Params.Duration("window").Seconds() != 5 {
		t.Errorf("got %v", policies)
	}
	if none, err := ParsePolicies([]byte(" \n")); err != nil || len(none) != 0 {
		t.Errorf("empty: %v, %v", none, err)
	}
	tests := []struct{ name, data, want string }{
		{"no JSON", `{`, `reading policies: unexpected EOF`},
		{"two values", `{} {}`, `reading policies: more than one JSON value`},
		{"two kinds in one", `{"a->b": [{"timeout": "1s", "retry": 2}]}`, `reading policies: reading policy: want one kind, got ["retry" "timeout"]`},
		{"a bad parameter", `{"a->b": [{"timeout": "soon"}]}`, `reading policies: reading policy: timeout.after: "soon" is not a duration; write it with a unit, such as 300ms, 2s or 1m`},
		{"an unknown kind", `{"a->b": [{"luck": 1}]}`, `reading policies: reading policy: unknown policy "luck"; permitted: ` + kinds()},
		{"one too many", `{"a->b": [{"deadline": null}, {"timeout": "1s"}, {"deadline": "1s"}]}`, `reading policies: a->b: deadline stands in the chain twice`},
		{"the wrong side", `{"b": [{"retry": 3}]}`, `reading policies: b: retry cannot stand at a door`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := ParsePolicies([]byte(test.data)); err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func FuzzParsePolicies(f *testing.F) {
	for _, seed := range []string{`{"a->b": [{"timeout": "500ms"}]}`, `{"a": [{"bulkhead": {"max": 1e9}}]}`, `{"a->b": [{"retry": {"on": [1]}}]}`, `{"a->b": null}`, `[]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		policies, err := ParsePolicies(data)
		if err != nil {
			return
		}
		for on, chain := range policies {
			if SideOf(on) == AtDoor {
				if _, err := NewDoor(DoorConfig{Service: on, Chain: chain}); err != nil {
					t.Errorf("parsed, but: %v", err)
				}
			} else if _, err := NewEdge(EdgeConfig{Caller: "a", Callee: "b", Chain: chain}); err != nil {
				t.Errorf("parsed, but: %v", err)
			}
		}
	})
}
