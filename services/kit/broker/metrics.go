package broker

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/observability/names"
)

type metrics struct {
	published, consumed, deadLetters *prometheus.CounterVec
}

// newMetrics registers the metrics, or takes those that another client of the same registry registered.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: names.MessagesPublished, Help: "Messages that the broker took.",
		}, []string{"subject"}),
		consumed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: names.MessagesConsumed, Help: "Deliveries of messages, by what became of them.",
		}, []string{"subject", names.Outcome}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: names.DeadLetters, Help: "Messages given up.",
		}, []string{"subject"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, vec := range []**prometheus.CounterVec{&m.published, &m.consumed, &m.deadLetters} {
		var already prometheus.AlreadyRegisteredError
		if err := reg.Register(*vec); errors.As(err, &already) {
			existing, ok := already.ExistingCollector.(*prometheus.CounterVec)
			if !ok {
				return nil, err
			}
			*vec = existing
		} else if err != nil {
			return nil, err
		}
	}
	return m, nil
}
