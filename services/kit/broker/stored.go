package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Stored is a message that the broker keeps, without its content.
type Stored struct {
	Seq     uint64 // its place in the stream, from 1 on
	Subject string
	ID      string // as given to Publish
}

// Stored lists the messages that a stream keeps now, in their order. A stream that is not there keeps none.
func (c *Client) Stored(ctx context.Context, stream string) ([]Stored, error) {
	out, err := c.stored(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("reading stream %s: %w", stream, plain(err))
	}
	return out, nil
}

func (c *Client) stored(ctx context.Context, name string) ([]Stored, error) {
	stream, err := c.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	last := stream.CachedInfo().State.LastSeq
	if stream.CachedInfo().State.Msgs == 0 {
		return nil, nil
	}
	reader, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{HeadersOnly: true})
	if err != nil {
		return nil, err
	}
	messages, err := reader.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	out := make([]Stored, 0, stream.CachedInfo().State.Msgs)
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return nil, err
		}
		out = append(out, Stored{Seq: meta.Sequence.Stream, Subject: msg.Subject(), ID: msg.Headers().Get(jetstream.MsgIDHeader)})
		if meta.Sequence.Stream >= last {
			return out, nil
		}
	}
}

// Acknowledged returns how far a consumer is: it has acknowledged every message of its subject up to this place in the
// stream. A stream or a consumer that is not there is at 0.
func (c *Client) Acknowledged(ctx context.Context, stream, durable string) (uint64, error) {
	consumer, err := c.js.Consumer(ctx, stream, durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("asking how far %s is in stream %s: %w", durable, stream, plain(err))
	}
	info := consumer.CachedInfo()
	if info.NumAckPending == 0 && info.NumRedelivered == 0 {
		return info.Delivered.Stream, nil
	}
	return info.AckFloor.Stream, nil
}
