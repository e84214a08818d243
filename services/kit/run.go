package kit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/observability"
)

// Run runs a service until ctx ends, then drains it: it says that it is not
// ready, takes no more requests, waits for those under way (DRAIN_TIMEOUT, 5 s unless set), ends the
// background work and closes everything. It returns early with an error when the service cannot
// start or a part of it fails.
func Run(ctx context.Context, svc Service, env Env) error {
	if err := run(ctx, svc, env); err != nil {
		return fmt.Errorf("running %s: %w", svc.Name, err)
	}
	return nil
}

func run(ctx context.Context, svc Service, env Env) (err error) {
	s, err := env.settings()
	if err != nil {
		return err
	}
	cfg := observability.ConfigFromEnv(env.Get)
	if cfg.Service == "" {
		cfg.Service = svc.Name
	}
	telemetry, err := observability.Setup(ctx, cfg)
	if err != nil {
		return err
	}
	// Everything that ends with the service ends even when ctx has ended already.
	lasting := context.WithoutCancel(ctx)
	defer func() {
		// Lost telemetry is counted where it is lost; it is no failure of the service.
		if e := telemetry.Shutdown(lasting); e != nil {
			telemetry.Log.Info("telemetry not fully sent", "error", e)
		}
	}()
	rt, err := newRuntime(svc, env, s, telemetry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.close()) }()
	in := &instance{svc: svc, rt: rt, settings: s, draining: make(chan struct{}), failed: make(chan error, 1)}
	in.phase.Store(starting)
	return in.run(ctx)
}

// The phases of an instance.
const (
	starting int32 = iota
	serving
	draining
)

// instance is one running service.
type instance struct {
	svc      Service
	rt       *Runtime
	settings settings
	parts    *Parts
	phase    atomic.Int32
	draining chan struct{} // closed when draining begins
	failed   chan error    // holds the first failure of a part
	wait     sync.WaitGroup
}

func (in *instance) run(ctx context.Context) (err error) {
	listener, err := listen(ctx, in.settings.mainAddr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // closed twice when served: the second time is no error that matters
	admin, err := listen(ctx, in.settings.adminAddr)
	if err != nil {
		return err
	}
	adminServer := newServer(in.adminMux(), in.rt.Log)
	in.goServe("admin", func() error { return adminServer.Serve(admin) })
	defer in.wait.Wait()
	defer func() { _ = adminServer.Close() }()

	if in.parts, err = in.svc.Build(ctx, in.rt); err != nil {
		return fmt.Errorf("building: %w", err)
	}
	if in.parts == nil {
		in.parts = &Parts{}
	}
	if in.parts.Close != nil {
		defer func() { err = errors.Join(err, in.parts.Close()) }()
	}
	in.mountAdmin(adminServer)
	stop, err := in.serve(listener)
	if err != nil {
		return err
	}
	background, endBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer endBackground()
	backgroundDone := in.goBackground(background)
	in.phase.Store(serving)
	in.rt.Log.Info("serving", "address", listener.Addr().String(), "admin", admin.Addr().String())

	select {
	case <-ctx.Done():
	case err = <-in.failed:
	}
	in.phase.Store(draining)
	close(in.draining)
	in.rt.Log.Info("draining")
	in.drain(ctx, stop, endBackground, backgroundDone)
	return err
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", addr)
}

// fail notes the first failure of a part.
func (in *instance) fail(err error) {
	select {
	case in.failed <- err:
	default:
	}
}

func (in *instance) goServe(what string, serve func() error) {
	in.wait.Go(func() {
		if err := serve(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			in.fail(fmt.Errorf("%s server: %w", what, err))
		}
	})
}

// serve starts the main server. stop takes no more requests and waits for those under way until ctx ends.
func (in *instance) serve(listener net.Listener) (stop func(ctx context.Context) error, err error) {
	switch in.svc.Protocol {
	case HTTP:
		return in.serveHTTP(listener)
	case GRPC:
		return in.serveGRPC(listener)
	}
	return nil, fmt.Errorf("unknown protocol %q", in.svc.Protocol)
}

func (in *instance) serveHTTP(listener net.Listener) (func(context.Context) error, error) {
	handler := in.parts.HTTP
	if handler == nil {
		handler = http.NotFoundHandler()
	}
	main, err := newHTTPServer(in.rt, handler)
	if err != nil {
		return nil, err
	}
	probes := http.NewServeMux()
	in.mountHealth(probes)
	server := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == healthPath || r.URL.Path == readyPath {
			probes.ServeHTTP(w, r) // here too, for whoever asks through the proxy of an edge; past the door
			return
		}
		main.ServeHTTP(w, r)
	}), in.rt.Log)
	in.goServe("http", func() error { return server.Serve(listener) })
	return func(ctx context.Context) error {
		err := server.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, server.Close())
		}
		return err
	}, nil
}

