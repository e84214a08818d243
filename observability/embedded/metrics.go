package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/faultline-lab/faultline/observability/names"
)

// Target is an address to scrape.
type Target struct {
	Service, Instance string // become the labels service and instance
	URL               string // such as http://127.0.0.1:9090/metrics
}

// jobName is the scrape pool's name; series carry job=service.
const jobName = "faultline"

// metrics is a Prometheus without its program: storage, scraping, PromQL.
type metrics struct {
	db       *tsdb.DB
	engine   *promql.Engine
	parser   parser.Parser
	registry *prometheus.Registry // the components' own metrics
	config   *config.Config
	log      *slog.Logger
	written  bool // takes remote write

	scraper *scrape.Manager
	mailbox sync.Mutex // held to replace what targets holds
	targets chan map[string][]*targetgroup.Group
	wait    sync.WaitGroup
	stop    sync.Once
}

// tsdbOptions are small: a run has minutes and thousands of series, where
// Prometheus expects weeks and millions.
func tsdbOptions(limits Limits) *tsdb.Options {
	opts := tsdb.DefaultOptions()
	opts.RetentionDuration = (10 * 365 * 24 * time.Hour).Milliseconds() // a run is kept as long as its directory
	opts.NoLockfile = true
	opts.WALCompression = compression.Snappy
	opts.StripeSize = 1 << 10
	opts.HeadChunksWriteBufferSize = 64 << 10
	opts.EnableExemplarStorage = true
	opts.MaxExemplars = limits.Exemplars
	return opts
}

func newEngine(p parser.Parser, log *slog.Logger, reg prometheus.Registerer) *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		Logger: log, Reg: reg, Parser: p,
		MaxSamples:           5_000_000,
		Timeout:              30 * time.Second,
		EnableAtModifier:     true,
		EnableNegativeOffset: true,
	})
}

func openMetrics(cfg Config) (*metrics, error) {
	log := cfg.Log
	m := &metrics{
		registry: prometheus.NewRegistry(),
		parser:   parser.NewParser(parser.Options{}),
		log:      log,
		targets:  make(chan map[string][]*targetgroup.Group, 1),
		written:  cfg.RemoteWrite,
	}
	var err error
	if m.config, err = scrapeConfig(cfg.ScrapeInterval, cfg.Limits, log); err != nil {
		return nil, err
	}
	options := tsdbOptions(cfg.Limits)
	if cfg.RemoteWrite {
		options.OutOfOrderTimeWindow = options.RetentionDuration
	}
	if m.db, err = tsdb.Open(filepath.Join(cfg.Dir, metricsDir), log, m.registry, options, nil); err != nil {
		return nil, fmt.Errorf("opening the metrics' storage: %w", err)
	}
	m.engine = newEngine(m.parser, log, m.registry)
	m.scraper, err = scrape.NewManager(&scrape.Options{
		DiscoveryReloadOnStartup: true,
		DiscoveryReloadInterval:  model.Duration(50 * time.Millisecond),
		ScrapeOnShutdown:         true,
	}, log, nil, nil, m.db, m.registry)
	if err != nil {
		return nil, fmt.Errorf("making the scraper: %w", errors.Join(err, m.db.Close()))
	}
	m.wait.Go(m.scrape)
	return m, nil
}

// scrape runs the scraper until it is stopped. While it takes its
// configuration it looks its own machine's name up in the DNS, which can last
// seconds on a machine without one, so only the first scrape waits for that.
func (m *metrics) scrape() {
	begin := time.Now()
	if err := m.scraper.ApplyConfig(m.config); err != nil {
		m.log.Error("nothing is scraped", "error", err)
		return
	}
	if took := time.Since(begin); took > time.Second {
		m.log.Warn("scraping began late: looking up this machine's own name is slow", "seconds", took.Seconds())
	}
	_ = m.scraper.Run(m.targets) // returns nil, once stopped
}

