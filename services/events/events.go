// Package events owns the messages that the shop's services send one another
// over the broker: their subjects, the streams that keep them, and what is in
// them. It is to messages what services/proto is to calls. Who sends and
// who consumes is the services' own business.
package events

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/faultline-lab/faultline/services/kit/broker"
)

// Subjects.
const (
	OrdersConfirmed = "orders.confirmed" // an OrderConfirmed, sent by orders
	OrdersShipped   = "orders.shipped"   // an OrderShipped, sent by shipping
	OrdersAll       = "orders.*"         // every event of orders
)

// Streams keep messages until they are consumed, and after.
const (
	OrdersStream      = "ORDERS"
	DeadLettersStream = "DEAD_LETTERS"
)

// DeadLetter returns the subject of what could not be handled of another subject by a consumer.
func DeadLetter(consumer, subject string) string { return "dead." + consumer + "." + subject }

// Line is a quantity of one product.
type Line struct {
	ProductID string `json:"product_id"`
	Quantity  int64  `json:"quantity"`
}

// OrderConfirmed says that an order is paid for and its stock is taken aside.
type OrderConfirmed struct {
	OrderID         string `json:"order_id"`
	AccountID       string `json:"account_id"`
	Lines           []Line `json:"lines"`
	TotalCents      int64  `json:"total_cents"`
	ConfirmedUnixMS int64  `json:"confirmed_unix_ms"`
}

// OrderShipped says that an order has left the house.
type OrderShipped struct {
	OrderID       string `json:"order_id"`
	AccountID     string `json:"account_id"`
	ShipmentID    string `json:"shipment_id"`
	ShippedUnixMS int64  `json:"shipped_unix_ms"`
}

// Streams is the part of a broker that makes streams.
type Streams interface {
	EnsureStream(ctx context.Context, name string, subjects ...string) error
}

// EnsureStreams makes the streams that keep the messages of this package. Every service that
// sends or consumes calls it, so that none has to start first.
func EnsureStreams(ctx context.Context, broker Streams) error {
	if err := broker.EnsureStream(ctx, OrdersStream, "orders.>"); err != nil {
		return err
	}
	return broker.EnsureStream(ctx, DeadLettersStream, "dead.>")
}

// Broker is a broker to consume from; a broker.Client is one.
type Broker interface {
	Streams
	Consume(ctx context.Context, consumer broker.Consumer, handle func(context.Context, broker.Message) error) error
}

// Consume is the broker's Consume, once the streams of this package are there. It waits for a broker that is not.
func Consume(ctx context.Context, client Broker, consumer broker.Consumer, handle func(context.Context, broker.Message) error) error {
	if err := EnsureStreams(ctx, client); err != nil {
		if ctx.Err() != nil {
			return nil // the service stops before it ever saw the broker
		}
		return err
	}
	return client.Consume(ctx, consumer, handle)
}

// ReadOrderConfirmed reads the content of an OrdersConfirmed message.
func ReadOrderConfirmed(data []byte) (OrderConfirmed, error) {
	var e OrderConfirmed
	if err := read(data, &e); err != nil {
		return OrderConfirmed{}, fmt.Errorf("reading %s: %w", OrdersConfirmed, err)
	}
	if e.OrderID == "" {
		return OrderConfirmed{}, fmt.Errorf("reading %s: no order id", OrdersConfirmed)
	}
	return e, nil
}

// ReadOrderShipped reads the content of an OrdersShipped message.
func ReadOrderShipped(data []byte) (OrderShipped, error) {
	var e OrderShipped
	if err := read(data, &e); err != nil {
		return OrderShipped{}, fmt.Errorf("reading %s: %w", OrdersShipped, err)
	}
	if e.OrderID == "" {
		return OrderShipped{}, fmt.Errorf("reading %s: no order id", OrdersShipped)
	}
	return e, nil
}

// read reads one JSON value. Fields that it does not know are left alone: a newer sender may add some.
func read(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(into); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("more than one value")
	}
	return nil
}
