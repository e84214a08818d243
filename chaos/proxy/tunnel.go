package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tunnel opens connections for clients of the API that are not where the
// proxies are: HTTP's CONNECT. Whoever can use the API can reach anything
// through a proxy of their own anyway.
type tunnel struct {
	mu     sync.Mutex
	open   map[net.Conn]bool // nil once closed
	active sync.WaitGroup
}

func newTunnel() *tunnel { return &tunnel{open: map[net.Conn]bool{}} }

// tunnelWithin bounds connecting.
const tunnelWithin = 5 * time.Second

// before answers CONNECT and leaves the rest to next. Without a tunnel, all is left to next.
func (t *tunnel) before(next http.Handler) http.Handler {
	if t == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			next.ServeHTTP(w, r)
			return
		}
		if strings.HasPrefix(r.UserAgent(), "Mozilla/") { // as everywhere in the API
			http.Error(w, "user agent not allowed", http.StatusForbidden)
			return
		}
		dialer := net.Dialer{Timeout: tunnelWithin}
		callee, err := dialer.DialContext(r.Context(), "tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		caller, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = callee.Close() // the other error says what is wrong
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		t.splice(caller, buffered.Reader, callee)
	})
}

// splice copies both ways until both have ended, or the tunnel is closed.
func (t *tunnel) splice(caller net.Conn, from *bufio.Reader, callee net.Conn) {
	defer caller.Close()
	defer callee.Close()
	if !t.keep(caller, callee) {
		return
	}
	defer t.drop(caller, callee)
	if caller.SetDeadline(time.Time{}) != nil { // the server's own limits are for questions to the API
		return
	}
	if _, err := io.WriteString(caller, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var copying sync.WaitGroup
	copying.Go(func() { _, _ = io.Copy(callee, from); closeWrite(callee) }) // an end is an end, whatever ended it
	copying.Go(func() { _, _ = io.Copy(caller, callee); closeWrite(caller) })
	copying.Wait()
}

func closeWrite(conn net.Conn) {
	if half, ok := conn.(*net.TCPConn); ok {
		_ = half.CloseWrite() // it has gone if it fails
	}
}

func (t *tunnel) keep(conns ...net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		return false
	}
	t.active.Add(1)
	for _, conn := range conns {
		t.open[conn] = true
	}
	return true
}

func (t *tunnel) drop(conns ...net.Conn) {
	t.mu.Lock()
	for _, conn := range conns {
		delete(t.open, conn)
	}
	t.mu.Unlock()
	t.active.Done()
}

// close cuts every connection and waits until all have ended.
func (t *tunnel) close() {
	t.mu.Lock()
	for conn := range t.open {
		_ = conn.Close() // whatever it says, its copying ends
	}
	t.open = nil
	t.mu.Unlock()
	t.active.Wait()
}

// Dialer returns how to connect to an address that only the proxy process with this API
// (host:port) reaches. The process has to run with Config.Tunnel.
func Dialer(api string) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", api)
		if err != nil {
			return nil, fmt.Errorf("connecting to the proxy: %w", err)
		}
		through, err := connect(ctx, conn, addr)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return through, nil
	}
}

// connect asks for a way to addr. What the callee said at once may have come with the answer.
func connect(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", addr, addr); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10)) // the status says enough without
		if strings.Contains(string(text), syscall.ECONNREFUSED.Error()) {
			return nil, fmt.Errorf("connecting to %s: %w", addr, syscall.ECONNREFUSED) // as if there were nothing between
		}
		return nil, fmt.Errorf("connecting to %s: %s: %s", addr, answer.Status, strings.TrimSpace(string(text)))
	}
	if !stop() {
		return nil, fmt.Errorf("connecting to %s: %w", addr, ctx.Err())
	}
	return &readAhead{Conn: conn, reader: reader}, nil
}

// readAhead gives what was read with the answer first.
type readAhead struct {
	net.Conn
	reader *bufio.Reader
}

func (c *readAhead) Read(b []byte) (int, error) { return c.reader.Read(b) }

// populateFrom creates the proxies of a file; "" is none.
func (s *Server) populateFrom(file string) error {
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the proxies: %w", err)
	}
	var list []spec
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("reading the proxies of %s: %w", file, err)
	}
	for _, p := range list {
		if _, err := s.create(p); err != nil {
			return fmt.Errorf("creating the proxy %s of %s: %w", p.Name, file, err)
		}
	}
	return nil
}
