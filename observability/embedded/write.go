package embedded

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	stale "github.com/prometheus/prometheus/model/value"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/faultline-lab/faultline/observability/telemetry"
)

// WriteMessage is a part of a run's metrics in Prometheus' remote-write
// protocol 2.0.
type WriteMessage struct {
	Plain      []byte    // io.prometheus.write.v2.Request
	Samples    int       // plain ones, stale markers included
	Histograms int       // native ones
	Exemplars  int       //
	From, To   time.Time // the first and the last sample in it
}

// Body is what is posted: the message compressed with snappy.
func (m WriteMessage) Body() ([]byte, error) {
	body, err := compression.Encode(compression.Snappy, m.Plain, nil)
	if err != nil {
		return nil, fmt.Errorf("compressing metrics: %w", err)
	}
	return body, nil
}

// WriteMessageHeader is what the body of a WriteMessage is posted with.
func WriteMessageHeader() map[string]string {
	return map[string]string{
		"Content-Type":                      "application/x-protobuf;proto=io.prometheus.write.v2.Request",
		"Content-Encoding":                  "snappy",
		"X-Prometheus-Remote-Write-Version": "2.0.0",
	}
}

// messageSamples is about how many samples a WriteMessage holds.
const messageSamples = 5000

// staleAfter is when, after its last sample, a series that was scraped to the
// end of the run ends: one interval later, so that whoever asks between the last two
// samples still finds it, and the next run is not taken for its continuation.
const staleAfter = time.Second

// WriteMessages gives all metrics: samples, native histograms and exemplars
// with their own times, whole series at a time. Series end with a stale marker. It stops
// at each's first error and returns it.
func (a *Archive) WriteMessages(ctx context.Context, each func(WriteMessage) error) error {
	all := labels.MustNewMatcher(labels.MatchNotEqual, model.MetricNameLabel, "")
	exemplars, err := a.allExemplars(ctx, all)
	if err != nil {
		return fmt.Errorf("reading metrics: %w", err)
	}
	querier, err := a.samples.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		return fmt.Errorf("reading metrics: %w", err)
	}
	defer querier.Close()
	w := newMessageWriter()
	set := querier.Select(ctx, false, nil, all)
	for set.Next() {
		series := set.At()
		if err := w.series(series, exemplars[series.Labels().Hash()]); err != nil {
			return fmt.Errorf("reading metrics: %w", err)
		}
		if w.count() >= messageSamples {
			if err := w.flush(each); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(set.Err(), ctx.Err()); err != nil {
		return fmt.Errorf("reading metrics: %w", err)
	}
	return w.flush(each)
}

// NewWriteMessage makes a message of series that are in no archive, such as the
// verdict. They end with a stale marker as well.
func NewWriteMessage(series []telemetry.Series) (WriteMessage, error) {
	w := newMessageWriter()
	for _, s := range series {
		line := w.begin(labels.FromMap(s.Labels).WithoutEmpty())
		for _, p := range s.Points {
			w.sample(line, timestamp.FromTime(p.Time), p.Value)
		}
		if n := len(s.Points); n > 0 {
			w.end(line, timestamp.FromTime(s.Points[n-1].Time))
		}
		w.add(line)
	}
	var out WriteMessage
	err := w.flush(func(m WriteMessage) error { out = m; return nil })
	return out, err
}

// allExemplars gives the exemplars of every series, by its labels' hash.
func (a *Archive) allExemplars(ctx context.Context, matchers ...*labels.Matcher) (map[uint64][]exemplar.Exemplar, error) {
	querier, err := a.exemplars.ExemplarQuerier(ctx)
	if err != nil {
		return nil, err
	}
	results, err := querier.Select(math.MinInt64, math.MaxInt64, matchers)
	if err != nil {
		return nil, err
	}
	out := make(map[uint64][]exemplar.Exemplar, len(results))
	for _, result := range results {
		out[result.SeriesLabels.Hash()] = result.Exemplars
	}
	return out, nil
}

// messageWriter collects series until they are a message.
type messageWriter struct {
	symbols  writev2.SymbolsTable
	request  writev2.Request
	message  WriteMessage
	from, to int64
}

func newMessageWriter() *messageWriter {
	w := &messageWriter{symbols: writev2.NewSymbolTable()}
	w.reset()
	return w
}

func (w *messageWriter) reset() {
	w.symbols.Reset()
	w.request, w.message = writev2.Request{}, WriteMessage{}
	w.from, w.to = math.MaxInt64, math.MinInt64
}

func (w *messageWriter) count() int {
	return w.message.Samples + w.message.Histograms + w.message.Exemplars
}

func (w *messageWriter) begin(l labels.Labels) *writev2.TimeSeries {
	return &writev2.TimeSeries{LabelsRefs: w.symbols.SymbolizeLabels(l, nil)}
}

func (w *messageWriter) at(t int64) { w.from, w.to = min(w.from, t), max(w.to, t) }

func (w *messageWriter) sample(line *writev2.TimeSeries, t int64, v float64) {
	line.Samples = append(line.Samples, writev2.Sample{Timestamp: t, Value: v})
	w.message.Samples++
	w.at(t)
}

// end marks the end of a series whose last sample was at a time.
func (w *messageWriter) end(line *writev2.TimeSeries, last int64) {
	w.sample(line, last+staleAfter.Milliseconds(), math.Float64frombits(stale.StaleNaN))
}

func (w *messageWriter) histogram(line *writev2.TimeSeries, h writev2.Histogram) {
	line.Histograms = append(line.Histograms, h)
	w.message.Histograms++
	w.at(h.Timestamp)
}

func (w *messageWriter) add(line *writev2.TimeSeries) {
	w.request.Timeseries = append(w.request.Timeseries, *line)
}

// series adds one series as it was recorded, and its end.
func (w *messageWriter) series(series storage.Series, exemplars []exemplar.Exemplar) error {
	line := w.begin(series.Labels())
	last, ended := int64(math.MinInt64), true
	it := series.Iterator(nil)
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		switch kind {
		case chunkenc.ValFloat:
			t, v := it.At()
			last, ended = t, stale.IsStaleNaN(v)
			w.sample(line, t, v)
		case chunkenc.ValHistogram:
			t, h := it.AtHistogram(nil)
			last, ended = t, stale.IsStaleNaN(h.Sum)
			w.histogram(line, writev2.FromIntHistogram(0, t, h))
		case chunkenc.ValFloatHistogram:
			t, h := it.AtFloatHistogram(nil)
			last, ended = t, stale.IsStaleNaN(h.Sum)
			w.histogram(line, writev2.FromFloatHistogram(0, t, h))
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	if !ended {
		w.end(line, last)
	}
	for _, e := range exemplars {
		line.Exemplars = append(line.Exemplars, writev2.Exemplar{
			LabelsRefs: w.symbols.SymbolizeLabels(e.Labels, nil), Value: e.Value, Timestamp: e.Ts,
		})
		w.message.Exemplars++
	}
	w.add(line)
	return nil
}

// flush gives what was collected as a message, if there is anything.
func (w *messageWriter) flush(each func(WriteMessage) error) error {
	if len(w.request.Timeseries) == 0 {
		return nil
	}
	w.request.Symbols = w.symbols.Symbols()
	plain, err := w.request.Marshal()
	if err != nil {
		return fmt.Errorf("encoding metrics: %w", err)
	}
	message := w.message
	message.From, message.To = timestamp.Time(w.from), timestamp.Time(w.to)
	message.Plain = plain
	w.reset()
	return each(message)
}
