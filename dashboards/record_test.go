package dashboards

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	promapi "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/faultline-lab/faultline/observability/embedded"
)

// recordFile holds the metrics of the two runs of testdata/tour.yaml, as remote-write messages, each behind its length.
const recordFile = "testdata/tour.gz"

var record = flag.String("record", "", "write "+recordFile+" anew from these runs, separated by commas")

// TestRecord makes the recorded run that the other tests ask: 'make dashboards-record' does it.
func TestRecord(t *testing.T) {
	if *record == "" {
		t.Skip("nothing to record")
	}
	var out bytes.Buffer
	packed, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for dir := range strings.SplitSeq(*record, ",") {
		archive, err := embedded.OpenArchive(dir)
		if err != nil {
			t.Fatal(err)
		}
		err = archive.WriteMessages(t.Context(), func(m embedded.WriteMessage) error {
			_, err := packed.Write(append(binary.AppendUvarint(nil, uint64(len(m.Plain))), m.Plain...))
			return err
		})
		if err := errors.Join(err, archive.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(recordFile, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// recordedRun is a Prometheus that holds the recorded runs.
type recordedRun struct {
	prometheus promapi.API
	from, to   time.Time
	labels     map[string]bool
	names      model.LabelValues // of metrics
}

// recorded starts a backend, sends it the recorded runs, and gives Prometheus' own API over them.
func recorded(t *testing.T) *recordedRun {
	t.Helper()
	backend, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), RemoteWrite: true})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if _, err := backend.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	for _, plain := range recordedMessages(t) {
		send(t, client, backend.Endpoints().Prometheus+"/api/v1/write", embedded.WriteMessage{Plain: plain})
	}
	prometheus, err := api.NewClient(api.Config{Address: backend.Endpoints().Prometheus, Client: client})
	if err != nil {
		t.Fatal(err)
	}
	run := &recordedRun{prometheus: promapi.NewAPI(prometheus), labels: map[string]bool{}}
	run.from, run.to = run.bounds(t)
	run.learn(t)
	return run
}

// learn asks for the names that there are.
func (r *recordedRun) learn(t *testing.T) {
	t.Helper()
	known, _, _, err := r.prometheus.LabelNames(t.Context(), nil, r.from, r.to)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range known {
		r.labels[string(name)] = true
	}
	if r.names, _, _, err = r.prometheus.LabelValues(t.Context(), "__name__", nil, r.from, r.to); err != nil {
		t.Fatal(err)
	}
}

func (r *recordedRun) has(metric string) bool {
	return slices.Contains(r.names, model.LabelValue(metric))
}

func recordedMessages(t *testing.T) [][]byte {
	t.Helper()
	file, err := os.Open(recordFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for len(all) > 0 {
		length, n := binary.Uvarint(all)
		out, all = append(out, all[n:n+int(length)]), all[n+int(length):]
	}
	return out
}

func send(t *testing.T, client *http.Client, url string, m embedded.WriteMessage) {
	t.Helper()
	body, err := m.Body()
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range embedded.WriteMessageHeader() {
		req.Header.Set(key, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusNoContent {
		t.Fatalf("sending the recorded run: %s: %s", resp.Status, text)
	}
}

// bounds says when the runs were. The last second has stale markers only.
func (r *recordedRun) bounds(t *testing.T) (from, to time.Time) {
	t.Helper()
	stats, err := r.prometheus.TSDB(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMilli(int64(stats.HeadStats.MinTime)), time.UnixMilli(int64(stats.HeadStats.MaxTime)).Add(-2 * time.Second)
}

// fill puts values in place of the variables, as Grafana does: all of everything, over all the time there is.
func (r *recordedRun) fill(expr string) string {
	span := fmt.Sprintf("%.0fs", math.Ceil(r.to.Sub(r.from).Seconds()))
	return variable.ReplaceAllStringFunc(expr, func(name string) string {
		switch name {
		case "$__rate_interval":
			return "5s"
		case "$__range":
			return span
		case "$__interval":
			return "1s"
		}
		return everything
	})
}

// ask runs a query as a panel does and returns the series that have a number.
func (r *recordedRun) ask(t *testing.T, q targetModel) []model.Metric {
	t.Helper()
	var found []model.Metric
	if q.Instant {
		value, _, _, err := r.prometheus.Query(t.Context(), r.fill(q.Expr), r.to)
		if err != nil {
			t.Error(err)
			return nil
		}
		for _, sample := range value.(model.Vector) {
			if !math.IsNaN(float64(sample.Value)) {
				found = append(found, sample.Metric)
			}
		}
		return found
	}
	value, _, _, err := r.prometheus.QueryRange(t.Context(), r.fill(q.Expr), promapi.Range{Start: r.from, End: r.to, Step: time.Second})
	if err != nil {
		t.Error(err)
		return nil
	}
	for _, line := range value.(model.Matrix) {
		if slices.ContainsFunc(line.Values, func(p model.SamplePair) bool { return !math.IsNaN(float64(p.Value)) }) {
			found = append(found, line.Metric)
		}
	}
	return found
}

var legend = regexp.MustCompile(`\{\{(\w+)\}\}`)

// No panel is empty: every PromQL query finds something in the recorded runs, over Prometheus' own HTTP API, and so do the
// annotations and the variables. What legends speak of is there.
func TestEveryQueryHasData(t *testing.T) { recorded(t).askEverything(t) }

// askEverything asks what all dashboards ask of Prometheus.
func (r *recordedRun) askEverything(t *testing.T) {
	t.Helper()
	asked, exemplars := 0, 0
	for name, m := range models(t) {
		for _, a := range m.Annotations.List {
			if len(r.ask(t, targetModel{Expr: a.Target.Expr})) == 0 {
				t.Errorf("%s: nothing is drawn for %s: %s", name, a.Name, a.Target.Expr)
			}
		}
		for _, v := range m.Templating.List {
			metric, label, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(v.Definition, "label_values("), ")"), ", ")
			values, _, _, err := r.prometheus.LabelValues(t.Context(), label, []string{metric}, r.from, r.to)
			if err != nil || len(values) == 0 {
				t.Errorf("%s: the variable %s has no values: %v", name, v.Name, err)
			}
		}
		for _, p := range m.Panels {
			for _, q := range p.Targets {
				if q.Datasource.UID != Prometheus {
					continue
				}
				asked++
				if q.Exemplar {
					exemplars++
				}
				for _, problem := range r.missing(t, q) {
					t.Errorf("%s: %q: %s", name, p.Title, problem)
				}
			}
		}
	}
	t.Logf("%d queries, %d of them with exemplars", asked, exemplars)
}

// missing says what a query of a panel does not find.
func (r *recordedRun) missing(t *testing.T, q targetModel) []string {
	t.Helper()
	found := r.ask(t, q)
	if len(found) == 0 {
		return []string{"shows nothing for " + r.fill(q.Expr)}
	}
	var out []string
	for _, label := range legend.FindAllStringSubmatch(q.LegendFormat, -1) {
		if !slices.ContainsFunc(found, func(m model.Metric) bool { return m[model.LabelName(label[1])] != "" }) {
			out = append(out, "no series has the label "+label[1]+" of the legend")
		}
	}
	if q.Exemplar {
		if got, err := r.prometheus.QueryExemplars(t.Context(), r.fill(q.Expr), r.from.Add(-time.Minute), r.to); err != nil || len(got) == 0 {
			out = append(out, fmt.Sprintf("has no exemplars: %v", err))
		}
	}
	return out
}
