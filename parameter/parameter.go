// Package parameter owns the description and the checking of the named, typed
// parameters that faults and policies take. A catalog entry lists its
// parameters once; validation, the JSON schema, `faultline faults` and
// `faultline policies` are all derived from that list.
//
// It does not know what any parameter means.
package parameter

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Type is the kind of value that a parameter takes.
type Type string

// The types of parameters. Durations are written as in Go ("300ms"), ratios
// as a number from 0 to 1 or as a percentage ("10%"), sizes in bytes or with
// a unit ("64KB", 1 KB = 1024 bytes), rates as a number per second ("80/s").
const (
	Duration Type = "duration"
	Integer  Type = "integer"
	Number   Type = "number"
	Ratio    Type = "ratio"
	Size     Type = "size"
	Rate     Type = "rate"
	Text     Type = "text"
	Boolean  Type = "boolean"
	Texts    Type = "texts" // a list of texts
	Any      Type = "any"   // checked by the owner of the catalog entry
)

// Parameter describes one parameter.
type Parameter struct {
	Name     string
	Type     Type
	Required bool
	// Default is the value in canonical form that applies when the parameter
	// is left out; nil means that there is none.
	Default any
	// Min and Max bound numbers; durations are bounded in seconds. Nil means
	// no bound, except that durations, sizes and rates are never negative.
	Min, Max *float64
	// Allowed lists the permitted texts; empty means any.
	Allowed []string
	About   string
}

// Bound returns a pointer to v, for Parameter.Min and Parameter.Max.
func Bound(v float64) *float64 { return &v }

// Problem says what is wrong with one parameter. Name is empty when the set
// as a whole is at fault.
type Problem struct {
	Name    string
	Message string
	Hint    string
}

// Values holds checked parameters in canonical form: durations are text as
// Go writes them, ratios, numbers, rates are float64, integers and sizes are int64,
// the rest as given. The canonical form survives a trip through JSON.
type Values map[string]any

