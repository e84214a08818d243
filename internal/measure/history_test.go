package measure_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/loadgen"
)

func TestAnswerOf(t *testing.T) {
	at := time.Unix(100, 0)
	for _, test := range []struct {
		name   string
		result loadgen.Result
		rpc    bool
		want   measure.Answer
	}{
		{"created", loadgen.Result{Status: 201, OK: true}, false, measure.AnswerOK},
		{"created, but its answer could not be read", loadgen.Result{Status: 201, Error: "extraction failed: order"}, false, measure.AnswerOK},
		{"refused", loadgen.Result{Status: 409}, false, measure.AnswerFailed},
		{"refused, as it may be", loadgen.Result{Status: 409, OK: true}, false, measure.AnswerFailed},
		{"the server gave up waiting", loadgen.Result{Status: 408}, false, measure.AnswerUnknown},
		{"the server failed", loadgen.Result{Status: 503}, false, measure.AnswerUnknown},
		{"no answer", loadgen.Result{Error: "timeout"}, false, measure.AnswerUnknown},
		{"cut off", loadgen.Result{Status: 201, Error: loadgen.ErrorCutOff}, false, measure.AnswerUnknown},
		{"rpc ok", loadgen.Result{OK: true}, true, measure.AnswerOK},
		{"rpc without an answer", loadgen.Result{Error: "connection refused"}, true, measure.AnswerUnknown},
		{"rpc refused", loadgen.Result{Status: 9}, true, measure.AnswerFailed},
		{"rpc unavailable", loadgen.Result{Status: 14}, true, measure.AnswerUnknown},
		{"rpc timed out", loadgen.Result{Status: 4}, true, measure.AnswerUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.result.Done = at
			if got := measure.AnswerOf(test.result, test.rpc); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestAnswersAreHeldToTheAudit(t *testing.T) {
	buy := func(trace, id string, status int) loadgen.Result {
		return loadgen.Result{Load: "checkout", Step: "buy", Status: status, OK: status == 201, ID: id, TraceID: trace, Due: time.Unix(100, 0), Done: time.Unix(101, 0)}
	}
	op := func(id, trace string, done bool) string {
		return fmt.Sprintf(`{"id": %q, "key": "k", "trace": %q, "done": %v}`, id, trace, done)
	}
	for _, test := range []struct {
		name       string
		result     loadgen.Result
		operations string
		want       string
	}{
		{"told yes, and done", buy("t1", "o-1", 201), op("o-1", "t1", true), ""},
		{"told yes, and unknown", buy("t1", "o-1", 201), "", "acknowledged-lost: checkout: the client was told yes (201), but the system knows of no o-1 (o-1, trace t1)"},
		{"told yes of another", buy("t1", "o-2", 201), op("o-1", "t1", true), "acknowledged-lost: checkout: the client was told yes (201), but the system knows of no o-2 (o-1 o-2, key k, trace t1)"},
		{"told yes, and undone", buy("t1", "o-1", 201), op("o-1", "t1", false), "acknowledged-lost: checkout: the client was told yes (201), but o-1 is not done (o-1, key k, trace t1)"},
		{"told yes without a name", buy("t1", "", 201), "", "acknowledged-lost: checkout: the client was told yes (201), but the system knows nothing of it (trace t1)"},
		{"told no, and not done", buy("t1", "", 409), op("o-1", "t1", false), ""},
		{"told no, and done", buy("t1", "", 409), op("o-1", "t1", true), "refused-done: checkout: the client was told no (409), but it is done (o-1, key k, trace t1)"},
		{"not told, and done", buy("t1", "", 503), op("o-1", "t1", true), ""},
		{"not told, and not done", buy("t1", "", 503), "", ""},
		{"not told, and done twice", buy("t1", "", 503), op("o-1", "t1", true) + "," + op("o-2", "t1", true), "done-once: checkout: the client asked once, and it is done 2 times (o-1 o-2, key k k, trace t1)"},
		{"tried twice, done once", buy("t1", "o-2", 201), op("o-1", "t1", false) + "," + op("o-2", "t1", true), ""},
		{"another step", loadgen.Result{Load: "checkout", Step: "look", Status: 200, OK: true, TraceID: "t1", Done: time.Unix(101, 0)}, "", ""},
	} {
		for settled, known := range map[bool]bool{true: true, false: test.want != ""} {
			t.Run(fmt.Sprintf("%s, settled %v", test.name, settled), func(t *testing.T) {
				data := fmt.Sprintf(`{"violations": [], "settled": %v, "operations": [%s]}`, settled, test.operations)
				set := measure.New(&record.Run{
					Meta:   record.Meta{Load: time.Unix(100, 0), Outcome: record.Completed},
					Plan:   &plan.Plan{Loads: []loadgen.Load{{Name: "checkout", Steps: []loadgen.Step{{Name: "look"}, {Name: "buy", Operation: "order"}}}}},
					Events: []record.Event{{Time: time.Unix(110, 0), Kind: record.EventAudit, Data: decode(t, data)}}, Results: []loadgen.Result{test.result},
				}, nil)
				audit, found := set.Audit()
				got := ""
				for _, v := range audit.Violations {
					got += v.String()
				}
				if !found || got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
				c, err := grammar.Parse("violations() == 0")
				if err != nil {
					t.Fatal(err)
				}
				if v, err := set.Measure(t.Context(), c, set.Whole()); err != nil || v.Known != known {
					t.Errorf("violations are %+v, %v; want them known: %v", v, err, known)
				}
			})
		}
	}
}

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
