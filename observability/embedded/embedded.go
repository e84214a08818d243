package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/prometheus/rules"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// The files of a run's directory that are this package's.
const (
	telemetryFile = "telemetry.db"
	metricsDir    = "metrics"
	profilesDir   = "profiles"
)

// LabService is the label service, and instance, of the lab's own metrics.
const LabService = "faultline"

// Config says where a backend keeps its data and what it watches.
type Config struct {
	Dir            string              // the run's directory; made if it is missing; must not hold another run's telemetry
	ScrapeInterval time.Duration       // also between two evaluations of the rules; 0 means 1s, at least 10ms
	Rules          []byte              // alert and recording rules, as a Prometheus rule file; nil means none
	Lab            prometheus.Gatherer // the lab's own metrics, scraped as service "faultline"; nil means none
	OnAlert        func(Alert)         // told each change of an alert's state, one at a time; it must not block. nil means nobody
	Log            *slog.Logger        // warnings of the parts; nil means none
	Limits         Limits
	Listen         string // "" means 127.0.0.1:0
	RemoteWrite    bool   // takes metrics over Prometheus' remote write (/api/v1/write), however old they are
}

// Limits bound what a backend holds. Zero fields take the default. What is
// beyond a limit is dropped and counted in Loss.
type Limits struct {
	Spans         int64 // stored, 1,000,000
	Logs          int64 // records stored, 500,000
	DatabaseBytes int64 // of telemetry.db, 1 GiB; a span takes about 0.35 KB
	ProfileBytes  int64 // of all profiles, 128 MiB
	MessageBytes  int64 // of one OTLP message or profile, unpacked, 8 MiB
	QueueBytes    int64 // waiting to be written, 32 MiB
	ScrapeSamples int   // of one scrape, 20,000; a scrape beyond it fails
	Exemplars     int64 // kept, newest first, 50,000
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Spans:         cmp.Or(l.Spans, 1_000_000),
		Logs:          cmp.Or(l.Logs, 500_000),
		DatabaseBytes: cmp.Or(l.DatabaseBytes, 1<<30),
		ProfileBytes:  cmp.Or(l.ProfileBytes, 128<<20),
		MessageBytes:  cmp.Or(l.MessageBytes, 8<<20),
		QueueBytes:    cmp.Or(l.QueueBytes, 32<<20),
		ScrapeSamples: cmp.Or(l.ScrapeSamples, 20_000),
		Exemplars:     cmp.Or(l.Exemplars, 50_000),
	}
}

// Endpoints are the base URLs of a running backend.
type Endpoints struct {
	OTLP       string // gRPC, and HTTP under /v1/traces, /v1/logs and /v1/metrics
	Prometheus string // the HTTP API is under /api/v1
	Pyroscope  string // profiles go to /ingest
}

// Backend is a running backend. Its methods are safe for concurrent use.
type Backend struct {
	cfg      Config
	store    *store
	metrics  *metrics
	profiles *profiles
	rules    *rules.Manager // nil without rules
	server   *server
	archive  *Archive
	url      string
	running  sync.WaitGroup

	stopOnce  sync.Once
	closeOnce sync.Once
	loss      telemetry.Loss
	closeErr  error
}

// minInterval is the shortest interval between scrapes: a sample's time is
// kept in whole milliseconds.
const minInterval = 10 * time.Millisecond

// Start makes the run's stores, listens, and evaluates the rules until Close.
// ctx bounds the start only. Rules that do not parse are an error that names
// every mistake with line and column.
func Start(ctx context.Context, cfg Config) (*Backend, error) {
	cfg.ScrapeInterval = cmp.Or(cfg.ScrapeInterval, time.Second)
	if cfg.ScrapeInterval < minInterval {
		return nil, fmt.Errorf("starting the backend: scrape interval %v: must be at least %v", cfg.ScrapeInterval, minInterval)
	}
	cfg.Limits = cfg.Limits.withDefaults()
	cfg.Listen = cmp.Or(cfg.Listen, "127.0.0.1:0")
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Log = slog.New(newQuietHandler(cfg.Log.Handler()))
	if cfg.OnAlert == nil {
		cfg.OnAlert = func(Alert) {}
	}
	b := &Backend{cfg: cfg}
	if err := b.start(ctx); err != nil {
		_, closeErr := b.Close(ctx)
		return nil, fmt.Errorf("starting the backend: %w", errors.Join(err, closeErr))
	}
	return b, nil
}

