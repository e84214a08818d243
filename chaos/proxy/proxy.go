// Package proxy owns the proxy process: the proxies that stand on the edges of
// the system under test, the toxics in them, and the lease on those. It is
// Toxiproxy used as a library, behind Toxiproxy's own HTTP API, so that any Toxiproxy
// client can look at a run or take part in it. What it adds:
//
//   - A lease (POST /lease): when the renewing stops, every toxic is removed and
//     every proxy enabled. A lab that died leaves no fault behind.
//   - Traffic (GET /faultline/traffic and /metrics): connections and bytes of each
//     proxy, and what each toxic did to them, while it happens.
//   - Control calls that end: see toxics.go for how, and Server.remove for what is done
//     when one does not.
//   - Layer-7 hops (package hop) and the faults of requests in them, under the
//     same lease (/faultline/hops, /faultline/faults).
//   - Attributes are checked before they reach Toxiproxy; toxicity is 1.
//
// It does not know what a fault is for, or when it begins and ends: that is
// chaos.Controller's, through package network.
package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// Config says how the proxy process works. Zero values are usable.
type Config struct {
	// Listen is the address of the API; "" means a free port of 127.0.0.1.
	Listen string
	// MemoryLimitBytes is where the garbage collector starts to work harder; 0 means 256 MiB.
	MemoryLimitBytes int64
	// CallWithin bounds a control call; 0 means 3 s. One that takes longer is given up, and where
	// it was to remove a toxic, the proxy's connections are cut to get rid of it.
	CallWithin time.Duration
	// Proxies is a file of proxies to begin with, in the format of Toxiproxy's own configuration
	// file; "" means none.
	Proxies string
	// Tunnel lets the API's clients open connections to whatever the process reaches (CONNECT): the
	// way into a network of containers for a lab that is outside. See Dialer.
	Tunnel bool
	// Log takes what is unusual; nil means nobody does.
	Log *slog.Logger
}

// Notice is a line that the process prints, in JSON.
type Notice struct {
	Event string `json:"event"` // ready | lease lapsed
	// API is the base URL of the API, and PID the process, on ready.
	API string `json:"api,omitempty"`
	PID int    `json:"pid,omitempty"`
	// Toxics, Connections and Error say, when the lease lapsed, how many toxics were removed, how many
	// connections had to be cut for it, and what went wrong.
	Toxics      int    `json:"toxics,omitempty"`
	Faults      int    `json:"faults,omitempty"` // of requests, lifted too
	Connections int64  `json:"connections,omitempty"`
	Error       string `json:"error,omitempty"`
}

// The events of notices.
const (
	NoticeReady  = "ready"
	NoticeLapsed = "lease lapsed"
)

// Main is the proxy process: it prints a Notice once it is ready, one each time
// the lease lapses, and works until ctx ends or stdin closes. The goroutine
// that reads stdin ends with stdin, which may be after Main.
func Main(ctx context.Context, stdin io.Reader, stdout io.Writer, config Config) error {
	limit := config.MemoryLimitBytes
	if limit <= 0 {
		limit = 256 << 20
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // whatever ends it: the lab has gone
		cancel()
	}()
	address := config.Listen
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listening for the proxy's api: %w", err)
	}
	server := NewServer(config)
	if err := server.populateFrom(config.Proxies); err != nil {
		return errors.Join(err, server.Close(), listener.Close())
	}
	printer := &printer{to: json.NewEncoder(stdout)}
	return server.serve(ctx, listener, printer)
}

// printer prints notices, one line at a time.
type printer struct {
	mu sync.Mutex
	to *json.Encoder
}

func (p *printer) print(n Notice) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to.Encode(n)
}

// serve works until ctx ends, and then cuts every connection.
func (s *Server) serve(ctx context.Context, listener net.Listener, out *printer) error {
	api := &http.Server{Handler: s.Handler(), ReadTimeout: 15 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute}
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		served <- api.Serve(listener)
		cancel()
	}()
	var leasing sync.WaitGroup
	leasing.Go(func() { s.lease.keep(ctx, func(ctx context.Context) { s.lapsed(ctx, out) }) })
	err := out.print(Notice{Event: NoticeReady, API: "http://" + listener.Addr().String(), PID: os.Getpid()})
	if err != nil {
		cancel()
	}
	<-ctx.Done()
	stopping, stop := context.WithTimeout(context.WithoutCancel(ctx), s.within)
	defer stop()
	if api.Shutdown(stopping) != nil {
		err = errors.Join(err, api.Close())
	}
	if failed := <-served; !errors.Is(failed, http.ErrServerClosed) {
		err = errors.Join(err, failed)
	}
	leasing.Wait()
	return errors.Join(err, s.Close())
}

// lapsed lifts every fault because nobody renewed the lease.
func (s *Server) lapsed(ctx context.Context, out *printer) {
	done, err := s.lift(context.WithoutCancel(ctx))
	notice := Notice{Event: NoticeLapsed, Toxics: done.toxics, Faults: done.faults, Connections: done.cut}
	if err != nil {
		notice.Error = err.Error()
	}
	s.log.Warn("the lease lapsed; every fault is lifted", "toxics", done.toxics, "faults", done.faults, "connections_cut", done.cut, "error", notice.Error)
	if err := out.print(notice); err != nil {
		s.log.Warn("printing a notice", "error", err)
	}
}
