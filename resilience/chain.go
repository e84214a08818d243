package resilience

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/parameter"
)

// result is what a call or an attempt brought back, beside its error.
type result struct {
	response *http.Response // of an HTTP call; its body is in memory
	reply    any            // of a gRPC call
	class    Class
	hedge    bool // brought by a hedge, not by the first attempt
	final    bool // a failure that must not be sent again
}

// call is one call on its way through a chain.
type call struct {
	name string // for spans: the method, or the HTTP method
	// key names the request so that equal ones have equal answers, "" when there is none; nil when the protocol has none.
	key func() string
	// static makes an answer out of text; nil when the protocol has none.
	static func(status int, data []byte) (result, error)
	send   func(ctx context.Context, a *attempt) (result, error)
	count  atomic.Int32  // attempts so far
	tried  atomic.Uint64 // which replicas these went to, a bit each, as far as Edge.Pick chose them
}

// next hands a call to the policies further in, and at last to the attempt.
type next func(ctx context.Context, c *call) (result, error)

// layer is a policy in place: it decides what becomes of a call on its way in and out. The
// result that it returns has its class set, also beside an error.
type layer func(next) next

// compose puts the layers around the innermost, the first one outermost.
func compose(layers []layer, innermost next) next {
	composed := innermost
	for i := len(layers) - 1; i >= 0; i-- {
		composed = layers[i](composed)
	}
	return composed
}

// host is what a policy may use of the place where it stands.
type host struct {
	on      string // the edge or the service
	policy  string // the kind
	metrics *policyMetrics
	rand    *rand.Rand // seeded; safe for concurrent use
	log     *slog.Logger
	edge    *Edge // that is being made; nil at a door
}

// refusals makes the rejections of one cause and counts them. Made when the policy is built,
// so that the series is there, at zero, before the first one.
func (h *host) refusals(cause string, class Class, code codes.Code) func(err error) (result, error) {
	counter := h.metrics.rejections.WithLabelValues(h.on, h.policy, cause)
	return func(err error) (result, error) {
		counter.Inc()
		return result{class: class}, &Rejection{On: h.on, Policy: h.policy, Cause: cause, Class: class, Code: code, err: err}
	}
}

// place is where a chain is put up.
type place struct {
	on      string
	side    string
	metrics *policyMetrics
	seed    uint64
	log     *slog.Logger
	edge    *Edge // nil at a door
}

// build makes the layers of a chain, with every error in it.
func (p place) build(chain Chain, make func(Kind, parameter.Values, *host) (layer, error)) ([]layer, error) {
	var layers []layer
	var errs []error
	for _, problem := range chain.Check(p.side, "") {
		errs = append(errs, fmt.Errorf("%s: policy %d: %w", p.on, problem.Index+1, problem))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for i, spec := range chain {
		kind, _ := Find(spec.Kind)
		h := &host{on: p.on, policy: spec.Kind, metrics: p.metrics, rand: Seeded(p.seed, fmt.Sprint(p.on, i, spec.Kind)), log: p.log, edge: p.edge}
		l, err := make(kind, spec.Params, h)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: policy %d: %s: %w", p.on, i+1, spec.Kind, err))
			continue
		}
		if l != nil {
			layers = append(layers, l)
		}
	}
	return layers, errors.Join(errs...)
}

// Seeded returns randomness of its own for each purpose, repeatable by the seed
// and safe for concurrent use.
func Seeded(seed uint64, purpose string) *rand.Rand {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(purpose)) // never fails
	return rand.New(&lockedSource{source: rand.NewPCG(seed, hash.Sum64())})
}

// lockedSource makes a rand.Rand safe for concurrent use: in math/rand/v2 all its state is its source.
type lockedSource struct {
	mu     sync.Mutex
	source rand.Source
}

func (s *lockedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.source.Uint64()
}
