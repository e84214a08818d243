package node

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/resilience"
	"github.com/faultline-lab/faultline/services/kit"
)

func TestReadCalls(t *testing.T) {
	for _, c := range []struct {
		text string
		want []call
	}{
		{"", nil},
		{" ", nil},
		{"b", []call{{callee: "b", protocol: kit.HTTP, times: 1, chance: 1}}},
		{"b, grpc://c-2 x3 10% optional", []call{
			{callee: "b", protocol: kit.HTTP, times: 1, chance: 1},
			{callee: "c-2", protocol: kit.GRPC, times: 3, chance: 0.1, optional: true},
		}},
		{"b shard=a x2", []call{{callee: "b", protocol: kit.HTTP, times: 2, chance: 1, key: "shard", value: "a"}}},
		{"b 0.5%,b x1000", []call{
			{callee: "b", protocol: kit.HTTP, times: 1, chance: 0.005},
			{callee: "b", protocol: kit.HTTP, times: 1000, chance: 1},
		}},
	} {
		got, err := readCalls(c.text)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, %v; want %+v", c.text, got, err, c.want)
		}
	}
}

func TestReadCallsSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"b,":        `"": no callee`,
		"b x0":      `"b x0": x0: how often must be 1 to 1000`,
		"b x1001":   "how often must be 1 to 1000",
		"b 0%":      "above 0% and at most 100%",
		"b 101%":    "above 0% and at most 100%",
		"b 1.2.3%":  "above 0% and at most 100%",
		"b twice":   `"twice" is none of x3 (how often), 10% (how likely), key=value (only for requests with this entry in their baggage) and optional`,
		"b a=b=c":   `"a=b=c" is none of`,
		"B":         `"B" is not the name of a service`,
		"http://b":  `"http://b" is not the name of a service`,
		"grpc:// b": `"" is not the name of a service`,
	} {
		if _, err := readCalls(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

func TestReadConfig(t *testing.T) {
	got, err := readConfig(kit.Env{
		"SPEAKS": "grpc", "CALLS": "b x2", "CALLS_IN": "parallel", "ERRORS": "1%", "SLOW_SHARE": "0.01", "SLOW_BY": "200ms",
		"RESPONSE": "2KB", "QUEUE": "codel", "ABANDONED": "drop",
	})
	if err != nil {
		t.Fatal(err)
	}
	kinds := []string{}
	for _, spec := range got.door {
		kinds = append(kinds, spec.Kind)
	}
	got.door = nil
	want := config{
		protocol: kit.GRPC, calls: []call{{callee: "b", protocol: kit.HTTP, times: 2, chance: 1}}, parallel: true,
		errors: 0.01, slow: 0.01, slowBy: 200 * time.Millisecond, response: 2048,
	}
	if !reflect.DeepEqual(got, want) || strings.Join(kinds, " ") != "deadline queue" {
		t.Errorf("%+v, door %q; want %+v", got, kinds, want)
	}
	got, err = readConfig(kit.Env{})
	if want := (config{protocol: kit.HTTP, response: 3}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("of nothing: %+v, %v; want %+v", got, err, want)
	}
}

func TestReadConfigSaysEveryError(t *testing.T) {
	_, err := readConfig(kit.Env{"SPEAKS": "smoke", "ERRORS": "2", "CALLS": "?", "QUEUE": "heap", "RESPONSE": "1GB"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`SPEAKS: "smoke" is not permitted; permitted: http, grpc`, "ERRORS: 2 is not a ratio", `CALLS: "?"`, `QUEUE: "heap" is not permitted; permitted: fifo`, "RESPONSE: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want in it %q", err, want)
		}
	}
}

// What the scenario says about the door wins over what the system file says.
func TestWithDoor(t *testing.T) {
	door, err := readDoor("lifo", "drop")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, given, want string
	}{
		{"nothing given", "", `deadline queue=lifo`},
		{"of another service", `{"b":[{"queue":"codel"}]}`, `deadline queue=lifo`},
		{"another kind", `{"a":[{"timeout":"1s"}]}`, `timeout deadline queue=lifo`},
		{"the same kind", `{"a":[{"queue":"fifo"}]}`, `queue=fifo deadline`},
	} {
		t.Run(c.name, func(t *testing.T) {
			given := kit.Env{"RESILIENCE_POLICIES": c.given}
			env, err := withDoor(given, "a", door)
			if err != nil {
				t.Fatal(err)
			}
			if given["RESILIENCE_POLICIES"] != c.given {
				t.Error("the given environment was changed")
			}
			policies, err := resilience.ParsePolicies([]byte(env["RESILIENCE_POLICIES"]))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, spec := range policies["a"] {
				word := spec.Kind
				if spec.Kind == "queue" {
					word += "=" + spec.Params.Text("discipline")
				}
				got = append(got, word)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("door %q, want %q", got, c.want)
			}
		})
	}
	if _, err := withDoor(kit.Env{"RESILIENCE_POLICIES": "{"}, "a", door); err == nil || !strings.HasPrefix(err.Error(), "RESILIENCE_POLICIES: ") {
		t.Errorf("broken policies: error %v", err)
	}
}

func FuzzReadCalls(f *testing.F) {
	for _, seed := range []string{"", "b", "b x3 10% optional", "grpc://c, d x2", "b,,c", "b 1e9%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		calls, err := readCalls(text)
		for _, c := range calls {
			if err != nil || c.callee == "" || c.times < 1 || c.times > maxTimes || !(c.chance > 0 && c.chance <= 1) {
				t.Errorf("%q: %+v, %v", text, c, err)
			}
		}
	})
}

func TestDocumentedVariables(t *testing.T) {
	text, err := os.ReadFile("../../docs/topologies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range Variables() {
		if !strings.Contains(string(text), "`"+variable.Name+"`") {
			t.Errorf("docs/topologies.md says nothing of %s", variable.Name)
		}
	}
}
