package resilience

import (
	"context"
	"math/rand/v2"
	"sync"

	"github.com/faultline-lab/faultline/parameter"
)

// How the replica of an attempt is chosen.
const (
	RoundRobin   = "round_robin"
	LeastRequest = "least_request"
)

func balancingKind() Kind {
	return Kind{
		Name:  "balancing",
		Sides: []string{OnEdge},
		Once:  true,
		About: "How this caller chooses among the replicas of the callee. round_robin, which is also what an edge without this does: one after the other, so a slow replica gets as much as " +
			"the others. least_request: two of them at random, and of these the one with fewer attempts of this caller under way " +
			"(Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001), so a slow one gets less. A replica that fails at once looks " +
			"idle to least_request and draws traffic: stand outlier_ejection beside it. On gRPC edges it is grpc-go's least_request_experimental. Over HTTP a retry or a hedge goes to a replica that the call has not tried, " +
			"however they are chosen; grpc-go's balancers know nothing of that.",
		Main: "by",
		Params: []parameter.Parameter{
			{Name: "by", Type: parameter.Text, Default: RoundRobin, Allowed: []string{RoundRobin, LeastRequest}, About: "how to choose"},
		},
		Example: "- {balancing: least_request}\n- {outlier_ejection: 5}",
		edge: func(v parameter.Values, h *host) (layer, error) {
			h.edge.balancer.by, h.edge.balancer.rand = v.Text("by"), h.rand
			return nil, nil
		},
	}
}

// balancer chooses replicas for protocols that have no balancer of their own.
type balancer struct {
	by   string // "" means round robin
	rand *rand.Rand

	mu    sync.Mutex
	next  int
	under []int // attempts under way, by replica
}

// Balancing is how replicas are to be chosen: RoundRobin or LeastRequest.
func (e *Edge) Balancing() string {
	if e.balancer.by == "" {
		return RoundRobin
	}
	return e.balancer.by
}

// Pick chooses the replica, from 0, of n, that the attempt under ctx goes to, and
// tells the edge so. It leaves out those that are ejected, and while there are others those that the call
// has tried: a retry or a hedge of what a replica does not answer is not worth much at the same one. n is the same each time, and at least 1.
func (e *Edge) Pick(ctx context.Context, n int) int {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	available := e.outliers.available(n)
	if ok {
		available = a.call.untried(n, available)
	}
	chosen := e.balancer.pick(n, available)
	SetReplica(ctx, chosen+1)
	if ok {
		e.balancer.began(chosen)
		a.picked = true
		a.call.tried.Or(1 << chosen)
	}
	return chosen
}

// untried leaves those out that the call has tried, unless none is left then. nil means all, there and here. Of more than 64 replicas
// it knows the first 64, which is as good.
func (c *call) untried(n int, available []bool) []bool {
	tried := c.tried.Load()
	if tried == 0 {
		return available
	}
	left, found := make([]bool, n), false
	for i := range left {
		left[i] = (available == nil || available[i]) && tried&(1<<i) == 0
		found = found || left[i]
	}
	if !found {
		return available
	}
	return left
}

// Watch has changed called, with which of n replicas may be asked, whenever one is ejected or comes back, for those
// who balance by a list; changed must not call the edge. It ends when stop is called, and does nothing without the policy outlier_ejection.
func (e *Edge) Watch(n int, changed func(available []bool)) (stop func()) {
	return e.outliers.watch(n, changed)
}

// pick chooses among n; available nil means all of them.
func (b *balancer) pick(n int, available []bool) int {
	choice := make([]int, 0, 16) // on the stack, for as many as most have
	for i := range n {
		if available == nil || available[i] {
			choice = append(choice, i)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.under) < n {
		b.under = append(b.under, 0)
	}
	if b.by != LeastRequest || len(choice) < 2 {
		b.next++
		return choice[(b.next-1)%len(choice)]
	}
	first := b.rand.IntN(len(choice))
	second := b.rand.IntN(len(choice) - 1)
	if second >= first {
		second++
	}
	if b.under[choice[second]] < b.under[choice[first]] {
		return choice[second]
	}
	return choice[first]
}

func (b *balancer) began(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.under[i]++
}

func (b *balancer) ended(replica int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.under[replica-1]--
}
