package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

func (s *sender) tell(p *Part) {
	if s.cfg.Tell != nil {
		s.cfg.Tell(*p)
	}
}

// refuse notes that the other side did not take n.
func (p *Part) refuse(n int64, why string) {
	p.Refused += n
	if p.Why == "" {
		p.Why = why
	}
}

var errWrongPath = errors.New("wrong address")

// traces sends the messages with spans as they came.
func (s *sender) traces(ctx context.Context, p *Part, archive *embedded.Archive) error {
	return s.otlp(ctx, p, archive, "traces", under(s.cfg.OTLP, "/v1/traces"), func(body []byte) (int64, error) {
		var request coltracepb.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &request); err != nil {
			return 0, err
		}
		n := 0
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				n += len(scope.GetSpans())
			}
		}
		return int64(n), nil
	}, func(body []byte) (int64, string) {
		var response coltracepb.ExportTraceServiceResponse
		if proto.Unmarshal(body, &response) != nil { // an answer without a body is a good one
			return 0, ""
		}
		return response.GetPartialSuccess().GetRejectedSpans(), response.GetPartialSuccess().GetErrorMessage()
	})
}

// logs sends the messages with log records as they came.
func (s *sender) logs(ctx context.Context, p *Part, archive *embedded.Archive) error {
	address := under(s.cfg.OTLP, "/v1/logs")
	if s.cfg.Loki != "" {
		address = under(s.cfg.Loki, "/otlp/v1/logs")
	}
	return s.otlp(ctx, p, archive, "logs", address, func(body []byte) (int64, error) {
		var request collogspb.ExportLogsServiceRequest
		if err := proto.Unmarshal(body, &request); err != nil {
			return 0, err
		}
		n := 0
		for _, resource := range request.GetResourceLogs() {
			for _, scope := range resource.GetScopeLogs() {
				n += len(scope.GetLogRecords())
			}
		}
		return int64(n), nil
	}, func(body []byte) (int64, string) {
		var response collogspb.ExportLogsServiceResponse
		if proto.Unmarshal(body, &response) != nil {
			return 0, ""
		}
		return response.GetPartialSuccess().GetRejectedLogRecords(), response.GetPartialSuccess().GetErrorMessage()
	})
}

// otlp sends the messages of one signal; count says how much is in one, rejected how much of it an answer refuses.
func (s *sender) otlp(ctx context.Context, p *Part, archive *embedded.Archive, signal, address string,
	count func([]byte) (int64, error), rejected func([]byte) (int64, string),
) error {
	header := map[string]string{"Content-Type": "application/x-protobuf"}
	return archive.Messages(ctx, func(m embedded.Message) error {
		if m.Signal != signal {
			return nil
		}
		n, err := count(m.Body)
		if err != nil {
			return fmt.Errorf("a recorded message is damaged: %w", err)
		}
		got, err := s.post(ctx, address, header, m.Body)
		switch {
		case err != nil:
			return err
		case got.status == http.StatusNotFound || got.status == http.StatusMethodNotAllowed:
			return fmt.Errorf("%w: %s answered %s; is it a receiver of OTLP over HTTP?", errWrongPath, address, got.text())
		case !got.ok():
			p.refuse(n, behind(got.text()))
		default:
			refused, why := rejected(got.body)
			p.refuse(refused, why)
			p.Sent += n - refused
		}
		s.tell(p)
		return nil
	})
}

// behind adds what to do where Loki refused records for their age.
func behind(text string) string {
	if strings.Contains(text, "too far behind") {
		return text + " (ingester.max_chunk_age in loki.yaml must be twice as long as the run lies back)"
	}
	return text
}

// The headers in which a Prometheus says how much of a message it wrote.
const (
	writtenSamples    = "X-Prometheus-Remote-Write-Samples-Written"
	writtenHistograms = "X-Prometheus-Remote-Write-Histograms-Written"
	writtenExemplars  = "X-Prometheus-Remote-Write-Exemplars-Written"
)

