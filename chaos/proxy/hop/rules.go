package hop

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/baggage"

	"github.com/faultline-lab/faultline/chaos"
)

// Rules are the request faults in force, for all hops of a process: a fault of
// several edges or replicas has one sequence, so that its ratio is exact over all of them.
// They are safe for concurrent use.
type Rules struct {
	list atomic.Pointer[[]*rule] // those in force, in the order in which they are asked

	mu  sync.Mutex
	all map[string]*rule // by fault, those that were removed among them
}

// Tally says what a fault did so far.
type Tally struct {
	Active  bool  `json:"active"`
	Matched int64 `json:"matched"` // requests that it could have hit
	Hit     int64 `json:"hit"`
}

// NewRules returns Rules without any.
func NewRules() *Rules {
	r := &Rules{all: map[string]*rule{}}
	r.list.Store(&[]*rule{})
	return r
}

// Add puts a fault in force. Which requests it hits is drawn from the seed and its id: the same
// sequence of requests is hit at the same places.
func (r *Rules) Add(f chaos.Fault, seed uint64) error {
	order := slices.Index([]string{chaos.RequestDelay, chaos.RequestError, chaos.LoseAnswer}, f.Kind)
	switch {
	case order < 0:
		return fmt.Errorf("%s is not a fault of requests", f.Kind)
	case f.ID == "":
		return errors.New("a fault without id")
	case len(f.Edges) == 0:
		return errors.New("it names no edge")
	}
	one := newRule(f, order, seed)
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.all[f.ID]; old != nil && old.active() {
		return fmt.Errorf("fault %s is active already", f.ID)
	}
	r.all[f.ID] = one
	list := append(slices.Clone(*r.list.Load()), one)
	// A request is delayed before it is refused, and an answer is lost only when there is one.
	slices.SortStableFunc(list, func(a, b *rule) int { return a.order - b.order })
	r.list.Store(&list)
	return nil
}

// Remove takes a fault back; what it holds back goes on at once. It returns whether it was in force.
func (r *Rules) Remove(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.all[id]
	if one == nil || !one.active() {
		return false
	}
	close(one.gone)
	list := slices.DeleteFunc(slices.Clone(*r.list.Load()), func(other *rule) bool { return other == one })
	r.list.Store(&list)
	return true
}

// Clear takes every fault back and returns how many there were.
func (r *Rules) Clear() int {
	cleared := 0
	for _, one := range *r.list.Load() {
		if r.Remove(one.fault.ID) {
			cleared++
		}
	}
	return cleared
}

// Tally returns what a fault did so far, also after it was removed, and whether it is known.
func (r *Rules) Tally(id string) (Tally, bool) {
	r.mu.Lock()
	one := r.all[id]
	r.mu.Unlock()
	if one == nil {
		return Tally{}, false
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	return Tally{Active: one.active(), Matched: one.sequence.seen, Hit: one.hit}, true
}

// rule is one fault in force.
type rule struct {
	fault    chaos.Fault
	order    int
	route    pattern
	key      string // of the baggage entry, "" for none
	value    string // of it, "" for any
	first    int64  // 0 for no limit
	gone     chan struct{}
	delay    time.Duration
	variance time.Duration

	mu       sync.Mutex
	rand     *rand.Rand
	sequence sequence
	hit      int64
}

func newRule(f chaos.Fault, order int, seed uint64) *rule {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(f.ID)) // never fails
	ratio := f.Params.Float("ratio")
	if ratio <= 0 || ratio > 1 {
		ratio = 1
	}
	r := &rule{
		fault: f, order: order, route: pattern(f.Params.Text("route")), first: f.Params.Int("first"), gone: make(chan struct{}),
		delay: f.Params.Duration("delay"), variance: f.Params.Duration("jitter"),
		rand: rand.New(rand.NewPCG(seed, hash.Sum64())),
	}
	r.key, r.value, _ = strings.Cut(f.Params.Text("baggage"), "=")
	r.sequence = sequence{ratio: ratio, draw: r.rand.Float64}
	r.sequence.advance()
	return r
}

