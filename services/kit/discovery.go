package kit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/observability/names"
)

// What becomes of an answer of the registry that names nobody.
const (
	emptyKept     = "keep"    // it is not believed: the last one that named somebody holds
	emptyBelieved = "believe" // then there is nobody
)

// How often the registry is asked unless DISCOVER_EVERY says otherwise, and the most that it may answer with.
const (
	discoverEvery = 500 * time.Millisecond
	answerLimit   = 64 << 10
)

// Outcomes of questions to the registry, values of names.Outcome.
const (
	answered = "ok"
	empty    = "empty"
	failed   = "failed"
)

// listed is which replicas of a callee the registry names. nil stands for a callee
// that the registry is not asked about: then all are there. It is safe for concurrent use.
type listed struct {
	callee  string
	believe bool
	metrics listedMetrics

	mu     sync.Mutex
	there  []bool
	change func() // told of every change; nil before there is somebody to tell
}

type listedMetrics struct {
	replicas prometheus.Gauge
	answers  *prometheus.CounterVec
}

// errNobody is the error of a call to a callee of which nobody is known.
var errNobody = errors.New("the registry names no replica")

// newListed begins with all n replicas: what the environment says, until the registry has spoken.
func newListed(callee string, n int, believe bool, registry prometheus.Registerer) (*listed, error) {
	labels := prometheus.Labels{names.Callee: callee}
	l := &listed{callee: callee, believe: believe, there: slices.Repeat([]bool{true}, n), metrics: listedMetrics{
		replicas: prometheus.NewGauge(prometheus.GaugeOpts{Name: names.DiscoveryReplicas, Help: "Replicas of a callee that this caller takes to be there.", ConstLabels: labels}),
		answers:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: names.DiscoveryAnswers, Help: "Questions to the registry, by their answers.", ConstLabels: labels}, []string{names.Outcome}),
	}}
	for _, outcome := range []string{answered, empty, failed} {
		l.metrics.answers.WithLabelValues(outcome)
	}
	l.metrics.replicas.Set(float64(n))
	return l, errors.Join(registry.Register(l.metrics.replicas), registry.Register(l.metrics.answers))
}

// take takes an answer of the registry over. An error changes nothing: it says nothing of the callee.
func (l *listed) take(replicas []int, err error) {
	if err != nil {
		l.metrics.answers.WithLabelValues(failed).Inc()
		return
	}
	l.mu.Lock()
	there, count := make([]bool, len(l.there)), 0
	for _, replica := range replicas {
		if replica >= 1 && replica <= len(there) {
			there[replica-1] = true
			count++
		}
	}
	outcome := answered
	if count == 0 {
		outcome = empty
	}
	l.metrics.answers.WithLabelValues(outcome).Inc()
	if count == 0 && !l.believe {
		l.mu.Unlock()
		return
	}
	changed := !slices.Equal(there, l.there)
	l.there = there
	change := l.change
	l.mu.Unlock()
	l.metrics.replicas.Set(float64(count))
	if changed && change != nil {
		change()
	}
}

// has tells whether the i-th replica, from 0 on, is there.
func (l *listed) has(i int) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.there[i]
}

// nobody tells whether there is no replica.
func (l *listed) nobody() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !slices.Contains(l.there, true)
}

// near returns the first replica from the i-th on that is there.
func (l *listed) near(i int) (int, error) {
	if l == nil {
		return i, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for step := range l.there {
		if at := (i + step) % len(l.there); l.there[at] {
			return at, nil
		}
	}
	return 0, fmt.Errorf("calling %s: %w", l.callee, errNobody)
}

// onChange has somebody told of every change.
func (l *listed) onChange(tell func()) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.change = tell
}

// refuseWithoutReplicas fails attempts while nobody is there.
func (l *listed) refuseWithoutReplicas(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if l.nobody() {
		return status.Errorf(codes.Unavailable, "calling %s: %v", l.callee, errNobody)
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

// follow asks the registry again and again until ctx ends.
func (l *listed) follow(ctx context.Context, client *http.Client, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		replicas, err := askRegistry(ctx, client, l.callee, every)
		if ctx.Err() != nil {
			return
		}
		l.take(replicas, err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func askRegistry(ctx context.Context, client *http.Client, callee string, within time.Duration) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://registry/services/"+callee, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the registry answered %s", resp.Status)
	}
	var answer struct {
		Replicas []int `json:"replicas"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, answerLimit)).Decode(&answer)
	return answer.Replicas, err
}

// discover returns who of a callee is there, and follows the registry until the runtime is closed; nil when
// the registry is not to be asked about it. It is called with mu held.
func (rt *Runtime) discover(callee string, n int) (*listed, error) {
	if !slices.Contains(rt.settings.discover, callee) {
		return nil, nil
	}
	client, err := rt.httpClient("registry")
	if err != nil {
		return nil, err
	}
	l, err := newListed(callee, n, rt.settings.believeEmpty, rt.Telemetry.Registry)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { l.follow(ctx, client, rt.settings.discoverEvery) })
	rt.closers = append(rt.closers, func() error { stop(); following.Wait(); return nil })
	return l, nil
}
