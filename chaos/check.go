package chaos

import (
	"fmt"
	"slices"
	"strings"

	"github.com/faultline-lab/faultline/parameter"
)

// Target is what a fault acts on, as its parameters name it. Which fields are
// set follows from Kind.Target.
type Target struct {
	Edges    []Edge
	Services []string
	Replica  int // 1-based; 0 means every replica
	Groups   [][]string
	Load     string
}

// Check checks the parameters of one fault: raw is what stands below the kind
// in a scenario. It returns the target, the remaining parameters in canonical
// form with defaults filled in, and every problem found. Target and values
// are usable only when there is no problem. Whether the edges, services
// and loads exist is for the caller to check, who knows the system.
func Check(kind string, raw map[string]any) (Target, parameter.Values, []parameter.Problem) {
	described, found := Find(kind)
	if !found {
		return Target{}, nil, []parameter.Problem{unknownKind(kind)}
	}
	values, problems := parameter.Check(described.Params, perSecond(kind, raw))
	reader := targetReader{raw: raw, values: values}
	var target Target
	switch described.Target {
	case TargetEdge:
		target.Edges = reader.edges()
	case TargetService:
		target.Services = reader.services()
	case TargetGroups:
		target.Groups = reader.groups()
	case TargetLoad:
		target.Load = values.Text("load")
	}
	target.Replica = int(values.Int("replica"))
	problems = append(problems, reader.problems...)
	problems = append(problems, checkTogether(kind, raw, values)...)
	for _, name := range []string{"edge", "edges", "service", "services", "replica", "groups", "load"} {
		delete(values, name)
	}
	return target, values, problems
}

