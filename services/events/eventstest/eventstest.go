// Package eventstest serves a real broker to tests of services that send or consume messages.
package eventstest

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Broker is a NATS server that can be away for a time and comes back at its address with what it kept.
type Broker struct {
	Addr string

	port   int
	dir    string
	server *server.Server
}

// NewBroker reserves an address for a broker and does not start it.
func NewBroker(t *testing.T) *Broker {
	t.Helper()
	port := FreePort(t)
	return &Broker{Addr: fmt.Sprintf("127.0.0.1:%d", port), port: port, dir: t.TempDir()}
}

// Start starts the broker. It is stopped with the test at the latest.
func (b *Broker) Start(t *testing.T) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: b.port, JetStream: true, StoreDir: b.dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	b.server = srv
	srv.Start()
	t.Cleanup(b.Stop)
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker does not start")
	}
}

// Stop takes the broker away.
func (b *Broker) Stop() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}

// Messages counts the messages that a stream keeps, of one subject or, with a pattern, of several.
func (b *Broker) Messages(t *testing.T, stream, subject string) int {
	t.Helper()
	conn, err := nats.Connect("nats://" + b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) { // nobody has made it yet
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(subject))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, count := range info.State.Subjects {
		n += int(count)
	}
	return n
}

// FreePort returns a port of 127.0.0.1 that nobody listened on a moment ago.
func FreePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// Eventually waits until a condition holds, 20 seconds at most.
func Eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}
