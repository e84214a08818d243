package resilience

import (
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// registry keeps what is registered and reads single series out of it.
type registry struct {
	mu         sync.Mutex
	collectors map[string]prometheus.Collector
}

func (r *registry) Register(c prometheus.Collector) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.collectors == nil {
		r.collectors = map[string]prometheus.Collector{}
	}
	descs := make(chan *prometheus.Desc, 1)
	c.Describe(descs)
	key := (<-descs).String()
	if existing, ok := r.collectors[key]; ok {
		return prometheus.AlreadyRegisteredError{ExistingCollector: existing, NewCollector: c}
	}
	r.collectors[key] = c
	return nil
}

func (r *registry) MustRegister(...prometheus.Collector)   {}
func (r *registry) Unregister(c prometheus.Collector) bool { return false }

// series returns every metric whose name and labels are given as name, value, name, value.
func (r *registry) series(name string, labels ...string) []*dto.Metric {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*dto.Metric
	for key, c := range r.collectors {
		if !strings.Contains(key, `fqName: "`+name+`"`) {
			continue
		}
		metrics := make(chan prometheus.Metric, 256)
		c.Collect(metrics)
		close(metrics)
		for metric := range metrics {
			var m dto.Metric
			if metric.Write(&m) == nil && has(&m, labels) {
				out = append(out, &m)
			}
		}
	}
	return out
}

func has(m *dto.Metric, labels []string) bool {
	for i := 0; i < len(labels); i += 2 {
		found := false
		for _, pair := range m.GetLabel() {
			found = found || pair.GetName() == labels[i] && pair.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}

// value returns the value of the one series: a counter, a gauge or the count of a histogram.
func (r *registry) value(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	found := r.series(name, labels...)
	if len(found) != 1 {
		t.Fatalf("%d series of %s with %q", len(found), name, labels)
	}
	m := found[0]
	switch {
	case m.Counter != nil:
		return m.GetCounter().GetValue()
	case m.Gauge != nil:
		return m.GetGauge().GetValue()
	}
	return float64(m.GetHistogram().GetSampleCount())
}
