package dashboards

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/api"
	promapi "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/faultline-lab/faultline/internal/replay"
	"github.com/faultline-lab/faultline/observability/embedded"
	"github.com/faultline-lab/faultline/observability/embedded/ruletest"
	"github.com/faultline-lab/faultline/observability/remote"
	"github.com/faultline-lab/faultline/observability/telemetry"
)

// stack is where the programs of a full stack that is up are reached, and the runs that are sent to it.
type stack struct {
	prometheus, tempo, loki, otlp string
	client                        *http.Client
	run                           *recordedRun
	sent                          map[string]int64 // by what of the runs it is
	traces                        map[string]int   // the spans of some of their traces, by id
	logged                        string           // one of the traces that has log records, and
	logger                        string           // the service that wrote one
}

// TestStack sends recorded runs to the programs of a full stack and asks them whatever dashboards, alerts, data sources and
// scenarios ask. 'make test-stack' calls it.
func TestStack(t *testing.T) {
	s := &stack{
		prometheus: os.Getenv("FAULTLINE_PROMETHEUS"), tempo: os.Getenv("FAULTLINE_TEMPO"), loki: os.Getenv("FAULTLINE_LOKI"), otlp: os.Getenv("FAULTLINE_OTLP"),
		client: &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}, sent: map[string]int64{}, traces: map[string]int{},
	}
	runs := os.Getenv("FAULTLINE_RUNS")
	if s.prometheus == "" || s.tempo == "" || s.loki == "" || s.otlp == "" || runs == "" {
		t.Skip("NOT CHECKED: a real stack; 'make test-stack' does it")
	}
	defer s.client.CloseIdleConnections()
	s.replay(t, strings.Split(runs, ","))
	t.Run("dashboards/prometheus", s.run.askEverything)
	t.Run("dashboards/tempo", s.searches)
	t.Run("dashboards/loki", s.logs)
	t.Run("rules", s.rules)
	t.Run("scenarios", s.scenarios)
	t.Run("sources", s.sources)
	t.Run("traces", s.everySpan)
	t.Run("logs", s.everyRecord)
	t.Run("generator", s.generator)
}

// replay sends the runs, and learns what is in them.
func (s *stack) replay(t *testing.T, dirs []string) {
	t.Helper()
	c, err := api.NewClient(api.Config{Address: s.prometheus, Client: s.client})
	if err != nil {
		t.Fatal(err)
	}
	s.run = &recordedRun{prometheus: promapi.NewAPI(c), labels: map[string]bool{}}
	for _, dir := range dirs {
		report, err := replay.Run(t.Context(), dir, replay.Config{OTLP: s.otlp, Prometheus: s.prometheus})
		if err := errors.Join(err, report.Err()); err != nil {
			t.Fatal(err)
		}
		for _, part := range report.Parts {
			s.sent[part.What] += part.Sent
			t.Logf("%s: %d %s to %s %s", filepath.Base(dir), part.Sent, part.What, part.To, part.Extra)
		}
		s.look(t, dir)
	}
	s.run.to = s.run.to.Add(-2 * time.Second) // the last second has stale markers only
	s.run.learn(t)
}

// look notes when a run was, and the number of spans of its newest traces.
func (s *stack) look(t *testing.T, dir string) {
	t.Helper()
	archive, err := embedded.OpenArchive(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	err = archive.WriteMessages(t.Context(), func(m embedded.WriteMessage) error {
		if s.run.from.IsZero() || m.From.Before(s.run.from) {
			s.run.from = m.From
		}
		if m.To.After(s.run.to) {
			s.run.to = m.To
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := archive.Traces(t.Context(), telemetry.TraceQuery{Limit: 50})
	if err != nil {
		t.Fatal(err)
	}
	for _, summary := range list {
		s.traces[summary.ID] = summary.Spans
	}
	records, err := archive.Logs(t.Context(), telemetry.LogQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(records, func(r telemetry.LogRecord) bool { return r.TraceID != "" }); i >= 0 {
		s.logged, s.logger = records[i].TraceID, records[i].Service
	}
}

// get asks one of the programs; what it has to say against the question is a reason to ask again.
func (s *stack) get(t *testing.T, base, path string, query url.Values, into any) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, answer.Status, strings.TrimSpace(string(body[:min(len(body), 300)])))
	}
	return json.Unmarshal(body, into)
}

// within asks until nothing is missing: what was sent is found after some seconds only.
func within(t *testing.T, what string, ask func() error) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Errorf("%s: %v", what, err)
			return
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-tick.C:
		}
	}
}

