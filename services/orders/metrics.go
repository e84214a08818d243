package orders

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/observability/names"
)

// metrics is what of the sagas telemetry shows.
type metrics struct {
	total   *prometheus.CounterVec // by outcome
	pending prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: names.SagasTotal, Help: "Sagas that ended.",
		}, []string{names.Outcome}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: names.SagasPending, Help: "Sagas that have not ended.",
		}),
	}
	for _, outcome := range []state{confirmed, cancelled} { // a series that is there from the start has a rate
		m.total.WithLabelValues(string(outcome))
	}
	if reg != nil {
		reg.MustRegister(m.total, m.pending)
	}
	return m
}
