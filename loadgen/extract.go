package loadgen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// extraction takes one value out of a JSON answer.
type extraction struct {
	name string
	path []string
}

// compileExtractions reads the dotted paths of a step, in the order of their
// names.
func compileExtractions(paths map[string]string) ([]extraction, error) {
	var out []extraction
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		if name == "" || strings.ContainsAny(name, " \t\r\n{}") {
			return nil, fmt.Errorf("%q cannot be a name", name)
		}
		path := strings.Split(paths[name], ".")
		if slices.Contains(path, "") {
			return nil, fmt.Errorf("%s: %q is not a dotted path, such as items.0.id", name, paths[name])
		}
		out = append(out, extraction{name: name, path: path})
	}
	return out, nil
}

// extract puts the values that are asked for into values. It returns the name
// of the first that the answer does not have, or "" when all are there.
func extract(answer []byte, wanted []extraction, values map[string]value) (missing string) {
	if len(wanted) == 0 {
		return ""
	}
	decoder := json.NewDecoder(bytes.NewReader(answer))
	decoder.UseNumber() // 12345678901234567890 must not turn into 1.2e19
	var document any
	if err := decoder.Decode(&document); err != nil {
		return wanted[0].name
	}
	for _, w := range wanted {
		v, ok := newValue(walk(document, w.path))
		if !ok {
			return w.name
		}
		values[w.name] = v
	}
	return ""
}

// walk follows path; nil when it leads nowhere.
func walk(document any, path []string) any {
	for _, key := range path {
		switch node := document.(type) {
		case map[string]any:
			document = node[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(node) {
				return nil
			}
			document = node[i]
		default:
			return nil
		}
	}
	return document
}

// newValue turns a JSON value into text: a text as it is, anything else as
// JSON. Null counts as missing.
func newValue(v any) (value, bool) {
	if v == nil {
		return value{}, false
	}
	text, err := json.Marshal(v)
	if err != nil {
		return value{}, false
	}
	if s, ok := v.(string); ok {
		return value{raw: s, escaped: string(text[1 : len(text)-1])}, true
	}
	return value{raw: string(text), escaped: string(text)}, true
}
