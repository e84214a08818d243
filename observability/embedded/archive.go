package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/faultline-lab/faultline/observability/telemetry"
)

// Archive answers questions about one run, recorded or still under way. Its
// methods are safe for concurrent use.
type Archive struct {
	dir       string
	engine    *promql.Engine
	parser    parser.Parser
	samples   storage.Queryable
	exemplars storage.ExemplarQueryable
	telemetry *sql.DB
	closers   []func() error
}

// readers is how many questions about traces and logs are answered at once.
const readers = 3

// liveArchive reads beside the backend that writes.
func liveArchive(dir string, m *metrics) (*Archive, error) {
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, telemetryFile), "query_only(1)", "cache_size(-2000)"))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", telemetryFile, err)
	}
	db.SetMaxOpenConns(readers)
	return &Archive{
		dir: dir, engine: m.engine, parser: m.parser, samples: m.db, exemplars: m.db,
		telemetry: db, closers: []func() error{db.Close},
	}, nil
}

// OpenArchive opens the telemetry of a recorded run. Nothing under dir is
// changed: what has to be replayed or repaired, after a killed lab, is so in a
// copy that Close removes.
func OpenArchive(dir string) (*Archive, error) {
	temp, err := os.MkdirTemp("", "faultline-archive-")
	if err != nil {
		return nil, fmt.Errorf("opening the archive %s: %w", dir, err)
	}
	a := &Archive{dir: dir, parser: parser.NewParser(parser.Options{})}
	a.closers = append(a.closers, func() error { return os.RemoveAll(temp) })
	if err := errors.Join(a.openTelemetry(temp), a.openMetrics(temp)); err != nil {
		return nil, fmt.Errorf("opening the archive %s: %w", dir, errors.Join(err, a.Close()))
	}
	return a, nil
}

// openTelemetry opens the database where it lies, or a copy if the writer left
// a journal to recover from.
func (a *Archive) openTelemetry(temp string) error {
	path := filepath.Join(a.dir, telemetryFile)
	if _, err := os.Stat(path); err != nil {
		return err
	}
	name := dsn(path, "query_only(1)") + "&immutable=1"
	if journal, err := os.Stat(path + "-wal"); err == nil && journal.Size() > 0 {
		for _, suffix := range []string{"", "-wal"} {
			if err := copyFile(path+suffix, filepath.Join(temp, telemetryFile+suffix)); err != nil {
				return err
			}
		}
		name = dsn(filepath.Join(temp, telemetryFile), "query_only(1)")
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	db.SetMaxOpenConns(readers)
	a.telemetry = db
	a.closers = append(a.closers, db.Close)
	var version int
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	if version != schemaVersion {
		return fmt.Errorf("%s has format %d, this program reads %d", path, version, schemaVersion)
	}
	return nil
}

// openMetrics opens a copy of the metrics: a TSDB writes when it opens.
func (a *Archive) openMetrics(temp string) error {
	from, to := filepath.Join(a.dir, metricsDir), filepath.Join(temp, metricsDir)
	if err := copyTree(from, to); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	reg := prometheus.NewRegistry()
	db, err := tsdb.Open(to, log, reg, tsdbOptions(Limits{}.withDefaults()), nil)
	if err != nil {
		return fmt.Errorf("opening the metrics: %w", err)
	}
	db.DisableCompactions()
	a.closers = append(a.closers, db.Close)
	a.samples, a.exemplars, a.engine = db, db, newEngine(a.parser, log, reg)
	return nil
}

// copyTree copies regular files and folders.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		return copyFile(path, target)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Close ends the archive; of a running backend, the backend does it.
func (a *Archive) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	return errors.Join(errs...)
}

// Query evaluates a PromQL expression at one time. A scalar comes as one
// series without labels; a range selector gives series of more than one point.
// Series come by their labels unless the expression orders them. Histograms of
// the native kind are left out.
func (a *Archive) Query(ctx context.Context, expr string, at time.Time) ([]telemetry.Series, error) {
	query, err := a.engine.NewInstantQuery(ctx, a.samples, nil, expr, at)
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", expr, err)
	}
	found, err := series(ctx, query, expr)
	if err == nil && !a.ordered(expr) {
		slices.SortFunc(found, func(x, y telemetry.Series) int {
			return labels.Compare(labels.FromMap(x.Labels), labels.FromMap(y.Labels))
		})
	}
	return found, err
}

