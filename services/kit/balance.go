package kit

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"

	"github.com/faultline-lab/faultline/resilience"
)

// dialGRPC makes a connection that balances over addrs. What grpc-go would do
// behind the caller's back is off where it can be: service configs and retries that are not
// the edge's, proxies of the environment, going idle. What stays is the transparent retry of a call
// that no server has seen (the connection broke before it was written, or the
// server refused the stream).
func dialGRPC(callee string, addrs []string, there *listed, edge *resilience.Edge) (*grpc.ClientConn, error) {
	replica := replicasByAddr(addrs)
	options := append(edge.DialOptions(func(addr net.Addr) int { return replica[addr.String()] }),
		grpc.WithResolvers(&addressList{addrs: addrs, there: there, edge: edge}),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithIdleTimeout(0),
		// A callee that comes back is found within a second; grpc-go's own limit is two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithChainUnaryInterceptor(edge.UnaryClientInterceptor(), there.refuseWithoutReplicas, tellReplica(replica)),
	)
	return grpc.NewClient(scheme+":///"+callee, options...)
}

// scheme names the resolver; a connection finds it among its own options only.
const scheme = "shop"

// addressList resolves a callee to a fixed list, less the replicas that the edge has ejected and those
// that the registry does not name.
type addressList struct {
	addrs []string
	there *listed
	edge  *resilience.Edge
}

// Scheme is part of resolver.Builder.
func (*addressList) Scheme() string { return scheme }

// Build hands the list over. It is part of resolver.Builder.
func (l *addressList) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	if err := cc.UpdateState(l.state(nil)); err != nil {
		return nil, fmt.Errorf("resolving: %w", err)
	}
	var mu sync.Mutex
	var last []bool
	tell := func() {
		mu.Lock()
		defer mu.Unlock()
		if state := l.state(last); len(state.Endpoints) > 0 { // while there is nobody, attempts are refused before they come here
			// grpc-go ends calls under way before it lets a connection go. An error is that of a connection
			// that is being closed.
			_ = cc.UpdateState(state)
		}
	}
	l.there.onChange(tell)
	stop := l.edge.Watch(len(l.addrs), func(available []bool) {
		mu.Lock()
		last = available
		mu.Unlock()
		tell()
	})
	return watching{func() { l.there.onChange(nil); stop() }}, nil
}

// state is the list; available nil means all of it.
func (l *addressList) state(available []bool) resolver.State {
	var state resolver.State
	for i, addr := range l.addrs {
		if (available == nil || available[i]) && l.there.has(i) {
			state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: addr}}})
		}
	}
	return state
}

// watching is the resolver while it follows the edge.
type watching struct{ stop func() }

// ResolveNow is part of resolver.Resolver: there is nothing to ask.
func (watching) ResolveNow(resolver.ResolveNowOptions) {}

// Close is part of resolver.Resolver.
func (w watching) Close() { w.stop() }

// tellReplica tells the edge which replica an attempt went to.
func tellReplica(replicas map[string]int) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		var p peer.Peer
		err := invoke(ctx, method, req, reply, cc, append(opts[:len(opts):len(opts)], grpc.Peer(&p))...)
		if p.Addr != nil {
			resilience.SetReplica(ctx, replicas[p.Addr.String()])
		}
		return err
	}
}

// replicasByAddr maps addresses, as a connection tells them, to replicas.
// Names are unknown to it: only the list of a local run has a replica for each address.
func replicasByAddr(addrs []string) map[string]int {
	replicas := map[string]int{}
	for i, addr := range addrs {
		if host, port, err := net.SplitHostPort(addr); err == nil && host == "localhost" {
			replicas[net.JoinHostPort("127.0.0.1", port)] = i + 1
			replicas[net.JoinHostPort("::1", port)] = i + 1
		}
		replicas[addr] = i + 1
	}
	return replicas
}

// newTransport makes a transport that limits nothing: a hidden pool limit
// would be a bulkhead that nobody wrote down, a hidden timeout a policy.
func newTransport() *http.Transport {
	dialer := &net.Dialer{KeepAlive: 15 * time.Second}
	return &http.Transport{
		DialContext:         dialer.DialContext,
		MaxIdleConns:        0,    // no limit
		MaxIdleConnsPerHost: 4096, // 0 would mean 2
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
	}
}

// replicas sends each request to the replica that the edge picks.
type replicas struct {
	addrs []string
	there *listed
	edge  *resilience.Edge
	base  http.RoundTripper
}

// RoundTrip gives the request the address of the replica. The request is the attempt's own copy.
func (r *replicas) RoundTrip(req *http.Request) (*http.Response, error) {
	i, err := r.there.near(r.edge.Pick(req.Context(), len(r.addrs)))
	if err != nil {
		return nil, err
	}
	if req.Host == "" {
		req.Host = req.URL.Host
	}
	req.URL.Host = r.addrs[i]
	return r.base.RoundTrip(req)
}