// scrapeConfig is what a prometheus.yml would say. No compression: over
// loopback it costs two processors' time and saves nothing.
func scrapeConfig(interval time.Duration, limits Limits, log *slog.Logger) (*config.Config, error) {
	text := fmt.Sprintf(`
global:
  scrape_interval: %[1]s
  scrape_timeout: %[1]s
  evaluation_interval: %[1]s
  scrape_protocols: [OpenMetricsText1.0.0, OpenMetricsText0.0.1, PrometheusText1.0.0, PrometheusText0.0.4]
  body_size_limit: 16MB
  sample_limit: %[2]d
  label_limit: 64
scrape_configs:
  - job_name: %[3]s
    enable_compression: false
    fallback_scrape_protocol: PrometheusText0.0.4
`, model.Duration(interval), limits.ScrapeSamples, jobName)
	cfg, err := config.Load(text, log)
	if err != nil {
		return nil, fmt.Errorf("scrape interval %v: %w", interval, err)
	}
	return cfg, nil
}

// setTargets replaces what is scraped. It returns at once; scraping follows
// within 100 ms. Each of the targets gone is scraped a last time.
func (m *metrics) setTargets(targets []Target) error {
	group := &targetgroup.Group{Source: jobName}
	var errs []error
	for _, t := range targets {
		labels, err := targetLabels(t)
		if err != nil {
			errs = append(errs, fmt.Errorf("target %s: %w", t.Instance, err))
			continue
		}
		group.Targets = append(group.Targets, labels)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	m.mailbox.Lock()
	defer m.mailbox.Unlock()
	select {
	case <-m.targets: // an older set that was not taken yet
	default:
	}
	m.targets <- map[string][]*targetgroup.Group{jobName: {group}}
	return nil
}

func targetLabels(t Target) (model.LabelSet, error) {
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("url %q: must be http://host:port/path", t.URL)
	}
	labels := model.LabelSet{
		model.AddressLabel:     model.LabelValue(u.Host),
		model.SchemeLabel:      model.LabelValue(u.Scheme),
		model.MetricsPathLabel: model.LabelValue(u.Path),
		model.JobLabel:         model.LabelValue(t.Service),
		names.Service:          model.LabelValue(t.Service),
		names.Instance:         model.LabelValue(t.Instance),
	}
	if u.Path == "" {
		labels[model.MetricsPathLabel] = "/metrics"
	}
	for key, values := range u.Query() {
		labels[model.LabelName(model.ParamLabelPrefix+key)] = model.LabelValue(strings.Join(values, ","))
	}
	return labels, nil
}

// stopScraping scrapes every target a last time and ends scraping.
func (m *metrics) stopScraping() { m.stop.Do(m.scraper.Stop) }

// close ends everything. Rules must have ended.
func (m *metrics) close(ctx context.Context) error {
	m.stopScraping()
	ended := make(chan struct{})
	go func() { defer close(ended); m.wait.Wait() }()
	select {
	case <-ended:
	case <-ctx.Done(): // still looking its name up; it holds nothing
	}
	if err := m.db.Close(); err != nil {
		return fmt.Errorf("closing the metrics' storage: %w", err)
	}
	return nil
}

// eachSample calls each with every sample of the series that match, series by
// series in time; first says that a series begins.
func eachSample(ctx context.Context, from storage.Queryable, each func(first bool, v float64), matchers ...*labels.Matcher) error {
	querier, err := from.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		return err
	}
	defer querier.Close()
	set := querier.Select(ctx, false, nil, matchers...)
	for set.Next() {
		samples := set.At().Iterator(nil)
		for first := true; samples.Next() == chunkenc.ValFloat; first = false {
			_, v := samples.At()
			each(first, v)
		}
		if err := samples.Err(); err != nil {
			return err
		}
	}
	return set.Err()
}

// failedScrapes counts the scrapes that brought nothing.
func failedScrapes(ctx context.Context, from storage.Queryable) (count int64, err error) {
	err = eachSample(ctx, from, func(_ bool, up float64) {
		if up == 0 {
			count++
		}
	}, labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "up"))
	return count, err
}

// sentDrops sums what senders counted as dropped, over their restarts. What
// this backend itself refused is left out: its own count has it already.
func sentDrops(ctx context.Context, from storage.Queryable, name string) (int64, error) {
	var sum, last float64
	err := eachSample(ctx, from, func(first bool, v float64) {
		switch {
		case math.IsNaN(v): // a stale marker
			return
		case first || v < last:
			sum += v
		default:
			sum += v - last
		}
		last = v
	}, labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, name),
		labels.MustNewMatcher(labels.MatchNotEqual, names.Cause, "rejected"))
	return int64(sum), err
}