func (in *instance) serveGRPC(listener net.Listener) (func(context.Context) error, error) {
	server, err := newGRPCServer(in.rt, in.parts.GRPC, &health{ready: in.ready, draining: in.draining})
	if err != nil {
		return nil, err
	}
	in.goServe("grpc", func() error { return server.Serve(listener) })
	return func(ctx context.Context) error {
		cut := context.AfterFunc(ctx, server.Stop)
		server.GracefulStop()
		if !cut() {
			return ctx.Err()
		}
		return nil
	}, nil
}

func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelInfo),
	}
}

// goBackground starts the background work; the channel is closed when all of it has ended.
func (in *instance) goBackground(ctx context.Context) <-chan struct{} {
	var wait sync.WaitGroup
	for _, work := range in.parts.Background {
		wait.Go(func() {
			if err := work(ctx); err != nil && ctx.Err() == nil {
				in.fail(fmt.Errorf("background work: %w", err))
			}
		})
	}
	done := make(chan struct{})
	go func() { // waited for by drain, though not longer than its limit
		wait.Wait()
		close(done)
	}()
	return done
}

// backgroundLimit is how long background work may take to end.
const backgroundLimit = 3 * time.Second

// drain ends the service in order. What does not end in time is cut off and logged.
func (in *instance) drain(ctx context.Context, stop func(context.Context) error, endBackground func(), backgroundDone <-chan struct{}) {
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.settings.drain)
	defer cancel()
	if err := stop(limit); err != nil {
		in.rt.Log.Warn("requests cut off while draining", "after", in.settings.drain, "error", err)
	}
	endBackground()
	timer := time.NewTimer(backgroundLimit)
	defer timer.Stop()
	select {
	case <-backgroundDone:
	case <-timer.C:
		in.rt.Log.Warn("background work does not end", "after", backgroundLimit)
	}
}

// readyLimit bounds the service's own answer.
const readyLimit = time.Second

var (
	errStarting = errors.New("starting")
	errDraining = errors.New("draining")
)

// ready tells whether requests make sense now.
func (in *instance) ready(ctx context.Context) error {
	switch in.phase.Load() {
	case starting:
		return errStarting
	case draining:
		return errDraining
	}
	if in.parts.Ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	return in.parts.Ready(ctx)
}

// The paths of health, on both ports of an HTTP service.
const (
	healthPath = "/healthz"
	readyPath  = "/readyz"
)

// mountHealth adds /healthz (the process is there) and /readyz (requests make sense).
func (in *instance) mountHealth(mux *http.ServeMux) {
	mux.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET "+readyPath, func(w http.ResponseWriter, r *http.Request) {
		if err := in.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
}

// adminMux serves what does not need the service's parts, so that it is there while they are built.
func (in *instance) adminMux() *http.ServeMux {
	mux := http.NewServeMux()
	in.mountHealth(mux)
	mux.Handle("GET /metrics", in.rt.Telemetry.MetricsHandler())
	mux.HandleFunc("PUT /door", in.rt.Door.ServeWorkers)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// mountAdmin adds the service's own routes, and those of what it opened.
func (in *instance) mountAdmin(server *http.Server) {
	mux, _ := server.Handler.(*http.ServeMux) // safe while it serves: ServeMux locks
	for _, routes := range []map[string]http.Handler{in.parts.Admin, in.rt.admin} {
		for pattern, handler := range routes {
			mux.Handle(pattern, handler)
		}
	}
}
