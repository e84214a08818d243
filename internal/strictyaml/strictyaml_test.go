package strictyaml_test

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/golden"
	"github.com/faultline-lab/faultline/internal/strictyaml"
)

// sample has a field of every type that can be read.
type sample struct {
	Name   string                          `yaml:"name,required" about:"what it goes by"`
	Kind   string                          `yaml:"kind" allowed:"slow,fast"`
	On     bool                            `yaml:"on"`
	Count  int                             `yaml:"count" min:"1" max:"10"`
	Seed   uint64                          `yaml:"seed"`
	Factor float64                         `yaml:"factor" min:"0.5"`
	Wait   time.Duration                   `yaml:"wait"`
	Rate   strictyaml.Rate                 `yaml:"rate"`
	Port   strictyaml.Word                 `yaml:"port"`
	Tags   []string                        `yaml:"tags"`
	Plain  map[string]int                  `yaml:"plain"`
	Parts  strictyaml.Map[part]            `yaml:"parts"`
	Env    strictyaml.Map[strictyaml.Word] `yaml:"env"`
	Raw    *strictyaml.Node                `yaml:"raw"`
	Part   *part                           `yaml:"part"`
	Either either                          `yaml:"either"`
	Hidden int                             // without a tag: no part of the format
}

type part struct {
	Size int `yaml:"size,required"`
	shared
}

type shared struct {
	About string `yaml:"about"`
}

// either is a text or a map.
type either struct {
	Text string
	Part part
}

func (e *either) UnmarshalValue(v strictyaml.Value) {
	switch v.Kind {
	case strictyaml.KindText:
		e.Text = v.Written
	case strictyaml.KindMap:
		v.Decode(&e.Part)
	default:
		v.Want("a text or a map")
	}
}

func (e *either) Schema(s *strictyaml.Schemas) map[string]any {
	return map[string]any{"anyOf": []any{map[string]any{"type": "string"}, s.Of(reflect.TypeFor[part]())}}
}

func decode(t *testing.T, text string) (sample, *strictyaml.Source) {
	t.Helper()
	var s sample
	return s, strictyaml.Decode("x.yaml", []byte(text), &s)
}

func TestDecode(t *testing.T) {
	var got sample
	src := strictyaml.Decode("x.yaml", []byte(`
x-anchors: {big: &big {size: 7, about: shared}}
name: "quoted"
kind: slow
on: true
count: 3
seed: 18446744073709551615
factor: 1e1
wait: 1m30s
rate: 80/s
port: 8080
tags: [a, "5", c d]
plain: {a: 1, b: 0x10}
parts:
  zulu: {size: 1}
  alpha: *big
  mike:
    <<: *big
    about: own
env: {A: true, B: 1.50, C: text}
raw: {deep: [1, 2.5, x, null, true], self: {}}
part: {size: 2}
either: just text
`), &got)
	if err := src.Err(); err != nil {
		t.Fatal(err)
	}
	big := part{Size: 7, shared: shared{About: "shared"}}
	want := sample{
		Name: "quoted", Kind: "slow", On: true, Count: 3, Seed: math.MaxUint64, Factor: 10,
		Wait: 90 * time.Second, Rate: 80, Port: "8080", Tags: []string{"a", "5", "c d"},
		Plain: map[string]int{"a": 1, "b": 16},
		Parts: strictyaml.Map[part]{
			{Name: "zulu", Path: "parts.zulu", Value: part{Size: 1}},
			{Name: "alpha", Path: "parts.alpha", Value: big},
			{Name: "mike", Path: "parts.mike", Value: part{Size: 7, shared: shared{About: "own"}}},
		},
		Env: strictyaml.Map[strictyaml.Word]{
			{Name: "A", Path: "env.A", Value: "true"}, {Name: "B", Path: "env.B", Value: "1.50"}, {Name: "C", Path: "env.C", Value: "text"},
		},
		Part: &part{Size: 2}, Either: either{Text: "just text"},
	}
	raw := got.Raw
	got.Raw = nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	wantRaw := map[string]any{"deep": []any{int64(1), 2.5, "x", nil, true}, "self": map[string]any{}}
	if !reflect.DeepEqual(raw.Any(), wantRaw) {
		t.Errorf("raw: got %#v, want %#v", raw.Any(), wantRaw)
	}
	if names := got.Parts.Names(); !reflect.DeepEqual(names, []string{"zulu", "alpha", "mike"}) {
		t.Errorf("the order of the file is lost: %q", names)
	}
	if p, found := got.Parts.Get("alpha"); !found || p != big {
		t.Errorf("Get(alpha): %+v, %v", p, found)
	}
	if _, found := got.Parts.Get("bravo"); found {
		t.Error("Get(bravo) found something")
	}
}