// start builds the parts. Close ends those that stand when one fails.
func (b *Backend) start(ctx context.Context) error {
	if err := os.MkdirAll(b.cfg.Dir, 0o755); err != nil {
		return err
	}
	var err error
	if b.store, err = openStore(ctx, filepath.Join(b.cfg.Dir, telemetryFile), b.cfg.Limits, b.cfg.Log); err != nil {
		return err
	}
	if b.metrics, err = openMetrics(b.cfg); err != nil {
		return err
	}
	groups, err := parseRules(b.cfg.Rules, b.metrics.parser, b.cfg.Log)
	if err != nil {
		return err
	}
	if b.rules, err = newRules(b.metrics, b.cfg.ScrapeInterval, groups, b.cfg.OnAlert); err != nil {
		return err
	}
	b.running.Go(b.rules.Run)
	b.profiles = &profiles{dir: filepath.Join(b.cfg.Dir, profilesDir), limits: b.cfg.Limits, log: b.cfg.Log}
	if b.archive, err = liveArchive(b.cfg.Dir, b.metrics); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", b.cfg.Listen)
	if err != nil {
		return err
	}
	b.url = "http://" + listener.Addr().String()
	receive := &receiver{store: b.store, metrics: otlpMetrics(b.metrics), limit: b.cfg.Limits.MessageBytes}
	b.server = serve(listener, receive.grpcServer(), b.handler(receive, listener.Addr().String()))
	return b.SetTargets(nil)
}

// labPath is where the lab's own metrics are scraped.
const labPath = "/metrics"

func (b *Backend) handler(receive *receiver, addr string) http.Handler {
	mux := http.NewServeMux()
	receive.register(mux)
	mux.Handle("POST /ingest", b.profiles)
	api := sync.OnceValue(func() http.Handler { return prometheusAPI(b.metrics, b.rules, addr) })
	mux.HandleFunc("/api/v1/", func(w http.ResponseWriter, r *http.Request) { api().ServeHTTP(w, r) })
	mux.HandleFunc("GET "+MessagesPath, b.serveMessages)
	mux.HandleFunc("GET /-/ready", func(http.ResponseWriter, *http.Request) {})
	if b.cfg.Lab != nil {
		mux.Handle("GET "+labPath, promhttp.HandlerFor(b.cfg.Lab, promhttp.HandlerOpts{
			EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError,
		}))
	}
	return mux
}

// Endpoints gives the URLs to send telemetry to and to ask.
func (b *Backend) Endpoints() Endpoints {
	return Endpoints{OTLP: b.url, Prometheus: b.url, Pyroscope: b.url}
}

// SetTargets replaces what is scraped, beside the lab itself. It returns at
// once; scraping follows within 100 ms, spread over the interval. A target
// that is down stays a target: up is 0, and its series end with stale markers.
func (b *Backend) SetTargets(targets []Target) error {
	if b.cfg.Lab != nil {
		targets = append([]Target{{Service: LabService, Instance: LabService, URL: b.url + labPath}}, targets...)
	}
	if err := b.metrics.setTargets(targets); err != nil {
		return fmt.Errorf("setting targets: %w", err)
	}
	return nil
}

// StopScraping scrapes every target a last time, then ends scraping and the
// rules. Call it before the targets are stopped: otherwise their end is
// recorded as an outage.
func (b *Backend) StopScraping() {
	b.stopOnce.Do(func() {
		if b.metrics != nil {
			b.metrics.stopScraping()
		}
		if b.rules != nil {
			b.rules.Stop()
			b.running.Wait()
		}
	})
}

// Archive asks the running backend. It is closed with it.
func (b *Backend) Archive() *Archive { return b.archive }

// Loss says what was sent, or promised, and is not held. Spans and records
// that senders dropped are known as of the last scrape of their counters.
// ScrapesFailed counts every scrape that brought nothing, also of targets that
// were down on purpose; the series up tells which.
func (b *Backend) Loss() telemetry.Loss {
	loss := telemetry.Loss{
		SpansReceived:   b.store.spans.received.Load(),
		SpansDropped:    b.store.spans.dropped.Load(),
		LogsReceived:    b.store.logs.received.Load(),
		LogsDropped:     b.store.logs.dropped.Load(),
		ProfilesDropped: b.profiles.dropped.Load(),
	}
	ctx := context.Background()
	spans, err1 := sentDrops(ctx, b.metrics.db, names.SpansDropped)
	logs, err2 := sentDrops(ctx, b.metrics.db, names.LogsDropped)
	scrapes, err3 := failedScrapes(ctx, b.metrics.db)
	if err := errors.Join(err1, err2, err3); err != nil {
		b.cfg.Log.Warn("losses are not wholly known", "error", err)
	}
	loss.SpansDropped += spans
	loss.LogsDropped += logs
	loss.ScrapesFailed = scrapes
	return loss
}

// closeLimit bounds how long Close waits for requests under way.
const closeLimit = 250 * time.Millisecond

// Close scrapes a last time if StopScraping did not, writes what waits, and
// closes the stores. It gives the final losses; further calls give the same.
func (b *Backend) Close(ctx context.Context) (telemetry.Loss, error) {
	b.closeOnce.Do(func() { b.closeErr = b.close(ctx) })
	return b.loss, b.closeErr
}

func (b *Backend) close(ctx context.Context) error {
	b.StopScraping()
	var errs []error
	limit, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	if b.server != nil {
		errs = append(errs, b.server.close(limit))
	}
	if b.archive != nil {
		errs = append(errs, b.archive.Close())
	}
	if b.store != nil {
		errs = append(errs, b.store.close())
	}
	if b.server != nil { // everything stood
		b.loss = b.Loss()
	}
	if b.metrics != nil {
		errs = append(errs, b.metrics.close(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the backend: %w", err)
	}
	return nil
}
