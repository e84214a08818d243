package chaos_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/parameter"
)

// parse reads the parameters of a fault as a scenario file gives them.
func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	var raw map[string]any
	if err := yaml.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return raw
}

func TestTheCatalogIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range chaos.Catalog() {
		for field, text := range map[string]string{"Name": kind.Name, "Family": kind.Family, "Target": kind.Target, "About": kind.About, "Example": kind.Example, "Cannot": kind.Cannot, "Felt": kind.Felt, "Undo": kind.Undo} {
			if text == "" {
				t.Errorf("%s: %s is empty", kind.Name, field)
			}
		}
		if seen[kind.Name] {
			t.Errorf("%s is listed twice", kind.Name)
		}
		seen[kind.Name] = true
		for _, p := range kind.Params {
			if p.About == "" || p.Name != strings.ToLower(p.Name) {
				t.Errorf("%s: parameter %+v", kind.Name, p)
			}
		}
	}
	if len(seen) != 17 {
		t.Errorf("there are %d kinds", len(seen))
	}
}

func TestEveryExampleIsAFaultOfItsKind(t *testing.T) {
	for _, kind := range chaos.Catalog() {
		var entry map[string]map[string]any
		if err := yaml.Unmarshal([]byte(kind.Example), &entry); err != nil {
			t.Errorf("%s: %v", kind.Name, err)
			continue
		}
		for id, body := range entry {
			raw, ok := body[kind.Name].(map[string]any)
			if !ok || body["during"] == nil {
				t.Errorf("%s: the example %s has no %s, or no during", kind.Name, id, kind.Name)
			}
			if _, _, problems := chaos.Check(kind.Name, raw); len(problems) > 0 {
				t.Errorf("%s: the example is refused: %+v", kind.Name, problems)
			}
		}
	}
}

func TestFind(t *testing.T) {
	if kind, found := chaos.Find("partition"); !found || kind.Target != chaos.TargetGroups {
		t.Errorf("got %+v, %v", kind, found)
	}
	if _, found := chaos.Find("nothing"); found {
		t.Error("found what there is not")
	}
}

