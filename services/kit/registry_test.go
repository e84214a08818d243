package kit

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// registry keeps what is registered and reads single values out of it.
type registry struct{ collectors []prometheus.Collector }

func (r *registry) Register(c prometheus.Collector) error {
	r.collectors = append(r.collectors, c)
	return nil
}
func (r *registry) MustRegister(...prometheus.Collector)   {}
func (r *registry) Unregister(c prometheus.Collector) bool { return false }

// value returns the value of a series: a gauge, a counter, or the count of a histogram.
func (r *registry) value(t testing.TB, name string) float64 {
	t.Helper()
	metrics := make(chan prometheus.Metric, 64)
	for _, c := range r.collectors {
		descs := make(chan *prometheus.Desc, 1)
		c.Describe(descs)
		if strings.Contains((<-descs).String(), `fqName: "`+name+`"`) {
			c.Collect(metrics)
			close(metrics)
			var m dto.Metric
			if err := (<-metrics).Write(&m); err != nil {
				t.Fatal(err)
			}
			return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