// queries calls do with each query of a dashboard for one source, its variables filled in.
func (s *stack) queries(t *testing.T, source string, do func(panel, query string)) {
	t.Helper()
	for name, m := range models(t) {
		for _, p := range m.Panels {
			for _, q := range p.Targets {
				if q.Datasource.UID == source {
					do(name+": "+p.Title, s.run.fill(q.Expr+q.Query+q.ServiceMapQuery))
				}
			}
		}
	}
}

func (s *stack) searches(t *testing.T) {
	s.queries(t, Tempo, func(panel, query string) {
		if strings.Contains(panel, "depends") { // the service graph: see generator
			return
		}
		within(t, panel+" "+query, func() error {
			var answer struct{ Traces []struct{ TraceID string } }
			err := s.get(t, s.tempo, "/api/search", url.Values{
				"q": {query}, "limit": {"20"}, "start": {strconv.FormatInt(s.run.from.Unix(), 10)}, "end": {strconv.FormatInt(s.run.to.Unix(), 10)},
			}, &answer)
			if err == nil && len(answer.Traces) == 0 {
				err = errors.New("no traces")
			}
			return err
		})
	})
}

// streams is what Loki answers.
type streams struct {
	Data struct {
		Result []struct {
			Stream map[string]string
			Values [][]string
		}
	}
}

func (s *stack) logQL(t *testing.T, query string) (streams, error) {
	t.Helper()
	var answer streams
	err := s.get(t, s.loki, "/loki/api/v1/query_range", url.Values{
		"query": {query}, "limit": {"200"},
		"start": {strconv.FormatInt(s.run.from.UnixNano(), 10)}, "end": {strconv.FormatInt(s.run.to.UnixNano(), 10)},
	}, &answer)
	if err == nil && len(answer.Data.Result) == 0 {
		err = errors.New("no records")
	}
	return answer, err
}

func (s *stack) logs(t *testing.T) {
	s.queries(t, Loki, func(panel, query string) {
		within(t, panel+" "+query, func() error {
			_, err := s.logQL(t, query)
			return err
		})
	})
}

// rules: Prometheus has loaded every one and evaluates it, and each speaks of series that it has.
func (s *stack) rules(t *testing.T) {
	made := map[string][]string{}
	for _, file := range []string{"../observability/prometheus/rules/slo.yaml", "../services/alerts.yaml"} {
		rules, err := ruletest.Rules(file)
		if err != nil {
			t.Fatal(err)
		}
		for name, expressions := range rules {
			made[name] = append(made[name], expressions...)
		}
	}
	within(t, "rules", func() error { return s.loaded(t, made) })
	for name, expressions := range made {
		for _, expr := range expressions {
			used, err := embedded.NamesIn(expr)
			if err != nil {
				t.Fatal(err)
			}
			for _, metric := range used.Metrics {
				if made[metric] == nil && !s.run.has(metric) {
					t.Errorf("%s: there is no %s", name, metric)
				}
			}
			if _, _, _, err := s.run.prometheus.Query(t.Context(), expr, s.run.to); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// loaded says which rules Prometheus does not have, or cannot evaluate.
func (s *stack) loaded(t *testing.T, want map[string][]string) error {
	t.Helper()
	answer, err := s.run.prometheus.Rules(t.Context(), nil)
	if err != nil {
		return err
	}
	healthy := map[string]int{}
	for _, group := range answer.Groups {
		for _, rule := range group.Rules {
			switch r := rule.(type) {
			case promapi.AlertingRule:
				if r.Health == promapi.RuleHealthGood {
					healthy[r.Name]++
				}
			case promapi.RecordingRule:
				if r.Health == promapi.RuleHealthGood {
					healthy[r.Name]++
				}
			}
		}
	}
	for name, expressions := range want {
		if healthy[name] != len(expressions) {
			return fmt.Errorf("%d of %d rules that make %s are evaluated well", healthy[name], len(expressions), name)
		}
	}
	return nil
}

var promql = regexp.MustCompile(`promql\(''(.+?)''\)`)

// scenarios: Prometheus understands what their checks ask it. Whether it has the answer depends on the scenario.
func (s *stack) scenarios(t *testing.T) {
	files, err := filepath.Glob("../scenarios/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	asked, answered := 0, 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range promql.FindAllStringSubmatch(string(data), -1) {
			expr := strings.ReplaceAll(found[1], "$window", "60s")
			value, _, _, err := s.run.prometheus.Query(t.Context(), expr, s.run.to)
			if err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(file), expr, err)
			}
			asked++
			if vector, ok := value.(model.Vector); ok && len(vector) > 0 {
				answered++
			}
		}
	}
	t.Logf("%d queries, of which %d find something in these runs", asked, answered)
	if asked == 0 {
		t.Error("no scenario asks anything")
	}
}