// ordered says whether an expression gives its series an order of its own.
func (a *Archive) ordered(expr string) bool {
	parsed, err := a.parser.ParseExpr(expr)
	if err != nil {
		return false
	}
	switch e := parsed.(type) {
	case *parser.Call:
		return strings.HasPrefix(e.Func.Name, "sort")
	case *parser.AggregateExpr:
		return e.Op == parser.TOPK || e.Op == parser.BOTTOMK
	}
	return false
}

// QueryRange evaluates a PromQL expression every step from from to to.
func (a *Archive) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) ([]telemetry.Series, error) {
	if step < time.Millisecond || to.Before(from) {
		return nil, fmt.Errorf("query %q: from %v to %v by %v is no range", expr, from, to, step)
	}
	query, err := a.engine.NewRangeQuery(ctx, a.samples, nil, expr, from, to, step)
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", expr, err)
	}
	return series(ctx, query, expr)
}

func series(ctx context.Context, query promql.Query, expr string) ([]telemetry.Series, error) {
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return nil, fmt.Errorf("query %q: %w", expr, result.Err)
	}
	var out []telemetry.Series
	switch value := result.Value.(type) {
	case promql.Scalar:
		out = append(out, telemetry.Series{Labels: map[string]string{}, Points: []telemetry.Point{point(value.T, value.V)}})
	case promql.Vector:
		for _, sample := range value {
			if sample.H == nil {
				out = append(out, telemetry.Series{Labels: sample.Metric.Map(), Points: []telemetry.Point{point(sample.T, sample.F)}})
			}
		}
	case promql.Matrix:
		for _, line := range value {
			s := telemetry.Series{Labels: line.Metric.Map(), Points: make([]telemetry.Point, len(line.Floats))}
			for i, f := range line.Floats {
				s.Points[i] = point(f.T, f.F)
			}
			out = append(out, s)
		}
	default:
		return nil, fmt.Errorf("query %q: gives a %s, not series", expr, result.Value.Type())
	}
	return out, nil
}

func point(t int64, v float64) telemetry.Point {
	return telemetry.Point{Time: time.UnixMilli(t), Value: v}
}

// Exemplar is one measurement that points to its trace.
type Exemplar struct {
	Labels  map[string]string // of the series
	Value   float64
	Time    time.Time
	TraceID string // "" if it names none
}

// Exemplars gives the exemplars of the series that an expression selects, such
// as http_server_request_duration_seconds_bucket{service="gateway"}, by time
// within each series.
func (a *Archive) Exemplars(ctx context.Context, expr string, from, to time.Time) ([]Exemplar, error) {
	parsed, err := a.parser.ParseExpr(expr)
	if err != nil {
		return nil, fmt.Errorf("exemplars of %q: %w", expr, err)
	}
	querier, err := a.exemplars.ExemplarQuerier(ctx)
	if err != nil {
		return nil, fmt.Errorf("exemplars of %q: %w", expr, err)
	}
	results, err := querier.Select(from.UnixMilli(), to.UnixMilli(), parser.ExtractSelectors(parsed)...)
	if err != nil {
		return nil, fmt.Errorf("exemplars of %q: %w", expr, err)
	}
	var out []Exemplar
	for _, result := range results {
		shared := result.SeriesLabels.Map()
		for _, e := range result.Exemplars {
			out = append(out, Exemplar{
				Labels: maps.Clone(shared), Value: e.Value, Time: time.UnixMilli(e.Ts),
				TraceID: strings.ToLower(e.Labels.Get(traceIDLabel)),
			})
		}
	}
	return out, nil
}

// traceIDLabel is what exemplars call their trace.
const traceIDLabel = "trace_id"
