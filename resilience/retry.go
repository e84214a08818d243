package resilience

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go"
	failsafebudget "github.com/failsafe-go/failsafe-go/budget"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

func retryKind() Kind {
	return Kind{
		Name:   "retry",
		Causes: []string{"budget", "broken"},
		Means:  "the tokens left, with budget",
		Counts: []string{names.PolicyRetries},
		Sides:  []string{OnEdge},
		About: "Sends a call again when it failed, after a pause that grows: the n-th pause is backoff x factor^(n-1), at most max_backoff, " +
			"of which a random part, up to jitter of it, is taken off. What policies further in rejected (breaker open, bulkhead full) is not sent again. " +
			"With a budget it stops where retries would become a load of their own: budget is a token bucket, a bound on the number of retries; budget_in_flight " +
			"(failsafe-go's, counted as Envoy does) bounds how many are under way at once, which is not the same: when all calls fail at 1000/s, 10 % of it sends 1.13 times the load where " +
			"a failure takes 200ms, 1.26 times where it takes 20ms after a pause of 25ms, and 2.9 times, which is no bound at all, where it takes 1ms: retries that are over at once are never many at a time. " +
			"With break_above nothing is sent again while more than that share of the attempts of late failed, and every first attempt still is: a circuit breaker for retries alone " +
			"(Brooker, Fixing retries with token buckets and circuit breakers, 2022). " +
			"The call must be safe to repeat.",
		Main: "attempts",
		Params: []parameter.Parameter{
			{Name: "attempts", Type: parameter.Integer, Default: int64(3), Min: parameter.Bound(1), Max: parameter.Bound(100), About: "how often to send at most, the first time included"},
			{Name: "backoff", Type: parameter.Duration, Default: "25ms", About: "the pause before the second attempt"},
			{Name: "max_backoff", Type: parameter.Duration, Default: "1s", About: "the longest pause"},
			{Name: "factor", Type: parameter.Number, Default: 2.0, Min: parameter.Bound(1), Max: parameter.Bound(10), About: "by how much each pause is longer than the one before"},
			{Name: "jitter", Type: parameter.Ratio, Default: 1.0, About: "how much of each pause is random: 0 none of it, 1 all of it (full jitter)"},
			{Name: "on", Type: parameter.Texts, About: "what is sent again: " + strings.Join(failures(), ", ") + "; all of them when left out"},
			{Name: "budget", Type: parameter.Ratio, About: "how many retries each call earns, so that retries add at most this share of load; no bounds when left out"},
			{Name: "budget_rate", Type: parameter.Rate, Default: 0.0, About: "retries that time earns beside, for edges with few calls"},
			{Name: "budget_burst", Type: parameter.Integer, Default: int64(10), Min: parameter.Bound(1), About: "how many earned retries are kept for later"},
			{Name: "budget_in_flight", Type: parameter.Ratio, About: "in place of budget: retries under way may be this share of all that is under way, calls in a pause included"},
			{Name: "budget_min", Type: parameter.Integer, Default: int64(3), Min: parameter.Bound(0), Max: parameter.Bound(100000), About: "with budget_in_flight: how many retries may be under way in any case"},
			{Name: "break_above", Type: parameter.Ratio, About: "send nothing again while more than this share of the attempts within break_window failed"},
			{Name: "break_window", Type: parameter.Duration, Default: "10s", Min: parameter.Bound(0.1), About: "with break_above: over how long attempts are counted, in tenths of it"},
		},
		Example: "- {retry: {attempts: 3, backoff: 50ms, max_backoff: 1s, budget: 10%, break_above: 50%}}",
		check:   checkRetry,
		edge: func(v parameter.Values, h *host) (layer, error) {
			return newRetry(v, h).layer, nil
		},
	}
}

// failures lists the names of the classes that can be sent again.
func failures() []string {
	var list []string
	for class := Succeeded; class < classes; class++ {
		if class.Failure() {
			list = append(list, class.String())
		}
	}
	return list
}

func checkRetry(v parameter.Values) []parameter.Problem {
	var problems []parameter.Problem
	for _, name := range v.Texts("on") {
		if !slices.Contains(failures(), name) {
			problem := parameter.Problem{Name: "on", Message: fmt.Sprintf("%q is not permitted; permitted: %s", name, strings.Join(failures(), ", "))}
			if near := parameter.Nearest(name, failures()); near != "" {
				problem.Hint = fmt.Sprintf("did you mean %q?", near)
			}
			problems = append(problems, problem)
		}
	}
	if first, most := v.Duration("backoff"), v.Duration("max_backoff"); first > most {
		problems = append(problems, parameter.Problem{Name: "max_backoff", Message: fmt.Sprintf("%s is shorter than backoff, %s", most, first)})
	}
	if v.Has("budget") && v.Has("budget_in_flight") {
		problems = append(problems, parameter.Problem{Name: "budget_in_flight", Message: "stands in place of budget; give one of them"})
	}
	return problems
}

