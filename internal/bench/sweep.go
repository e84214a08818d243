package bench

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/strictyaml"
)

// Axis is one parameter of a sweep: a path into the scenario file, and the
// values that it takes, as they are written there.
type Axis struct {
	Path   string   `json:"path"`
	Values []string `json:"values"`
}

// Bounds of a sweep.
const (
	mostAxes   = 2
	mostValues = 50
)

const sweepForm = "write it as load.browse.rate=20..200/7 (7 values, evenly spaced) or phases.fault=2s,5s,10s"

// ParseAxis reads PATH=FROM..TO/STEPS or PATH=A,B,C and holds the path and the
// values against the scenario file that is swept.
func ParseAxis(text string, file []byte) (Axis, error) {
	path, values, found := strings.Cut(text, "=")
	path, values = strings.TrimSpace(path), strings.TrimSpace(values)
	if !found || path == "" || values == "" {
		return Axis{}, fmt.Errorf("--sweep %q: %s", text, sweepForm)
	}
	root, err := strictyaml.Read("the scenario", file)
	if err != nil {
		return Axis{}, err
	}
	at, err := find(root, path)
	if err != nil {
		return Axis{}, fmt.Errorf("--sweep %s: %w", path, err)
	}
	now, ok := parseQuantity(at.node.Written)
	if !ok || at.node.Kind == strictyaml.KindMap || at.node.Kind == strictyaml.KindList || at.node.Kind == strictyaml.KindNull {
		return Axis{}, fmt.Errorf("--sweep %s: it is %s in the scenario, and only a number or a duration can be swept", path, at.node)
	}
	axis := Axis{Path: at.path}
	if axis.Values, err = parseValues(values, now); err != nil {
		return Axis{}, fmt.Errorf("--sweep %s: %w", path, err)
	}
	return axis, nil
}

// place is a node of a file and its full path.
type place struct {
	path string
	node *strictyaml.Node
}

// find goes down a path: load.browse.rate, or policies.a->b[0].timeout. The
// number of an item may be left out where only one item has the key that follows.
func find(root *strictyaml.Node, path string) (place, error) {
	at := place{node: root}
	for rest := path; rest != ""; {
		var err error
		if at, rest, err = step(at, rest); err != nil {
			return place{}, err
		}
	}
	return at, nil
}

var index = regexp.MustCompile(`^\[(\d+)\]\.?`)

func step(at place, rest string) (place, string, error) {
	switch at.node.Kind {
	case strictyaml.KindMap:
		return stepKey(at, rest)
	case strictyaml.KindList:
		if found := index.FindStringSubmatch(rest); found != nil {
			n, err := strconv.Atoi(found[1])
			if err != nil || n >= len(at.node.Items) {
				return at, "", fmt.Errorf("%s has %d items, from [0] on", at, len(at.node.Items))
			}
			return place{fmt.Sprintf("%s[%d]", at.path, n), at.node.Items[n]}, rest[len(found[0]):], nil
		}
		return stepItem(at, rest)
	default:
		return at, "", fmt.Errorf("%s is %s, and there is nothing below it", at, at.node)
	}
}

// String names the place for messages.
func (p place) String() string {
	if p.path == "" {
		return "the scenario"
	}
	return p.path
}

// stepKey takes the longest key that the rest of the path begins with: a key
// may hold dots itself.
func stepKey(at place, rest string) (place, string, error) {
	var best *strictyaml.Entry
	for i, entry := range at.node.Entries {
		after, found := strings.CutPrefix(rest, entry.Key)
		if found && (after == "" || after[0] == '.' || after[0] == '[') && (best == nil || len(entry.Key) > len(best.Key)) {
			best = &at.node.Entries[i]
		}
	}
	if best != nil {
		path := strings.TrimPrefix(at.path+"."+best.Key, ".")
		return place{path, best.Value}, strings.TrimPrefix(rest[len(best.Key):], "."), nil
	}
	var keys []string
	for _, entry := range at.node.Entries {
		keys = append(keys, entry.Key)
	}
	missing, _, _ := strings.Cut(rest, ".")
	message, hint := strictyaml.Unknown("key", missing, keys)
	return at, "", fmt.Errorf("%s in %s; %s", message, at, hint)
}

// stepItem finds the one item of a list that has the key.
func stepItem(at place, rest string) (place, string, error) {
	var found []place
	var left string
	for i, item := range at.node.Items {
		if item.Kind != strictyaml.KindMap {
			continue
		}
		if next, after, err := stepKey(place{fmt.Sprintf("%s[%d]", at.path, i), item}, rest); err == nil {
			found, left = append(found, next), after
		}
	}
	switch len(found) {
	case 1:
		return found[0], left, nil
	case 0:
		return at, "", fmt.Errorf("%s is a list of %d items, none of which has %q; write %s[0] for the first", at, len(at.node.Items), rest, at)
	}
	return at, "", fmt.Errorf("%q may mean %s and %s; write the item's number", rest, found[0], found[1])
}

// quantity is a number with the unit it is written with; a duration's number
// is in nanoseconds.
type quantity struct {
	number   float64
	unit     string
	duration bool
}

var number = regexp.MustCompile(`^([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(|%|/s|B|KB|MB|GB)$`)

func parseQuantity(text string) (quantity, bool) {
	text = strings.TrimSpace(text)
	if found := number.FindStringSubmatch(text); found != nil {
		n, err := strconv.ParseFloat(found[1], 64)
		return quantity{number: n, unit: found[2]}, err == nil
	}
	d, err := time.ParseDuration(text)
	return quantity{number: float64(d), duration: true}, err == nil
}

