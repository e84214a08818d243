package report

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
)

// ms makes a span by its offsets in milliseconds.
func msSpan(id, parent string, from, to int, attributes map[string]any) telemetry.Span {
	return span("t", id, parent, "svc-"+id, "server", "op-"+id, began.Add(time.Duration(from)*time.Millisecond), time.Duration(to-from)*time.Millisecond, attributes)
}

// criticalOf writes the critical path of each span, in milliseconds.
func criticalOf(spans ...telemetry.Span) string {
	t := newTree(spans)
	t.followCritical()
	var parts []string
	for _, n := range t.inOrder() {
		var own []string
		for _, s := range n.critical {
			own = append([]string{fmt.Sprintf("%d-%d", s.from.Sub(began).Milliseconds(), s.to.Sub(began).Milliseconds())}, own...)
		}
		parts = append(parts, n.SpanID+" "+strings.Join(own, " "))
	}
	return strings.Join(parts, ", ")
}

func TestCriticalPath(t *testing.T) {
	for _, test := range []struct {
		name  string
		spans []telemetry.Span
		want  string
	}{
		{"alone", []telemetry.Span{msSpan("a", "", 0, 10, nil)}, "a 0-10"},
		{"one after the other", []telemetry.Span{msSpan("a", "", 0, 100, nil), msSpan("b", "a", 10, 40, nil), msSpan("c", "a", 50, 90, nil)}, "a 0-10 40-50 90-100, b 10-40, c 50-90"},
		{"side by side: the last to end counts", []telemetry.Span{msSpan("a", "", 0, 100, nil), msSpan("b", "a", 10, 60, nil), msSpan("c", "a", 10, 90, nil)}, "a 0-10 90-100, b , c 10-90"},
		{"overlapping", []telemetry.Span{msSpan("a", "", 0, 100, nil), msSpan("b", "a", 10, 60, nil), msSpan("c", "a", 40, 90, nil)}, "a 0-10 90-100, b 10-40, c 40-90"},
		{"deeper", []telemetry.Span{msSpan("a", "", 0, 100, nil), msSpan("b", "a", 10, 90, nil), msSpan("c", "b", 20, 80, nil)}, "a 0-10 90-100, b 10-20 80-90, c 20-80"},
		{"a child that outlives its parent", []telemetry.Span{msSpan("a", "", 0, 50, nil), msSpan("b", "a", 10, 80, nil)}, "a 0-10, b 10-50"},
		{"a child that was there before", []telemetry.Span{msSpan("b", "a", 0, 30, nil), msSpan("a", "", 10, 50, nil)}, "a 30-50, b 0-30"},
		{"after the answer", []telemetry.Span{msSpan("a", "", 0, 50, nil), msSpan("b", "a", 60, 80, nil), msSpan("c", "b", 65, 70, nil)}, "a 0-50, b , c "},
	} {
		if got := criticalOf(test.spans...); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

func TestTreeOfNonsense(t *testing.T) {
	spans := []telemetry.Span{
		msSpan("a", "", 0, 10, nil), msSpan("self", "self", 1, 2, nil), msSpan("x", "y", 2, 3, nil), msSpan("y", "x", 3, 4, nil),
		msSpan("lost", "gone", 4, 5, nil), msSpan("a", "", 5, 6, nil), msSpan("backwards", "a", 9, 7, nil), msSpan("", "", 8, 9, nil),
	}
	tree := newTree(spans)
	tree.followCritical()
	if n := len(tree.inOrder()); n != len(spans) {
		t.Errorf("%d of %d spans", n, len(spans))
	}
	if spent := tree.spent(); len(spent) == 0 {
		t.Error("no time was spent")
	}
}

func TestSpentAndOrder(t *testing.T) {
	trace := slowTrace("t", began)
	b := &pageBuilder{run: &record.Run{Meta: record.Meta{Load: began.Add(-8 * time.Second)}, Plan: fixturePlan(&fixture{})}}
	page := b.pageTrace(trace, []telemetry.LogRecord{{Time: began.Add(time.Second), SpanID: "03", Severity: "WARN", Service: "orders", Body: "slow"}})
	want := []PageSpent{{"on the way orders->bank", 1920}, {"waiting for a worker of orders", 1000}}
	if !reflect.DeepEqual(page.Spent, want) {
		t.Errorf("got %+v, want %+v", page.Spent, want)
	}
	var got []string
	for _, s := range page.Spans {
		got = append(got, fmt.Sprintf("%s%s/%s later=%v wait=%v fault=%s", strings.Repeat(" ", s.Depth), s.Service, s.Kind, s.Later, s.Wait, s.Fault))
	}
	wantSpans := []string{
		"gateway/server later=false wait=0 fault=", " gateway/client later=false wait=0 fault=", "  orders/server later=false wait=1000 fault=",
		"   orders/client later=false wait=0 fault=slow", "    bank/server later=false wait=0 fault=", "orders/internal later=true wait=0 fault=",
	}
	if !reflect.DeepEqual(got, wantSpans) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wantSpans, "\n"))
	}
	if page.At != 8 || page.End != 2980 || page.Logs[0].At != 1000 || page.Logs[0].Span != "03" {
		t.Errorf("got %+v", page)
	}
}

