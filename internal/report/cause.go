package report

import (
	"strings"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// What resilience notes at the span of a service whose call a policy ended.
const (
	eventPolicy = "call ended by policy"
	attrCause   = "policy.cause"
)

// lookedAtSpans bounds the spans of one trace in which a cause is looked for.
const lookedAtSpans = 1000

// causeOf says in a few words what a failed request's trace shows as the cause:
// the deepest thing that went wrong before the answer. What is known in so many words (a
// fault, a policy, a door that turned the request away) comes before an error that
// only has a message. Empty where the trace shows nothing.
func causeOf(trace telemetry.Trace) string {
	if len(trace.Spans) == 0 {
		return ""
	}
	t := newTree(trace.Spans[:min(len(trace.Spans), lookedAtSpans)])
	best, depth, sure := "", -1, false
	for _, n := range t.inOrder() {
		if n.later {
			continue
		}
		if said := saidCause(n.Span); said != "" && (!sure || n.depth >= depth) {
			best, depth, sure = said, n.depth, true
		} else if n.Error && !sure && n.depth >= depth {
			best, depth = errorCause(n.Span), n.depth
		}
	}
	return shorten(best)
}

// saidCause is a cause that a span states itself.
func saidCause(s telemetry.Span) string {
	if id := text(s.Attributes[names.AttrFault]); id != "" {
		return "hit by the fault " + id
	}
	for i := len(s.Events) - 1; i >= 0; i-- {
		e := s.Events[i]
		if e.Name != eventPolicy {
			continue
		}
		policy, cause := text(e.Attributes[names.AttrPolicy]), text(e.Attributes[attrCause])
		said := policy + " on " + text(e.Attributes[names.AttrEdge])
		if cause != "" && cause != policy {
			said += ": " + cause
		}
		return said
	}
	switch text(s.Attributes[names.AttrOutcome]) {
	case "shed":
		return s.Service + " turned it away: its queue was full"
	case "expired":
		return s.Service + " dropped it: its deadline had passed"
	case "abandoned":
		return s.Service + " dropped it: its caller had gone"
	}
	return ""
}

func errorCause(s telemetry.Span) string {
	message := strings.TrimSpace(s.Message)
	if message == "" {
		message = s.Name + " failed"
	}
	return s.Service + ": " + message
}
