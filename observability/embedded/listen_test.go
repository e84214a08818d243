package embedded

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
)

// gRPC and HTTP answer on the same port, at the same time.
func TestOnePort(t *testing.T) {
	b := startBackend(t, Config{})
	if _, err := coltracepb.NewTraceServiceClient(dial(t, b)).Export(t.Context(), traceRequest()); err != nil {
		t.Error(err)
	}
	resp, err := http.Get(b.Endpoints().OTLP + "/-/ready")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("ready answers %d", resp.StatusCode)
	}
}

// Connections that say nothing, or stop in the middle, do not keep a backend
// from closing.
func TestSilentConnections(t *testing.T) {
	b := startBackend(t, Config{})
	for _, words := range []string{"", "P", "PRI * HT", "GET / HT", "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(b.Endpoints().OTLP, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(words)); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	if _, err := b.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > sniffLimit/2 {
		t.Errorf("closing took %v", took)
	}
}

func TestConnQueue(t *testing.T) {
	q := newConnQueue(&net.TCPAddr{})
	if q.Addr() == nil {
		t.Error("no address")
	}
	here, there := net.Pipe()
	defer there.Close()
	go q.put(here)
	if conn, err := q.Accept(); err != nil || conn != here {
		t.Errorf("accepted %v, %v", conn, err)
	}
	for range 2 {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}
	q.put(here) // closes it: nobody will accept it
	if _, err := here.Write([]byte("x")); err == nil {
		t.Error("the connection is still open")
	}
}
