package report

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// The kinds of span that are told apart.
const (
	kindServer   = "server"
	kindClient   = "client"
	kindProducer = "producer"
)

// keep puts a trace on the page, unless it has enough of them.
func (b *pageBuilder) keep(ctx context.Context, j journey, trace telemetry.Trace) error {
	if _, have := b.out.Traces[j.TraceID]; have || len(trace.Spans) == 0 {
		return nil
	}
	logs, err := b.telemetry.Logs(ctx, telemetry.LogQuery{TraceID: j.TraceID, Limit: listedLogs})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.note("logs could not be read: " + err.Error())
	}
	page := b.pageTrace(trace, logs)
	page.Client = clientOf(j, trace)
	b.profileSpans(trace, &page)
	data, err := json.Marshal(page)
	if err != nil {
		return fmt.Errorf("writing trace %s: %w", j.TraceID, err)
	}
	if b.bytes+len(data) <= traceBytes {
		b.bytes += len(data)
		b.out.Traces[j.TraceID] = page
	}
	return nil
}

func clientOf(j journey, trace telemetry.Trace) *PageClient {
	begin, r := beginOf(trace), j.Result
	if j.step != nil {
		r = *j.step
	}
	if r.Sent.IsZero() || r.Done.IsZero() {
		return nil
	}
	return &PageClient{Due: milliseconds(r.Due.Sub(begin)), Sent: milliseconds(r.Sent.Sub(begin)), Done: milliseconds(r.Done.Sub(begin))}
}

func beginOf(trace telemetry.Trace) time.Time {
	begin := trace.Spans[0].Start
	for _, s := range trace.Spans {
		if s.Start.Before(begin) {
			begin = s.Start
		}
	}
	return begin
}

func (b *pageBuilder) pageTrace(trace telemetry.Trace, logs []telemetry.LogRecord) PageTrace {
	begin := beginOf(trace)
	dropped := max(0, len(trace.Spans)-listedSpans)
	tree := newTree(trace.Spans[:len(trace.Spans)-dropped])
	tree.followCritical()
	out := PageTrace{
		At: b.at(begin), End: milliseconds(tree.answered.Sub(begin)), Dropped: dropped, Spans: []PageSpan{}, Logs: []PageLog{}, Spent: tree.spent(),
	}
	for _, node := range tree.inOrder() {
		out.Spans = append(out.Spans, b.pageSpan(node, begin))
	}
	for _, l := range logs {
		out.Logs = append(out.Logs, PageLog{
			At: milliseconds(l.Time.Sub(begin)), Span: l.SpanID, Severity: l.Severity, Service: l.Service, Body: shorten(l.Body), Attributes: shortened(l.Attributes),
		})
	}
	return out
}

func (b *pageBuilder) pageSpan(n *node, begin time.Time) PageSpan {
	page := PageSpan{
		ID: n.SpanID, Depth: n.depth, Name: shorten(n.Name), Kind: n.Kind, Service: n.Service, Start: milliseconds(n.Start.Sub(begin)), MS: milliseconds(n.Duration()),
		Wait: milliseconds(n.wait()), Later: n.later, Fault: b.faultOf(n.Span), Error: n.Error, Message: shorten(n.Message),
		Attributes: shortened(n.Attributes, names.AttrLoad, names.AttrJourney),
	}
	if n.Instance != n.Service {
		page.Instance = n.Instance
	}
	for _, s := range n.critical {
		page.Critical = append(page.Critical, [2]float64{milliseconds(s.from.Sub(begin)), milliseconds(s.to.Sub(begin))})
	}
	for _, e := range n.Events {
		page.Events = append(page.Events, PageSpanEvent{At: milliseconds(e.Time.Sub(begin)), Name: shorten(e.Name), Attributes: shortened(e.Attributes)})
	}
	return page
}

// faultOf names the fault that acted on a span: the one it says itself, or one
// that was on its edge or service while it lasted.
func (b *pageBuilder) faultOf(s telemetry.Span) string {
	if id := text(s.Attributes[names.AttrFault]); id != "" {
		return id
	}
	for _, w := range b.run.Plan.Faults {
		start, end := b.run.Meta.Load.Add(w.Start), b.run.Meta.Load.Add(w.End)
		if s.Start.Before(end) && s.End.After(start) && actsOn(w, s) {
			return w.ID
		}
	}
	return ""
}

func actsOn(w plan.Window, s telemetry.Span) bool {
	if s.Kind == kindClient || s.Kind == kindProducer {
		replica := text(s.Attributes[names.AttrReplica])
		for _, e := range w.Edges {
			if e.String() == text(s.Attributes[names.AttrEdge]) && (w.Replica == 0 || replica == "" || replica == fmt.Sprint(w.Replica)) {
				return true
			}
		}
		return false
	}
	instance := w.Replica == 0 || s.Instance == "" || strings.HasSuffix(s.Instance, fmt.Sprintf("-%d", w.Replica))
	return slices.Contains(w.Services, s.Service) && instance
}

// text is an attribute as text; empty without one.
func text(attribute any) string {
	if attribute == nil {
		return ""
	}
	return fmt.Sprint(attribute)
}

// node is a span in its place.
type node struct {
	telemetry.Span
	kids     []*node
	depth    int
	later    bool // began after the answer
	critical []segment
}

type segment struct{ from, to time.Time }

