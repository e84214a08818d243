// Package node owns a service that is all configuration: whom it calls, how
// often, in sequence or in parallel, how often it fails or is slow. With the door
// that every service has (workers, queue, service time) and the policies of a
// scenario, a topology of any shape is one system file and no code.
//
// What it does with a request, while it holds a worker of its door:
//
//	service time (CAPACITY) -> SLOW_BY, by chance -> fail, by chance -> the calls -> answer
//
// Its environment is described by Variables. Its name is OTEL_SERVICE_NAME, so
// that each node is a service of its own in traces, metrics and policies.
package node

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/services/kit"
	nodev1 "github.com/faultline-lab/faultline/services/proto/node/v1"
)

// defaultName is what a node is called that has no name.
const defaultName = "node"

// Run serves a node until ctx ends.
func Run(ctx context.Context, env kit.Env) error {
	name := env["OTEL_SERVICE_NAME"]
	if name == "" {
		name = defaultName
	}
	cfg, err := readConfig(env)
	if err != nil {
		return fmt.Errorf("running %s: %w", name, err)
	}
	if env, err = withDoor(env, name, cfg.door); err != nil {
		return fmt.Errorf("running %s: %w", name, err)
	}
	return kit.Run(ctx, kit.Service{Name: name, Protocol: cfg.protocol, Build: cfg.build}, env)
}

// build makes the node's parts.
func (cfg config) build(_ context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	n := &node{config: cfg, random: rt.Rand(), payload: payload(cfg.response)}
	for _, c := range cfg.calls {
		send, err := sender(rt, c)
		if err != nil {
			return nil, err
		}
		n.senders = append(n.senders, send)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /work", n.serveHTTP)
	return &kit.Parts{
		HTTP: mux,
		GRPC: func(r grpc.ServiceRegistrar) { nodev1.RegisterNodeServer(r, grpcNode{node: n}) },
	}, nil
}

// payload is an answer of that size that is easy on the eyes when it is short.
func payload(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = '.'
	}
	copy(data, "ok")
	if size > 0 {
		data[size-1] = '\n'
	}
	return data
}

// node is a running node.
type node struct {
	config
	random  *rand.Rand // safe for concurrent use
	senders []send     // one for each of config.calls
	payload []byte
}

// send makes one call.
type send func(context.Context) error

// sender returns how a callee is called.
func sender(rt *kit.Runtime, c call) (send, error) {
	if c.protocol == kit.GRPC {
		conn, err := rt.GRPC(c.callee)
		if err != nil {
			return nil, err
		}
		client := nodev1.NewNodeClient(conn)
		return func(ctx context.Context) error {
			_, err := client.Work(ctx, &nodev1.WorkRequest{})
			return err
		}, nil
	}
	client, err := rt.HTTP(c.callee)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return get(ctx, client, "http://"+c.callee+"/work") }, nil
}

// get asks and reads the answer to its end, so that the connection is used again.
func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

// failure is why a request failed, as both protocols tell it.
type failure struct {
	status  int
	code    codes.Code
	message string
}

func (f *failure) Error() string { return f.message }

func (n *node) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if f := n.work(r.Context()); f != nil {
		http.Error(w, f.message, f.status)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(len(n.payload)))
	_, _ = w.Write(n.payload) // the caller has gone; nobody is left to be told
}

// grpcNode answers the same over gRPC.
type grpcNode struct {
	nodev1.UnimplementedNodeServer
	*node
}

// Work does what the node is configured to do.
func (g grpcNode) Work(ctx context.Context, _ *nodev1.WorkRequest) (*nodev1.WorkResponse, error) {
	if f := g.work(ctx); f != nil {
		return nil, status.Error(f.code, f.message)
	}
	return &nodev1.WorkResponse{Payload: g.payload}, nil
}

// work is everything after the service time.
func (n *node) work(ctx context.Context) *failure {
	if n.slow > 0 && n.random.Float64() < n.slow {
		if err := hold(ctx, n.slowBy); err != nil {
			return &failure{http.StatusGatewayTimeout, codes.DeadlineExceeded, "out of time: " + err.Error()}
		}
	}
	if n.errors > 0 && n.random.Float64() < n.errors {
		return &failure{http.StatusInternalServerError, codes.Internal, "failed by chance, as configured"}
	}
	if err := n.callAll(ctx); err != nil {
		return &failure{http.StatusBadGateway, codes.Unavailable, err.Error()}
	}
	return nil
}

// hold waits, and ends with ctx.
func hold(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
