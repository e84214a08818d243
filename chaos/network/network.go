// Package network owns the faults of the family network: it puts a proxy on
// each edge and replica through the API of the proxy process (package proxy),
// turns faults into toxics of those, and measures whether they are felt.
//
// What counts as felt, by kind. Calls of others must have crossed the edge
// during the fault, whatever a probe says; only for down and partition a refused probe is
// enough, for there nothing can cross.
//
//	latency      a probe takes >= 70 % of the asked delay longer than before, and the proxy held chunks
//	             that long, at the mean; the latter alone where a probe cannot tell (a tcp service
//	             that says nothing, or speaks first while the way to it is slow)
//	bandwidth    the proxy held chunks >= 1 ms, at the mean
//	slow_close   the proxy delayed the closing of a connection
//	timeout      a probe gets no answer in time, or its connection is closed without one; where a
//	             probe cannot tell, the proxy swallowed a chunk
//	reset_peer   a probe's connection is reset or closed before the answer
//	slicer       the proxy cut a chunk
//	limit_data   the proxy closed a connection that had used up its bytes
//	down         a probe's connection is refused
//
// A fault counts as gone when its toxics are gone, the proxy is enabled, and a
// probe is answered: for latency about as fast as before. A callee that is itself too
// slow for that is asked past the proxy, for comparison; one that does not answer at all is
// judged by the proxy's own state and a connection, and the Effect says so.
//
// It does not know when a fault begins or ends: that is chaos.Controller's.
package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/proxy"
)

// Config says how an Injector works.
type Config struct {
	// API is the base URL of the proxy process.
	API string
	// CallWithin bounds a control call; 0 means 8 s, which is more than the
	// proxy process allows itself.
	CallWithin time.Duration
	// ProbeWithin bounds a probe when no fault acts; 0 means 2 s.
	ProbeWithin time.Duration
	// Dial is how probes connect; nil means as any program of this machine does.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Spec is the proxy of one replica of a callee, for one of its callers.
type Spec struct {
	Edge     chaos.Edge
	Replica  int    // of the callee, 1-based
	Listen   string // host:port; "" lets the proxy process choose a port of 127.0.0.1
	Upstream string // host:port of the replica itself
	// Addr says that the proxy may stand already, made by others, and where it is reached; with
	// another upstream it is made anew. "" says that it is to be made.
	Addr  string
	Probe Probe
}

// Probe says how to ask the callee whether it is there.
type Probe struct {
	Protocol string // http | grpc | tcp
	// Path is what HTTP asks for; "" means /. Any answer will do, whatever its status.
	Path string
	// Send is what is sent to a tcp service that does not speak first, such as "PING\r\n".
	Send string
}

// Proxy is a proxy that stands. Its Addr is where the caller is to call.
type Proxy struct{ Spec }

// Injector is the chaos.Injector of the family network.
type Injector struct {
	config Config
	client *client

	mu         sync.Mutex
	edges      []*edge
	injections map[string]*injection // by the fault's id
	notify     func(chaos.Fault, string)
}

// The optional powers that this injector has.
var (
	_ chaos.Injector = (*Injector)(nil)
	_ chaos.Checker  = (*Injector)(nil)
	_ chaos.Releaser = (*Injector)(nil)
	_ chaos.Notifier = (*Injector)(nil)
)

// edge is a proxy and what the probes did to its counters.
type edge struct {
	Proxy
	name string
	sent atomic.Int64 // bytes that probes sent through it
}

// New returns an Injector without proxies. Close it when done.
func New(config Config) *Injector {
	if config.CallWithin <= 0 {
		config.CallWithin = 8 * time.Second
	}
	if config.ProbeWithin <= 0 {
		config.ProbeWithin = 2 * time.Second
	}
	if config.Dial == nil {
		var dialer net.Dialer
		config.Dial = dialer.DialContext
	}
	return &Injector{
		config:     config,
		client:     &client{base: strings.TrimSuffix(config.API, "/"), within: config.CallWithin, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}},
		injections: map[string]*injection{},
		notify:     func(chaos.Fault, string) {},
	}
}

// Close closes connections to the proxy process and of probes. It takes no fault back.
func (i *Injector) Close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, injection := range i.injections {
		injection.close()
	}
	i.client.http.CloseIdleConnections()
}

// Notify implements chaos.Notifier.
func (i *Injector) Notify(notify func(chaos.Fault, string)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.notify = notify
}

func (i *Injector) note(f chaos.Fault, format string, args ...any) {
	i.mu.Lock()
	notify := i.notify
	i.mu.Unlock()
	notify(f, fmt.Sprintf(format, args...))
}

// CreateProxies creates a proxy for each spec and returns them in the same
// order. The callees need not be there yet. On an error, some may stand.
func (i *Injector) CreateProxies(ctx context.Context, specs []Spec) ([]Proxy, error) {
	created := make([]*edge, len(specs))
	err := parallel(len(specs), func(n int) error {
		e, err := i.create(ctx, specs[n])
		created[n] = e
		return err
	})
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.edges = append(i.edges, created...)
	proxies := make([]Proxy, len(created))
	for n, e := range created {
		proxies[n] = e.Proxy
	}
	return proxies, nil
}

