package resilience

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/faultline-lab/faultline/parameter"
)

// The sides that a policy can stand on.
const (
	OnEdge = "edge" // at the caller, around each call to one callee
	AtDoor = "door" // at the callee, around each request that comes in
)

// Kind describes one kind of policy. All that is needed to add one is a file
// with its Kind and an entry in Catalog.
type Kind struct {
	Name  string
	Sides []string // OnEdge, AtDoor or both
	About string
	// Main is the parameter that the short form sets: {timeout: 500ms}. Empty means there is none.
	Main    string
	Params  []parameter.Parameter
	Example string // a chain, as in a scenario
	// Causes are the values of the label cause of its rejections, Means what its state is, where it has one, Counts
	// the other metrics that it has.
	Causes []string
	Means  string
	Counts []string
	// Once tells that a chain can hold only one of it: where it stands in the chain makes no difference.
	Once bool
	// Protocol is the only one that it can act on, "grpc"; "" means all.
	Protocol string

	// check finds what is wrong between parameters that are right by themselves.
	check func(parameter.Values) []parameter.Problem
	// edge makes the policy of one edge; nil when it cannot stand there.
	edge func(parameter.Values, *host) (layer, error)
	// door makes the policy of one door; nil when it cannot stand there.
	door func(parameter.Values, *host, *Door) (layer, error)
	// parallel tells that attempts of one call may run side by side.
	parallel bool
}

// Stands tells whether the policy can stand on that side.
func (k Kind) Stands(side string) bool { return slices.Contains(k.Sides, side) }

// Catalog lists every kind of policy, the common ones first.
func Catalog() []Kind {
	return []Kind{
		timeoutKind(),
		retryKind(),
		circuitBreakerKind(),
		bulkheadKind(),
		deadlineKind(),
		hedgeKind(),
		rateLimitKind(),
		fallbackKind(),
		adaptiveThrottleKind(),
		adaptiveLimitKind(),
		outlierEjectionKind(),
		balancingKind(),
		grpcRetryKind(),
		queueKind(),
		priorityKind(),
	}
}

// Find returns the named kind and whether there is one.
func Find(name string) (Kind, bool) {
	for _, kind := range Catalog() {
		if kind.Name == name {
			return kind, true
		}
	}
	return Kind{}, false
}

// Parse checks one policy as it was read from YAML or JSON: raw is a map of
// parameters, the value of the kind's main parameter, or nil. It returns every
// problem; the spec is usable only when there is none.
func Parse(kind string, raw any) (Spec, []parameter.Problem) {
	k, ok := Find(kind)
	if !ok {
		return Spec{}, []parameter.Problem{unknownKind(kind)}
	}
	given, problem := k.given(raw)
	if problem != nil {
		return Spec{}, []parameter.Problem{*problem}
	}
	values, problems := parameter.Check(k.Params, given)
	if len(problems) == 0 && k.check != nil {
		problems = k.check(values)
	}
	return Spec{Kind: kind, Params: values}, problems
}

func unknownKind(kind string) parameter.Problem {
	var known []string
	for _, k := range Catalog() {
		known = append(known, k.Name)
	}
	problem := parameter.Problem{Message: fmt.Sprintf("unknown policy %q; permitted: %s", kind, strings.Join(known, ", "))}
	if near := parameter.Nearest(kind, known); near != "" {
		problem.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	return problem
}

// given brings the short form into the long one.
func (k Kind) given(raw any) (map[string]any, *parameter.Problem) {
	switch v := raw.(type) {
	case nil:
		return nil, nil
	case map[string]any:
		return v, nil
	case parameter.Values:
		return v, nil
	}
	if k.Main == "" {
		return nil, &parameter.Problem{Message: fmt.Sprintf("%v is not a map of parameters", raw), Hint: k.Example}
	}
	return map[string]any{k.Main: raw}, nil
}

// ParsePolicies reads the JSON form of policies, the content of
// RESILIENCE_POLICIES. Empty data mean no policies. Beside the form it checks that each policy can
// stand where it is put.
func ParsePolicies(data []byte) (Policies, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil
	}
	var policies Policies
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&policies); err != nil {
		return nil, fmt.Errorf("reading policies: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("reading policies: more than one JSON value")
	}
	if err := policies.check(); err != nil {
		return nil, fmt.Errorf("reading policies: %w", err)
	}
	return policies, nil
}

func (p Policies) check() error {
	for _, on := range slices.Sorted(maps.Keys(p)) {
		for _, problem := range p[on].Check(SideOf(on), "") {
			return fmt.Errorf("%s: %w", on, problem)
		}
	}
	return nil
}

// ChainProblem says what is wrong with one policy where it stands.
type ChainProblem struct {
	Index         int // in the chain
	Message, Hint string
}

// Error is the message alone.
func (p ChainProblem) Error() string { return p.Message }

// Check finds the policies of a chain that cannot stand where they do: on that side, on an edge or
// at a door of that protocol (http, grpc, or "" when it is not known), among the others. The policies themselves were checked when they were parsed.
func (c Chain) Check(side, protocol string) []ChainProblem {
	var problems []ChainProblem
	seen := map[string]bool{}
	for i, spec := range c {
		kind, known := Find(spec.Kind)
		switch {
		case !known:
			problems = append(problems, ChainProblem{i, unknownKind(spec.Kind).Message, unknownKind(spec.Kind).Hint})
		case !kind.Stands(side):
			problems = append(problems, ChainProblem{i, fmt.Sprintf("%s cannot stand %s", kind.Name, standing(side)), "it can at: " + strings.Join(kind.Sides, ", ")})
		case kind.Protocol != "" && protocol != "" && kind.Protocol != protocol:
			problems = append(problems, ChainProblem{i, fmt.Sprintf("%s acts on %s only, and this speaks %s", kind.Name, kind.Protocol, protocol), ""})
		case kind.Once && seen[kind.Name]:
			problems = append(problems, ChainProblem{i, fmt.Sprintf("%s stands in the chain twice", kind.Name), "one acts on all of the chain"})
		}
		seen[spec.Kind] = true
	}
	return problems
}

// SideOf tells which side a key of Policies means: "payments->bank" is an
// edge, "orders" a door.
func SideOf(on string) string {
	if strings.Contains(on, "->") {
		return OnEdge
	}
	return AtDoor
}

// standing says in words where a policy stands.
func standing(side string) string {
	if side == OnEdge {
		return "on an edge"
	}
	return "at a door"
}