func TestEmptyMapsAndLists(t *testing.T) {
	got, src := decode(t, "name: x\nparts:\n  # all of them commented out\ntags:\nplain:\n")
	if err := src.Err(); err != nil {
		t.Fatal(err)
	}
	if len(got.Parts)+len(got.Tags)+len(got.Plain) > 0 {
		t.Errorf("got %+v", got)
	}
}

func TestErrors(t *testing.T) {
	golden.Errors(t, "testdata/bad", func(_ *testing.T, name string, data []byte) error {
		return strictyaml.Decode(name, data, &sample{}).Err()
	})
}

// These are too large, or too odd, for a fixture.
func TestHostile(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"too large", "name: " + strings.Repeat("a", strictyaml.MaxBytes), "at most 262144 are read"},
		{"not UTF-8", "name: \xff\xfe", "the file is not UTF-8 text"},
		{"brackets", "raw: " + strings.Repeat("[", 100_000), "nested more than 48 deep"},
		{"braces", "raw: " + strings.Repeat("{a: ", 50_000), "nested more than 48 deep"},
		{"dashes", "raw: \n " + strings.Repeat("- ", 100_000), "nested more than 48 deep"},
		{"question marks", strings.Repeat("? ", 100_000), "nested more than 48 deep"},
		{"tags", "raw: " + strings.Repeat("!!x ", 50_000), "nested more than 48 deep"},
		{"indentation", indented(300), "nested more than 48 deep"},
		{"alias bomb", bomb(), "more than 50000 values, counting what aliases repeat"},
		{"many errors", "name: x\nplain:\n" + manyEntries(5_000), "more than 500 errors; the rest is left off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			_, src := decode(t, test.text)
			err := src.Err()
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %.300v, want it to contain %q", err, test.want)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func indented(depth int) string {
	var b strings.Builder
	b.WriteString("raw:\n")
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i+1) + "a:\n")
	}
	return b.String()
}

func bomb() string {
	var b strings.Builder
	b.WriteString("raw:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&b, "  a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String()
}

func manyEntries(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  k%d: x\n", i)
	}
	return b.String()
}

func TestPlaces(t *testing.T) {
	_, src := decode(t, "name: x\nparts:\n  one: {size: 1}\n  two:\n    size: 2\ntags:\n  - a\n  - b\n")
	for path, line := range map[string]int{
		"": 1, "name": 1, "parts": 2, "parts.one.size": 3, "parts.two": 4, "parts.two.size": 5,
		"parts.two.about": 4, "parts.three": 2, "tags[1]": 8, "tags[5]": 6, "nothing.of.it": 1,
	} {
		if got := src.Line(path); got != line {
			t.Errorf("%q: line %d, want %d", path, got, line)
		}
	}
	if got := src.Where("tags[1]"); got != "x.yaml:8" {
		t.Errorf("got %s", got)
	}
}

