package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// server serves gRPC and HTTP on one port: a connection that opens with
// HTTP/2's preface is gRPC's, any other is HTTP/1's.
type server struct {
	listener net.Listener
	grpc     *grpc.Server
	http     *http.Server
	wait     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // that are open; true once they have spoken. nil once closed
}

// sniffLimit bounds how long a connection may say nothing.
const sniffLimit = 10 * time.Second

// serve begins to serve on listener, which it then owns.
func serve(listener net.Listener, rpc *grpc.Server, handler http.Handler) *server {
	s := &server{
		listener: listener, grpc: rpc, conns: make(map[net.Conn]bool),
		http: &http.Server{Handler: handler, ReadHeaderTimeout: sniffLimit, MaxHeaderBytes: 64 << 10},
	}
	rpcConns := newConnQueue(listener.Addr())
	httpConns := newConnQueue(listener.Addr())
	s.wait.Go(func() { _ = s.grpc.Serve(rpcConns) })  // ends when close stops it
	s.wait.Go(func() { _ = s.http.Serve(httpConns) }) // likewise
	s.wait.Go(func() { s.accept(rpcConns, httpConns) })
	return s
}

// accept hands each connection to the server that speaks its protocol.
func (s *server) accept(rpcConns, httpConns *connQueue) {
	var sniffing sync.WaitGroup
	defer sniffing.Wait()
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			rpcConns.Close()
			httpConns.Close()
			return
		}
		if err != nil { // out of descriptors, say: it may pass
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if !s.watch(conn) {
			conn.Close()
			continue
		}
		sniffing.Go(func() {
			sniffed, rpc, err := s.sniff(conn)
			switch {
			case err != nil:
				s.unwatch(conn)
				conn.Close()
			case rpc:
				rpcConns.put(sniffed)
			default:
				httpConns.put(sniffed)
			}
		})
	}
}

// watch remembers an open connection, unless the server is closed.
func (s *server) watch(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[conn] = false
	return true
}

func (s *server) unwatch(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// spoke says that a connection belongs to one of the two servers now.
func (s *server) spoke(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, open := s.conns[conn]; open {
		s.conns[conn] = true
	}
}

// hangUp ends the connections that have not spoken yet, or all.
func (s *server) hangUp(all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, spoke := range s.conns {
		if all || !spoke {
			conn.Close()
		}
	}
	if all {
		s.conns = nil
	}
}

// sniff reads the first bytes and tells whether HTTP/2 begins with them.
func (s *server) sniff(conn net.Conn) (net.Conn, bool, error) {
	const preface = "PRI"
	first := make([]byte, len(preface))
	if err := conn.SetReadDeadline(time.Now().Add(sniffLimit)); err != nil {
		return nil, false, err
	}
	n := 0
	for n < len(first) && string(first[:n]) == preface[:n] {
		m, err := conn.Read(first[n:])
		if err != nil {
			return nil, false, err
		}
		n += m
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, false, err
	}
	s.spoke(conn)
	return &sniffedConn{Conn: conn, first: first[:n], server: s}, string(first[:n]) == preface, nil
}

// sniffedConn gives back what was read ahead.
type sniffedConn struct {
	net.Conn
	first  []byte
	server *server
}

func (c *sniffedConn) Close() error {
	c.server.unwatch(c.Conn)
	return c.Conn.Close()
}

func (c *sniffedConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// close stops serving: requests under way may end until ctx does. What a
// client keeps open beyond that is cut, which is no error.
func (s *server) close(ctx context.Context) error {
	err := s.listener.Close()
	s.hangUp(false)
	graceful := make(chan struct{})
	go func() { defer close(graceful); s.grpc.GracefulStop() }()
	if s.http.Shutdown(ctx) != nil {
		err = errors.Join(err, s.http.Close())
	}
	select {
	case <-graceful:
	case <-ctx.Done():
	}
	s.hangUp(true) // gRPC would wait for a handshake that never comes
	s.grpc.Stop()
	<-graceful
	s.wait.Wait()
	if err != nil {
		return fmt.Errorf("closing the server: %w", err)
	}
	return nil
}

// connQueue is a listener that is handed its connections.
type connQueue struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newConnQueue(addr net.Addr) *connQueue {
	return &connQueue{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (q *connQueue) put(conn net.Conn) {
	select {
	case q.conns <- conn:
	case <-q.done:
		conn.Close()
	}
}

// Accept implements net.Listener.
func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *connQueue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr implements net.Listener.
func (q *connQueue) Addr() net.Addr { return q.addr }
