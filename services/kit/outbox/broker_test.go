package outbox

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/faultline-lab/faultline/services/kit/broker"
)

// serveNATS starts a broker on a port, with its messages in dir.
func serveNATS(t *testing.T, port int, dir string) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker does not start")
	}
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	return srv
}

// TestRealBroker publishes to a broker that comes late, goes, and comes back with what it had.
func TestRealBroker(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	client, err := broker.Connect(t.Context(), broker.Config{Addrs: []string{addr}, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	o := newOutbox(t, Config{Publisher: client, Prepare: func(ctx context.Context) error {
		return client.EnsureStream(ctx, "THINGS", "things.>")
	}})
	start(t, o)
	for i := range 20 {
		add(t, o, fmt.Sprint("early-", i%4), i)
	}
	dir := t.TempDir()
	first := serveNATS(t, port, dir)
	awaitEmpty(t, o)
	first.Shutdown()
	first.WaitForShutdown()
	for i := range 20 {
		add(t, o, fmt.Sprint("late-", i%4), i)
	}
	serveNATS(t, port, dir)
	awaitEmpty(t, o)
	// What was published twice is kept once.
	if _, err := o.cfg.Store.ExecContext(t.Context(), `UPDATE test_outbox SET published_ns = 0 WHERE aggregate LIKE 'late-%'`); err != nil {
		t.Fatal(err)
	}
	awaitEmpty(t, o)
	wantStream(t, addr, 40)
}

// wantStream checks how many messages the broker keeps.
func wantStream(t *testing.T, addr string, want uint64) {
	t.Helper()
	conn, err := nats.Connect("nats://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "THINGS")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != want {
		t.Errorf("the broker keeps %d messages, want %d", got, want)
	}
}
