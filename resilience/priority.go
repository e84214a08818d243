package resilience

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/baggage"
	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/parameter"
)

// PriorityKey is the member of W3C baggage that tells a request's priority: by name or by number.
// Whoever lets a request into the system sets it; edges pass it on from hop to hop with the rest of the baggage.
const PriorityKey = "priority"

// Priority says how much a request matters: the less, the sooner it is shed.
type Priority uint8

// The priorities, the one that matters most first.
const (
	Critical  Priority = iota // a user waits, and nothing will do in its place
	Default                   // what says nothing
	Sheddable                 // can be done without, or later: prefetching, suggestions
	Bulk                      // background work
	priorities
)

// String is the name, as baggage has it.
func (p Priority) String() string {
	return [...]string{"critical", "default", "sheddable", "bulk"}[min(p, Bulk)]
}

// ParsePriority reads a priority: its name, or its number from 0 (critical) to 3 (bulk).
func ParsePriority(text string) (Priority, error) {
	for p := Critical; p < priorities; p++ {
		if strings.EqualFold(text, p.String()) || text == fmt.Sprint(uint8(p)) {
			return p, nil
		}
	}
	return Default, fmt.Errorf("%q is no priority; permitted: critical, default, sheddable, bulk, or a number from 0 (critical) to 3 (bulk)", text)
}

// PriorityOf is the priority of a request by its baggage; Default when that says nothing that it knows.
func PriorityOf(ctx context.Context) Priority {
	p, _ := ParsePriority(baggage.FromContext(ctx).Member(PriorityKey).Value())
	return p
}

func priorityKind() Kind {
	share := func(name string, at any, about string) parameter.Parameter {
		return parameter.Parameter{Name: name, Type: parameter.Ratio, Default: at, About: about}
	}
	return Kind{
		Name:   "priority",
		Causes: []string{"default", "sheddable", "bulk"},
		Sides:  []string{AtDoor},
		Once:   true,
		About: "Prioritised load shedding. A request's priority is the member " + PriorityKey + " of its W3C baggage: critical or 0, default or 1 (and whatever says nothing), " +
			"sheddable or 2, bulk or 3. When more of the door's queue is taken than the share written here for a priority, requests of it are refused; critical ones only when the queue is full. " +
			"So the less important leave room, and the wait of the critical ones is bounded by what the others may fill. " +
			"After Netflix, Enhancing Netflix Reliability with Service-Level Prioritized Load Shedding, 2024, and the criticalities of the SRE book, ch. 21.",
		Main: "of",
		Params: []parameter.Parameter{
			{Name: "of", Type: parameter.Text, Default: "queue", Allowed: []string{"queue", "workers"}, About: "what the shares are of: the places of the queue, or the workers (so too where there is no queue)"},
			share("default", 0.5, "the share from which on default ones are refused"),
			share("sheddable", 0.1, "the share from which on sheddable ones are refused"),
			share("bulk", 0.0, "the share from which on bulk ones are refused: with 0 they never wait"),
		},
		Example: "- {priority: {sheddable: 10%, default: 50%}}",
		check: func(v parameter.Values) []parameter.Problem {
			var problems []parameter.Problem
			for _, pair := range [][2]string{{"sheddable", "default"}, {"bulk", "sheddable"}} {
				if v.Float(pair[0]) > v.Float(pair[1]) {
					problems = append(problems, parameter.Problem{Name: pair[0], Message: "is more than " + pair[1] + ": the more important would be refused first"})
				}
			}
			return problems
		},
		door: func(v parameter.Values, h *host, d *Door) (layer, error) {
			d.priority = newShedder(v, h)
			return nil, nil
		},
	}
}

// shedder refuses by priority.
type shedder struct {
	workers bool // whether the shares are of the workers
	share   [priorities]float64
	refuse  [priorities]func(error) (result, error)
}

func newShedder(v parameter.Values, h *host) *shedder {
	s := &shedder{workers: v.Text("of") == "workers"}
	for p := Default; p < priorities; p++ {
		s.share[p] = v.Float(p.String())
		s.refuse[p] = h.refusals(p.String(), Rejected, codes.ResourceExhausted)
	}
	return s
}

// Occupancy is how full a door is when a request comes. Without limit there are 0 workers.
type Occupancy struct {
	Busy, Workers  int
	Waiting, Queue int
}

// share is how much of the queue, or of the workers, is taken already; -1 when the request finds
// a worker free and so has nothing to do with the queue.
func (o Occupancy) share(workers bool) float64 {
	used, of := o.Waiting, o.Queue
	if workers || of <= 0 {
		used, of = o.Busy, o.Workers
	} else if o.Busy < o.Workers {
		return -1
	}
	if of <= 0 {
		return -1
	}
	return float64(used) / float64(of)
}

// Shed tells whether a request has to go because of its priority, with the error to refuse it with.
// The door asks before it lets the request in or lets it wait.
func (d *Door) Shed(ctx context.Context, now Occupancy) error {
	if d.priority == nil {
		return nil
	}
	p := PriorityOf(ctx)
	if p == Critical || now.share(d.priority.workers) < d.priority.share[p] {
		return nil
	}
	_, err := d.priority.refuse[p](nil)
	return err
}