// String writes the quantity as a scenario has it.
func (q quantity) String() string {
	if q.duration {
		return tidy(time.Duration(math.Round(q.number))).String()
	}
	return strconv.FormatFloat(q.number, 'g', 5, 64) + q.unit
}

// tidy rounds to four digits or so.
func tidy(d time.Duration) time.Duration {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= 1000*unit {
			return d.Round(unit)
		}
		if d >= 10*unit {
			return d.Round(unit / 100)
		}
	}
	return d
}

// like reads a value that is to stand where now stands. A bare number takes
// over the unit, save that of a duration.
func like(text string, now quantity) (quantity, error) {
	q, ok := parseQuantity(text)
	switch {
	case !ok:
		return q, fmt.Errorf("%q is neither a number nor a duration; %s", text, sweepForm)
	case now.duration && !q.duration:
		return q, fmt.Errorf("%s is no duration; write it with a unit, such as %s", text, now)
	case !now.duration && (q.duration || q.unit != "" && q.unit != now.unit):
		return q, fmt.Errorf("%s does not fit %s, which stands in the scenario", text, now)
	}
	q.unit = now.unit
	return q, nil
}

func parseValues(text string, now quantity) ([]string, error) {
	var out []string
	if from, rest, isRange := strings.Cut(text, ".."); isRange {
		to, steps, counted := strings.Cut(rest, "/")
		if strings.HasPrefix(steps, "s") { // of a rate: 20..200/s/7
			_, steps, counted = strings.Cut(steps, "/")
		}
		n, err := strconv.Atoi(strings.TrimSpace(steps))
		if !counted || err != nil || n < 2 || n > mostValues {
			return nil, fmt.Errorf("%q says not how many values, from 2 to %d; %s", text, mostValues, sweepForm)
		}
		return spaced(strings.TrimSpace(from), strings.TrimSpace(to), n, now)
	}
	for part := range strings.SplitSeq(text, ",") {
		q, err := like(strings.TrimSpace(part), now)
		if err != nil {
			return nil, err
		}
		out = append(out, q.String())
	}
	return distinct(out)
}

func spaced(from, to string, n int, now quantity) ([]string, error) {
	a, errA := like(strings.TrimSuffix(from, "/s"), now)
	b, errB := like(strings.TrimSuffix(to, "/s"), now)
	if err := errors.Join(errA, errB); err != nil {
		return nil, err
	}
	var out []string
	for i := range n {
		q := a
		q.number += (b.number - a.number) * float64(i) / float64(n-1)
		out = append(out, q.String())
	}
	return distinct(out)
}

func distinct(values []string) ([]string, error) {
	switch sorted := slices.Sorted(slices.Values(values)); {
	case len(slices.Compact(sorted)) < len(values):
		return nil, fmt.Errorf("values repeat: %s", strings.Join(values, ", "))
	case len(values) < 2:
		return nil, fmt.Errorf("one value is no sweep; %s", sweepForm)
	case len(values) > mostValues:
		return nil, fmt.Errorf("%d values; at most %d are taken", len(values), mostValues)
	}
	return values, nil
}

// set writes another value at a path of a scenario file, and changes nothing
// else of it: a value that other places share, through an anchor, is refused.
func set(file []byte, path, value string) ([]byte, error) {
	root, err := strictyaml.Read("the scenario", file)
	if err != nil {
		return nil, err
	}
	at, err := find(root, path)
	if err != nil {
		return nil, err
	}
	edited, err := replaceAt(file, at.node, value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	again, err := strictyaml.Read("the scenario", edited)
	if err != nil {
		return nil, fmt.Errorf("%s: writing %s there: %w", path, value, err)
	}
	for _, changed := range differences(root, again, "") {
		if changed != path {
			return nil, fmt.Errorf("%s shares its value with %s through an anchor; give it a value of its own", path, changed)
		}
	}
	return edited, nil
}

// replaceAt puts a value in the place of a scalar, quotes and all.
func replaceAt(file []byte, node *strictyaml.Node, value string) ([]byte, error) {
	lines := strings.SplitAfter(string(file), "\n")
	if node.Line > len(lines) {
		return nil, errors.New("its place in the file was not found")
	}
	line := []rune(lines[node.Line-1])
	start := node.Column - 1
	for _, quote := range []string{"", `"`, "'"} {
		old := quote + node.Written + quote
		if start >= 0 && start <= len(line) && strings.HasPrefix(string(line[start:]), old) {
			lines[node.Line-1] = string(line[:start]) + value + strings.TrimPrefix(string(line[start:]), old)
			return []byte(strings.Join(lines, "")), nil
		}
	}
	return nil, errors.New("its place in the file was not found")
}

// differences lists the paths at which two files differ.
func differences(a, b *strictyaml.Node, path string) []string {
	switch {
	case a.Kind == strictyaml.KindMap && b.Kind == strictyaml.KindMap && len(a.Entries) == len(b.Entries):
		var out []string
		for i, entry := range a.Entries {
			out = append(out, differences(entry.Value, b.Entries[i].Value, strings.TrimPrefix(path+"."+entry.Key, "."))...)
		}
		return out
	case a.Kind == strictyaml.KindList && b.Kind == strictyaml.KindList && len(a.Items) == len(b.Items):
		var out []string
		for i, item := range a.Items {
			out = append(out, differences(item, b.Items[i], fmt.Sprintf("%s[%d]", path, i))...)
		}
		return out
	case a.Kind == b.Kind && a.Written == b.Written && len(a.Entries)+len(b.Entries)+len(a.Items)+len(b.Items) == 0:
		return nil
	}
	return []string{path}
}
