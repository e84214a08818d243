package loadgen

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxExtract is how much of an answer is read into memory when values are to
// be taken from it.
const maxExtract = 8 << 20

// answer is what came of one step.
type answer struct {
	sent, done time.Time
	status     int // 0 when there was none
	bytes      int64
	body       []byte // only when the step extracts
	err        error  // when there was no whole answer
}

// httpSender sends steps over HTTP/1.1, each to the address whose turn it is.
type httpSender struct {
	addrs     []string
	transport *http.Transport
}

// newHTTPSender returns a sender whose connections are never what limits the
// load: as many as there are requests under way, and all kept for reuse. An idle one
// is closed after 4 s, before servers of 5 s and more close it under a request.
// Dialling ends with ctx.
func newHTTPSender(ctx context.Context, addrs []string) *httpSender {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{}
	dial := func(dialing context.Context, network, addr string) (net.Conn, error) {
		dialing, cancel := context.WithCancel(dialing)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return dialer.DialContext(dialing, network, addr)
	}
	return &httpSender{addrs: addrs, transport: &http.Transport{
		DialContext:         dial,
		Protocols:           &protocols,
		DisableCompression:  true, // the answer's size is that of the wire
		MaxIdleConnsPerHost: 1 << 30,
		IdleConnTimeout:     4 * time.Second,
		WriteBufferSize:     2 << 10,
		ReadBufferSize:      4 << 10,
	}}
}

func (h *httpSender) protocol() string { return protocolHTTP }

func (h *httpSender) close() { h.transport.CloseIdleConnections() }

func (h *httpSender) send(ctx context.Context, r request, traceparent, bag string) (out answer) {
	req, err := h.newRequest(ctx, r, traceparent, bag)
	out.sent = time.Now()
	defer func() { out.done = time.Now() }()
	if err != nil {
		out.err = fmt.Errorf("%w: %w", errRequest, err)
		return out
	}
	resp, err := h.transport.RoundTrip(req)
	if err != nil {
		out.err = err
		return out
	}
	out.status = resp.StatusCode
	if len(r.step.extract) > 0 {
		out.body, out.err = io.ReadAll(io.LimitReader(resp.Body, maxExtract))
	}
	rest, err := io.Copy(io.Discard, resp.Body)
	if out.err == nil {
		out.err = err
	}
	out.bytes = int64(len(out.body)) + rest
	_ = resp.Body.Close() // nothing more can go wrong with what has been read
	return out
}

func (h *httpSender) newRequest(ctx context.Context, r request, traceparent, bag string) (*http.Request, error) {
	if !validPath(r.path) {
		return nil, fmt.Errorf("path %q", r.path)
	}
	addr := h.addrs[r.turn%uint64(len(h.addrs))]
	req, err := http.NewRequestWithContext(ctx, r.step.method, "http://"+addr+r.path, nil)
	if err != nil {
		return nil, err
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range r.headers {
		setHeader(req, h[0], h[1])
	}
	req.Header.Set("User-Agent", "faultline")
	req.Header.Set("Traceparent", traceparent)
	req.Header.Set("Baggage", bag)
	sendOnce(req, r.body)
	return req, nil
}

// sendOnce gives req its body in a way that keeps http.Transport from
// sending it a second time by itself. It does so when a reused connection
// breaks and the request can be replayed, which a GET and anything with an
// Idempotency-Key can: a request that a fault cut off would be counted as a good one.
// A request whose body cannot be had again is not replayed.
func sendOnce(req *http.Request, body string) {
	req.Body = io.NopCloser(strings.NewReader(body))
	req.ContentLength = int64(len(body))
	if body != "" {
		return
	}
	switch req.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		// Servers may insist on a Content-Length. Without the idempotency key, which
		// setHeader hides, none of these is replayed.
		req.Body = http.NoBody
	default:
		// A body of length 0 counts as one of unknown length. Naming an encoding other than "chunked"
		// saves the probing for a first byte; nothing of it goes over the wire.
		req.TransferEncoding = []string{"identity"}
	}
}

// setHeader sets a header. http.Transport takes a request with an idempotency key for one
// that it may send again; it looks for the canonical spelling only.
func setHeader(req *http.Request, name, text string) {
	switch canonical := http.CanonicalHeaderKey(name); canonical {
	case "Idempotency-Key", "X-Idempotency-Key":
		req.Header[strings.ToLower(name)] = []string{text}
	case "Host":
		req.Host = text
	default:
		req.Header[canonical] = []string{text}
	}
}