func (i *Injector) create(ctx context.Context, spec Spec) (*edge, error) {
	if spec.Replica < 1 {
		return nil, fmt.Errorf("creating the proxy of %s: replica %d is not 1 or more", spec.Edge, spec.Replica)
	}
	if !slices.Contains([]string{"http", "grpc", "tcp"}, spec.Probe.Protocol) {
		return nil, fmt.Errorf("creating the proxy of %s: unknown protocol %q; permitted: http, grpc, tcp", spec.Edge, spec.Probe.Protocol)
	}
	e := &edge{Proxy: Proxy{spec}, name: proxy.Name(spec.Edge, spec.Replica)}
	if spec.Addr != "" {
		if stands, err := i.adopt(ctx, e.name, spec.Upstream); err != nil {
			return nil, fmt.Errorf("finding the proxy of %s: %w", e.name, err)
		} else if stands {
			e.Addr = spec.Addr
			return e, nil
		}
	}
	state, err := i.client.create(ctx, e.name, spec.Listen, spec.Upstream)
	if err != nil {
		return nil, fmt.Errorf("creating the proxy of %s: %w", e.name, err)
	}
	if e.Addr = spec.Addr; e.Addr == "" {
		e.Addr = state.Listen
	}
	return e, nil
}

// adopt tells whether a proxy stands that leads to upstream. One that leads elsewhere is removed.
func (i *Injector) adopt(ctx context.Context, name, upstream string) (bool, error) {
	now, err := i.client.show(ctx, name)
	switch {
	case missing(err):
		return false, nil
	case err != nil:
		return false, err
	case now.Upstream == upstream && now.Enabled:
		return true, nil
	}
	_, err = i.client.call(ctx, http.MethodDelete, proxyPath(name), nil, nil)
	return false, err
}

// Addrs returns where a caller is to reach the replicas of a callee, in their order.
func (i *Injector) Addrs(caller, callee string) []string {
	var addrs []string
	for _, e := range i.find(func(e *edge) bool { return e.Edge == (chaos.Edge{Caller: caller, Callee: callee}) }) {
		addrs = append(addrs, e.Addr)
	}
	return addrs
}

// find returns the edges that match, by replica.
func (i *Injector) find(match func(*edge) bool) []*edge {
	i.mu.Lock()
	defer i.mu.Unlock()
	var found []*edge
	for _, e := range i.edges {
		if match(e) {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b *edge) int { return a.Replica - b.Replica })
	return found
}

// targets returns the proxies that a fault acts on.
func (i *Injector) targets(f chaos.Fault) ([]*edge, error) {
	var all []*edge
	for _, asked := range f.Edges {
		found := i.find(func(e *edge) bool { return e.Edge == asked && (f.Replica == 0 || f.Replica == e.Replica) })
		switch {
		case len(found) > 0:
			all = append(all, found...)
		case f.Replica > 0:
			return nil, fmt.Errorf("there is no proxy of replica %d of %s", f.Replica, asked)
		default:
			return nil, fmt.Errorf("there is no proxy of %s", asked)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("it names no edge")
	}
	return all, nil
}

// Check implements chaos.Checker. Until proxies stand, it takes every edge for possible.
func (i *Injector) Check(f chaos.Fault) error {
	if kind, found := chaos.Find(f.Kind); !found || kind.Family != chaos.FamilyNetwork {
		return fmt.Errorf("%s is not a fault of the network", f.Kind)
	}
	if len(i.find(func(*edge) bool { return true })) == 0 {
		return nil
	}
	_, err := i.targets(f)
	return err
}

// Traffic returns what crossed each proxy so far, probes among it.
func (i *Injector) Traffic(ctx context.Context) ([]proxy.Traffic, error) {
	return i.client.traffic(ctx)
}

// KeepLease renews the lease on faults until ctx ends: when the lab dies, or
// hangs for longer than ttl, the proxy process lifts all faults by itself. It
// returns an error when the proxy process could not be reached for a whole ttl.
func (i *Injector) KeepLease(ctx context.Context, ttl time.Duration) error {
	if ttl <= 0 {
		return fmt.Errorf("keeping the lease on faults: ttl %s is not positive", ttl)
	}
	ticker := time.NewTicker(ttl / 3)
	defer ticker.Stop()
	reached, lapsed := time.Now(), -1
	for {
		now, err := i.client.renew(ctx, ttl)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && time.Since(reached) > ttl:
			return fmt.Errorf("renewing the lease on faults: %w", err)
		case err == nil:
			if lapsed >= 0 && now > lapsed {
				i.lapsed()
			}
			reached, lapsed = time.Now(), now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// lapsed notes that the proxy lifted every fault: for each that acted, or once when none did.
func (i *Injector) lapsed() {
	acting := []chaos.Fault{}
	i.mu.Lock()
	for _, j := range i.injections {
		acting = append(acting, j.fault)
	}
	i.mu.Unlock()
	if len(acting) == 0 {
		acting = append(acting, chaos.Fault{})
	}
	for _, f := range acting {
		i.note(f, "the lease on faults lapsed, as the lab stood still: the proxy lifted the fault before its end")
	}
}

// parallel runs do for 0 to n-1, all at the same time, and joins the errors.
func parallel(n int, do func(int) error) error {
	failures := make([]error, n)
	var running sync.WaitGroup
	for k := range n {
		running.Go(func() { failures[k] = do(k) })
	}
	running.Wait()
	return errors.Join(failures...)
}