// sources: what a trace leads to is there, and a log record has what leads to its trace.
func (s *stack) sources(t *testing.T) {
	data, err := os.ReadFile("../observability/grafana/provisioning/datasources/faultline.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Datasources []struct {
			JSONData struct {
				TracesToLogs    struct{ Query string }                     `yaml:"tracesToLogsV2"`
				TracesToMetrics struct{ Queries []struct{ Query string } } `yaml:"tracesToMetrics"`
				DerivedFields   []struct {
					Label string `yaml:"matcherRegex"`
				} `yaml:"derivedFields"`
			} `yaml:"jsonData"`
		}
	}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(string(data), "$$", "$")), &file); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, source := range file.Datasources {
		for _, q := range source.JSONData.TracesToMetrics.Queries {
			asked++
			if len(s.run.ask(t, targetModel{Expr: strings.ReplaceAll(q.Query, "$__tags", `service="gateway"`)})) == 0 && !strings.Contains(q.Query, "caller") {
				t.Errorf("a trace leads to nothing: %s", q.Query)
			}
		}
		if q := source.JSONData.TracesToLogs.Query; q != "" {
			asked++
			q = strings.NewReplacer(`${__span.tags["service.name"]}`, s.logger, "${__trace.traceId}", s.logged).Replace(q)
			within(t, q, func() error {
				_, err := s.logQL(t, q)
				return err
			})
		}
		for _, field := range source.JSONData.DerivedFields {
			asked++
			within(t, "the field "+field.Label, func() error {
				answer, err := s.logQL(t, `{service_name="`+s.logger+`"} | `+field.Label+`="`+s.logged+`"`)
				if err == nil && answer.Data.Result[0].Stream[field.Label] != s.logged {
					err = fmt.Errorf("is not among %v", answer.Data.Result[0].Stream)
				}
				return err
			})
		}
	}
	if asked < 3 {
		t.Errorf("asked %d questions", asked)
	}
}

// everySpan: Tempo gives traces back whole, to the lab's own reader.
func (s *stack) everySpan(t *testing.T) {
	client := remote.New(remote.Config{Tempo: s.tempo, Loki: s.loki, Within: 30 * time.Second})
	defer client.Close()
	for id, want := range s.traces {
		within(t, "trace "+id, func() error {
			m, found, err := client.Trace(t.Context(), id)
			if err != nil || !found {
				return fmt.Errorf("found %t: %w", found, err)
			}
			var trace coltracepb.ExportTraceServiceRequest
			if err := proto.Unmarshal(m.Body, &trace); err != nil {
				return err
			}
			got := 0
			for _, resource := range trace.GetResourceSpans() {
				for _, scope := range resource.GetScopeSpans() {
					got += len(scope.GetSpans())
				}
			}
			if got != want {
				return fmt.Errorf("%d spans, not %d", got, want)
			}
			return nil
		})
	}
	t.Logf("%d traces", len(s.traces))
}

