package resilience

import (
	"bytes"
	"container/list"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

// The sources of a fallback.
const (
	stale  = "stale"
	static = "static"
)

func fallbackKind() Kind {
	return Kind{
		Name:   "fallback",
		Counts: []string{names.PolicyFallbacks},
		Sides:  []string{OnEdge},
		About: "Answers in place of a callee that failed, or that a policy further in would not call. From stale: with the last good answer to the same " +
			"request (a gRPC call, or an HTTP GET). From static: with the body that is written here, for gRPC the reply as protobuf JSON. " +
			"Usually the outermost policy. Such a call counts as ok; policy_fallbacks_total says how many there were.",
		Main: "from",
		Params: []parameter.Parameter{
			{Name: "from", Type: parameter.Text, Default: stale, Allowed: []string{stale, static}, About: "where the answer comes from"},
			{Name: "max_age", Type: parameter.Duration, Default: "1m", About: "how old a stale answer may be"},
			{Name: "size", Type: parameter.Integer, Default: int64(1000), Min: parameter.Bound(1), Max: parameter.Bound(1e6), About: "how many answers are kept"},
			{Name: "body", Type: parameter.Text, About: "the static answer"},
			{Name: "status", Type: parameter.Integer, Default: int64(200), Min: parameter.Bound(100), Max: parameter.Bound(599), About: "the status of the static answer, for HTTP"},
		},
		Example: "- {fallback: {from: stale, max_age: 1m}}\n- {timeout: 200ms}",
		check: func(v parameter.Values) []parameter.Problem {
			if v.Has("body") != (v.Text("from") == static) {
				return []parameter.Problem{{Name: "body", Message: "belongs to a static fallback, and a static fallback needs one"}}
			}
			return nil
		},
		edge: func(v parameter.Values, h *host) (layer, error) { return newFallback(v, h).layer, nil },
	}
}

// fallback is failsafe-go's in what it does; the library's knows neither the call it answers nor what came before.
type fallback struct {
	on             string
	kept           *answerCache // nil: static
	body           []byte
	status         int
	served, missed prometheus.Counter
}

func newFallback(v parameter.Values, h *host) *fallback {
	p := &fallback{
		on: h.on, body: []byte(v.Text("body")), status: int(v.Int("status")),
		served: h.metrics.fallbacks.WithLabelValues(h.on, "served"),
		missed: h.metrics.fallbacks.WithLabelValues(h.on, "missed"),
	}
	if v.Text("from") == stale {
		p.kept = &answerCache{size: int(v.Int("size")), maxAge: v.Duration("max_age"), byKey: map[string]*list.Element{}}
	}
	return p
}

func (p *fallback) layer(inner next) next {
	return func(ctx context.Context, c *call) (result, error) {
		res, err := inner(ctx, c)
		if res.class == Succeeded {
			if err == nil { // a NOT_FOUND is no failure, but nothing to keep
				p.keep(c, res)
			}
			return res, err
		}
		if !res.class.Failure() && res.class != Rejected {
			return res, err // the caller gave up: nobody waits for an answer
		}
		instead, ok := p.answer(c)
		if !ok {
			p.missed.Inc()
			return res, err
		}
		p.served.Inc()
		trace.SpanFromContext(ctx).AddEvent("answered by fallback", trace.WithAttributes(
			attribute.String(names.AttrEdge, p.on), attribute.String("policy.cause", res.class.String())))
		return instead, nil
	}
}

// keep remembers a good answer.
func (p *fallback) keep(c *call, res result) {
	if p.kept == nil || c.key == nil || res.response != nil && res.response.StatusCode >= 400 {
		return
	}
	if key := c.key(); key != "" {
		p.kept.put(key, copyOf(res))
	}
}

func (p *fallback) answer(c *call) (result, bool) {
	if p.kept != nil {
		if c.key == nil {
			return result{}, false
		}
		kept, ok := p.kept.get(c.key())
		return copyOf(kept), ok
	}
	if c.static == nil {
		return result{}, false
	}
	res, err := c.static(p.status, p.body)
	res.class = Succeeded
	return res, err == nil
}

// copyOf copies a result, for its receiver may change what it got.
func copyOf(res result) result {
	out := result{class: Succeeded}
	if message, ok := res.reply.(proto.Message); ok {
		out.reply = proto.Clone(message)
	}
	if res.response != nil {
		response := *res.response
		response.Header = maps.Clone(response.Header)
		if read, ok := response.Body.(*body); ok {
			response.Body = newBody(read.data)
		}
		out.response = &response
	}
	return out
}

// body is a response's body in memory, which can be read anew.
type body struct {
	io.Reader
	data []byte
}

func newBody(data []byte) *body { return &body{Reader: bytes.NewReader(data), data: data} }

// Close is part of io.ReadCloser.
func (*body) Close() error { return nil }

// staticResponse makes an HTTP response that no callee sent.
func staticResponse(req *http.Request, status int, data []byte) result {
	return result{response: &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   newBody(data), ContentLength: int64(len(data)), Request: req,
	}}
}

// staticReply makes a gRPC reply of the type that the caller expects.
func staticReply(reply any, data []byte) (result, error) {
	message, ok := reply.(proto.Message)
	if !ok {
		return result{}, fmt.Errorf("%T is no protobuf message", reply)
	}
	own := message.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal(data, own); err != nil {
		return result{}, fmt.Errorf("static reply: %w", err)
	}
	return result{reply: own}, nil
}

// answerCache keeps the last good answers, as many as size; those not asked for longest go first.
type answerCache struct {
	size   int
	maxAge time.Duration

	mu     sync.Mutex
	recent list.List // of *kept, most recently used first
	byKey  map[string]*list.Element
}

type kept struct {
	key    string
	since  time.Time
	result result
}

func (a *answerCache) put(key string, res result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if old, ok := a.byKey[key]; ok {
		a.recent.Remove(old)
	}
	a.byKey[key] = a.recent.PushFront(&kept{key: key, since: time.Now(), result: res})
	if a.recent.Len() > a.size {
		last, _ := a.recent.Remove(a.recent.Back()).(*kept)
		delete(a.byKey, last.key)
	}
}

func (a *answerCache) get(key string) (result, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	element, ok := a.byKey[key]
	if !ok {
		return result{}, false
	}
	k, _ := element.Value.(*kept)
	if time.Since(k.since) > a.maxAge {
		return result{}, false
	}
	a.recent.MoveToFront(element)
	return k.result, true
}
