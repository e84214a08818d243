package parameter_test

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/parameter"
)

// TestOne checks one value of one type at a time: want is the canonical value, or
// message what is said of it.
func TestOne(t *testing.T) {
	bounded := func(typ parameter.Type, least, greatest float64) parameter.Parameter {
		return parameter.Parameter{Type: typ, Min: parameter.Bound(least), Max: parameter.Bound(greatest)}
	}
	of := func(typ parameter.Type) parameter.Parameter { return parameter.Parameter{Type: typ} }
	for _, test := range []struct {
		name    string
		p       parameter.Parameter
		given   any
		want    any
		message string
	}{
		{"duration", of(parameter.Duration), "1500ms", "1.5s", ""},
		{"duration zero", of(parameter.Duration), 0, "0s", ""},
		{"duration without unit", of(parameter.Duration), 5, nil, "5 is not a duration; write it with a unit, such as 300ms, 2s or 1m"},
		{"duration in words", of(parameter.Duration), "long", nil, `"long" is not a duration; write it with a unit, such as 300ms, 2s or 1m`},
		{"duration true", of(parameter.Duration), true, nil, "true is not a duration; write it with a unit, such as 300ms, 2s or 1m"},
		{"duration negative", of(parameter.Duration), "-1s", nil, "-1s is negative"},
		{"duration too short", bounded(parameter.Duration, 0.001, 300), "1us", nil, "1µs is below the least permitted value, 1ms"},
		{"duration too long", bounded(parameter.Duration, 0.001, 300), "1h", nil, "1h0m0s is above the greatest permitted value, 5m0s"},
		{"integer", of(parameter.Integer), 3, int64(3), ""},
		{"integer from JSON", of(parameter.Integer), 3.0, int64(3), ""},
		{"integer as text", of(parameter.Integer), "3", int64(3), ""},
		{"integer with a fraction", of(parameter.Integer), 3.5, nil, "3.5 is not a whole number"},
		{"integer beyond float64", of(parameter.Integer), 1e17, nil, "1e+17 is not a whole number"},
		{"integer in words", of(parameter.Integer), "three", nil, "three is not a whole number"},
		{"integer too small", bounded(parameter.Integer, 1, 9), 0, nil, "0 is below the least permitted value, 1"},
		{"integer too great", bounded(parameter.Integer, 1, 9), uint64(10), nil, "10 is above the greatest permitted value, 9"},
		{"number", of(parameter.Number), -2.5, -2.5, ""},
		{"number int64", of(parameter.Number), int64(-2), -2.0, ""},
		{"number infinite", of(parameter.Number), math.Inf(1), nil, "+Inf is not a number"},
		{"number NaN", of(parameter.Number), math.NaN(), nil, "NaN is not a number"},
		{"number list", of(parameter.Number), []any{1}, nil, "[1] is not a number"},
		{"ratio", of(parameter.Ratio), 0.25, 0.25, ""},
		{"ratio per cent", of(parameter.Ratio), "25 %", 0.25, ""},
		{"ratio above one", of(parameter.Ratio), 1.5, nil, "1.5 is not a ratio from 0 to 1"},
		{"ratio above one hundred", of(parameter.Ratio), "150%", nil, "150% is not a ratio from 0 to 1"},
		{"ratio in words", of(parameter.Ratio), "half", nil, "half is not a ratio, such as 0.1 or 10%"},
		{"size", of(parameter.Size), 1024, int64(1024), ""},
		{"size KB", of(parameter.Size), "64KB", int64(65536), ""},
		{"size MB", of(parameter.Size), "1.5 MB", int64(1572864), ""},
		{"size GB", of(parameter.Size), "1GB", int64(1 << 30), ""},
		{"size B", of(parameter.Size), "7B", int64(7), ""},
		{"size of half a byte", of(parameter.Size), "0.5B", nil, "0.5B is not a whole number"},
		{"size negative", of(parameter.Size), -1, nil, "-1 is negative"},
		{"size in words", of(parameter.Size), "big", nil, "big is not a size, such as 1024 or 64KB"},
		{"rate", of(parameter.Rate), "80/s", 80.0, ""},
		{"rate plain", of(parameter.Rate), 80, 80.0, ""},
		{"rate by the minute", of(parameter.Rate), "80/m", nil, "80/m is not a rate, such as 80/s"},
		{"rate negative", of(parameter.Rate), "-80/s", nil, "-80/s is negative"},
		{"text", of(parameter.Text), "x", "x", ""},
		{"text number", of(parameter.Text), 5, nil, "5 is not a text"},
		{"text not permitted", parameter.Parameter{Type: parameter.Text, Allowed: []string{"a", "b"}}, "c", nil, `"c" is not permitted; permitted: a, b`},
		{"text misspelt", parameter.Parameter{Type: parameter.Text, Allowed: []string{"UNKNOWN", "UNAVAILABLE"}}, "UNAVALABLE", nil, `"UNAVALABLE" is not permitted; did you mean "UNAVAILABLE"; permitted: UNKNOWN, UNAVAILABLE`},
		{"boolean", of(parameter.Boolean), true, true, ""},
		{"boolean text", of(parameter.Boolean), "yes", nil, "yes is not true or false"},
		{"texts", of(parameter.Texts), []any{"a", "b"}, []any{"a", "b"}, ""},
		{"texts from strings", of(parameter.Texts), []string{"a"}, []any{"a"}, ""},
		{"texts one", of(parameter.Texts), "a", []any{"a"}, ""},
		{"texts with a number", of(parameter.Texts), []any{"a", 1}, nil, "1 is not a text"},
		{"texts number", of(parameter.Texts), 1, nil, "1 is not a list of texts"},
		{"any", of(parameter.Any), map[string]any{"a": 1}, map[string]any{"a": 1}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.p.Name = "p"
			values, problems := parameter.Check([]parameter.Parameter{test.p}, map[string]any{"p": test.given})
			if test.message != "" {
				if len(problems) != 1 || problems[0].Name != "p" || problems[0].Message != test.message {
					t.Errorf("got %+v, want %q", problems, test.message)
				}
				return
			}
			if len(problems) > 0 || !reflect.DeepEqual(values["p"], test.want) {
				t.Errorf("got %#v, %+v, want %#v", values["p"], problems, test.want)
			}
		})
	}
}

