package broker

import (
	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/faultline-lab/faultline/observability/names"
)

// collector reads the server's own figures when it is scraped.
type collector struct {
	figures figures

	connections, received, delivered, slow *prometheus.Desc
	messages, bytes                        *prometheus.Desc // by stream
	pending, unacked, repeated             *prometheus.Desc // by stream and consumer
}

// figures is what the server tells of itself.
type figures interface {
	Varz(*server.VarzOptions) (*server.Varz, error)
	Jsz(*server.JSzOptions) (*server.JSInfo, error)
}

func newCollector(f figures) *collector {
	stream, consumer := []string{"stream"}, []string{"stream", "consumer"}
	return &collector{
		figures:     f,
		connections: prometheus.NewDesc(names.BrokerConnections, "Clients connected.", nil, nil),
		received:    prometheus.NewDesc(names.BrokerReceived, "Messages that clients sent, acknowledgements and requests among them.", nil, nil),
		delivered:   prometheus.NewDesc(names.BrokerDelivered, "Messages sent to clients.", nil, nil),
		slow:        prometheus.NewDesc(names.BrokerSlowConsumers, "Clients cut off because they did not read.", nil, nil),
		messages:    prometheus.NewDesc(names.BrokerStoredMessages, "Messages that a stream keeps.", stream, nil),
		bytes:       prometheus.NewDesc(names.BrokerStoredBytes, "Bytes that a stream keeps.", stream, nil),
		pending:     prometheus.NewDesc(names.BrokerConsumerPending, "Messages not yet delivered to a consumer.", consumer, nil),
		unacked:     prometheus.NewDesc(names.BrokerConsumerUnacked, "Messages delivered to a consumer and not yet acknowledged.", consumer, nil),
		repeated:    prometheus.NewDesc(names.BrokerConsumerRepeated, "Messages delivered to a consumer more than once and not yet acknowledged.", consumer, nil),
	}
}

// Describe lists what Collect may give.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.connections, c.received, c.delivered, c.slow, c.messages, c.bytes, c.pending, c.unacked, c.repeated} {
		descs <- d
	}
}

// Collect asks the server. What it does not tell is reported as an error of that metric.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	general, err := c.figures.Varz(nil)
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(c.connections, err)
		return
	}
	metrics <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(general.Connections))
	metrics <- prometheus.MustNewConstMetric(c.received, prometheus.CounterValue, float64(general.InMsgs))
	metrics <- prometheus.MustNewConstMetric(c.delivered, prometheus.CounterValue, float64(general.OutMsgs))
	metrics <- prometheus.MustNewConstMetric(c.slow, prometheus.CounterValue, float64(general.SlowConsumers))
	streams, err := c.figures.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Consumer: true})
	if err != nil {
		metrics <- prometheus.NewInvalidMetric(c.messages, err)
		return
	}
	for _, account := range streams.AccountDetails {
		for _, stream := range account.Streams {
			c.stream(metrics, stream)
		}
	}
}

func (c *collector) stream(metrics chan<- prometheus.Metric, stream server.StreamDetail) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(c.messages, float64(stream.State.Msgs), stream.Name)
	gauge(c.bytes, float64(stream.State.Bytes), stream.Name)
	for _, consumer := range stream.Consumer {
		gauge(c.pending, float64(consumer.NumPending), stream.Name, consumer.Name)
		gauge(c.unacked, float64(consumer.NumAckPending), stream.Name, consumer.Name)
		gauge(c.repeated, float64(consumer.NumRedelivered), stream.Name, consumer.Name)
	}
}