func TestFail(t *testing.T) {
	_, src := decode(t, "name: x\nparts:\n  one: {size: oops}\n  two: {size: 2}\n  twofold: {size: 2}\n")
	other := src.Clone()
	message, hint := strictyaml.Unknown("part", "tow", []string{"one", "two"})
	src.Fail("parts.two", message, hint)
	src.Fail("parts.two", message, hint)
	want := "x.yaml:3: parts.one.size: \"oops\" is not a whole number\n" +
		"x.yaml:4: parts.two: unknown part \"tow\"; did you mean \"two\"?"
	if got := src.Err().Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for path, want := range map[string]bool{
		"parts": true, "parts.one": true, "parts.one.size": true, "parts.two": true,
		"parts.twofold": false, "name": false, "parts.one.about": false, "": true,
	} {
		if got := src.Failed(path); got != want {
			t.Errorf("Failed(%q) = %v", path, got)
		}
	}
	if got := len(other.Errors()); got != 1 {
		t.Errorf("the clone has %d errors, want the one from before", got)
	}
}

func TestUnknown(t *testing.T) {
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf("name-%02d", i))
	}
	for _, test := range []struct {
		name  string
		known []string
		want  string
	}{
		{"payment->bank", []string{"payments->bank"}, `unknown edge "payment->bank"; did you mean "payments->bank"?`},
		{"x", []string{"alpha", "bravo"}, `unknown edge "x"; there are: alpha, bravo`},
		{"x", nil, `unknown edge "x"; there is none`},
		{"x", many, `unknown edge "x"; there are: ` + strings.Join(many[:16], ", ") + " and 4 more"},
		{strings.Repeat("ä", 100), nil, `unknown edge "` + strings.Repeat("ä", 60) + `…"; there is none`},
	} {
		message, hint := strictyaml.Unknown("edge", test.name, test.known)
		if got := message + "; " + hint; got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

func TestRead(t *testing.T) {
	root, err := strictyaml.Read("rules.yaml", []byte("groups: [{rules: [{alert: A}]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := root.Get("groups").Items[0].Get("rules").Items[0].Get("alert").Written; got != "A" {
		t.Errorf("got %q", got)
	}
	if got := root.Get("nothing").Get("at").Kind; got != strictyaml.KindNull {
		t.Errorf("got %v", got)
	}
	if _, err := strictyaml.Read("rules.yaml", []byte("- a")); err == nil {
		t.Error("a list was read as a map")
	}
}

func TestSchema(t *testing.T) {
	schema, err := strictyaml.Schema(&sample{}, "Sample", "a sample")
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/sample.schema.json", string(schema))
}

func TestFields(t *testing.T) {
	var got []string
	for _, f := range strictyaml.Fields(sample{}) {
		got = append(got, fmt.Sprintf("%s: %s, %v, %q", f.Name, f.Value, f.Required, f.About))
	}
	want := []string{
		`name: text, true, "what it goes by"`, `kind: slow, fast, false, ""`, `on: true, false, false, ""`, `count: whole number, false, ""`,
		`seed: whole number, false, ""`, `factor: number, false, ""`, `wait: duration, false, ""`, `rate: rate, false, ""`, `port: text, false, ""`,
		`tags: list, false, ""`, `plain: map, false, ""`, `parts: map, false, ""`, `env: map, false, ""`, `raw: map, false, ""`,
		`part: map, false, ""`, `either: map, false, ""`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"name: x\ncount: 3\nparts: {a: {size: 1}}\n", "a: &a [*a]\n", "<<: *x\n", "name: |\n  x\n", "? a\n: b\n",
		"%YAML 1.2\n---\na: 1\n...\n", "\ufeffname: x", "name: 'a\r\n\r\n  b'\r\n", "- - - -", "&a *a", "{{a}}: {", "wait: -1s\nrate: 1e999/s\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		src := strictyaml.Decode("x.yaml", data, &s)
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
		for _, err := range src.Errors() {
			if err.Line < 1 || err.Line > lines {
				t.Errorf("line %d of %d: %v", err.Line, lines, err)
			}
			if strings.Contains(err.Error(), "the parser cannot read this") {
				t.Skip("a panic of the parser, reported as an error")
			}
		}
		if src.Err() == nil && s.Name == "" && !strings.Contains(string(data), "name") {
			t.Error("a required key was not missed")
		}
	})
}