type retry struct {
	executor failsafe.Executor[result]
	again    [classes]bool
	attempts int
	budget   *budget               // nil: none
	inFlight failsafebudget.Budget // nil: none
	breaks   *retryBreaker         // nil: none
	spent    prometheus.Counter    // retries that the budget did not allow
	broken   prometheus.Counter    // retries that the breaker did not allow
}

func newRetry(v parameter.Values, h *host) *retry {
	p := &retry{attempts: int(v.Int("attempts"))}
	chosen := v.Texts("on")
	for class := Succeeded; class < classes; class++ {
		p.again[class] = class.Failure() && (len(chosen) == 0 || slices.Contains(chosen, class.String()))
	}
	pause := backoff{first: v.Duration("backoff"), most: v.Duration("max_backoff"), factor: v.Float("factor"), jitter: v.Float("jitter"), rand: h.rand}
	if v.Has("budget") {
		p.budget = newBudget(v.Float("budget"), v.Float("budget_rate"), float64(v.Int("budget_burst")), h.metrics.state.WithLabelValues(h.on, h.policy))
		p.spent = h.metrics.rejections.WithLabelValues(h.on, h.policy, "budget")
	}
	if v.Has("budget_in_flight") {
		p.inFlight = failsafebudget.NewBuilder().WithMaxRate(v.Float("budget_in_flight")).WithMinConcurrency(uint(v.Int("budget_min"))).Build()
		p.spent = h.metrics.rejections.WithLabelValues(h.on, h.policy, "budget")
	}
	if v.Has("break_above") {
		p.breaks = &retryBreaker{above: v.Float("break_above"), recent: newRolling(v.Duration("break_window"))}
		p.broken = h.metrics.rejections.WithLabelValues(h.on, h.policy, "broken")
	}
	p.executor = failsafe.With(p.policy(pause, h.metrics.retries.WithLabelValues(h.on)))
	return p
}

func (p *retry) policy(pause backoff, retries prometheus.Counter) failsafe.Policy[result] {
	builder := retrypolicy.NewBuilder[result]()
	if p.inFlight != nil {
		builder = builder.WithBudget(p.inFlight)
	}
	return builder.
		WithMaxAttempts(p.attempts).
		ReturnLastFailure().
		// Also covers what must not be sent again: a rejection by a policy further in is no failure.
		HandleIf(func(r result, _ error) bool { return p.again[r.class] && !r.final }).
		// A pause of our own, for failsafe-go's jitter cannot be seeded.
		WithDelayFunc(func(e failsafe.ExecutionAttempt[result]) time.Duration { return pause.before(e.Retries() + 1) }).
		OnRetry(func(failsafe.ExecutionEvent[result]) { retries.Inc() }).
		Build()
}

func (p *retry) layer(inner next) next {
	return func(ctx context.Context, c *call) (result, error) {
		var last result
		var lastErr error
		sent := 0
		p.budget.deposit()
		res, err := p.executor.WithContext(ctx).GetWithExecution(func(failsafe.Execution[result]) (result, error) {
			last, lastErr = inner(ctx, c)
			sent++
			holds := p.breaks.count(last.class)
			if p.again[last.class] && sent < p.attempts {
				last.final = p.refuses(holds)
			}
			return last, lastErr
		})
		if res.class != unclassified {
			res.final = false // a matter of this policy alone
			return res, err
		}
		if errors.Is(err, failsafebudget.ErrExceeded) { // after the pause
			p.spent.Inc()
			return last, lastErr
		}
		// The context ended, in an attempt or in a pause. What the last attempt
		// brought is worth more than that.
		if last.class == Succeeded {
			return last, nil
		}
		if lastErr == nil {
			lastErr = err
		}
		return result{class: classify(ctx, nil, ctx.Err())}, lastErr
	}
}

// refuses tells whether a retry is not to be sent, and counts why. The breaker comes first: what it stops costs no token.
func (p *retry) refuses(holds bool) bool {
	switch {
	case !holds:
		p.broken.Inc()
	case !p.budget.take():
		p.spent.Inc()
	default:
		return false
	}
	return true
}

// retryBreaker stops retries, and retries alone, while too many attempts fail.
type retryBreaker struct {
	above float64

	mu     sync.Mutex
	recent rolling
}

// leastAttempts is how many attempts the window must hold before a share of them means anything.
const leastAttempts = 10

// count counts an attempt, and tells whether retries may be sent. A nil breaker always lets them.
func (b *retryBreaker) count(class Class) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if at := b.recent.current(now); class == Succeeded {
		at.calls, at.good = at.calls+1, at.good+1
	} else if class.Failure() { // one that was cancelled or never sent says nothing of the callee
		at.calls++
	}
	all := b.recent.sum(now)
	return all.calls < leastAttempts || all.calls-all.good <= b.above*all.calls
}

// backoff is how long to pause before each retry.
type backoff struct {
	first, most    time.Duration
	factor, jitter float64
	rand           *rand.Rand
}

// before returns the pause before the n-th retry, n from 1.
func (b backoff) before(n int) time.Duration {
	whole := min(float64(b.first)*math.Pow(b.factor, float64(n-1)), float64(b.most))
	return time.Duration(whole * (1 - b.jitter*b.rand.Float64()))
}
