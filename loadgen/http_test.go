package loadgen

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hijack takes the connection over from a handler.
func hijack(t testing.TB, w http.ResponseWriter) *net.TCPConn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return nil
	}
	return conn.(*net.TCPConn)
}

func TestHTTPOutcomes(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			fmt.Fprint(w, `{"id": "p-1"}`)
		case "/created":
			w.WriteHeader(http.StatusCreated)
		case "/missing":
			http.NotFound(w, r)
		case "/busy":
			http.Error(w, "busy", http.StatusServiceUnavailable)
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		case "/slow-body":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/reset":
			conn := hijack(t, w)
			_ = conn.SetLinger(0)
			_ = conn.Close()
		case "/close":
			_ = hijack(t, w).Close()
		case "/half":
			conn := hijack(t, w)
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			_ = conn.Close()
		case "/garbage":
			conn := hijack(t, w)
			fmt.Fprint(conn, "220 mail.example.com ESMTP\r\n")
			_ = conn.Close()
		}
	})
	tests := map[string]struct {
		step   Step
		addr   string
		status int
		err    string
		bytes  int64
	}{
		"ok":                {step: Step{Path: "/ok"}, status: 200, bytes: 13},
		"any 2xx is well":   {step: Step{Path: "/created"}, status: 201},
		"not found":         {step: Step{Path: "/missing"}, status: 404, err: "status 404", bytes: 19},
		"a status accepted": {step: Step{Path: "/missing", Accept: []int{410, 404}}, status: 404, bytes: 19},
		"overloaded":        {step: Step{Path: "/busy"}, status: 503, err: "status 503", bytes: 5},
		"no redirects":      {step: Step{Path: "/moved"}, status: 302, err: "status 302", bytes: 26},
		"timeout":           {step: Step{Path: "/slow"}, err: ErrorTimeout},
		"timeout of a body": {step: Step{Path: "/slow-body"}, status: 200, err: ErrorTimeout},
		"reset":             {step: Step{Path: "/reset"}, err: ErrorReset},
		"closed":            {step: Step{Path: "/close"}, err: ErrorClosed},
		"half an answer":    {step: Step{Path: "/half"}, status: 200, err: ErrorClosed, bytes: 4},
		"not HTTP":          {step: Step{Path: "/garbage"}, err: ErrorBadAnswer},
		"refused":           {step: Step{Path: "/ok"}, addr: unusedAddr(t), err: ErrorRefused},
		"a path with a gap": {step: Step{Path: "/a{{seq}} b"}, err: ErrorRequest},
		"extraction":        {step: Step{Path: "/ok", Extract: map[string]string{"x": "id"}}, status: 200, bytes: 13},
		"failed extraction": {step: Step{Path: "/ok", Extract: map[string]string{"x": "id", "y": "no"}}, status: 200, bytes: 13, err: "extraction failed: y"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.addr == "" {
				test.addr = addr
			}
			share := once("http", test.addr, test.step)
			if test.err == ErrorTimeout {
				share.Loads[0].Timeout = 50 * time.Millisecond
			}
			row := one(t, share)
			if row.Status != test.status || row.Error != test.err || row.OK != (test.err == "") || row.Bytes != test.bytes {
				t.Errorf("status %d, error %q, ok %v, %d bytes; want %d, %q, %d bytes",
					row.Status, row.Error, row.OK, row.Bytes, test.status, test.err, test.bytes)
			}
			if row.Sent.Before(row.Due) || row.Done.Before(row.Sent) || row.Load != "browse" || len(row.TraceID) != 32 {
				t.Errorf("row %+v", row)
			}
		})
	}
}

func TestHTTPRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	addr := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		got = r
	})
	share := once("http", addr, Step{
		Method: "POST", Path: "/orders?x=a%20b", Body: `{"n": {{seq}}}`,
		Headers: map[string]string{"Authorization": "Bearer x", "idempotency-KEY": "k-{{seq}}", "Host": "shop.example.com"},
	})
	share.Baggage = map[string]string{"tenant": "a b", "priority": "bulk"}
	share.Loads[0].Baggage = map[string]string{"priority": "critical"}
	row := one(t, share)
	if got.Method != "POST" || got.RequestURI != "/orders?x=a%20b" || string(body) != `{"n": 0}` || got.Host != "shop.example.com" || got.ProtoMinor != 1 {
		t.Errorf("%s %s of %s with %s", got.Method, got.RequestURI, got.Host, body)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer x", "Idempotency-Key": "k-0", "Content-Type": "application/json", "Content-Length": "8",
		"User-Agent": "faultline", "Accept-Encoding": "", "X-Vegeta-Seq": "",
	} {
		if got := got.Header.Get(name); got != want {
			t.Errorf("header %s: %q, want %q", name, got, want)
		}
	}
	want := map[string]string{"tenant": "a%20b", "priority": "critical", "faultline.load": "browse", "faultline.journey": "0"}
	if bag := baggageOf(got.Header.Get("Baggage")); !reflect.DeepEqual(bag, want) {
		t.Errorf("baggage %v, want %v", bag, want)
	}
	parent := regexp.MustCompile(`^00-([0-9a-f]{32})-[0-9a-f]{16}-01$`).FindStringSubmatch(got.Header.Get("Traceparent"))
	if parent == nil || parent[1] != row.TraceID {
		t.Errorf("traceparent %q, the result's trace %q", got.Header.Get("Traceparent"), row.TraceID)
	}
}

// TestHTTPBodiless sees what goes over the wire when there is no body.
func TestHTTPBodiless(t *testing.T) {
	for method, wantLength := range map[string]bool{"GET": false, "DELETE": false, "HEAD": false, "POST": true, "PUT": true, "PATCH": true} {
		t.Run(method, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var head strings.Builder
			var served sync.WaitGroup
			served.Go(func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() && lines.Text() != "" {
					head.WriteString(lines.Text() + "\n")
				}
				fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			})
			row := one(t, once("http", listener.Addr().String(), Step{Method: method, Path: "/"}))
			listener.Close()
			served.Wait()
			if !row.OK {
				t.Errorf("row %+v", row)
			}
			if got := strings.Contains(head.String(), "Content-Length: 0"); got != wantLength || strings.Contains(head.String(), "Transfer-Encoding") {
				t.Errorf("sent:\n%s", head.String())
			}
		})
	}
}

// TestHTTPSendsOnce has a server that breaks a connection on which it had answered before. An
// http.Transport left to itself would send the request again and hide that.
func TestHTTPSendsOnce(t *testing.T) {
	for name, step := range map[string]Step{
		"get":                               {Path: "/"},
		"post with a key":                   {Method: "POST", Path: "/", Body: "{}", Headers: map[string]string{"Idempotency-Key": "k"}},
		"post with a key, but without body": {Method: "POST", Path: "/", Headers: map[string]string{"x-idempotency-key": "k"}},
	} {
		t.Run(name, func(t *testing.T) {
			var seen atomic.Int64
			addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if seen.Add(1) == 2 {
					_ = hijack(t, w).Close()
				}
			})
			rows := collect(t, t.Context(), once("http", addr, step).at(150*time.Millisecond, 20))
			if len(rows) != 3 || !rows[0].OK || rows[1].Error != ErrorClosed || !rows[2].OK || seen.Load() != 3 {
				t.Errorf("the server saw %d requests; rows %+v", seen.Load(), rows)
			}
		})
	}
}

func TestHTTPReusesConnections(t *testing.T) {
	var conns sync.Map
	addr := serve(t, func(_ http.ResponseWriter, r *http.Request) { conns.Store(r.RemoteAddr, true) })
	rows := collect(t, t.Context(), once("http", addr, Step{Path: "/"}).at(400*time.Millisecond, 100))
	count := 0
	conns.Range(func(any, any) bool { count++; return true })
	if len(rows) != 40 || count > 20 {
		t.Errorf("%d requests over %d connections", len(rows), count)
	}
}

func TestAddressesInTurn(t *testing.T) {
	var first, second atomic.Int64
	share := once("http", serve(t, func(http.ResponseWriter, *http.Request) { first.Add(1) }), Step{Path: "/"}).at(100*time.Millisecond, 100)
	target := share.Targets["shop"]
	target.Addrs = append(target.Addrs, serve(t, func(http.ResponseWriter, *http.Request) { second.Add(1) }))
	share.Targets["shop"] = target
	collect(t, t.Context(), share)
	if first.Load() != 5 || second.Load() != 5 {
		t.Errorf("%d and %d requests", first.Load(), second.Load())
	}
}
