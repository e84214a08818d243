package resilience

import (
	"context"
	"strings"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// UnaryClientInterceptor binds the edge to gRPC's unary calls. Each attempt
// passes through the interceptors further in.
func (e *Edge) UnaryClientInterceptor() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		name := strings.TrimPrefix(method, "/")
		res, err := e.do(ctx, &call{
			name:   name,
			key:    func() string { return messageKey(ctx, name, req) },
			static: func(_ int, data []byte) (result, error) { return staticReply(reply, data) },
			send: func(ctx context.Context, a *attempt) (result, error) {
				own := reply
				if e.shared {
					own = ownReply(reply)
				}
				a.span.SetAttributes(semconv.RPCSystemNameGRPC, semconv.RPCMethod(name))
				err := invoke(e.inject(ctx), method, req, own, cc, opts...)
				code := CodeName(status.Code(err))
				a.span.SetAttributes(semconv.RPCResponseStatusCode(code))
				if err != nil {
					a.errorType = code
				}
				return result{reply: own}, err
			}})
		if err != nil {
			return err
		}
		take(reply, res.reply)
		return nil
	}
}

// ownReply gives an attempt a reply of its own: hedges would write into the
// caller's at once.
func ownReply(reply any) any {
	if message, ok := reply.(proto.Message); ok {
		return message.ProtoReflect().New().Interface()
	}
	return reply
}

// take moves the reply of the attempt that won to the caller's.
func take(reply, won any) {
	to, ok := reply.(proto.Message)
	from, ok2 := won.(proto.Message)
	if ok && ok2 && to != from {
		proto.Reset(to)
		proto.Merge(to, from)
	}
}

// messageKey names calls whose replies may stand for one another. Whose token it is matters to the reply.
func messageKey(ctx context.Context, method string, req any) string {
	message, ok := req.(proto.Message)
	if !ok {
		return ""
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return ""
	}
	out, _ := metadata.FromOutgoingContext(ctx)
	return method + "\n" + strings.Join(out.Get("authorization"), ",") + "\n" + string(data)
}

// inject passes the trace and the baggage on.
func (e *Edge) inject(ctx context.Context) context.Context {
	out, _ := metadata.FromOutgoingContext(ctx)
	out = out.Copy() // also makes one when there was none
	e.cfg.Propagator.Inject(ctx, metadataCarrier(out))
	return metadata.NewOutgoingContext(ctx, out)
}

// metadataCarrier lets the propagator read and write gRPC metadata.
type metadataCarrier metadata.MD

func (m metadataCarrier) Get(key string) string {
	if values := metadata.MD(m).Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

func (m metadataCarrier) Set(key, value string) { metadata.MD(m).Set(key, value) }

func (m metadataCarrier) Keys() []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}
