// Package remote owns following an observability stack that others run: it asks
// for what the stack has received since it was last asked, so that a run's own record holds it too and can be
// judged without the stack; and it pushes the lab's own metrics there.
//
//	Prometheus' HTTP API  --> samples, as they were scraped
//	the lab's backend     --> traces and logs, the OTLP messages as they came
//	Tempo, Loki           --> traces by id, logs by time, as OTLP again
//
// It knows neither runs nor verdicts.
package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// Config says where the parts of a stack are reached: base URLs.
type Config struct {
	Prometheus string
	// Lab is the lab's own backend, "" where there is none. Tempo and Loki are asked then.
	Lab, Tempo, Loki string
	// Within bounds one question; 0 means 5 s.
	Within time.Duration
}

// Message is an OTLP message: an ExportTraceServiceRequest or ExportLogsServiceRequest in protobuf.
type Message struct {
	Signal string // traces | logs
	Body   []byte
	Packed bool // by gzip
}

// Client asks one stack. It is for one goroutine, but for Trace and Send, which any number may call.
type Client struct {
	cfg  Config
	http *http.Client
	last int64 // the newest message of the lab's backend that is known
}

// New returns a client. Close it when done.
func New(cfg Config) *Client {
	if cfg.Within <= 0 {
		cfg.Within = 5 * time.Second
	}
	return &Client{cfg: cfg, http: &http.Client{Timeout: cfg.Within, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// answerLimit bounds one answer, in bytes.
const answerLimit = 256 << 20

// get asks and returns the body of an answer of 200, or nil for one of 404.
func (c *Client) get(ctx context.Context, address, accept string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if accept != "" {
		request.Header.Set("Accept", accept)
	}
	return c.do(request)
}

func (c *Client) do(request *http.Request) ([]byte, error) {
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, answerLimit))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", request.URL.Host, err)
	case answer.StatusCode == http.StatusNotFound && request.Method == http.MethodGet:
		return nil, nil
	case answer.StatusCode/100 != 2:
		return nil, fmt.Errorf("%s answered %s: %s", request.URL.Host, answer.Status, strings.TrimSpace(string(body[:min(len(body), 300)])))
	}
	return body, nil
}

// Samples gives what Prometheus has scraped of services since a time, sample by
// sample. The lab's own series, what rules made of others, and what Tempo makes of spans are left out: the first
// are in the record already, the others no service has emitted.
func (c *Client) Samples(ctx context.Context, since, until time.Time) ([]telemetry.Series, error) {
	expr := fmt.Sprintf(`{%s!="",%s!=%q,__name__!~"ALERTS.*|.*:.*|traces_.*"}[%dms]`, names.Service, names.Service, embedded.LabService, until.Sub(since).Milliseconds())
	query := url.Values{"query": {expr}, "time": {strconv.FormatFloat(float64(until.UnixMilli())/1000, 'f', 3, 64)}}
	body, err := c.get(ctx, c.cfg.Prometheus+"/api/v1/query?"+query.Encode(), "")
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus: %w", err)
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("reading Prometheus' answer: %w", err)
	}
	out := make([]telemetry.Series, 0, len(answer.Data.Result))
	for _, line := range answer.Data.Result {
		series := telemetry.Series{Labels: line.Metric}
		for _, pair := range line.Values {
			point, err := point(pair)
			if err != nil {
				return nil, fmt.Errorf("reading Prometheus' answer: %w", err)
			}
			series.Points = append(series.Points, point)
		}
		if len(series.Points) > 0 {
			out = append(out, series)
		}
	}
	return out, nil
}

// point reads [1700000000.123, "1.5"].
func point(pair [2]any) (telemetry.Point, error) {
	at, isNumber := pair[0].(float64)
	text, isText := pair[1].(string)
	value, err := strconv.ParseFloat(text, 64)
	if !isNumber || !isText || err != nil {
		return telemetry.Point{}, fmt.Errorf("%v is no sample", pair)
	}
	return telemetry.Point{Time: time.UnixMilli(int64(math.Round(at * 1000))), Value: value}, nil
}