func TestFaultOfASpan(t *testing.T) {
	at := func(s float64) time.Time { return second(s) }
	windows := []plan.Window{
		{Fault: chaos.Fault{ID: "slow", Edges: []chaos.Edge{{Caller: "orders", Callee: "bank"}}, Replica: 2}, Start: 6 * time.Second, End: 10 * time.Second},
		{Fault: chaos.Fault{ID: "kill", Services: []string{"orders"}, Replica: 1}, Start: 6 * time.Second, End: 10 * time.Second},
	}
	b := &pageBuilder{run: &record.Run{Meta: record.Meta{Load: began}, Plan: &plan.Plan{Faults: windows}}}
	client := func(from float64, replica any) telemetry.Span {
		return span("t", "1", "", "orders", "client", "x", at(from), time.Second, map[string]any{names.AttrEdge: "orders->bank", names.AttrReplica: replica})
	}
	server := func(service, instance string) telemetry.Span {
		s := span("t", "1", "", service, "server", "x", at(7), time.Second, nil)
		s.Instance = instance
		return s
	}
	for _, test := range []struct {
		name string
		span telemetry.Span
		want string
	}{
		{"the edge and the replica", client(7, 2.0), "slow"},
		{"another replica", client(7, 1.0), ""},
		{"no replica stated", client(7, nil), "slow"},
		{"before", client(4.5, 2.0), ""},
		{"begun before", client(5.5, 2.0), "slow"},
		{"after", client(10, 2.0), ""},
		{"another edge", span("t", "1", "", "orders", "client", "x", at(7), time.Second, map[string]any{names.AttrEdge: "orders->inventory"}), ""},
		{"the service", server("orders", "orders-1"), "kill"},
		{"another instance", server("orders", "orders-2"), ""},
		{"another service", server("bank", "bank"), ""},
		{"it says so", span("t", "1", "", "x", "server", "x", at(1), 0, map[string]any{names.AttrFault: "teapot"}), "teapot"},
	} {
		if got := b.faultOf(test.span); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestCause(t *testing.T) {
	failed := func(s telemetry.Span, message string) telemetry.Span {
		s.Error, s.Message = true, message
		return s
	}
	with := func(s telemetry.Span, policy, cause string) telemetry.Span {
		s.Events = []telemetry.SpanEvent{{Name: "retry"}, {Name: eventPolicy, Attributes: map[string]any{names.AttrEdge: "b->c", names.AttrPolicy: policy, attrCause: cause}}}
		return s
	}
	root, middle := failed(msSpan("a", "", 0, 100, nil), "outer"), failed(msSpan("b", "a", 10, 90, nil), "inner\nline")
	for _, test := range []struct {
		name  string
		spans []telemetry.Span
		want  string
	}{
		{"no spans", nil, ""},
		{"nothing wrong", []telemetry.Span{msSpan("a", "", 0, 1, nil)}, ""},
		{"the deepest error", []telemetry.Span{root, middle, msSpan("c", "b", 20, 30, nil)}, "svc-b: inner\nline"},
		{"an error without a message", []telemetry.Span{failed(msSpan("a", "", 0, 1, nil), " ")}, "svc-a: op-a failed"},
		{"a policy before a deeper error", []telemetry.Span{with(root, "timeout", "timeout"), middle}, "timeout on b->c"},
		{"the deeper policy", []telemetry.Span{with(root, "timeout", "timeout"), with(middle, "circuit_breaker", "open")}, "circuit_breaker on b->c: open"},
		{"shed", []telemetry.Span{root, msSpan("b", "a", 1, 2, map[string]any{names.AttrOutcome: "shed"})}, "svc-b turned it away: its queue was full"},
		{"expired", []telemetry.Span{msSpan("b", "a", 1, 2, map[string]any{names.AttrOutcome: "expired"})}, "svc-b dropped it: its deadline had passed"},
		{"abandoned", []telemetry.Span{msSpan("b", "a", 1, 2, map[string]any{names.AttrOutcome: "abandoned"})}, "svc-b dropped it: its caller had gone"},
		{"a fault that says so", []telemetry.Span{root, msSpan("b", "a", 1, 2, map[string]any{names.AttrFault: "teapot"})}, "hit by the fault teapot"},
		{"what came after the answer is no cause", []telemetry.Span{root, failed(msSpan("b", "a", 200, 300, nil), "later")}, "svc-a: outer"},
	} {
		if got := causeOf(telemetry.Trace{Spans: test.spans}); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// A page holds no more of traces than it should, of one and of all.
func TestTracesAreBounded(t *testing.T) {
	b := newPageBuilder(&record.Run{Meta: record.Meta{Load: began}, Plan: &plan.Plan{}}, nil, newFakeTelemetry())
	b.out.Traces = map[string]PageTrace{}
	for i := range 40 {
		trace := telemetry.Trace{ID: traceID(9, i)}
		for k := range 200 {
			many := map[string]any{}
			for n := range 100 {
				many[fmt.Sprintf("%02d", n)] = strings.Repeat("long ", 200)
			}
			trace.Spans = append(trace.Spans, msSpan(fmt.Sprint(k), "", k, k+1, many))
		}
		j := journey{}
		j.TraceID = trace.ID
		if err := b.keep(t.Context(), j, trace); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.out.Traces) != 0 {
		t.Errorf("%d traces that are too big", len(b.out.Traces))
	}
	for i := range 40 {
		trace := telemetry.Trace{ID: traceID(8, i)}
		for k := range 200 {
			trace.Spans = append(trace.Spans, msSpan(fmt.Sprint(k), "", k, k+1, map[string]any{"text": strings.Repeat("x", 500)}))
		}
		j := journey{}
		j.TraceID = trace.ID
		if err := b.keep(t.Context(), j, trace); err != nil {
			t.Fatal(err)
		}
	}
	first := b.out.Traces[traceID(8, 0)]
	if len(first.Spans) != listedSpans || first.Dropped != 50 || len(b.out.Traces) < 5 || len(b.out.Traces) == 40 || b.bytes > traceBytes {
		t.Errorf("%d spans of a trace, %d left out; %d traces of %d bytes", len(first.Spans), first.Dropped, len(b.out.Traces), b.bytes)
	}
	var page bytes.Buffer
	if err := renderPage(&page, Page{Runs: []PageRun{b.out, b.out}}); err != nil || page.Len() > 3<<20 {
		t.Errorf("a page of %d bytes, %v", page.Len(), err)
	}
}

func TestTraceOfALiveRun(t *testing.T) {
	run := &record.Run{Meta: record.Meta{Load: began}, Plan: fixturePlan(&fixture{}), System: fixtureSystem()}
	if got := TraceOf(run, shedTrace("t", second(1)), nil); got.At != 1 || len(got.Spans) != 1 {
		t.Errorf("got %+v", got)
	}
	if _, err := PageFile("nothing.js"); err == nil {
		t.Error("a part that is not there was found")
	}
	if !strings.Contains(PageStyle(), ":root") {
		t.Error("no style")
	}
}
