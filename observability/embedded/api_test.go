package embedded

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	promapi "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
)

// The real client finds a real Prometheus: what Grafana asks, it is answered.
func TestPrometheusAPI(t *testing.T) {
	lab := prometheus.NewRegistry()
	wait := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wait_seconds", Buckets: []float64{1}, Help: "How long."})
	lab.MustRegister(wait)
	wait.(prometheus.ExemplarObserver).ObserveWithExemplar(0.5, prometheus.Labels{"trace_id": "abc"})
	b := startBackend(t, Config{Lab: lab, Rules: []byte("groups: [{name: g, rules: [{alert: Slow, expr: wait_seconds_count > 0, labels: {severity: page}}]}]")})
	client, err := api.NewClient(api.Config{Address: b.Endpoints().Prometheus, Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	if err != nil {
		t.Fatal(err)
	}
	prom := promapi.NewAPI(client)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	wantValue(t, b.Archive(), `ALERTS{alertname="Slow"}`, 1)
	now := time.Now()
	from := now.Add(-time.Minute)

	if got, _, _, err := prom.Query(ctx, "wait_seconds_count", now); err != nil || got.Type() != model.ValVector || len(got.(model.Vector)) != 1 {
		t.Errorf("query: %v, %v", got, err)
	}
	if got, _, _, err := prom.QueryRange(ctx, "up", promapi.Range{Start: from, End: now, Step: time.Second}); err != nil || got.Type() != model.ValMatrix {
		t.Errorf("query_range: %v, %v", got, err)
	}
	if got, _, _, err := prom.Series(ctx, []string{`{service="faultline"}`}, from, now); err != nil || len(got) == 0 {
		t.Errorf("series: %v, %v", got, err)
	}
	if got, _, _, err := prom.LabelNames(ctx, nil, from, now); err != nil || !slices.Contains(got, "service") {
		t.Errorf("labels: %v, %v", got, err)
	}
	if got, _, _, err := prom.LabelValues(ctx, "service", nil, from, now); err != nil || !slices.Contains(got, "faultline") {
		t.Errorf("label values: %v, %v", got, err)
	}
	if got, err := prom.QueryExemplars(ctx, "wait_seconds_bucket", from, now); err != nil || len(got) != 1 || got[0].Exemplars[0].Labels["trace_id"] != "abc" {
		t.Errorf("exemplars: %v, %v", got, err)
	}
	if got, err := prom.Rules(ctx, nil); err != nil || len(got.Groups) != 1 || len(got.Groups[0].Rules) != 1 {
		t.Errorf("rules: %v, %v", got, err)
	}
	if got, err := prom.Alerts(ctx); err != nil || len(got.Alerts) != 1 || got.Alerts[0].State != promapi.AlertStateFiring {
		t.Errorf("alerts: %v, %v", got, err)
	}
	if got, err := prom.Targets(ctx); err != nil || len(got.Active) != 1 || got.Active[0].Health != promapi.HealthGood {
		t.Errorf("targets: %v, %v", got, err)
	}
	if got, err := prom.Metadata(ctx, "wait_seconds", "1"); err != nil || len(got["wait_seconds"]) != 1 || got["wait_seconds"][0].Help != "How long." {
		t.Errorf("metadata: %v, %v", got, err)
	}
	if got, err := prom.Buildinfo(ctx); err != nil || got.Version == "" {
		t.Errorf("buildinfo: %v, %v", got, err)
	}
	if _, err := prom.Runtimeinfo(ctx); err != nil {
		t.Errorf("runtimeinfo: %v", err)
	}
	if _, err := prom.TSDB(ctx); err != nil {
		t.Errorf("tsdb: %v", err)
	}
	if _, err := prom.WalReplay(ctx); err != nil {
		t.Errorf("walreplay: %v", err)
	}
	if _, err := prom.AlertManagers(ctx); err != nil {
		t.Errorf("alertmanagers: %v", err)
	}
	resp, err := http.Post(b.Endpoints().Prometheus+"/api/v1/admin/tsdb/delete_series?match[]=up", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode/100 == 2 {
		t.Error("series can be deleted from outside")
	}
}

// Only pages of this machine may read.
func TestAPIOrigins(t *testing.T) {
	b := startBackend(t, Config{})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for origin, want := range map[string]string{
		"http://localhost:3000":  "http://localhost:3000",
		"http://127.0.0.1:3000":  "http://127.0.0.1:3000",
		"https://evil.example":   "",
		"http://localhost.evil":  "",
		"http://127.0.0.1.a:300": "",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.Endpoints().Prometheus+"/api/v1/labels", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != want || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d, allowed %q, want %q", origin, resp.StatusCode, got, want)
		}
	}
}