// Check checks raw against the descriptions and returns the canonical values,
// defaults filled in, and every problem found. The values are usable only
// when there is no problem.
func Check(described []Parameter, raw map[string]any) (Values, []Problem) {
	var problems []Problem
	values := Values{}
	names := make([]string, 0, len(described))
	for _, p := range described {
		names = append(names, p.Name)
		v, given := raw[p.Name]
		if !given || v == nil {
			if p.Required {
				problems = append(problems, Problem{Name: p.Name, Message: "required, but missing", Hint: p.About})
			} else if p.Default != nil {
				values[p.Name] = p.Default
			}
			continue
		}
		canonical, err := p.parse(v)
		if err != nil {
			problems = append(problems, Problem{Name: p.Name, Message: err.Error(), Hint: p.About})
			continue
		}
		values[p.Name] = canonical
	}
	unknown := make([]string, 0)
	for name := range raw {
		if !slices.Contains(names, name) {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	for _, name := range unknown {
		problem := Problem{Name: name, Message: "unknown parameter; permitted: " + strings.Join(names, ", ")}
		if near := Nearest(name, names); near != "" {
			problem.Hint = fmt.Sprintf("did you mean %q?", near)
		}
		problems = append(problems, problem)
	}
	return values, problems
}

func (p Parameter) parse(v any) (any, error) {
	switch p.Type {
	case Duration:
		return p.parseDuration(v)
	case Integer, Number, Ratio, Size, Rate:
		return p.parseNumber(v)
	case Text:
		s, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("%v is not a text", v)
		}
		if len(p.Allowed) > 0 && !slices.Contains(p.Allowed, s) {
			if near := Nearest(s, p.Allowed); near != "" {
				return nil, fmt.Errorf("%q is not permitted; did you mean %q; permitted: %s", s, near, strings.Join(p.Allowed, ", "))
			}
			return nil, fmt.Errorf("%q is not permitted; permitted: %s", s, strings.Join(p.Allowed, ", "))
		}
		return s, nil
	case Boolean:
		if b, ok := v.(bool); ok {
			return b, nil
		}
		return nil, fmt.Errorf("%v is not true or false", v)
	case Texts:
		return parseTexts(v)
	default:
		return v, nil
	}
}

func parseTexts(v any) (any, error) {
	switch list := v.(type) {
	case string:
		return []any{list}, nil
	case []string:
		out := make([]any, len(list))
		for i, s := range list {
			out[i] = s
		}
		return out, nil
	case []any:
		for _, item := range list {
			if _, ok := item.(string); !ok {
				return nil, fmt.Errorf("%v is not a text", item)
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("%v is not a list of texts", v)
}

func (p Parameter) parseDuration(v any) (any, error) {
	s, ok := v.(string)
	if !ok {
		if n, isNumber := toFloat(v); isNumber && n == 0 {
			s = "0s"
		} else {
			return nil, fmt.Errorf("%v is not a duration; write it with a unit, such as 300ms, 2s or 1m", v)
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not a duration; write it with a unit, such as 300ms, 2s or 1m", s)
	}
	if d < 0 {
		return nil, fmt.Errorf("%s is negative", s)
	}
	if err := p.bounds(d.Seconds(), func(v float64) string { return time.Duration(v * float64(time.Second)).String() }); err != nil {
		return nil, err
	}
	return d.String(), nil
}

func (p Parameter) parseNumber(v any) (any, error) {
	n, ok := toFloat(v)
	if s, isText := v.(string); isText {
		n, ok = p.parseUnits(s)
	}
	if !ok || math.IsNaN(n) || math.IsInf(n, 0) {
		return nil, fmt.Errorf("%v is not a %s", v, p.describe())
	}
	if p.Type == Ratio && (n < 0 || n > 1) {
		return nil, fmt.Errorf("%v is not a ratio from 0 to 1", v)
	}
	if (p.Type == Size || p.Type == Rate) && n < 0 {
		return nil, fmt.Errorf("%v is negative", v)
	}
	if err := p.bounds(n, func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }); err != nil {
		return nil, err
	}
	if p.Type == Integer || p.Type == Size {
		if n != math.Trunc(n) || math.Abs(n) > 1<<53 {
			return nil, fmt.Errorf("%v is not a whole number", v)
		}
		return int64(n), nil
	}
	return n, nil
}

func (p Parameter) describe() string {
	switch p.Type {
	case Ratio:
		return "ratio, such as 0.1 or 10%"
	case Size:
		return "size, such as 1024 or 64KB"
	case Rate:
		return "rate, such as 80/s"
	case Integer:
		return "whole number"
	}
	return string(p.Type)
}

func (p Parameter) parseUnits(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	factor := 1.0
	switch {
	case p.Type == Ratio && strings.HasSuffix(s, "%"):
		s, factor = strings.TrimSuffix(s, "%"), 0.01
	case p.Type == Rate:
		s = strings.TrimSuffix(s, "/s")
	case p.Type == Size:
		s, factor = cutSizeUnit(s)
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return n * factor, err == nil
}

func cutSizeUnit(s string) (string, float64) {
	units := []struct {
		suffix string
		factor float64
	}{{"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}, {"B", 1}}
	for _, unit := range units {
		if rest, found := strings.CutSuffix(s, unit.suffix); found {
			return rest, unit.factor
		}
	}
	return s, 1
}

func (p Parameter) bounds(n float64, show func(float64) string) error {
	if p.Min != nil && n < *p.Min {
		return fmt.Errorf("%s is below the least permitted value, %s", show(n), show(*p.Min))
	}
	if p.Max != nil && n > *p.Max {
		return fmt.Errorf("%s is above the greatest permitted value, %s", show(n), show(*p.Max))
	}
	return nil
}

func toFloat(v any) (float64, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

// Has tells whether the parameter was given or has a default.
func (v Values) Has(name string) bool { _, ok := v[name]; return ok }

// Duration returns the named duration, or 0 when it is absent.
func (v Values) Duration(name string) time.Duration {
	s, _ := v[name].(string)
	d, _ := time.ParseDuration(s)
	return d
}

// Float returns the named number, ratio or rate, or 0 when it is absent.
func (v Values) Float(name string) float64 { n, _ := toFloat(v[name]); return n }

// Int returns the named integer or size, or 0 when it is absent.
func (v Values) Int(name string) int64 { n, _ := toFloat(v[name]); return int64(n) }

// Text returns the named text, or "" when it is absent.
func (v Values) Text(name string) string { s, _ := v[name].(string); return s }

// Bool returns the named boolean, or false when it is absent.
func (v Values) Bool(name string) bool { b, _ := v[name].(bool); return b }

// Texts returns the named list of texts, or nil when it is absent.
func (v Values) Texts(name string) []string {
	list, _ := v[name].([]any)
	var out []string
	for _, item := range list {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// Nearest returns the candidate that a typing error most likely meant, or ""
// when none is near: at most a third of the word's letters, and not all of them, are
// wrong, left out, too many or swapped with their neighbour.
func Nearest(word string, candidates []string) string {
	letters := []rune(strings.ToLower(word))
	best, bestDistance := "", min(max(1, len(letters)/3)+1, len(letters))
	for _, candidate := range candidates {
		if d := distance(letters, []rune(strings.ToLower(candidate))); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// distance is the optimal string alignment distance: Levenshtein's, and two
// neighbours swapped count once.
func distance(a, b []rune) int {
	var before []int // the row two above
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := range a {
		current := make([]int, len(b)+1)
		current[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			current[j+1] = min(previous[j+1]+1, current[j]+1, previous[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				current[j+1] = min(current[j+1], before[j-1]+1)
			}
		}
		before, previous = previous, current
	}
	return previous[len(b)]
}
