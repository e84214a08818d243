package embedded

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"

	"github.com/faultline-lab/faultline/observability/telemetry"
)

// MessagesPath is where a backend gives what it received, for another that
// follows it: GET with ?after=ID, the id of the last message that is known already.
const MessagesPath = "/faultline/messages"

// PackedMessage is a received OTLP message as it is kept: packed by gzip.
type PackedMessage struct {
	ID     int64  `json:"id"`     // counts up, with gaps
	Signal string `json:"signal"` // traces | logs
	Body   []byte `json:"body"`   // an ExportTraceServiceRequest or ExportLogsServiceRequest in protobuf, gzipped
}

// messagesAtOnce bounds one answer: about 4 MB.
const messagesAtOnce = 200

// PackedMessages gives the messages after the one with the given id, the oldest
// first, and at most as many as one answer holds.
func (a *Archive) PackedMessages(ctx context.Context, after int64) ([]PackedMessage, error) {
	rows, err := a.telemetry.QueryContext(ctx, "SELECT id, signal, body FROM otlp WHERE id > ? ORDER BY id LIMIT ?", after, messagesAtOnce)
	if err != nil {
		return nil, fmt.Errorf("reading messages: %w", err)
	}
	defer rows.Close()
	out := []PackedMessage{}
	for rows.Next() {
		var m PackedMessage
		if err := rows.Scan(&m.ID, &m.Signal, &m.Body); err != nil {
			return nil, fmt.Errorf("reading messages: %w", err)
		}
		out = append(out, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading messages: %w", err)
	}
	return out, nil
}

// serveMessages answers with a list of PackedMessage. Who has them all gets an empty one.
func (b *Backend) serveMessages(w http.ResponseWriter, r *http.Request) {
	after := int64(0)
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseInt(text, 10, 64); err != nil {
			http.Error(w, fmt.Sprintf("after: %q is not a whole number", text), http.StatusBadRequest)
			return
		}
	}
	messages, err := b.archive.PackedMessages(r.Context(), after)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(messages) // the client has gone if it fails
}

// NewPart makes a message of series that go on, unlike those of NewWriteMessage, which end with their last point.
func NewPart(series []telemetry.Series) (WriteMessage, error) {
	w := newMessageWriter()
	for _, s := range series {
		line := w.begin(labels.FromMap(s.Labels).WithoutEmpty())
		for _, p := range s.Points {
			w.sample(line, timestamp.FromTime(p.Time), p.Value)
		}
		w.add(line)
	}
	var out WriteMessage
	err := w.flush(func(m WriteMessage) error { out = m; return nil })
	return out, err
}
