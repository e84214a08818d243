package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// greeter answers every line's bytes with themselves, after a greeting.
func greeter(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, "hello ")
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return listener.Addr().String()
}

func TestTunnel(t *testing.T) {
	server := NewServer(Config{Tunnel: true})
	api := httptest.NewServer(server.Handler())
	defer api.Close()
	dial := Dialer(strings.TrimPrefix(api.URL, "http://"))
	conn, err := dial(t.Context(), "tcp", greeter(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "world"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("hello world"))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello world" {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := dial(t.Context(), "tcp", "127.0.0.1:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens there: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dial(cancelled, "tcp", "127.0.0.1:1"); err == nil {
		t.Error("connected although nobody wanted it any more")
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(got); err == nil {
		t.Errorf("read %d bytes through a closed tunnel", n)
	}
	if _, err := dial(t.Context(), "tcp", greeter(t)); err == nil {
		t.Error("a closed tunnel let somebody through")
	}
}

func TestNoTunnelUnlessAsked(t *testing.T) {
	server := NewServer(Config{})
	defer server.Close()
	api := httptest.NewServer(server.Handler())
	defer api.Close()
	if _, err := Dialer(strings.TrimPrefix(api.URL, "http://"))(t.Context(), "tcp", greeter(t)); err == nil {
		t.Error("a server without a tunnel let somebody through")
	}
}

func TestBeginsWithAFileOfProxies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proxies.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server := NewServer(Config{})
	defer server.Close()
	write(`[{"name": "a->b#1", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}, {"name": "off", "upstream": "127.0.0.1:1", "enabled": false}]`)
	if err := server.populateFrom(file); err != nil {
		t.Fatal(err)
	}
	if got := server.Traffic(); len(got) != 2 || got[0].Name != "a->b#1" {
		t.Errorf("got %+v", got)
	}
	write(`[{"name": "x"}]`)
	if err := server.populateFrom(file); err == nil || !strings.Contains(err.Error(), "missing required field: upstream") {
		t.Errorf("got %v", err)
	}
	write(`{`)
	if err := server.populateFrom(file); err == nil {
		t.Error("a file that is no JSON was read")
	}
	if err := server.populateFrom(file + "x"); err == nil {
		t.Error("a file that is not there was read")
	}
	request := httptest.NewRequest(http.MethodGet, "/proxies/off", nil)
	recorder := httptest.NewRecorder()
	server.Handler().ServeHTTP(recorder, request)
	if !strings.Contains(recorder.Body.String(), `"enabled":false`) {
		t.Errorf("got %s", recorder.Body)
	}
}