func (r *rule) active() bool {
	select {
	case <-r.gone:
		return false
	default:
		return true
	}
}

// request is what a rule wants to know of a request, worked out once.
type request struct {
	edge    chaos.Edge
	replica int
	method  string // of HTTP
	path    string // of HTTP, or package.Service/Method
	header  http.Header
}

func (r *rule) matches(in *request) bool {
	f := &r.fault
	return slices.Contains(f.Edges, in.edge) && (f.Replica == 0 || f.Replica == in.replica) &&
		r.route.matches(in) && r.carries(in.header)
}

// carries tells whether the request has the baggage that the fault asks for.
func (r *rule) carries(header http.Header) bool {
	if r.key == "" {
		return true
	}
	for _, line := range header.Values("Baggage") {
		bag, err := baggage.Parse(line)
		if err != nil {
			continue
		}
		member := bag.Member(r.key)
		if member.Key() == r.key && (r.value == "" || member.Value() == r.value) {
			return true
		}
	}
	return false
}

// strike counts a request that matches and tells whether it is hit, and for how long a delay holds it.
func (r *rule) strike() (hit bool, held time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.sequence.next() || r.first > 0 && r.hit >= r.first {
		return false, 0
	}
	r.hit++
	held = r.delay
	if r.variance > 0 {
		held += time.Duration((2*r.rand.Float64() - 1) * float64(r.variance))
	}
	return true, held
}

// sequence picks a share of what passes, exactly: of the first n, ratio * n are
// picked, give or take one, whatever n is. It divides what passes into strata of 1/ratio and
// picks one at random of each. Every tenth would be as exact, but a load whose requests
// come in a pattern would see the same of them hit always.
//
//	ratio 0.25:  |....|....|....|     one of each four
//	              ..x.  x...  ..x.
type sequence struct {
	ratio  float64
	draw   func() float64 // evenly from 0 to 1
	seen   int64
	strata int64
	pick   int64 // the position that is picked next
}

// next counts one more and tells whether it is picked.
func (s *sequence) next() bool {
	at := s.seen
	s.seen++
	if at != s.pick {
		return false
	}
	s.advance()
	return true
}

// advance picks a position of the next stratum. Strata are at least 1 wide, so that moving
// past the last position stays within one.
func (s *sequence) advance() {
	after := s.pick
	if s.strata == 0 {
		after = -1
	}
	s.pick = max(int64((float64(s.strata)+s.draw())/s.ratio), after+1)
	s.strata++
}

// pattern tells which requests are meant: a path, with or without a method
// before it, or the last part of a gRPC method. * stands for any text; "" for every request.
type pattern string

// matches compares without regard to a query. Questions whether a callee is healthy match only a
// pattern that names them.
func (p pattern) matches(in *request) bool {
	if p == "" {
		return !isProbe(in)
	}
	text := string(p)
	if method, path, both := strings.Cut(text, " "); both {
		return glob(method, in.method) && glob(strings.TrimSpace(path), in.path)
	}
	if !strings.Contains(text, "/") { // the name of a method, as in Charge
		return glob(text, in.path[strings.LastIndex(in.path, "/")+1:])
	}
	return glob(strings.TrimPrefix(text, "/"), strings.TrimPrefix(in.path, "/"))
}

// ProbeAgent is the User-Agent of the lab's own questions: they are no traffic of the system.
const ProbeAgent = "faultline-probe"

func isProbe(in *request) bool {
	return strings.HasPrefix(in.header.Get("User-Agent"), ProbeAgent) ||
		strings.HasPrefix(in.path, "grpc.health.") || strings.HasPrefix(in.path, "grpc.reflection.")
}

// glob tells whether a text is what the pattern says, * standing for any text.
func glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(rest, part)
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return strings.HasSuffix(rest, last)
}
