package strictyaml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"unicode"

	"github.com/faultline-lab/faultline/parameter"
)

// Schemer is a type that describes itself in JSON schema; an Unmarshaler should be one.
type Schemer interface {
	Schema(s *Schemas) map[string]any
}

// Schemas gathers the definitions of a schema while it is written.
type Schemas struct {
	definitions map[string]any
}

// Patterns of the texts that stand for numbers with a unit.
const (
	durationPattern = `^\+?(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`
	ratePattern     = `^\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)? *(/s)?$`
	ratioPattern    = `^\+?([0-9]+\.?[0-9]*|\.[0-9]+) *%?$`
	sizePattern     = `^\+?([0-9]+\.?[0-9]*|\.[0-9]+) *(B|KB|MB|GB)?$`
	numberPattern   = `^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$`
)

// Schema returns the JSON schema (draft 7, which editors know best) of the
// file that target is read from, indented, with a final line feed.
func Schema(target any, title, about string) ([]byte, error) {
	s := &Schemas{definitions: map[string]any{}}
	root := s.object(reflect.TypeOf(target).Elem())
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"], root["description"] = title, about
	root["patternProperties"] = map[string]any{"^x-": map[string]any{"description": "ignored: a place for anchors"}}
	root["definitions"] = s.definitions
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("writing schema: %w", err)
	}
	return out.Bytes(), nil
}

// Of returns the schema of a type; that of a struct or a Schemer is a
// reference to a definition.
func (s *Schemas) Of(t reflect.Type) map[string]any { return s.of(t, constraint{}) }

func (s *Schemas) of(t reflect.Type, c constraint) map[string]any {
	if t.Kind() == reflect.Pointer && t != nodeType {
		return s.of(t.Elem(), c)
	}
	if schemer, ok := reflect.New(t).Interface().(Schemer); ok {
		return s.define(t, schemer.Schema)
	}
	if m, ok := reflect.New(t).Interface().(orderedMap); ok {
		return nullable(map[string]any{"type": "object", "additionalProperties": s.of(m.element(), c)})
	}
	switch t {
	case durationType:
		return Parameter(parameter.Parameter{Type: parameter.Duration, Min: c.min, Max: c.max})
	case rateType:
		return Parameter(parameter.Parameter{Type: parameter.Rate, Min: c.min, Max: c.max})
	case wordType:
		return map[string]any{"type": []string{"string", "number", "boolean"}}
	}
	switch t.Kind() {
	case reflect.Struct:
		return s.define(t, func(*Schemas) map[string]any { return s.object(t) })
	case reflect.Slice:
		return nullable(map[string]any{"type": "array", "items": s.of(t.Elem(), c)})
	case reflect.Map:
		return nullable(map[string]any{"type": "object", "additionalProperties": s.of(t.Elem(), c)})
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return Parameter(parameter.Parameter{Type: parameter.Text, Allowed: c.allowed})
	case reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0}
	case reflect.Int, reflect.Int64:
		return bounded(map[string]any{"type": "integer"}, c.min, c.max)
	case reflect.Float64:
		return bounded(map[string]any{"type": "number"}, c.min, c.max)
	}
	return map[string]any{}
}

// define writes a definition once, before it is complete where it refers to itself.
func (s *Schemas) define(t reflect.Type, write func(*Schemas) map[string]any) map[string]any {
	name := []rune(t.Name())
	name[0] = unicode.ToLower(name[0])
	ref := map[string]any{"$ref": "#/definitions/" + string(name)}
	if _, done := s.definitions[string(name)]; !done {
		s.definitions[string(name)] = nil
		s.definitions[string(name)] = write(s)
	}
	return ref
}

// Properties returns the properties of a struct, for a Schemer to add to.
func (s *Schemas) Properties(of any) map[string]any {
	properties, _ := s.properties(reflect.TypeOf(of))
	return properties
}

func (s *Schemas) object(t reflect.Type) map[string]any { return Object(s.properties(t)) }

func (s *Schemas) properties(t reflect.Type) (properties map[string]any, required []string) {
	properties = map[string]any{}
	for _, f := range fieldsOf(t) {
		property := s.of(f.typ, f.constraint)
		if f.about != "" {
			property["description"] = f.about
		}
		if f.example != "" {
			property["examples"] = []any{f.example}
		}
		properties[f.name] = property
		if f.required {
			required = append(required, f.name)
		}
	}
	return properties, required
}

// Object returns the schema of a map with exactly these keys.
func Object(properties map[string]any, required []string) map[string]any {
	out := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// Parameters returns the schema of a map of parameters.
func Parameters(described []parameter.Parameter) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, p := range described {
		properties[p.Name] = Parameter(p)
		if p.Required {
			required = append(required, p.Name)
		}
	}
	return Object(properties, required)
}

// Parameter returns the schema of a parameter's value.
func Parameter(p parameter.Parameter) map[string]any {
	out := parameterType(p)
	if p.About != "" {
		out["description"] = p.About
	}
	if p.Default != nil {
		out["default"] = p.Default
	}
	return out
}

func parameterType(p parameter.Parameter) map[string]any {
	switch p.Type {
	case parameter.Duration:
		return either(text(durationPattern), map[string]any{"const": 0})
	case parameter.Integer:
		return either(bounded(map[string]any{"type": "integer"}, p.Min, p.Max), text(numberPattern))
	case parameter.Number:
		return either(bounded(map[string]any{"type": "number"}, p.Min, p.Max), text(numberPattern))
	case parameter.Ratio:
		zero, one := 0.0, 1.0
		return either(bounded(map[string]any{"type": "number"}, &zero, &one), text(ratioPattern))
	case parameter.Size:
		zero := 0.0
		return either(bounded(map[string]any{"type": "integer"}, &zero, p.Max), text(sizePattern))
	case parameter.Rate:
		zero := 0.0
		return either(bounded(map[string]any{"type": "number"}, &zero, p.Max), text(ratePattern))
	case parameter.Boolean:
		return map[string]any{"type": "boolean"}
	case parameter.Texts:
		list := map[string]any{"type": "array", "items": map[string]any{"type": "string"}}
		return either(map[string]any{"type": "string"}, list)
	case parameter.Text:
		if len(p.Allowed) > 0 {
			return map[string]any{"enum": p.Allowed}
		}
		return map[string]any{"type": "string"}
	}
	return map[string]any{}
}

func text(pattern string) map[string]any {
	return map[string]any{"type": "string", "pattern": pattern}
}

func either(options ...any) map[string]any { return map[string]any{"anyOf": options} }

// nullable admits a key with nothing behind it, as decoding does for maps and lists.
func nullable(schema map[string]any) map[string]any {
	schema["type"] = []string{fmt.Sprint(schema["type"]), "null"}
	return schema
}

func bounded(schema map[string]any, least, greatest *float64) map[string]any {
	if least != nil {
		schema["minimum"] = *least
	}
	if greatest != nil {
		schema["maximum"] = *greatest
	}
	return schema
}