// Messages gives the traces and logs that the lab's backend has received since it was last asked.
func (c *Client) Messages(ctx context.Context) ([]Message, error) {
	var out []Message
	for {
		body, err := c.get(ctx, c.cfg.Lab+embedded.MessagesPath+"?after="+strconv.FormatInt(c.last, 10), "")
		if err != nil {
			return out, fmt.Errorf("asking the lab's backend: %w", err)
		}
		var packed []embedded.PackedMessage
		if err := json.Unmarshal(body, &packed); err != nil {
			return out, fmt.Errorf("reading the answer of the lab's backend: %w", err)
		}
		if len(packed) == 0 {
			return out, nil
		}
		for _, m := range packed {
			c.last = m.ID
			out = append(out, Message{Signal: m.Signal, Body: m.Body, Packed: true})
		}
	}
}

// Push gives series to a Prometheus that takes remote write.
func (c *Client) Push(ctx context.Context, base string, series []telemetry.Series) error {
	if len(series) == 0 {
		return nil
	}
	message, err := embedded.NewPart(series)
	if err != nil {
		return err
	}
	body, err := message.Body()
	if err != nil {
		return fmt.Errorf("writing metrics: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/v1/write", bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range embedded.WriteMessageHeader() {
		request.Header.Set(name, value)
	}
	if _, err = c.do(request); err != nil {
		return fmt.Errorf("writing metrics: %w", err)
	}
	return nil
}

// PushLab gives the lab's own metrics, as they are at a time, to the stack's Prometheus.
func (c *Client) PushLab(ctx context.Context, from prometheus.Gatherer, at time.Time) error {
	series, err := Gather(from, at)
	return errors.Join(err, c.Push(ctx, c.cfg.Prometheus, series))
}

// EndLab ends the lab's own series in the stack's Prometheus: otherwise a fault would look active for
// another five minutes.
func (c *Client) EndLab(ctx context.Context, from prometheus.Gatherer, at time.Time) error {
	series, err := Gather(from, at)
	for i := range series {
		series[i].Points[0].Value = Stale()
	}
	return errors.Join(err, c.Push(ctx, c.cfg.Prometheus, series))
}

// Send gives a message to a backend that takes OTLP over HTTP.
func (c *Client) Send(ctx context.Context, base string, m Message) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/"+m.Signal, bytes.NewReader(m.Body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	if m.Packed {
		request.Header.Set("Content-Encoding", "gzip")
	}
	if _, err = c.do(request); err != nil {
		return fmt.Errorf("recording %s: %w", m.Signal, err)
	}
	return nil
}

// Gather reads metrics as a scrape of the lab's own would give them.
func Gather(from prometheus.Gatherer, at time.Time) ([]telemetry.Series, error) {
	families, err := from.Gather()
	if err != nil {
		err = fmt.Errorf("reading the lab's own metrics: %w", err)
	}
	var out []telemetry.Series
	for _, family := range families {
		for _, m := range family.GetMetric() {
			add := func(suffix string, value float64, more ...string) {
				labels := map[string]string{"__name__": family.GetName() + suffix, "job": embedded.LabService, names.Service: embedded.LabService, names.Instance: embedded.LabService}
				for _, pair := range m.GetLabel() {
					labels[pair.GetName()] = pair.GetValue()
				}
				for i := 0; i+1 < len(more); i += 2 {
					labels[more[i]] = more[i+1]
				}
				out = append(out, telemetry.Series{Labels: labels, Points: []telemetry.Point{{Time: at, Value: value}}})
			}
			flatten(family.GetType(), m, add)
		}
	}
	return out, err
}

// flatten gives the series of one metric: a histogram is many.
func flatten(kind dto.MetricType, m *dto.Metric, add func(suffix string, value float64, more ...string)) {
	switch kind {
	case dto.MetricType_COUNTER:
		add("", m.GetCounter().GetValue())
	case dto.MetricType_GAUGE:
		add("", m.GetGauge().GetValue())
	case dto.MetricType_UNTYPED:
		add("", m.GetUntyped().GetValue())
	case dto.MetricType_HISTOGRAM:
		h := m.GetHistogram()
		for _, b := range h.GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) {
				add("_bucket", float64(b.GetCumulativeCount()), "le", strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64))
			}
		}
		add("_bucket", float64(h.GetSampleCount()), "le", "+Inf")
		add("_sum", h.GetSampleSum())
		add("_count", float64(h.GetSampleCount()))
	case dto.MetricType_SUMMARY:
		s := m.GetSummary()
		for _, q := range s.GetQuantile() {
			add("", q.GetValue(), "quantile", strconv.FormatFloat(q.GetQuantile(), 'g', -1, 64))
		}
		add("_sum", s.GetSampleSum())
		add("_count", float64(s.GetSampleCount()))
	}
}
