package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/faultline-lab/faultline/observability"
)

// Watch serves the metrics of a NATS server that is another program, as Run serves those of its own, until ctx
// ends. Such a server tells its figures as JSON, on the monitoring port that -m gives it.
//
// Environment: MONITOR_URL (the base address of that port), ADMIN_PORT and ADMIN_HOST (where /metrics is).
func Watch(ctx context.Context, env map[string]string) error {
	if env["MONITOR_URL"] == "" {
		return fmt.Errorf("running broker-metrics: MONITOR_URL is not set: the address of a NATS server's monitoring port, such as http://127.0.0.1:8222")
	}
	cfg := observability.ConfigFromEnv(func(name string) string { return env[name] })
	if cfg.Service == "" {
		cfg.Service = "broker-metrics"
	}
	telemetry, err := observability.Setup(ctx, cfg)
	if err != nil {
		return fmt.Errorf("running broker-metrics: %w", err)
	}
	handler, err := newWatcher(env["MONITOR_URL"], telemetry.Registry)
	if err == nil {
		err = serveAdmin(ctx, env, handler)
	}
	if err = errors.Join(err, telemetry.Shutdown(context.WithoutCancel(ctx))); err != nil {
		return fmt.Errorf("running broker-metrics: %w", err)
	}
	return nil
}

// newWatcher serves metrics. A server that does not answer makes /metrics fail: it then counts as down, and not
// the program that asks it.
func newWatcher(base string, registry *prometheus.Registry) (http.Handler, error) {
	source := monitor{base: strings.TrimSuffix(base, "/"), client: &http.Client{Timeout: monitorWithin}}
	if err := registry.Register(newCollector(source)); err != nil {
		return nil, fmt.Errorf("registering broker metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorHandling: promhttp.HTTPErrorOnError}))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return mux, nil
}

// monitorWithin bounds one question; a scrape has a second, and asks two.
const monitorWithin = 400 * time.Millisecond

// monitor is a server's monitoring port.
type monitor struct {
	base   string
	client *http.Client
}

// Varz asks for the server's figures. It takes no options.
func (m monitor) Varz(*server.VarzOptions) (*server.Varz, error) {
	var answer struct { // the whole holds types that cannot be read back
		Connections   int   `json:"connections"`
		InMsgs        int64 `json:"in_msgs"`
		OutMsgs       int64 `json:"out_msgs"`
		SlowConsumers int64 `json:"slow_consumers"`
	}
	if err := m.ask("/varz", &answer); err != nil {
		return nil, err
	}
	return &server.Varz{Connections: answer.Connections, InMsgs: answer.InMsgs, OutMsgs: answer.OutMsgs, SlowConsumers: answer.SlowConsumers}, nil
}

// Jsz asks for the figures of every stream and consumer, whatever the options.
func (m monitor) Jsz(*server.JSzOptions) (*server.JSInfo, error) {
	answer := &server.JSInfo{}
	return answer, m.ask("/jsz?accounts=true&streams=true&consumers=true", answer)
}

func (m monitor) ask(path string, into any) error {
	answer, err := m.client.Get(m.base + path)
	if err != nil {
		return fmt.Errorf("asking the nats server: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the nats server: %s answered %s", path, answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		return fmt.Errorf("reading the nats server's answer: %w", err)
	}
	return nil
}