func described() []parameter.Parameter {
	return []parameter.Parameter{
		{Name: "delay", Type: parameter.Duration, Required: true, About: "how long"},
		{Name: "jitter", Type: parameter.Duration, Default: "0s"},
		{Name: "replica", Type: parameter.Integer},
	}
}

func TestCheckSet(t *testing.T) {
	values, problems := parameter.Check(described(), map[string]any{"delay": "1s"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := parameter.Values{"delay": "1s", "jitter": "0s"}
	if !reflect.DeepEqual(values, want) {
		t.Errorf("got %v, want %v", values, want)
	}
	_, problems = parameter.Check(described(), map[string]any{"dealy": "1s", "replica": nil, "zoo": 1})
	wantProblems := []parameter.Problem{
		{Name: "delay", Message: "required, but missing", Hint: "how long"},
		{Name: "dealy", Message: "unknown parameter; permitted: delay, jitter, replica", Hint: `did you mean "delay"?`},
		{Name: "zoo", Message: "unknown parameter; permitted: delay, jitter, replica"},
	}
	if !reflect.DeepEqual(problems, wantProblems) {
		t.Errorf("got  %+v\nwant %+v", problems, wantProblems)
	}
}

func TestCanonicalSurvivesJSON(t *testing.T) {
	all := []parameter.Parameter{
		{Name: "d", Type: parameter.Duration}, {Name: "i", Type: parameter.Integer}, {Name: "n", Type: parameter.Number},
		{Name: "r", Type: parameter.Ratio}, {Name: "s", Type: parameter.Size}, {Name: "t", Type: parameter.Texts}, {Name: "b", Type: parameter.Boolean},
	}
	first, problems := parameter.Check(all, map[string]any{
		"d": "90s", "i": 3, "n": 2.5, "r": "10%", "s": "1KB", "t": "one", "b": true,
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	data, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	second, problems := parameter.Check(all, raw)
	if len(problems) > 0 || !reflect.DeepEqual(first, second) {
		t.Errorf("got %v, %v, want %v", second, problems, first)
	}
}

func TestValues(t *testing.T) {
	v := parameter.Values{"d": "1m30s", "i": int64(7), "f": 0.5, "s": "x", "b": true, "t": []any{"a", "b"}}
	if v.Duration("d") != 90*time.Second || v.Int("i") != 7 || v.Float("f") != 0.5 || v.Float("i") != 7 || v.Text("s") != "x" || !v.Bool("b") {
		t.Errorf("a value is not what was put in: %v", v)
	}
	if !slices.Equal(v.Texts("t"), []string{"a", "b"}) {
		t.Errorf("got %q", v.Texts("t"))
	}
	if !v.Has("d") || v.Has("none") {
		t.Error("Has")
	}
	if v.Duration("none") != 0 || v.Int("none") != 0 || v.Float("s") != 0 || v.Text("i") != "" || v.Bool("none") || v.Texts("none") != nil {
		t.Error("what is absent, or of another type, is not the zero value")
	}
}

func TestNearest(t *testing.T) {
	for _, test := range []struct {
		word       string
		candidates []string
		want       string
	}{
		{"payment->bank", []string{"payments->bank", "orders->payments"}, "payments->bank"},
		{"cuont", []string{"name", "count"}, "count"},
		{"tow", []string{"one", "two"}, "two"},
		{"DELAY", []string{"delay"}, "delay"},
		{"delay", []string{"jitter", "rate"}, ""},
		{"x", []string{"y"}, ""},
		{"no", []string{"on"}, "on"},
		{"x", []string{"yy"}, ""},
		{"größe", []string{"grösse"}, ""},
		{"grose", []string{"gröse"}, "gröse"},
		{"", []string{"a", "ab"}, ""},
		{"abc", nil, ""},
		{"browse", []string{"browser", "browse"}, "browse"},
	} {
		if got := parameter.Nearest(test.word, test.candidates); got != test.want {
			t.Errorf("Nearest(%q, %q) = %q, want %q", test.word, test.candidates, got, test.want)
		}
	}
}
