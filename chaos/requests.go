package chaos

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/faultline-lab/faultline/parameter"
)

// The kinds of the family request.
const (
	RequestError = "error"
	RequestDelay = "delay"
	LoseAnswer   = "lose_answer"
)

// GRPCCodes are the gRPC codes that an answer of a fault may have, by their number less one.
func GRPCCodes() []string {
	return []string{
		"CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
		"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
		"DATA_LOSS", "UNAUTHENTICATED",
	}
}

// requestKinds are faults of single requests, through the layer-7 hop of an edge.
func requestKinds() []Kind {
	const felt = "At least one request was hit; the event says how many, of how many that it could have hit."
	return []Kind{
		{
			Name: RequestError, Family: FamilyRequest, Target: TargetEdge,
			About: "Answers requests with an error in place of the callee, which never sees them.",
			Params: requestParams(
				parameter.Parameter{Name: "status", Type: parameter.Integer, Min: parameter.Bound(400), Max: parameter.Bound(599), About: "the HTTP status, on an edge that speaks HTTP"},
				parameter.Parameter{Name: "code", Type: parameter.Text, Allowed: GRPCCodes(), About: "the gRPC code, on an edge that speaks gRPC"},
			),
			Example: "bad-deploy: {error: {edge: gateway->catalog, code: INTERNAL, ratio: 10%, replica: 1}, during: fault}",
			Cannot:  "The callee does no work for these requests, so that it has less to do than when it fails by itself.",
			Felt:    felt,
			Undo:    "Requests pass again.",
		},
		{
			Name: RequestDelay, Family: FamilyRequest, Target: TargetEdge,
			About: "Holds requests back before they reach the callee, each by itself: others on the same connection overtake them.",
			Params: requestParams(
				parameter.Parameter{Name: "delay", Type: parameter.Duration, Required: true, Min: parameter.Bound(0.001), Max: parameter.Bound(longest), About: "how much later the callee gets the request"},
				parameter.Parameter{Name: "jitter", Type: parameter.Duration, Default: "0s", Max: parameter.Bound(longest), About: "each delay is drawn evenly from delay - jitter to delay + jitter"},
			),
			Example: "some-slow: {delay: {edge: gateway->catalog, delay: 300ms, jitter: 50ms, ratio: 5%}, during: fault}",
			Cannot:  "It holds requests, not answers. For the wire as a whole, use latency.",
			Felt:    felt,
			Undo:    "What is being held back goes on at once.",
		},
		{
			Name: LoseAnswer, Family: FamilyRequest, Target: TargetEdge,
			About: "Lets the callee do its work, and loses the answer: the caller sees a broken connection (HTTP) or UNAVAILABLE (gRPC), and cannot know that it is done.",
			Params: requestParams(
				parameter.Parameter{Name: "status", Type: parameter.Integer, Min: parameter.Bound(400), Max: parameter.Bound(599), About: "on HTTP: answer with this status, such as 502, in place of cutting the connection"},
				parameter.Parameter{Name: "code", Type: parameter.Text, Allowed: GRPCCodes(), About: "on gRPC: answer with this code; UNAVAILABLE when left out"},
			),
			Example: "lost-answers: {lose_answer: {edge: orders->payments, route: Charge, ratio: 20%}, during: fault}",
			Cannot:  "Work that the caller breaks off while it waits is broken off as ever. A stream's answers are lost from the first on.",
			Felt:    felt,
			Undo:    "Answers pass again.",
		},
	}
}

func requestParams(own ...parameter.Parameter) []parameter.Parameter {
	return slices.Concat(edgeParams(), own, []parameter.Parameter{
		{Name: "ratio", Type: parameter.Ratio, Default: 1.0, Min: parameter.Bound(0.0001), Max: parameter.Bound(1), About: "the share of the requests that is hit, exact to one request"},
		{Name: "route", Type: parameter.Text, About: "only these requests, * standing for any text: POST /charges, /charges/*, shop.payments.v1.Payments/Charge, Charge"},
		{Name: "baggage", Type: parameter.Text, About: "only requests whose baggage has this entry: faultline.load=checkout, or a key alone"},
		{Name: "first", Type: parameter.Integer, Min: parameter.Bound(1), Max: parameter.Bound(1e9), About: "hit so many requests at most, the first ones"},
	})
}

// checkRequest checks what concerns more than one parameter of a request fault.
func checkRequest(kind string, raw map[string]any, values parameter.Values) []parameter.Problem {
	switch {
	case kind == RequestDelay && values.Has("delay") && values.Duration("jitter") > values.Duration("delay"):
		return []parameter.Problem{{Name: "jitter", Message: fmt.Sprintf("%s is more than delay, %s: a delay cannot be negative", values.Duration("jitter"), values.Duration("delay"))}}
	case kind == RequestError && raw["status"] == nil && raw["code"] == nil:
		return []parameter.Problem{{Message: "want status on an edge that speaks HTTP, code on one that speaks gRPC"}}
	}
	return nil
}

// CheckProtocol says why a fault cannot act on a callee that speaks the
// protocol (http, grpc or tcp), and what can, or returns nil. It is about
// faults of requests; the others act on every protocol.
func CheckProtocol(f Fault, protocol string) error {
	kind, found := Find(f.Kind)
	if !found || kind.Family != FamilyRequest {
		return nil
	}
	switch protocol {
	case "http":
		if f.Kind == RequestError && !f.Params.Has("status") {
			return fmt.Errorf("it speaks http, and an answer there has a status, not a code: give status, such as %d", http.StatusServiceUnavailable)
		}
	case "grpc":
		if f.Kind == RequestError && !f.Params.Has("code") {
			return fmt.Errorf("it speaks grpc, and an answer there has a code, not a status: give code, such as UNAVAILABLE")
		}
	default:
		return fmt.Errorf("it speaks %s, which has no requests that a proxy could tell apart; possible there: %s", protocol, strings.Join(kindsOf(FamilyNetwork), ", "))
	}
	return nil
}

// kindsOf lists the kinds of a family.
func kindsOf(family string) []string {
	var names []string
	for _, kind := range Catalog() {
		if kind.Family == family {
			names = append(names, kind.Name)
		}
	}
	return names
}