// wait is the time that a server span's request waited for a worker, which is at its
// beginning.
func (n *node) wait() time.Duration {
	ms, is := n.Attributes[names.AttrQueued].(float64)
	if !is || ms <= 0 || n.Kind != kindServer {
		return 0
	}
	return min(time.Duration(ms*float64(time.Millisecond)), n.Duration())
}

// tree is a trace as a forest: spans whose parent was not kept are roots as well.
type tree struct {
	roots    []*node
	nodes    []*node
	answered time.Time // when the first root ended
}

func newTree(spans []telemetry.Span) *tree {
	t := &tree{}
	byID := map[string]*node{}
	for _, s := range spans {
		n := &node{Span: s}
		t.nodes = append(t.nodes, n)
		if _, twice := byID[s.SpanID]; !twice {
			byID[s.SpanID] = n
		}
	}
	for _, n := range t.nodes {
		parent := byID[n.ParentID]
		if n.ParentID == "" || parent == nil || within(n, parent, byID) {
			t.roots = append(t.roots, n)
			continue
		}
		parent.kids = append(parent.kids, n)
	}
	byStart := func(a, b *node) int { return a.Start.Compare(b.Start) }
	slices.SortStableFunc(t.roots, byStart)
	for _, n := range t.nodes {
		slices.SortStableFunc(n.kids, byStart)
	}
	t.answered = t.roots[0].End
	for _, root := range t.roots {
		root.mark(t.answered, false)
	}
	return t
}

// within tells whether a span is its own ancestor: what sends telemetry may send
// nonsense.
func within(n, parent *node, byID map[string]*node) bool {
	for range len(byID) + 1 {
		if parent == n {
			return true
		}
		if parent = byID[parent.ParentID]; parent == nil {
			return false
		}
	}
	return true
}

// mark tells what began after the answer; what it brought about is later too.
func (n *node) mark(answered time.Time, later bool) {
	n.later = later || n.Start.After(answered)
	for _, kid := range n.kids {
		kid.mark(answered, n.later)
	}
}

// inOrder gives every span below its parent: first those of the request, then
// what happened after the answer, as trees of its own.
func (t *tree) inOrder() []*node {
	var out, rest []*node
	var walk func(n *node, depth int)
	walk = func(n *node, depth int) {
		n.depth = depth
		out = append(out, n)
		for _, kid := range n.kids {
			if kid.later && !n.later {
				rest = append(rest, kid)
				continue
			}
			walk(kid, depth+1)
		}
	}
	for _, root := range t.roots {
		if root.later {
			rest = append(rest, root)
			continue
		}
		walk(root, 0)
	}
	slices.SortStableFunc(rest, func(a, b *node) int { return a.Start.Compare(b.Start) })
	for _, n := range rest {
		walk(n, 0)
	}
	return out
}

// followCritical marks the critical path: what the answer waited for. It goes
// backwards from the answer; at each moment it is in the child that ended last
// before, and in the span itself where there is none.
//
//	span   |=====|--------------|==|-------|===|     = its own time
//	kids         |  b (ends last before)  |
//	               | a: hidden behind b |
func (t *tree) followCritical() { t.roots[0].follow(t.answered) }

func (n *node) follow(until time.Time) {
	kids := slices.Clone(n.kids)
	slices.SortStableFunc(kids, func(a, b *node) int { return b.End.Compare(a.End) })
	for _, kid := range kids {
		if kid.later || !kid.Start.Before(until) || !kid.End.After(n.Start) {
			continue
		}
		end := kid.End
		if end.After(until) {
			end = until
		}
		n.own(end, until)
		kid.follow(end)
		if until = kid.Start; until.Before(n.Start) {
			until = n.Start
		}
	}
	n.own(n.Start, until)
}

// own adds a stretch of the critical path in which the span itself was at work.
func (n *node) own(from, to time.Time) {
	if from.Before(to) {
		n.critical = append(n.critical, segment{from, to})
	}
}

// The bounds of what is said about where time went.
const (
	saidParts = 4
	saidShare = 0.02
)

// spent adds up where the time of the critical path went, the most first.
func (t *tree) spent() []PageSpent {
	sums := map[string]time.Duration{}
	all := time.Duration(0)
	add := func(what string, d time.Duration) {
		if d > 0 {
			sums[what] += d
			all += d
		}
	}
	for _, n := range t.nodes {
		waited := n.Start.Add(n.wait())
		for _, s := range n.critical {
			waiting := max(0, earlier(s.to, waited).Sub(s.from))
			add("waiting for a worker of "+n.Service, waiting)
			add(n.place(), s.to.Sub(s.from)-waiting)
		}
	}
	out := []PageSpent{}
	for what, d := range sums {
		if float64(d) >= saidShare*float64(all) {
			out = append(out, PageSpent{What: what, MS: milliseconds(d)})
		}
	}
	slices.SortFunc(out, func(a, b PageSpent) int { return cmp.Or(cmp.Compare(b.MS, a.MS), cmp.Compare(a.What, b.What)) })
	return out[:min(len(out), saidParts)]
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// place says where a span's own time is spent: a client's own time is spent on the
// way, for what the callee does is the callee's span.
func (n *node) place() string {
	if edge := text(n.Attributes[names.AttrEdge]); edge != "" && n.Kind != kindServer {
		return "on the way " + shorten(edge)
	}
	return "in " + n.Service
}
