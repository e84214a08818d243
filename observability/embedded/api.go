package embedded

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"time"

	"github.com/grafana/regexp"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/notifications"
	v1 "github.com/prometheus/prometheus/web/api/v1"
)

// prometheusVersion is what a Grafana asks for to know which functions it may use.
const prometheusVersion = "3.16.0"

// noAlertmanagers answers for what is not here: alerts go to OnAlert.
type noAlertmanagers struct{}

func (noAlertmanagers) Alertmanagers() []*url.URL        { return nil }
func (noAlertmanagers) DroppedAlertmanagers() []*url.URL { return nil }

// adminStats shows the API the storage's figures; it serves no changes.
type adminStats struct{ *tsdb.DB }

func (s adminStats) CleanTombstones() error { return s.DB.CleanTombstones() }

func (s adminStats) Delete(ctx context.Context, mint, maxt int64, ms ...*labels.Matcher) error {
	return s.DB.Delete(ctx, mint, maxt, ms...)
}

func (s adminStats) Stats(label string, limit int) (*tsdb.Stats, error) {
	return s.Head().Stats(label, limit), nil
}

func (s adminStats) WALReplayStatus() (tsdb.WALReplayStatus, error) {
	return tsdb.WALReplayStatus{}, nil
}

func (s adminStats) BlockMetas() ([]tsdb.BlockMeta, error) { return s.DB.BlockMetas(), nil }

// prometheusAPI is Prometheus' own HTTP API, read only, under /api/v1. Making
// it takes 100 ms and some megabytes, most for its OpenAPI document, so it is
// made for whoever first asks.
func prometheusAPI(m *metrics, manager *rules.Manager, addr string) http.Handler {
	started := time.Now()
	var written storage.AppendableV2 // read only, but for remote write
	if m.written {
		written = m.db
	}
	api := v1.NewAPI(
		m.engine, m.db, written, m.db,
		func(context.Context) v1.ScrapePoolsRetriever { return m.scraper },
		func(context.Context) v1.TargetRetriever { return m.scraper },
		func(context.Context) v1.AlertmanagerRetriever { return noAlertmanagers{} },
		func() config.Config { return *m.config },
		map[string]string{},
		v1.GlobalURLOptions{ListenAddress: addr, Host: addr, Scheme: "http"},
		func(next http.HandlerFunc) http.HandlerFunc { return next }, // ready from the start
		adminStats{m.db}, m.db.Dir(),
		false, false, 0, // no admin API, no search
		m.log,
		func(context.Context) v1.RulesRetriever { return manager },
		1_000_000, 2, 1<<20, // remote read: samples, concurrency, bytes in a frame
		false,
		regexp.MustCompile(`^https?://(localhost|127\.0\.0\.1)(:\d+)?$`), // pages of this machine only
		func() (v1.RuntimeInfo, error) { return runtimeInfo(started), nil },
		&v1.PrometheusVersion{Version: prometheusVersion, GoVersion: runtime.Version()},
		func() []notifications.Notification { return nil },
		func() (<-chan notifications.Notification, func(), bool) { return nil, nil, false },
		m.registry, m.registry, nil,
		m.written, remoteapi.MessageTypes{remoteapi.WriteV2MessageType, remoteapi.WriteV1MessageType},
		false, false, false, // OTLP has its own place
		0, false, false, nil, nil,
		v1.OpenAPIOptions{},
		parser.NewParser(parser.Options{}),
		false, 30*time.Second,
	)
	router := route.New()
	api.Register(router.WithPrefix("/api/v1"))
	return router
}

func runtimeInfo(started time.Time) v1.RuntimeInfo {
	host, _ := os.Hostname() // only shown
	return v1.RuntimeInfo{
		StartTime: started, ServerTime: time.Now(), Hostname: host,
		ReloadConfigSuccess: true, LastConfigTime: started,
		GoroutineCount: runtime.NumGoroutine(), GOMAXPROCS: runtime.GOMAXPROCS(0),
		StorageRetention: "the run",
	}
}

// otlpMetrics takes metrics that programs push, translated as Prometheus does.
func otlpMetrics(m *metrics) http.Handler {
	return remote.NewOTLPWriteHandler(m.log, m.registry, m.db, func() config.Config { return *m.config }, remote.OTLPOptions{})
}

var (
	_ v1.ScrapePoolsRetriever = (*scrape.Manager)(nil)
	_ v1.TSDBAdminStats       = adminStats{}
)