// everyRecord: Loki gives every log record back to the lab's own reader.
func (s *stack) everyRecord(t *testing.T) {
	client := remote.New(remote.Config{Tempo: s.tempo, Loki: s.loki, Within: 30 * time.Second})
	defer client.Close()
	within(t, "log records", func() error {
		var got int64
		for from, end := s.run.from.Add(-time.Minute), s.run.to.Add(time.Minute); from.Before(end); {
			_, records, until, err := client.Logs(t.Context(), from, end)
			if err != nil {
				return err
			}
			got, from = got+int64(records), until
		}
		if got < s.sent[replay.LogRecords] {
			return fmt.Errorf("%d of %d", got, s.sent[replay.LogRecords])
		}
		t.Logf("%d of %d sent", got, s.sent[replay.LogRecords])
		return nil
	})
}

// generator: of spans that are new, Tempo makes metrics in Prometheus: those of the service graph, by the names that Grafana asks for.
func (s *stack) generator(t *testing.T) {
	client := remote.New(remote.Config{Tempo: s.tempo})
	defer client.Close()
	want := []string{
		`traces_service_graph_request_total{client="test-caller", server="test-callee"}`,
		`traces_service_graph_request_failed_total{client="test-caller", server="test-callee"}`,
		`traces_service_graph_request_server_seconds_sum{client="test-caller", server="test-callee"}`,
		`traces_spanmetrics_calls_total{service="test-callee", span_kind="SPAN_KIND_SERVER"}`,
		`traces_spanmetrics_latency_bucket{service="test-callee", span_kind="SPAN_KIND_SERVER", le="+Inf"}`,
		`traces_spanmetrics_calls_total{service="test-caller", edge="test-caller->test-callee"}`,
	}
	value := func(expr string) float64 {
		got, _, _, err := s.run.prometheus.Query(t.Context(), "sum("+expr+")", time.Now())
		if vector, ok := got.(model.Vector); err == nil && ok && len(vector) > 0 {
			return float64(vector[0].Value)
		}
		return 0
	}
	before := map[string]float64{}
	for _, expr := range want {
		before[expr] = value(expr)
	}
	// Again and again, since the first value of a counter that is new may be all that it ever has.
	within(t, "metrics of spans", func() error {
		if err := client.Send(t.Context(), s.otlp, remote.Message{Signal: "traces", Body: call(t, time.Now())}); err != nil {
			return err
		}
		for _, expr := range want {
			if value(expr) <= before[expr] {
				return fmt.Errorf("%s does not grow", expr)
			}
		}
		return nil
	})
}

// call is a call that failed, as two spans of two services.
func call(t *testing.T, end time.Time) []byte {
	t.Helper()
	var trace [16]byte
	copy(trace[:], strconv.FormatInt(end.UnixNano(), 10))
	span := func(service string, kind tracepb.Span_SpanKind, id, parent string) *tracepb.ResourceSpans {
		text := func(key, value string) *commonpb.KeyValue {
			return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
		}
		return &tracepb.ResourceSpans{
			Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text("service.name", service)}},
			ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{
				TraceId: trace[:], SpanId: []byte(id), ParentSpanId: []byte(parent), Name: "test", Kind: kind,
				StartTimeUnixNano: uint64(end.Add(-50 * time.Millisecond).UnixNano()), EndTimeUnixNano: uint64(end.UnixNano()),
				Attributes: []*commonpb.KeyValue{text("edge", "test-caller->test-callee")}, Status: &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR},
			}}}},
		}
	}
	body, err := proto.Marshal(&coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{
		span("test-caller", tracepb.Span_SPAN_KIND_CLIENT, "client01", ""), span("test-callee", tracepb.Span_SPAN_KIND_SERVER, "server01", "client01"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return body
}
