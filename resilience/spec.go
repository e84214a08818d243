// Package resilience owns resilience policies: their YAML and JSON form, their
// composition on an edge (client side) or at a door (server side), their
// bindings to http and grpc, and the metrics of what they did. Most policies
// are failsafe-go's; what it has not is written here.
//
// It knows nothing of the lab: a program outside of it may use it as it is.
package resilience

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/faultline-lab/faultline/parameter"
)

// Spec is one policy as it is written: a kind and its checked parameters.
// Its JSON and YAML form is a map of one key: {circuit_breaker: {window: 5s}}, or
// for kinds with a main parameter, {timeout: 500ms}.
type Spec struct {
	Kind   string
	Params parameter.Values
}

// Chain is the policies of one edge or door, outermost first.
type Chain []Spec

// Policies maps an edge ("payments->bank") or a service, meaning its door
// ("orders"), to its chain. It is the content of RESILIENCE_POLICIES, as JSON.
type Policies map[string]Chain

// MarshalJSON writes the spec as a map of one key.
func (s Spec) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]parameter.Values{s.Kind: s.Params})
}

// UnmarshalJSON reads a map of one key and checks it against the catalog.
func (s *Spec) UnmarshalJSON(data []byte) error {
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf("reading policy: %w", err)
	}
	if len(raw) != 1 {
		kinds := make([]string, 0, len(raw))
		for kind := range raw {
			kinds = append(kinds, kind)
		}
		sort.Strings(kinds)
		return fmt.Errorf("reading policy: want one kind, got %q", kinds)
	}
	for kind, params := range raw {
		spec, problems := Parse(kind, params)
		if len(problems) > 0 {
			return problemsError(kind, problems)
		}
		*s = spec
	}
	return nil
}

// problemsError puts every problem of a policy into one error.
func problemsError(kind string, problems []parameter.Problem) error {
	var texts []string
	for _, p := range problems {
		text := p.Message
		if p.Name != "" {
			text = kind + "." + p.Name + ": " + text
		}
		texts = append(texts, text)
	}
	return fmt.Errorf("reading policy: %s", strings.Join(texts, "; "))
}
