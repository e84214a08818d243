package bench

import (
	"slices"
	"strings"
	"testing"
)

const swept = `name: swept
load:
  browse: {request: GET /products, rate: 80/s, slo: "300ms", weight: '2'}
phases: {warmup: 5s, fault: 20s}
x-shared: &shared 3s
faults:
  slow: {latency: {edge: a->b, delay: *shared}, during: fault}
  other: {latency: {edge: ü->b, delay: 1s, jitter: 300ms}, during: fault}
policies:
  a->b: [{timeout: 500ms}, {retry: {attempts: 3, budget: 10%}}]
  a.b->c:
    - timeout: 1s
    - timeout: 2s
`

func TestParseAxis(t *testing.T) {
	for _, c := range []struct {
		text, path string
		values     string
	}{
		{"load.browse.rate=20..200/7", "load.browse.rate", "20/s 50/s 80/s 110/s 140/s 170/s 200/s"},
		{"load.browse.rate=20/s..200/s/3", "load.browse.rate", "20/s 110/s 200/s"},
		{"load.browse.rate=40,80/s", "load.browse.rate", "40/s 80/s"},
		{"phases.fault=2s..20s/6", "phases.fault", "2s 5.6s 9.2s 12.8s 16.4s 20s"},
		{"phases.fault = 20s .. 10s / 3", "phases.fault", "20s 15s 10s"},
		{"faults.other.latency.jitter=0s,10ms,1m30s", "faults.other.latency.jitter", "0s 10ms 1m30s"},
		{"policies.a->b[0].timeout=100ms,1s", "policies.a->b[0].timeout", "100ms 1s"},
		{"policies.a->b.timeout=100ms,1s", "policies.a->b[0].timeout", "100ms 1s"},
		{"policies.a->b.retry.attempts=1..4/4", "policies.a->b[1].retry.attempts", "1 2 3 4"},
		{"policies.a->b.retry.budget=5%,20", "policies.a->b[1].retry.budget", "5% 20%"},
		{"policies.a.b->c[1].timeout=1s,3s", "policies.a.b->c[1].timeout", "1s 3s"},
		{"load.browse.slo=100ms..1s/2", "load.browse.slo", "100ms 1s"},
		{"load.browse.weight=1,2.5", "load.browse.weight", "1 2.5"},
	} {
		t.Run(c.text, func(t *testing.T) {
			axis, err := ParseAxis(c.text, []byte(swept))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(axis.Values, " "); axis.Path != c.path || got != c.values {
				t.Errorf("got %s = %s", axis.Path, got)
			}
		})
	}
}

func TestBadAxes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"load.browse.rate", `--sweep "load.browse.rate": write it as load.browse.rate=20..200/7`},
		{"=1,2", `write it as`},
		{"lod.browse.rate=1,2", `--sweep lod.browse.rate: unknown key "lod" in the scenario; did you mean "load"?`},
		{"load.brwse.rate=1,2", `unknown key "brwse" in load; did you mean "browse"?`},
		{"load.browse.timeout=1s,2s", `unknown key "timeout" in load.browse; there are: request, rate, slo, weight`},
		{"load.browse=1,2", `it is a map in the scenario, and only a number or a duration can be swept`},
		{"load.browse.request=1,2", `it is "GET /products" in the scenario, and only a number or a duration can be swept`},
		{"load.browse.rate.x=1,2", `load.browse.rate is "80/s", and there is nothing below it`},
		{"policies.a->b=1,2", `it is a list in the scenario`},
		{"policies.a->b[2].timeout=1s,2s", `policies.a->b has 2 items, from [0] on`},
		{"policies.a->b.bulkhead=1,2", `policies.a->b is a list of 2 items, none of which has "bulkhead"; write policies.a->b[0] for the first`},
		{"policies.a.b->c.timeout=1s,2s", `"timeout" may mean policies.a.b->c[0].timeout and policies.a.b->c[1].timeout; write the item's number`},
		{"phases.fault=2..20/6", `2 is no duration; write it with a unit, such as 20s`},
		{"phases.fault=2s..20s", `says not how many values, from 2 to 50`},
		{"phases.fault=2s..20s/1", `says not how many values`},
		{"phases.fault=2s..20s/51", `says not how many values`},
		{"phases.fault=2s", `one value is no sweep`},
		{"phases.fault=2s,2000ms", `values repeat: 2s, 2s`},
		{"phases.fault=2s,soon", `"soon" is neither a number nor a duration`},
		{"load.browse.rate=10ms,20ms", `10ms does not fit 80/s, which stands in the scenario`},
		{"load.browse.rate=10%,20%", `10% does not fit 80/s, which stands in the scenario`},
	} {
		t.Run(c.text, func(t *testing.T) {
			_, err := ParseAxis(c.text, []byte(swept))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestSetChangesOneValue(t *testing.T) {
	for _, c := range []struct{ path, value, old, new string }{
		{"load.browse.rate", "20/s", "rate: 80/s", "rate: 20/s"},
		{"load.browse.slo", "1s", `slo: "300ms"`, "slo: 1s"},
		{"load.browse.weight", "7", `weight: '2'`, "weight: 7"},
		{"phases.fault", "2s", "fault: 20s", "fault: 2s"},
		{"faults.other.latency.delay", "9s", "delay: 1s", "delay: 9s"},
		{"faults.other.latency.jitter", "1ms", "jitter: 300ms", "jitter: 1ms"},
		{"policies.a->b[1].retry.attempts", "5", "attempts: 3", "attempts: 5"},
		{"policies.a.b->c[1].timeout", "3s", "timeout: 2s", "timeout: 3s"},
	} {
		t.Run(c.path, func(t *testing.T) {
			got, err := set([]byte(swept), c.path, c.value)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Replace(swept, c.old, c.new, 1); string(got) != want {
				t.Errorf("got\n%s", got)
			}
		})
	}
	if _, err := set([]byte(swept), "faults.slow.latency.delay", "1s"); err == nil || !strings.Contains(err.Error(), "through an anchor") {
		t.Errorf("a shared value: got %v", err)
	}
}

func FuzzParseAxis(f *testing.F) {
	for _, text := range []string{"load.browse.rate=20..200/7", "phases.fault=2s,5s", "a->b[0]=1", "=", "policies.a->b.retry.budget=1%..2%/2", "load.browse.rate=1e300..-1e300/50"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		axis, err := ParseAxis(text, []byte(swept))
		if err != nil {
			return
		}
		if len(axis.Values) < 2 || len(axis.Values) > mostValues || slices.Contains(axis.Values, "") {
			t.Fatalf("%q gives %q", text, axis.Values)
		}
		for _, value := range axis.Values {
			edited, err := set([]byte(swept), axis.Path, value)
			if err != nil {
				if strings.Contains(err.Error(), "through an anchor") {
					return
				}
				t.Fatalf("%q gives %q, which cannot be set: %v", text, value, err)
			}
			if string(edited) == swept && !strings.Contains(swept, value) {
				t.Fatalf("%q gives %q, which changes nothing", text, value)
			}
		}
	})
}