func unknownKind(kind string) parameter.Problem {
	var names []string
	for _, known := range Catalog() {
		names = append(names, known.Name)
	}
	problem := parameter.Problem{Message: fmt.Sprintf("unknown kind of fault %q; permitted: %s", kind, strings.Join(names, ", "))}
	if near := parameter.Nearest(kind, names); near != "" {
		problem.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	return problem
}

// perSecond lets a bandwidth be written as 64KB/s too, as people do.
func perSecond(kind string, raw map[string]any) map[string]any {
	text, ok := raw["rate"].(string)
	if kind != Bandwidth || !ok || !strings.HasSuffix(text, "/s") {
		return raw
	}
	out := make(map[string]any, len(raw))
	for name, value := range raw {
		out[name] = value
	}
	out["rate"] = strings.TrimSpace(strings.TrimSuffix(text, "/s"))
	return out
}

// checkTogether checks what concerns more than one parameter.
func checkTogether(kind string, raw map[string]any, values parameter.Values) []parameter.Problem {
	switch kind {
	case Latency:
		if values.Has("delay") && values.Duration("jitter") > values.Duration("delay") {
			return []parameter.Problem{{Name: "jitter", Message: fmt.Sprintf("%s is more than delay, %s: a delay cannot be negative", values.Duration("jitter"), values.Duration("delay"))}}
		}
	case Slicer:
		if values.Has("average_size") && values.Int("size_variation") >= values.Int("average_size") {
			return []parameter.Problem{{Name: "size_variation", Message: fmt.Sprintf("%d is not less than average_size, %d", values.Int("size_variation"), values.Int("average_size"))}}
		}
	case Spike:
		if (raw["rate"] != nil) == (raw["factor"] != nil) {
			return []parameter.Problem{{Message: "want exactly one of rate, factor"}}
		}
	case Admin:
		return checkAdmin(values)
	}
	return checkRequest(kind, raw, values)
}

// targetReader reads the parameters that name the target and keeps what is wrong with them.
type targetReader struct {
	raw      map[string]any
	values   parameter.Values
	problems []parameter.Problem
}

func (r *targetReader) complain(name, format string, args ...any) {
	r.problems = append(r.problems, parameter.Problem{Name: name, Message: fmt.Sprintf(format, args...)})
}

// texts reads a target that is given either as one text or as a list.
func (r *targetReader) texts(one, many string) (name string, texts []string) {
	hasOne, hasMany := r.raw[one] != nil, r.raw[many] != nil
	switch {
	case hasOne && hasMany:
		r.complain(many, "want one of %s, %s, not both", one, many)
	case hasOne:
		if r.values.Has(one) {
			return one, []string{r.values.Text(one)}
		}
	case hasMany:
		texts = r.values.Texts(many)
		if r.values.Has(many) && len(texts) == 0 {
			r.complain(many, "the list is empty")
		}
		return many, texts
	default:
		r.complain(one, "required, but missing")
	}
	return one, nil
}

func (r *targetReader) edges() []Edge {
	name, texts := r.texts("edge", "edges")
	var edges []Edge
	for _, text := range texts {
		edge, err := ParseEdge(text)
		switch {
		case err != nil:
			r.complain(name, "%s", err)
		case slices.Contains(edges, edge):
			r.complain(name, "%s is listed twice", edge)
		default:
			edges = append(edges, edge)
		}
	}
	return edges
}

func (r *targetReader) services() []string {
	name, texts := r.texts("service", "services")
	var services []string
	for _, service := range texts {
		switch {
		case service == "":
			r.complain(name, "the name of a service is empty")
		case slices.Contains(services, service):
			r.complain(name, "%s is listed twice", service)
		default:
			services = append(services, service)
		}
	}
	return services
}

func (r *targetReader) groups() [][]string {
	if !r.values.Has("groups") {
		return nil
	}
	lists, ok := r.values["groups"].([]any)
	if !ok {
		r.complain("groups", "%v is not a list of lists of services", r.values["groups"])
		return nil
	}
	var groups [][]string
	seen := map[string]bool{}
	for i, item := range lists {
		group, ok := r.group(item)
		if !ok {
			r.complain("groups", "group %d is not a list of services", i+1)
			continue
		}
		for _, service := range group {
			if seen[service] {
				r.complain("groups", "%s is listed twice", service)
			}
			seen[service] = true
		}
		groups = append(groups, group)
	}
	if len(lists) < 2 {
		r.complain("groups", "want at least two groups, got %d", len(lists))
	}
	return groups
}

func (r *targetReader) group(item any) ([]string, bool) {
	if texts, ok := item.([]string); ok {
		return texts, len(texts) > 0 && !slices.Contains(texts, "")
	}
	list, ok := item.([]any)
	if !ok || len(list) == 0 {
		return nil, false
	}
	var group []string
	for _, entry := range list {
		service, ok := entry.(string)
		if !ok || service == "" {
			return nil, false
		}
		group = append(group, service)
	}
	return group, true
}

// Between returns the edges that go from one group to another, in the order given:
// what a partition takes down.
func Between(groups [][]string, edges []Edge) []Edge {
	groupOf := map[string]int{}
	for i, group := range groups {
		for _, service := range group {
			groupOf[service] = i + 1
		}
	}
	var between []Edge
	for _, edge := range edges {
		from, to := groupOf[edge.Caller], groupOf[edge.Callee]
		if from != 0 && to != 0 && from != to {
			between = append(between, edge)
		}
	}
	return between
}

// Conflict tells whether two faults cannot act at the same time, and why: two
// of one network kind on the same edge, replica and direction, two that take
// the same edge down, two process faults on the same replica. Faults of requests never
// conflict: each has its own share. It returns nil when they can.
func Conflict(a, b Fault) error {
	kindA, foundA := Find(a.Kind)
	kindB, foundB := Find(b.Kind)
	if !foundA || !foundB || kindA.Family != kindB.Family || !replicasMeet(a.Replica, b.Replica) {
		return nil
	}
	switch kindA.Family {
	case FamilyNetwork:
		return networkConflict(a, b)
	case FamilyProcess:
		for _, service := range a.Services {
			if slices.Contains(b.Services, service) {
				return fmt.Errorf("%s (%s) and %s (%s) both act on the processes of %s at the same time", a.ID, a.Kind, b.ID, b.Kind, service)
			}
		}
	}
	return nil
}

func networkConflict(a, b Fault) error {
	bothDown := takesDown(a.Kind) && takesDown(b.Kind)
	if !bothDown && (a.Kind != b.Kind || !directionsMeet(a, b)) {
		return nil
	}
	for _, edge := range a.Edges {
		if slices.Contains(b.Edges, edge) {
			return fmt.Errorf("%s (%s) and %s (%s) both act on %s at the same time; an edge, replica and direction takes one fault of a kind", a.ID, a.Kind, b.ID, b.Kind, edge)
		}
	}
	return nil
}

func takesDown(kind string) bool { return kind == Down || kind == Partition }

func replicasMeet(a, b int) bool { return a == 0 || b == 0 || a == b }

func directionsMeet(a, b Fault) bool {
	da, db := a.Params.Text("direction"), b.Params.Text("direction")
	return da == db || da == Both || db == Both
}
