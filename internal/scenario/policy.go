package scenario

import (
	"strings"

	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/resilience"
)

// Chain is the policies of one edge or door, outermost first.
type Chain []Policy

// Policy is one policy: {timeout: 500ms}, {retry: {attempts: 3}}, or just the
// name of a kind whose parameters all have defaults.
type Policy struct {
	Spec resilience.Spec
}

// UnmarshalValue reads a policy.
func (p *Policy) UnmarshalValue(v strictyaml.Value) {
	const want = "a policy, such as {timeout: 500ms}"
	switch {
	case v.Kind == strictyaml.KindText:
		p.read(v, v.Written, nil)
	case v.Kind != strictyaml.KindMap:
		v.Want(want)
	case len(v.Entries) != 1:
		v.Fail("a policy has one kind; this has "+count(v.Entries), "write each as an item of its own")
	default:
		entry := v.Entries[0]
		if _, known := resilience.Find(entry.Key); !known {
			v.UnknownKey(entry, policyNames())
			return
		}
		p.read(v.Entry(entry), entry.Key, v.Entry(entry).Any())
	}
}

func count(entries []strictyaml.Entry) string {
	if len(entries) == 0 {
		return "none"
	}
	var keys []string
	for _, entry := range entries {
		keys = append(keys, entry.Key)
	}
	return strings.Join(keys, ", ")
}

func (p *Policy) read(v strictyaml.Value, kind string, raw any) {
	spec, problems := resilience.Parse(kind, raw)
	p.Spec = spec
	if _, isMap := raw.(map[string]any); raw != nil && !isMap {
		for i := range problems {
			problems[i].Name = "" // the short form has no key for the parameter: the value is the place
		}
	}
	report(v, problems)
}

func policyNames() []string {
	var names []string
	for _, kind := range resilience.Catalog() {
		names = append(names, kind.Name)
	}
	return names
}

// Schema describes a policy.
func (p *Policy) Schema(*strictyaml.Schemas) map[string]any {
	properties := map[string]any{}
	var bare []string
	for _, kind := range resilience.Catalog() {
		forms := []any{strictyaml.Parameters(kind.Params)}
		needed := 0
		for _, param := range kind.Params {
			if param.Name == kind.Main {
				forms = append(forms, strictyaml.Parameter(param))
			}
			if param.Required {
				needed++
			}
		}
		if needed == 0 {
			bare = append(bare, kind.Name)
			forms = append(forms, map[string]any{"type": "null"})
		}
		properties[kind.Name] = map[string]any{"description": kind.About, "anyOf": forms}
	}
	policy := strictyaml.Object(properties, nil)
	policy["minProperties"], policy["maxProperties"] = 1, 1
	return map[string]any{"anyOf": []any{policy, map[string]any{"enum": bare}}}
}
