package broker

import (
	"errors"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/observability/names"
)

// Outcomes of deliveries.
const (
	outcomeOK        = "ok"
	outcomeRetried   = "retried"
	outcomeDuplicate = "duplicate"
	outcomeDead      = "dead_letter"
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

// prepare makes the series of a subject, so that they are there, at zero, before
// the first message. What a pattern will match is not known.
func (m *metrics) prepare(subject string) {
	if strings.ContainsAny(subject, "*>") {
		return
	}
	for _, outcome := range []string{outcomeOK, outcomeRetried, outcomeDuplicate, outcomeDead} {
		m.consumed.WithLabelValues(subject, outcome)
	}
	m.deadLetters.WithLabelValues(subject)
}
