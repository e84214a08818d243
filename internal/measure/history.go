package measure

import (
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/loadgen"
)

// requestTimeout is the HTTP status of a server that gave up reading a request (RFC 9110, 15.5.9).
const requestTimeout = 408

// The invariants that the lab itself checks: what clients were told, held against what the system knows.
const (
	acknowledgedLost = "acknowledged-lost" // what was answered with yes is there
	refusedDone      = "refused-done"      // what was answered with no is not
	doneOnce         = "done-once"         // what was asked once is done once at most
)

// Operation is something that the system was asked to do, as its audit knows it.
type Operation struct {
	ID    string `json:"id"`
	Key   string `json:"key,omitempty"`   // the client's idempotency key
	Trace string `json:"trace,omitempty"` // of the request that asked for it
	Done  bool   `json:"done"`            // false: refused, or undone
}

// Answer is what a client knows of an operation that it invoked.
type Answer string

// The answers. A client that was cut off, or was told of a fault, knows nothing: what it asked for may have been done, or
// may be yet.
const (
	AnswerOK      Answer = "ok"
	AnswerFailed  Answer = "failed"
	AnswerUnknown Answer = "unknown"
)

// AnswerOf reads a result. rpc says that it is one of gRPC. Failed is only what says by itself that nothing was done: statuses
// 4xx but those of timeouts, and the codes that the gRPC documentation gives to requests that were not carried out.
func AnswerOf(r loadgen.Result, rpc bool) Answer {
	if !Finished(r) {
		return AnswerUnknown
	}
	if rpc {
		return answerOfRPC(r)
	}
	switch {
	case r.Status >= 200 && r.Status < 300:
		return AnswerOK
	case r.Status >= 400 && r.Status < 499 && r.Status != requestTimeout:
		return AnswerFailed
	}
	return AnswerUnknown
}

// answerOfRPC reads a status of gRPC. Zero is OK, and also what a result has that got no answer.
func answerOfRPC(r loadgen.Result) Answer {
	switch codes.Code(r.Status) {
	case codes.OK:
		if r.OK {
			return AnswerOK
		}
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied,
		codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented, codes.Unauthenticated:
		return AnswerFailed
	}
	return AnswerUnknown
}

// invoked is an operation as the client knows it.
type invoked struct {
	loadgen.Result
	answer Answer
}

// History counts what clients invoked, by what they know of it.
type History struct {
	Invoked, OK, Failed, Unknown int
}

// invocations lists what clients asked for, of every step that the plan calls an operation.
func (s *Set) invocations() []invoked {
	var out []invoked
	for _, load := range s.run.Plan.Loads {
		for _, step := range load.Steps {
			if step.Operation == "" {
				continue
			}
			rows := s.steps[load.Name]
			if len(load.Steps) == 1 {
				rows = s.journeys[load.Name]
			}
			for _, r := range rows {
				if (len(load.Steps) == 1 || r.Step == step.Name) && r.Error != loadgen.ErrorNotSent {
					out = append(out, invoked{r, AnswerOf(r, step.RPC != "")})
				}
			}
		}
	}
	return out
}

// holdToAnswers adds to an audit the violations that show only beside what clients were told. What is in the audit's
// operations was final when they were told; so it holds whether or not the system had settled.
func (s *Set) holdToAnswers(a *Audit) {
	byTrace, byID := map[string][]Operation{}, map[string]bool{}
	for _, op := range a.Operations {
		byTrace[op.Trace] = append(byTrace[op.Trace], op)
		byID[op.ID] = true
	}
	a.History = &History{}
	for _, i := range s.invocations() {
		a.History.count(i.answer)
		if v := hold(i, byTrace[i.TraceID], byID); v.Invariant != "" {
			a.Violations = append(a.Violations, v)
		}
	}
}

func (h *History) count(a Answer) {
	h.Invoked++
	switch a {
	case AnswerOK:
		h.OK++
	case AnswerFailed:
		h.Failed++
	default:
		h.Unknown++
	}
}

// hold compares what a client was told with the operations of its trace.
func hold(i invoked, found []Operation, known map[string]bool) Violation {
	v := Violation{Traces: []string{i.TraceID}}
	var done []string
	for _, op := range found {
		v.Keys = append(v.Keys, op.ID)
		if op.Key != "" {
			v.IdempotencyKeys = append(v.IdempotencyKeys, op.Key)
		}
		if op.Done {
			done = append(done, op.ID)
		}
	}
	if i.ID != "" && !slices.Contains(v.Keys, i.ID) {
		v.Keys = append(v.Keys, i.ID)
	}
	called := i.ID
	if called == "" {
		called = "it"
	}
	switch {
	case i.answer == AnswerOK && i.ID != "" && !known[i.ID]:
		v.Invariant, v.Detail = acknowledgedLost, fmt.Sprintf("%s: the client was told yes (%d), but the system knows of no %s", i.Load, i.Status, i.ID)
	case i.answer == AnswerOK && len(found) == 0:
		v.Invariant, v.Detail = acknowledgedLost, fmt.Sprintf("%s: the client was told yes (%d), but the system knows nothing of it", i.Load, i.Status)
	case i.answer == AnswerOK && len(done) == 0:
		v.Invariant, v.Detail = acknowledgedLost, fmt.Sprintf("%s: the client was told yes (%d), but %s is not done", i.Load, i.Status, called)
	case i.answer == AnswerFailed && len(done) > 0:
		v.Invariant, v.Detail = refusedDone, fmt.Sprintf("%s: the client was told no (%d), but it is done", i.Load, i.Status)
	case len(done) > 1:
		v.Invariant, v.Detail = doneOnce, fmt.Sprintf("%s: the client asked once, and it is done %d times", i.Load, len(done))
	}
	return v
}