// metrics sends samples, native histograms and exemplars.
func (s *sender) metrics(ctx context.Context, p *Part, archive *embedded.Archive) error {
	var histograms, exemplars int64
	err := archive.WriteMessages(ctx, func(m embedded.WriteMessage) error {
		got, err := s.write(ctx, p, m)
		if err != nil {
			return err
		}
		histograms += written(got, writtenHistograms, m.Histograms)
		exemplars += written(got, writtenExemplars, m.Exemplars)
		p.Extra = fmt.Sprintf("%d exemplars, %d native histograms", exemplars, histograms)
		s.tell(p)
		return nil
	})
	return err
}

// write posts one message of metrics and counts what was taken of it.
func (s *sender) write(ctx context.Context, p *Part, m embedded.WriteMessage) (answer, error) {
	body, err := m.Body()
	if err != nil {
		return answer{}, err
	}
	address := under(s.cfg.Prometheus, "/api/v1/write")
	got, err := s.post(ctx, address, embedded.WriteMessageHeader(), body)
	if err != nil {
		return got, err
	}
	switch {
	case strings.Contains(string(got.body), "remote write receiver needs to be enabled"):
		return got, fmt.Errorf("%s takes no remote write: start it with --web.enable-remote-write-receiver", s.cfg.Prometheus)
	case got.status == http.StatusNotFound || got.status == http.StatusMethodNotAllowed:
		return got, fmt.Errorf("%w: %s answered %s; is it a Prometheus?", errWrongPath, address, got.text())
	case got.status == http.StatusUnsupportedMediaType:
		return got, fmt.Errorf("%s does not know remote write 2.0, which Prometheus 3 does: %s", s.cfg.Prometheus, got.text())
	}
	taken := written(got, writtenSamples, m.Samples) + written(got, writtenHistograms, m.Histograms)
	p.Sent += taken
	if missing := int64(m.Samples+m.Histograms) - taken; missing > 0 {
		p.refuse(missing, old(got.text(), m))
	}
	return got, nil
}

// written is how much of a message was taken, by its header. A good answer without the header took everything.
func written(got answer, header string, all int) int64 {
	if n, err := strconv.ParseInt(got.header.Get(header), 10, 64); err == nil {
		return n
	}
	if got.ok() {
		return int64(all)
	}
	return 0
}

// old adds what to do where samples were refused for their age.
func old(text string, m embedded.WriteMessage) string {
	for _, word := range []string{"out of order", "out of bounds", "too old"} {
		if strings.Contains(text, word) {
			return fmt.Sprintf("%s (the run is of %s: storage.tsdb.out_of_order_time_window in prometheus.yml must reach back that far)",
				text, m.From.UTC().Format(time.RFC3339))
		}
	}
	return text
}

// sampleTypes are what pyroscope-go says along with each type of profile: without it Pyroscope could not tell what the numbers mean.
var sampleTypes = map[string]string{
	embedded.ProfileHeap: `{"alloc_objects":{"units":"objects"},"alloc_space":{"units":"bytes"},` +
		`"inuse_space":{"units":"bytes","aggregation":"average"},"inuse_objects":{"units":"objects","aggregation":"average"}}`,
	embedded.ProfileGoroutine: `{"goroutine":{"display-name":"goroutines","units":"goroutines","aggregation":"average"}}`,
	embedded.ProfileMutex:     `{"contentions":{"display-name":"mutex_count","units":"lock_samples"},"delay":{"display-name":"mutex_duration","units":"lock_nanoseconds"}}`,
	embedded.ProfileBlock:     `{"contentions":{"display-name":"block_count","units":"lock_samples"},"delay":{"display-name":"block_duration","units":"lock_nanoseconds"}}`,
}

