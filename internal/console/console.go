// Package console owns the page on which people watch a run while it goes on, and act on it: a web
// server on loopback, fed once a second from the run, and what the page asks of
// it. It decides nothing: acting goes through run.Control, drawing a finished run through report.
package console

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/loadgen"
)

// Config says where to serve what.
type Config struct {
	// Listen is host:port. Empty means a free port of 127.0.0.1. Any address that is not loopback
	// asks for the token that URL contains before it shows anything.
	Listen string
	// Runs is the folder of recorded runs.
	Runs string
	// Scenarios is the folder that takes scenarios saved from the page.
	Scenarios string
	// System is how a saved scenario names the system: shop, or an absolute path.
	System  string
	Version string
	Log     *slog.Logger // nil discards
}

// Server serves the page. It is a run.Console: one run after another may attach to it.
type Server struct {
	cfg      Config
	listener net.Listener
	http     *http.Server
	id       string // tells this server from the one before
	token    string // to act
	entry    string // to see anything; "" on loopback
	serving  sync.WaitGroup
	stop     context.CancelFunc
	ctx      context.Context

	mu          sync.Mutex
	live        *live // the run that is attached, or was last; nil before the first
	subscribers map[*subscriber]bool
	closing     bool
	reports     map[string]string // files of reports made of several runs, by their names

	figures figures // of recorded runs
}

var _ run.Console = (*Server)(nil)

// Start serves the page until Close.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	listener, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("serving the page: %w", err)
	}
	s := &Server{cfg: cfg, listener: listener, id: secret(), token: secret(), subscribers: map[*subscriber]bool{}, reports: map[string]string{}}
	if !s.loopback() {
		s.entry = secret()
	}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.http = &http.Server{
		Handler: s.guard(s.routes()), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return s.ctx },
	}
	s.serving.Go(func() {
		if err := s.http.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("serving the page", "error", err)
		}
	})
	s.serving.Go(func() { s.tickRegularly(s.ctx) })
	return s, nil
}

func secret() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	return hex.EncodeToString(raw[:])
}

// loopback tells whether only this machine can reach the page.
func (s *Server) loopback() bool {
	addr, ok := s.listener.Addr().(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}

// URL is where the page is, with the token that it takes to see it where that is needed.
func (s *Server) URL() string {
	url := "http://" + s.listener.Addr().String() + "/"
	if s.entry != "" {
		url += "?token=" + s.entry
	}
	return url
}

// closeWithin is how long pages have to hear that it is over.
const closeWithin = 2 * time.Second

// Close tells the pages that it is over, in these words, and ends the server.
func (s *Server) Close(ctx context.Context, words string) error {
	s.mu.Lock()
	s.closing = true
	for sub := range s.subscribers {
		sub.send(message("bye", map[string]string{"text": words}))
		sub.leave()
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	s.stop()
	s.serving.Wait()
	return errors.Join(err, s.removeReports())
}

// Attach shows a run in place of the one before.
func (s *Server) Attach(control *run.Control) {
	l := newLive(control)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = l
	s.restart()
}

// Detach says that the run comes to its end.
func (s *Server) Detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live != nil {
		s.live.end()
	}
	s.broadcast(message("over", struct{}{}))
}

// Event takes in what happened. What happens while nothing is attached is in the record.
func (s *Server) Event(e record.Event) {
	if l := s.current(); l != nil {
		l.event(e)
	}
}

// Progress is not needed: the page counts the time by itself.
func (s *Server) Progress(run.Progress) {}

// Result takes in a result.
func (s *Server) Result(r loadgen.Result) {
	if l := s.current(); l != nil {
		l.result(r)
	}
}

func (s *Server) current() *live {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}
