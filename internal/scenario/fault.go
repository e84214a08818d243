package scenario

import (
	"fmt"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/parameter"
)

// Fault is one thing that goes wrong and when: {kind: parameters, during: a
// phase}, or with at and for in place of during.
type Fault struct {
	About  string
	Kind   string
	Target chaos.Target
	Params parameter.Values
	When
	// Off is set where a variant writes none: it goes without the scenario's fault.
	Off bool
}

// When says when a fault acts. Either During is set, or At.
type When struct {
	During string `yaml:"during" about:"the phase for which it lasts"`
	At     *At    `yaml:"at" about:"when it starts: an offset from the start of the load (20s), a phase (fault), or an offset into one (fault+5s)"`
	// For is nil when left out: to the end of the phase that At names.
	For *time.Duration `yaml:"for" about:"how long it lasts; to the end of the phase when left out and at names one"`
}

// At is a point of the run: an offset from the start of a phase or, where Phase
// is empty, of the load.
type At struct {
	Phase  string
	Offset time.Duration
}

// UnmarshalValue reads 20s, fault or fault+5s.
func (a *At) UnmarshalValue(v strictyaml.Value) {
	const want = "write it as 20s, fault or fault+5s"
	if v.Kind != strictyaml.KindText {
		v.Fail(fmt.Sprintf("%s is not a point of the run", v.Node), want)
		return
	}
	phase, offset, relative := strings.Cut(v.Written, "+")
	phase, offset = strings.TrimSpace(phase), strings.TrimSpace(offset)
	if !relative {
		if d, err := time.ParseDuration(phase); err == nil {
			phase, offset, relative = "", phase, d >= 0
		}
	}
	a.Phase = phase
	if offset == "" && !relative {
		return
	}
	d, err := time.ParseDuration(offset)
	if err != nil || d < 0 {
		v.Fail(fmt.Sprintf("%s is not a point of the run", v.Node), want)
	}
	a.Offset = d
}

// Schema describes a point of the run.
func (a *At) Schema(*strictyaml.Schemas) map[string]any {
	return map[string]any{"type": "string", "examples": []string{"20s", "fault", "fault+5s"}}
}

// whenFile is what a fault may hold besides its kind.
type whenFile struct {
	About string `yaml:"about" about:"what goes wrong, in a sentence"`
	When
}

// UnmarshalValue reads a fault: the one key that is not about time is its kind.
func (f *Fault) UnmarshalValue(v strictyaml.Value) {
	if v.Kind == strictyaml.KindText && v.Written == "none" {
		f.Off = true
		return
	}
	if v.Kind != strictyaml.KindMap {
		v.Want("a fault, such as {latency: {edge: a->b, delay: 1s}, during: fault}")
		return
	}
	f.readWhen(v)
	var kinds []string
	for _, entry := range v.Entries {
		switch entry.Key {
		case "about", "during", "at", "for":
			continue
		}
		if _, known := chaos.Find(entry.Key); !known {
			v.UnknownKey(entry, append(kindNames(), "during", "at", "for", "about"))
			continue
		}
		kinds = append(kinds, entry.Key)
		if f.Kind == "" {
			f.readKind(entry.Key, v.Entry(entry))
		}
	}
	switch {
	case len(kinds) > 1:
		v.Fail("more than one kind: "+strings.Join(kinds, ", "), "give each a fault of its own")
	case len(kinds) == 0 && !v.Source().Failed(v.Path):
		v.Fail("no kind of fault", "permitted: "+strings.Join(kindNames(), ", "))
	}
}

func (f *Fault) readWhen(v strictyaml.Value) {
	var when whenFile
	for _, entry := range v.Entries {
		switch at := v.Entry(entry); entry.Key {
		case "about":
			at.Decode(&when.About)
		case "during":
			at.Decode(&when.During)
		case "at":
			at.Decode(&when.At)
		case "for":
			at.Decode(&when.For)
		}
	}
	f.About, f.When = when.About, when.When
	const hint = "write during: a phase, or at and for"
	switch {
	case v.Source().Failed(v.Path):
	case f.During != "" && (f.At != nil || f.For != nil):
		v.Fail("during stands beside at or for", hint)
	case f.During == "" && f.At == nil:
		v.Fail("when it acts is missing", hint)
	case f.At != nil && f.At.Phase == "" && f.For == nil:
		v.Fail("for is missing", "only where at names a phase does the fault last to its end")
	case f.For != nil && *f.For == 0:
		v.Source().Fail(v.Path+".for", "0s is no time at all", "")
	}
}

func (f *Fault) readKind(kind string, v strictyaml.Value) {
	f.Kind = kind
	raw, ok := v.Any().(map[string]any)
	if !ok && v.Kind != strictyaml.KindNull {
		v.Want("a map of parameters")
		return
	}
	var problems []parameter.Problem
	f.Target, f.Params, problems = chaos.Check(kind, raw)
	report(v, problems)
}

// report adds the problems with parameters at their places below v.
func report(v strictyaml.Value, problems []parameter.Problem) {
	for _, p := range problems {
		path := v.Path
		if p.Name != "" {
			path += "." + p.Name
		}
		v.Source().Fail(path, p.Message, p.Hint)
	}
}

func kindNames() []string {
	var names []string
	for _, kind := range chaos.Catalog() {
		names = append(names, kind.Name)
	}
	return names
}

// Schema describes a fault, or none.
func (f *Fault) Schema(s *strictyaml.Schemas) map[string]any {
	properties := s.Properties(whenFile{})
	var kinds []any
	for _, kind := range chaos.Catalog() {
		params := strictyaml.Parameters(kind.Params)
		params["description"] = kind.About
		properties[kind.Name] = params
		kinds = append(kinds, map[string]any{"required": []string{kind.Name}})
	}
	fault := strictyaml.Object(properties, nil)
	fault["oneOf"] = kinds
	return map[string]any{"anyOf": []any{fault, map[string]any{"const": "none"}}}
}