// profiles sends each profile as pyroscope-go does.
func (s *sender) profiles(ctx context.Context, p *Part, archive *embedded.Archive) error {
	list, err := archive.Profiles(ctx, embedded.ProfileQuery{})
	if err != nil {
		return err
	}
	for _, profile := range list {
		body, kind, err := form(profile)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%s{%s=%s,%s=%s}", profile.Service, names.Service, profile.Service, names.Instance, profile.Instance)
		query := url.Values{
			"name": {name}, "from": {strconv.FormatInt(profile.From.UnixNano(), 10)}, "until": {strconv.FormatInt(profile.To.UnixNano(), 10)},
			"spyName": {"gospy"}, "sampleRate": {"100"}, "format": {"pprof"},
		}
		address := under(s.cfg.Pyroscope, "/ingest")
		got, err := s.post(ctx, address+"?"+query.Encode(), map[string]string{"Content-Type": kind}, body)
		switch {
		case err != nil:
			return err
		case got.status == http.StatusNotFound || got.status == http.StatusMethodNotAllowed:
			return fmt.Errorf("%w: %s answered %s; is it a Pyroscope?", errWrongPath, address, got.text())
		case got.ok():
			p.Sent++
		default:
			p.refuse(1, got.text())
		}
		s.tell(p)
	}
	return nil
}

// form is a profile as a form of two files.
func form(profile embedded.Profile) (body []byte, contentType string, err error) {
	data, err := os.ReadFile(profile.File)
	if err != nil {
		return nil, "", fmt.Errorf("reading a profile: %w", err)
	}
	var out bytes.Buffer
	parts := multipart.NewWriter(&out)
	files := []struct{ field, file, text string }{{"profile", "profile.pprof", string(data)}}
	if config := sampleTypes[profile.Type]; config != "" {
		files = append(files, struct{ field, file, text string }{"sample_type_config", "sample_type_config.json", config})
	}
	for _, f := range files {
		w, err := parts.CreateFormFile(f.field, f.file)
		if err == nil {
			_, err = w.Write([]byte(f.text))
		}
		if err != nil {
			return nil, "", err
		}
	}
	if err := parts.Close(); err != nil {
		return nil, "", err
	}
	return out.Bytes(), parts.FormDataContentType(), nil
}

// verdict sends what the run came to. There is none of a run that was not judged.
func (s *sender) verdict(ctx context.Context, p *Part, dir string, run *record.Run) error {
	data, err := os.ReadFile(filepath.Join(dir, record.VerdictFile))
	if errors.Is(err, fs.ErrNotExist) {
		p.Extra = "none: 'faultline check' judges the run"
		return nil
	}
	if err != nil {
		return err
	}
	var v check.Verdict
	if err := json.Unmarshal(data, &v); err != nil {
		return fmt.Errorf("%s is damaged: %w", record.VerdictFile, err)
	}
	message, err := embedded.NewWriteMessage(verdictSeries(v, run.Meta))
	if err != nil {
		return err
	}
	p.Extra = string(v.Outcome)
	_, err = s.write(ctx, p, message)
	s.tell(p)
	return err
}

// A verdict is shown for some seconds from shortly after the run's end: there its own series have ended.
const (
	verdictAfter = 2 * time.Second
	verdictFor   = 15 // seconds
)

// verdictSeries are the verdict and its findings as the lab's own metrics have them, which during the run say that
// nothing is judged yet.
func verdictSeries(v check.Verdict, meta record.Meta) []telemetry.Series {
	value := map[check.Outcome]float64{check.Pass: 1, check.Fail: 2, check.Inconclusive: 3}
	series := func(name string, outcome check.Outcome, labels map[string]string) telemetry.Series {
		out := telemetry.Series{Labels: map[string]string{
			"__name__": name, "job": embedded.LabService, names.Service: embedded.LabService, names.Instance: embedded.LabService,
			names.Run: meta.ID, names.Scenario: meta.Scenario, names.Variant: meta.Variant,
		}}
		for key, value := range labels {
			out.Labels[key] = value
		}
		for i := range verdictFor {
			out.Points = append(out.Points, telemetry.Point{Time: meta.Ended.Add(verdictAfter + time.Duration(i)*time.Second), Value: value[outcome]})
		}
		return out
	}
	out := []telemetry.Series{series(names.RunVerdict, v.Outcome, nil)}
	for _, f := range v.Findings {
		out = append(out, series(names.Finding, f.Outcome, map[string]string{names.That: f.That, names.In: f.In}))
	}
	return out
}
