package loadgen

import (
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"testing"
)

func newEnvironment(seed uint64) *environment {
	return &environment{random: rand.New(rand.NewPCG(seed, 0)), seq: 41, values: map[string]value{
		"id":    {raw: "p-7", escaped: "p-7"},
		"quote": {raw: `say "hi"`, escaped: `say \"hi\"`},
		"lines": {raw: `[{"n":1}]`, escaped: `[{"n":1}]`},
	}}
}

func TestTemplate(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"plain":                       {"/products", "/products"},
		"empty":                       {"", ""},
		"number of the arrival":       {"/a/{{seq}}/b", "/a/41/b"},
		"spaces inside":               {"{{  seq }}{{ .id }}", "41p-7"},
		"extracted":                   {"/products/{{.id}}?x={{.id}}", "/products/p-7?x=p-7"},
		"one number to choose from":   {"{{rand 5 5}}", "5"},
		"a text goes raw into a path": {"/{{.quote}}", `/say "hi"`},
		"and escaped into JSON":       {`{"a": "{{.quote}}"}`, `{"a": "say \"hi\""}`},
		"JSON into JSON":              {` [{"lines": {{.lines}}}]`, ` [{"lines": [{"n":1}]}]`},
		"braces of JSON":              {`{"a":{"b":{{seq}}}}`, `{"a":{"b":41}}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			compiled, err := compileTemplate(test.text, []string{"id", "quote", "lines"})
			if err != nil {
				t.Fatal(err)
			}
			if got := compiled.render(newEnvironment(1)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestTemplateErrors(t *testing.T) {
	tests := map[string]struct {
		text  string
		known []string
		want  string
	}{
		"not closed":         {"/a/{{seq", nil, `{{ without }} in "{{seq"`},
		"unknown":            {"{{sek}}", nil, "{{sek}}: unknown; permitted: {{rand 1 500}}, {{uuid}}, {{seq}} and {{.name}}"},
		"nothing":            {"{{}}", nil, "{{}}: unknown; permitted: {{rand 1 500}}, {{uuid}}, {{seq}} and {{.name}}"},
		"only a dot":         {"{{.}}", nil, "{{.}}: unknown; permitted: {{rand 1 500}}, {{uuid}}, {{seq}} and {{.name}}"},
		"too much":           {"{{seq 1}}", nil, "{{seq 1}}: unknown; permitted: {{rand 1 500}}, {{uuid}}, {{seq}} and {{.name}}"},
		"rand of one":        {"{{rand 5}}", nil, "{{rand 5}}: takes two whole numbers, such as {{rand 1 500}}"},
		"rand of a word":     {"{{rand a 5}}", nil, "{{rand a 5}}: takes two whole numbers, such as {{rand 1 500}}"},
		"rand the wrong way": {"{{rand 5 1}}", nil, "{{rand 5 1}}: 5 is more than 1"},
		"name too early":     {"{{.id}}", nil, "{{.id}}: no earlier step extracts anything"},
		"name not known":     {"{{.id}}", []string{"token", "order"}, `{{.id}}: no earlier step extracts "id"; extracted so far: token, order`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := compileTemplate(test.text, test.known)
			if err == nil || err.Error() != test.want {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
}

func TestTemplateRandomness(t *testing.T) {
	compiled, err := compileTemplate("{{rand -2 2}} {{uuid}}", nil)
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^(-?\d) [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]int{}
	texts := map[string]bool{}
	for seed := range uint64(1000) {
		text := compiled.render(newEnvironment(seed))
		match := form.FindStringSubmatch(text)
		if match == nil {
			t.Fatalf("%q is not a number and a UUID", text)
		}
		seen[match[1]]++
		texts[text] = true
		if again := compiled.render(newEnvironment(seed)); again != text {
			t.Fatalf("seed %d: first %q, then %q", seed, text, again)
		}
	}
	if len(texts) != 1000 {
		t.Errorf("%d different texts of 1000 seeds", len(texts))
	}
	for n := -2; n <= 2; n++ { // 200 each; four standard deviations are 51
		if got := seen[strconv.Itoa(n)]; got < 149 || got > 251 {
			t.Errorf("%d came %d times of 1000", n, got)
		}
	}
}

func TestBetweenOfAllNumbers(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	negative := 0
	for range 100 {
		if between(random, math.MinInt64, math.MaxInt64) < 0 {
			negative++
		}
		if n := between(random, math.MaxInt64-1, math.MaxInt64); n < math.MaxInt64-1 {
			t.Errorf("%d is outside", n)
		}
	}
	if negative < 30 || negative > 70 {
		t.Errorf("%d of 100 are negative", negative)
	}
}

// TestScatterSeparatesNeighbours draws the first number of consecutive journeys.
func TestScatterSeparatesNeighbours(t *testing.T) {
	seen := make([]int, 10)
	for seq := range uint64(10_000) {
		random := rand.New(rand.NewPCG(1^requestStream, scatter(seq)))
		seen[between(random, 0, 9)]++
	}
	for digit, n := range seen {
		if n < 880 || n > 1120 { // four standard deviations
			t.Errorf("%d came %d times of 10,000", digit, n)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{
		"/products/p-{{rand 1 500}}", "{{uuid}}", `{"a": "{{.quote}}"}`, "{{", "}}", "{{{{}}}}", "{{rand -9223372036854775808 9223372036854775807}}",
		"{{rand 1}}", "{{.}}", "{{.missing}}", "{{ seq }}", "[{{.lines}}]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		compiled, err := compileTemplate(text, []string{"id", "quote", "lines"})
		if err != nil {
			return
		}
		got := compiled.render(newEnvironment(1))
		if compiled.static() && got != text {
			t.Errorf("%q is static and renders as %q", text, got)
		}
		if again := compiled.render(newEnvironment(1)); got != again {
			t.Errorf("%q renders as %q and as %q", text, got, again)
		}
	})
}
