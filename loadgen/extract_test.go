package loadgen

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestExtract(t *testing.T) {
	const answer = `{"id": "o-1", "total": 12345678901234567890, "price": 1.50, "paid": true, "none": null,
		"items": [{"id": "p-1"}, {"id": "p-\"2\""}], "a": {"b": {"c": [1, 2]}}, "empty": ""}`
	tests := map[string]struct {
		path    string
		want    value
		missing bool
	}{
		"a text":                {path: "id", want: value{"o-1", "o-1"}},
		"a text to be escaped":  {path: "items.1.id", want: value{`p-"2"`, `p-\"2\"`}},
		"a number, every digit": {path: "total", want: value{"12345678901234567890", "12345678901234567890"}},
		"a number as written":   {path: "price", want: value{"1.50", "1.50"}},
		"a truth":               {path: "paid", want: value{"true", "true"}},
		"a list":                {path: "a.b.c", want: value{"[1,2]", "[1,2]"}},
		"an object":             {path: "items.0", want: value{`{"id":"p-1"}`, `{"id":"p-1"}`}},
		"an empty text":         {path: "empty"},
		"null":                  {path: "none", missing: true},
		"no such key":           {path: "a.x", missing: true},
		"beyond a list":         {path: "items.2", missing: true},
		"before a list":         {path: "items.-1", missing: true},
		"a word into a list":    {path: "items.first", missing: true},
		"below a text":          {path: "id.x", missing: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wanted, err := compileExtractions(map[string]string{"x": test.path})
			if err != nil {
				t.Fatal(err)
			}
			values := map[string]value{}
			missing := extract([]byte(answer), wanted, values)
			if (missing == "x") != test.missing {
				t.Fatalf("missing %q", missing)
			}
			if !test.missing && values["x"] != test.want {
				t.Errorf("got %+v, want %+v", values["x"], test.want)
			}
		})
	}
}

func TestExtractSeveral(t *testing.T) {
	wanted, err := compileExtractions(map[string]string{"b": "list.1", "a": "list.0", "c": "nope"})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]value{}
	if missing := extract([]byte(`{"list": [1, 2]}`), wanted, values); missing != "c" {
		t.Errorf("missing %q, want c", missing)
	}
	if want := (map[string]value{"a": {"1", "1"}, "b": {"2", "2"}}); !reflect.DeepEqual(values, want) {
		t.Errorf("got %v, want %v", values, want)
	}
	for _, answer := range []string{"", "{", "<html>", "[1,2", "null", "3"} {
		if missing := extract([]byte(answer), wanted, map[string]value{}); missing != "a" {
			t.Errorf("%q: missing %q, want a", answer, missing)
		}
	}
}

func TestCompileExtractionsErrors(t *testing.T) {
	for _, test := range []struct{ name, path, want string }{
		{"id", "", `id: "" is not a dotted path, such as items.0.id`},
		{"id", "items..id", `id: "items..id" is not a dotted path, such as items.0.id`},
		{"", "id", `"" cannot be a name`},
		{"two words", "id", `"two words" cannot be a name`},
		{"a}}", "id", `"a}}" cannot be a name`},
	} {
		if _, err := compileExtractions(map[string]string{test.name: test.path}); err == nil || err.Error() != test.want {
			t.Errorf("%q: %q: got error %v, want %s", test.name, test.path, err, test.want)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add([]byte(`{"items": [{"id": "p-1"}]}`), "items.0.id")
	f.Add([]byte(`[[[1]]]`), "0.0.0")
	f.Add([]byte(`{"a": "\ud800"}`), "a")
	f.Add([]byte(`{`), "a")
	f.Add([]byte(`{"a": 1e999}`), "a")
	f.Fuzz(func(t *testing.T, answer []byte, path string) {
		wanted, err := compileExtractions(map[string]string{"x": path})
		if err != nil {
			return
		}
		values := map[string]value{}
		if extract(answer, wanted, values) != "" {
			return
		}
		// What is put between the quotes of a JSON text, or in its place, must leave it JSON.
		v := values["x"]
		if !json.Valid([]byte(`"`+v.escaped+`"`)) && !json.Valid([]byte(v.escaped)) {
			t.Errorf("%q cannot stand in JSON", v.escaped)
		}
	})
}