func TestCheckAccepts(t *testing.T) {
	bank, catalog := chaos.Edge{Caller: "payments", Callee: "bank"}, chaos.Edge{Caller: "gateway", Callee: "catalog"}
	tests := []struct {
		name, kind, yaml string
		target           chaos.Target
		values           parameter.Values
	}{
		{"latency with defaults", "latency", `{edge: payments->bank, delay: 3s}`,
			chaos.Target{Edges: []chaos.Edge{bank}}, parameter.Values{"delay": "3s", "jitter": "0s", "direction": "downstream"}},
		{"latency on one replica of two edges", "latency", `{edges: [payments->bank, gateway->catalog], replica: 2, delay: 100ms, jitter: 100ms, direction: both}`,
			chaos.Target{Edges: []chaos.Edge{bank, catalog}, Replica: 2}, parameter.Values{"delay": "100ms", "jitter": "100ms", "direction": "both"}},
		{"bandwidth with a unit", "bandwidth", `{edge: payments->bank, rate: 64KB}`,
			chaos.Target{Edges: []chaos.Edge{bank}}, parameter.Values{"rate": int64(65536), "direction": "downstream"}},
		{"bandwidth a second", "bandwidth", `{edge: payments->bank, rate: 1 MB/s}`,
			chaos.Target{Edges: []chaos.Edge{bank}}, parameter.Values{"rate": int64(1 << 20), "direction": "downstream"}},
		{"a black hole", "timeout", `{edge: payments->bank}`,
			chaos.Target{Edges: []chaos.Edge{bank}}, parameter.Values{"after": "0s", "direction": "downstream"}},
		{"a slicer", "slicer", `{edge: payments->bank, average_size: 100, size_variation: 99}`,
			chaos.Target{Edges: []chaos.Edge{bank}}, parameter.Values{"average_size": int64(100), "size_variation": int64(99), "delay": "0s", "direction": "downstream"}},
		{"down", "down", `{edge: payments->bank}`, chaos.Target{Edges: []chaos.Edge{bank}}, parameter.Values{}},
		{"a partition", "partition", `{groups: [[a, b], [c]]}`, chaos.Target{Groups: [][]string{{"a", "b"}, {"c"}}}, parameter.Values{}},
		{"kill", "kill", `{service: orders}`, chaos.Target{Services: []string{"orders"}}, parameter.Values{}},
		{"pause several", "pause", `{services: [orders, bank], replica: 1}`, chaos.Target{Services: []string{"orders", "bank"}, Replica: 1}, parameter.Values{}},
		{"a spike by factor", "spike", `{load: browse, factor: 5}`, chaos.Target{Load: "browse"}, parameter.Values{"factor": 5.0}},
		{"an error of a share", "error", `{edge: payments->bank, status: 503, ratio: 10%, route: POST /charges}`,
			chaos.Target{Edges: []chaos.Edge{bank}}, parameter.Values{"status": int64(503), "ratio": 0.1, "route": "POST /charges"}},
		{"lost answers, the first", "lose_answer", `{edge: payments->bank, first: 3}`,
			chaos.Target{Edges: []chaos.Edge{bank}}, parameter.Values{"ratio": 1.0, "first": int64(3)}},
		{"something to ask for", "admin", `{service: catalog, do: POST /cache/flush}`,
			chaos.Target{Services: []string{"catalog"}}, parameter.Values{"do": "POST /cache/flush"}},
		{"a spike by rate", "spike", `{load: browse, rate: 400/s}`, chaos.Target{Load: "browse"}, parameter.Values{"rate": 400.0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			target, values, problems := chaos.Check(test.kind, parse(t, test.yaml))
			if len(problems) > 0 || !reflect.DeepEqual(target, test.target) || !reflect.DeepEqual(values, test.values) {
				t.Errorf("got %+v, %+v, %+v; want %+v, %+v", target, values, problems, test.target, test.values)
			}
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	tests := []struct{ name, kind, yaml, parameter, message, hint string }{
		{"an unknown kind", "latencyy", `{}`, "", `unknown kind of fault "latencyy"; permitted: latency, bandwidth, slow_close, timeout, reset_peer, slicer, limit_data, down, partition, error, delay, lose_answer, kill, pause, restart, admin, spike`, `did you mean "latency"?`},
		{"no parameters", "down", `{}`, "edge", "required, but missing", ""},
		{"an edge that is none", "down", `{edge: payments}`, "edge", `"payments" is not an edge; write it as caller->callee`, ""},
		{"an edge of another type", "down", `{edge: 3}`, "edge", "3 is not a text", ""},
		{"an empty edge", "down", `{edge: }`, "edge", "required, but missing", ""},
		{"edge and edges", "down", `{edge: a->b, edges: [c->d]}`, "edges", "want one of edge, edges, not both", ""},
		{"no edges", "down", `{edges: []}`, "edges", "the list is empty", ""},
		{"an edge twice", "down", `{edges: [a->b, a->b]}`, "edges", "a->b is listed twice", ""},
		{"a replica 0", "down", `{edge: a->b, replica: 0}`, "replica", "0 is below the least permitted value, 1", ""},
		{"half a replica", "down", `{edge: a->b, replica: 1.5}`, "replica", "1.5 is not a whole number", ""},
		{"a typing error", "latency", `{edge: a->b, dealy: 3s, delay: 3s}`, "dealy", "unknown parameter; permitted: edge, edges, replica, delay, jitter, direction", `did you mean "delay"?`},
		{"no delay", "latency", `{edge: a->b}`, "delay", "required, but missing", "how much later the bytes arrive"},
		{"a delay without unit", "latency", `{edge: a->b, delay: 300}`, "delay", "300 is not a duration; write it with a unit, such as 300ms, 2s or 1m", "how much later the bytes arrive"},
		{"a negative delay", "latency", `{edge: a->b, delay: -3s}`, "delay", "-3s is negative", "how much later the bytes arrive"},
		{"no delay at all", "latency", `{edge: a->b, delay: 0s}`, "delay", "0s is below the least permitted value, 1ms", "how much later the bytes arrive"},
		{"a delay of an hour", "latency", `{edge: a->b, delay: 1h}`, "delay", "1h0m0s is above the greatest permitted value, 5m0s", "how much later the bytes arrive"},
		{"more jitter than delay", "latency", `{edge: a->b, delay: 1s, jitter: 2s}`, "jitter", "2s is more than delay, 1s: a delay cannot be negative", ""},
		{"a direction that there is not", "latency", `{edge: a->b, delay: 1s, direction: sideways}`, "direction", `"sideways" is not permitted; permitted: upstream, downstream, both`, ""},
		{"both directions where one is meant", "limit_data", `{edge: a->b, bytes: 1, direction: both}`, "direction", `"both" is not permitted; permitted: upstream, downstream`, ""},
		{"a negative bandwidth", "bandwidth", `{edge: a->b, rate: -1}`, "rate", "-1 is negative", ""},
		{"no bandwidth", "bandwidth", `{edge: a->b, rate: 0}`, "rate", "0 is below the least permitted value, 1024", ""},
		{"a slicer without size", "slicer", `{edge: a->b}`, "average_size", "required, but missing", ""},
		{"a slicer of nothing", "slicer", `{edge: a->b, average_size: 0}`, "average_size", "0 is below the least permitted value, 1", ""},
		{"slices that vary too much", "slicer", `{edge: a->b, average_size: 10, size_variation: 10}`, "size_variation", "10 is not less than average_size, 10", ""},
		{"a reset in a minute", "reset_peer", `{edge: a->b, after: 1m}`, "after", "1m0s is above the greatest permitted value, 10s", ""},
		{"no limit", "limit_data", `{edge: a->b, bytes: 0}`, "bytes", "0 is below the least permitted value, 1", ""},
		{"no groups", "partition", `{}`, "groups", "required, but missing", ""},
		{"groups that are none", "partition", `{groups: gateway}`, "groups", "gateway is not a list of lists of services", ""},
		{"one group", "partition", `{groups: [[a]]}`, "groups", "want at least two groups, got 1", ""},
		{"a group that is none", "partition", `{groups: [[a], b]}`, "groups", "group 2 is not a list of services", ""},
		{"an empty group", "partition", `{groups: [[a], []]}`, "groups", "group 2 is not a list of services", ""},
		{"a group of numbers", "partition", `{groups: [[a], [1]]}`, "groups", "group 2 is not a list of services", ""},
		{"a service in two groups", "partition", `{groups: [[a], [b, a]]}`, "groups", "a is listed twice", ""},
		{"no service", "kill", `{}`, "service", "required, but missing", ""},
		{"no request to ask for", "admin", `{service: catalog, do: flush}`, "do", `"flush" is not a request; write it as POST /path, with POST, PUT, PATCH, DELETE`, ""},
		{"a question is nothing to undo", "admin", `{service: catalog, do: POST /a, undo: GET /a}`, "undo", `"GET /a" is not a request; write it as POST /path, with POST, PUT, PATCH, DELETE`, ""},
		{"an empty service", "kill", `{service: ""}`, "service", "the name of a service is empty", ""},
		{"a service twice", "kill", `{services: [a, a]}`, "services", "a is listed twice", ""},
		{"an edge for a process", "kill", `{service: a, edge: a->b}`, "edge", "unknown parameter; permitted: service, services, replica", ""},
		{"a spike of nothing", "spike", `{load: browse}`, "", "want exactly one of rate, factor", ""},
		{"a spike of both", "spike", `{load: browse, rate: 1/s, factor: 2}`, "", "want exactly one of rate, factor", ""},
		{"an error of no kind", "error", `{edge: a->b}`, "", "want status on an edge that speaks HTTP, code on one that speaks gRPC", ""},
		{"an error of a kind that there is not", "error", `{edge: a->b, code: UNAVALABLE}`, "code", `"UNAVALABLE" is not permitted; did you mean "UNAVAILABLE"; permitted: CANCELLED, UNKNOWN, INVALID_ARGUMENT, ` +
			`DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED`,
			"the gRPC code, on an edge that speaks gRPC"},
		{"an error that is none", "error", `{edge: a->b, status: 200}`, "status", "200 is below the least permitted value, 400", ""},
		{"a share of nothing", "lose_answer", `{edge: a->b, ratio: 0}`, "ratio", "0 is below the least permitted value, 0.0001", ""},
		{"a negative delay of requests", "delay", `{edge: a->b, delay: 1s, jitter: 2s}`, "jitter", "2s is more than delay, 1s: a delay cannot be negative", ""},
		{"a spike of no load", "spike", `{factor: 2}`, "load", "required, but missing", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, problems := chaos.Check(test.kind, parse(t, test.yaml))
			for _, p := range problems {
				if p.Name == test.parameter && p.Message == test.message && (test.hint == "" || p.Hint == test.hint) {
					return
				}
			}
			t.Errorf("got %+v, want %q: %q (%s)", problems, test.parameter, test.message, test.hint)
		})
	}
}

func TestCheckFindsEveryProblemAtOnceAndChangesNothing(t *testing.T) {
	raw := parse(t, `{edge: nonsense, delay: -1s, jitter: x, direction: up, extra: 1}`)
	before, _ := json.Marshal(raw)
	_, _, problems := chaos.Check("latency", raw)
	after, _ := json.Marshal(raw)
	var names []string
	for _, p := range problems {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "delay jitter direction extra edge" {
		t.Errorf("the problems are with %s", got)
	}
	if string(before) != string(after) {
		t.Errorf("the parameters were changed to %s", after)
	}
}

func TestBetween(t *testing.T) {
	edges := []chaos.Edge{{Caller: "a", Callee: "b"}, {Caller: "b", Callee: "c"}, {Caller: "c", Callee: "a"}, {Caller: "a", Callee: "x"}, {Caller: "x", Callee: "c"}}
	got := chaos.Between([][]string{{"a", "b"}, {"c"}}, edges)
	if want := []chaos.Edge{edges[1], edges[2]}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestConflict(t *testing.T) {
	ab, bc := []chaos.Edge{{Caller: "a", Callee: "b"}}, []chaos.Edge{{Caller: "b", Callee: "c"}}
	latency := func(edges []chaos.Edge, replica int, direction string) chaos.Fault {
		return chaos.Fault{ID: "l", Kind: chaos.Latency, Edges: edges, Replica: replica, Params: parameter.Values{"direction": direction}}
	}
	down := chaos.Fault{ID: "d", Kind: chaos.Down, Edges: ab}
	kill := chaos.Fault{ID: "k", Kind: chaos.Kill, Services: []string{"a"}}
	tests := []struct {
		name string
		a, b chaos.Fault
		want bool
	}{
		{"two latencies", latency(ab, 0, "downstream"), latency(ab, 0, "downstream"), true},
		{"on two edges", latency(ab, 0, "downstream"), latency(bc, 0, "downstream"), false},
		{"in two directions", latency(ab, 0, "downstream"), latency(ab, 0, "upstream"), false},
		{"one in both directions", latency(ab, 0, "both"), latency(ab, 0, "upstream"), true},
		{"on two replicas", latency(ab, 1, "downstream"), latency(ab, 2, "downstream"), false},
		{"one on every replica", latency(ab, 0, "downstream"), latency(ab, 2, "downstream"), true},
		{"two kinds", latency(ab, 0, "downstream"), chaos.Fault{ID: "s", Kind: chaos.Slicer, Edges: ab, Params: parameter.Values{"direction": "downstream"}}, false},
		{"down and partition", down, chaos.Fault{ID: "p", Kind: chaos.Partition, Edges: ab}, true},
		{"down and latency", down, latency(ab, 0, "downstream"), false},
		{"two on one process", kill, chaos.Fault{ID: "p", Kind: chaos.Pause, Services: []string{"b", "a"}}, true},
		{"two on two processes", kill, chaos.Fault{ID: "p", Kind: chaos.Pause, Services: []string{"b"}}, false},
		{"two families", kill, down, false},
		{"kinds that there are not", chaos.Fault{Kind: "x"}, chaos.Fault{Kind: "x"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, err := range []error{chaos.Conflict(test.a, test.b), chaos.Conflict(test.b, test.a)} {
				if (err != nil) != test.want {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

func TestCheckProtocol(t *testing.T) {
	tests := []struct {
		kind, protocol string
		params         parameter.Values
		want           string
	}{
		{"error", "http", parameter.Values{"status": int64(503)}, ""},
		{"error", "grpc", parameter.Values{"code": "UNAVAILABLE"}, ""},
		{"error", "http", parameter.Values{"code": "UNAVAILABLE"}, "it speaks http, and an answer there has a status, not a code: give status, such as 503"},
		{"error", "grpc", parameter.Values{"status": int64(503)}, "it speaks grpc, and an answer there has a code, not a status: give code, such as UNAVAILABLE"},
		{"lose_answer", "grpc", nil, ""},
		{"delay", "tcp", nil, "it speaks tcp, which has no requests that a proxy could tell apart; possible there: latency, bandwidth, slow_close, timeout, reset_peer, slicer, limit_data, down, partition"},
		{"latency", "tcp", nil, ""},
	}
	for _, test := range tests {
		got := ""
		if err := chaos.CheckProtocol(chaos.Fault{Kind: test.kind, Params: test.params}, test.protocol); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s on %s: %q", test.kind, test.protocol, got)
		}
	}
}

func TestTarget(t *testing.T) {
	for want, f := range map[string]chaos.Fault{
		"payments->bank":   {Edges: []chaos.Edge{{Caller: "payments", Callee: "bank"}}},
		"a->b#2, a->c#2":   {Edges: []chaos.Edge{{Caller: "a", Callee: "b"}, {Caller: "a", Callee: "c"}}, Replica: 2},
		"catalog#3":        {Services: []string{"catalog"}, Replica: 3},
		"orders, payments": {Services: []string{"orders", "payments"}},
		"":                 {},
	} {
		if got := f.Target(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// FuzzCheck holds what Check lets through to what the injectors rely on.
func FuzzCheck(f *testing.F) {
	for _, kind := range chaos.Catalog() {
		var entry map[string]map[string]any
		if err := yaml.Unmarshal([]byte(kind.Example), &entry); err != nil {
			f.Fatal(err)
		}
		for _, body := range entry {
			raw, err := json.Marshal(body[kind.Name])
			if err != nil {
				f.Fatal(err)
			}
			f.Add(kind.Name, string(raw))
		}
	}
	f.Add("latency", `{"edge":"a->b","delay":"1s","jitter":null,"direction":3}`)
	f.Add("partition", `{"groups":[[["a"]],null,[""],[1]]}`)
	f.Add("slicer", `{"edge":"a->b","average_size":"1e300GB","size_variation":-1}`)
	f.Add("bandwidth", `{"edges":["a->b",null,"->"],"rate":"/s"}`)
	f.Add("", `null`)
	f.Fuzz(func(t *testing.T, kind, text string) {
		var raw map[string]any
		if json.Unmarshal([]byte(text), &raw) != nil {
			return
		}
		target, values, problems := chaos.Check(kind, raw)
		if len(problems) > 0 {
			return
		}
		described, _ := chaos.Find(kind)
		switch described.Target {
		case chaos.TargetEdge:
			if len(target.Edges) == 0 {
				t.Error("a fault without edges")
			}
		case chaos.TargetService:
			if len(target.Services) == 0 {
				t.Error("a fault without services")
			}
		case chaos.TargetGroups:
			if len(target.Groups) < 2 {
				t.Error("a partition of fewer than two groups")
			}
		case chaos.TargetLoad:
			if values.Has("rate") == values.Has("factor") {
				t.Error("a spike with neither, or both")
			}
		}
		if kind == chaos.Slicer && (values.Int("average_size") < 1 || values.Int("size_variation") >= values.Int("average_size") || values.Int("size_variation") < 0) {
			t.Errorf("a slicer that crashes: %v", values)
		}
		if kind == chaos.Bandwidth && values.Int("rate") < 1024 || values.Duration("jitter") > values.Duration("delay") && kind == chaos.Latency {
			t.Errorf("values out of bounds: %v", values)
		}
	})
}
