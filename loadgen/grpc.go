package loadgen

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// streamsPerConnection is the number of calls after which another connection is
// opened; servers commonly allow 100 at once on each.
const streamsPerConnection = 100

// maxAnswer bounds one gRPC answer, in bytes.
const maxAnswer = 64 << 20

// grpcSender sends steps as unary calls, their bodies translated from JSON.
type grpcSender struct {
	pools   []*connectionPool
	methods map[string]*method
}

// method is one RPC with its messages.
type method struct {
	in, out protoreflect.MessageDescriptor
}

// newGRPCSender connects and asks the server's reflection for what the steps
// need.
func newGRPCSender(ctx context.Context, addrs []string, steps []*step) (*grpcSender, error) {
	g := &grpcSender{}
	for _, addr := range addrs {
		g.pools = append(g.pools, &connectionPool{addr: addr})
	}
	err := g.prepare(ctx, steps)
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *grpcSender) prepare(ctx context.Context, steps []*step) error {
	conn, err := g.pools[0].take()
	if err != nil {
		return err
	}
	defer conn.release()
	var names []string
	for _, s := range steps {
		names = append(names, s.method)
	}
	if g.methods, err = reflectMethods(ctx, conn, names); err != nil {
		return fmt.Errorf("asking %s for its services: %w", g.pools[0].addr, err)
	}
	for _, s := range steps {
		if !s.body.static() {
			continue
		}
		if _, err := g.encode(s.method, s.body.render(nil)); err != nil {
			return fmt.Errorf("step %q: %w", s.name, err)
		}
	}
	return nil
}

func (g *grpcSender) protocol() string { return protocolGRPC }

func (g *grpcSender) close() {
	for _, pool := range g.pools {
		pool.close()
	}
}

func (g *grpcSender) send(ctx context.Context, r request, traceparent, bag string) (out answer) {
	payload, bodyErr := g.encode(r.step.method, r.body)
	conn, connErr := g.pools[r.turn%uint64(len(g.pools))].take()
	out.sent = time.Now()
	defer func() { out.done = time.Now() }()
	if err := errors.Join(bodyErr, connErr); err != nil {
		out.err = fmt.Errorf("%w: %w", errRequest, err)
		return out
	}
	defer conn.release()
	ctx = metadata.NewOutgoingContext(ctx, outgoing(r, traceparent, bag))
	reply := rawMessage{keep: len(r.step.extract) > 0}
	var head, tail metadata.MD
	err := conn.Invoke(ctx, r.step.method, payload, &reply,
		grpc.ForceCodecV2(rawCodec{}), grpc.Header(&head), grpc.Trailer(&tail))
	out.bytes = int64(reply.size)
	switch late := outOfTime(ctx, err); {
	case err == nil:
		out.body, out.err = g.decode(r.step, reply.data)
	case len(head)+len(tail) > 0 && !late: // the server's own words
		out.status = int(status.Code(err))
	default:
		out.err = err
	}
	return out
}

// outOfTime says whether a call ended because of its deadline, of which the
// server knows too: its answer and the client's own timeout are the same event.
func outOfTime(ctx context.Context, err error) bool {
	deadline, ok := ctx.Deadline()
	if !ok || status.Code(err) != codes.DeadlineExceeded || time.Until(deadline) > 10*time.Millisecond {
		return false
	}
	<-ctx.Done()
	return true
}

func outgoing(r request, traceparent, bag string) metadata.MD {
	md := metadata.Pairs("traceparent", traceparent, "baggage", bag)
	for _, h := range r.headers {
		md.Set(h[0], h[1])
	}
	return md
}

// encode turns a JSON body into the RPC's request.
func (g *grpcSender) encode(rpc, body string) ([]byte, error) {
	message := dynamicpb.NewMessage(g.methods[rpc].in)
	if body != "" {
		if err := protojson.Unmarshal([]byte(body), message); err != nil {
			return nil, fmt.Errorf("body is not a %s: %w", message.Descriptor().FullName(), err)
		}
	}
	return proto.Marshal(message)
}

// decode turns an answer into JSON when the step extracts from it. Fields
// have their names of the .proto file, and those that are unset are there too.
func (g *grpcSender) decode(s *step, data []byte) ([]byte, error) {
	if len(s.extract) == 0 {
		return nil, nil
	}
	message := dynamicpb.NewMessage(g.methods[s.method].out)
	if err := proto.Unmarshal(data, message); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadAnswer, err)
	}
	return protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(message)
}

// connectionPool holds the connections to one address. It opens one more when all
// carry as many calls as a server allows, so that the client never is the limit.
type connectionPool struct {
	addr string

	mu    sync.Mutex
	conns []*pooledConn
}

type pooledConn struct {
	*grpc.ClientConn
	calls atomic.Int64
}

func (c *pooledConn) release() { c.calls.Add(-1) }

func (p *connectionPool) take() (*pooledConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if c.calls.Load() < streamsPerConnection {
			c.calls.Add(1)
			return c, nil
		}
	}
	conn, err := dialGRPC(p.addr)
	if err != nil {
		return nil, err
	}
	c := &pooledConn{ClientConn: conn}
	c.calls.Add(1)
	p.conns = append(p.conns, c)
	return c, nil
}

func (p *connectionPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close() // it reports only that it was closed before
	}
	p.conns = nil
}

// dialGRPC makes a connection that tries again within a fifth of a second
// after it was lost: gRPC's own back-off, up to two minutes, would hide for how
// long a server was really away.
func dialGRPC(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithNoProxy(),
		grpc.WithUserAgent("faultline"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
	)
}

// rawMessage is an answer as it came.
type rawMessage struct {
	keep bool
	size int
	data []byte
}

// rawCodec passes bytes through: an answer is decoded only when something is
// to be taken from it.
type rawCodec struct{}

var _ encoding.CodecV2 = rawCodec{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	payload, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(payload)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	reply, ok := v.(*rawMessage)
	if !ok {
		return fmt.Errorf("cannot receive into a %T", v)
	}
	reply.size = data.Len()
	if reply.keep {
		reply.data = data.Materialize()
	}
	return nil
}
