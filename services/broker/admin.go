package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// newAdmin serves health and metrics, and publishes what it is given.
func newAdmin(srv *server.Server, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !srv.Running() || !srv.JetStreamEnabled() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("POST /messages/{subject}", func(w http.ResponseWriter, r *http.Request) { publishBody(w, r, srv) })
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// publishWithin bounds the publishing of one message.
const publishWithin = 2 * time.Second

// publishBody answers POST /messages/<subject>: the body is published as it is, whatever it may be, once a stream has taken it.
func publishBody(w http.ResponseWriter, r *http.Request, srv *server.Server) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMemMsg))
	if err != nil {
		http.Error(w, "reading the message: "+err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), publishWithin)
	defer cancel()
	ack, err := publishInside(ctx, srv, r.PathValue("subject"), body)
	if err != nil {
		http.Error(w, "publishing: "+err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "message %d of stream %s\n", ack.Sequence, ack.Stream)
}

// publishInside publishes without a way through the network.
func publishInside(ctx context.Context, srv *server.Server, subject string, body []byte) (*jetstream.PubAck, error) {
	conn, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, err
	}
	return js.Publish(ctx, subject, body)
}

// serveAdmin serves on ADMIN_PORT of ADMIN_HOST until ctx ends; without a port it only waits.
func serveAdmin(ctx context.Context, env map[string]string, handler http.Handler) error {
	if env["ADMIN_PORT"] == "" {
		<-ctx.Done()
		return nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort(cmp.Or(env["ADMIN_HOST"], defaultHost), env["ADMIN_PORT"]))
	if err != nil {
		return fmt.Errorf("listening for admin: %w", err)
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	unhook := context.AfterFunc(ctx, func() { srv.Close() })
	defer unhook()
	if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving admin: %w", err)
	}
	return nil
}
