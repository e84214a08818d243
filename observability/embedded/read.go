package embedded

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/observability/telemetry"
)

// ErrNotFound says that a trace is not in the archive.
var ErrNotFound = errors.New("not found")

// kinds names OTLP's span kinds.
var kinds = []string{"internal", "internal", "server", "client", "producer", "consumer"}

func kindName(kind int64) string {
	if kind < 0 || kind >= int64(len(kinds)) {
		return kinds[0]
	}
	return kinds[kind]
}

// Trace gives every recorded span of a trace by start time. The error is
// ErrNotFound if there is none.
func (a *Archive) Trace(ctx context.Context, id string) (telemetry.Trace, error) {
	key, err := hex.DecodeString(id)
	if err != nil || len(key) != 16 {
		return telemetry.Trace{}, fmt.Errorf("trace %q: an id has 32 hex digits", id)
	}
	rows, err := a.telemetry.QueryContext(ctx, `SELECT span_id, parent_id, name, kind, service, instance, start, "end",
		error, coalesce(message, ''), coalesce(span.attributes, ''), coalesce(events, ''), coalesce(links, '')
		FROM span JOIN resource ON resource.id = span.resource WHERE trace_id = ? ORDER BY start, span.rowid`, key)
	if err != nil {
		return telemetry.Trace{}, fmt.Errorf("reading trace %s: %w", id, err)
	}
	defer rows.Close()
	trace := telemetry.Trace{ID: strings.ToLower(id)}
	for rows.Next() {
		span, err := scanSpan(rows)
		if err != nil {
			return telemetry.Trace{}, fmt.Errorf("reading trace %s: %w", id, err)
		}
		span.TraceID = trace.ID
		trace.Spans = append(trace.Spans, span)
	}
	if err := rows.Err(); err != nil {
		return telemetry.Trace{}, fmt.Errorf("reading trace %s: %w", id, err)
	}
	if len(trace.Spans) == 0 {
		return telemetry.Trace{}, fmt.Errorf("trace %s: %w", id, ErrNotFound)
	}
	return trace, nil
}

func scanSpan(rows *sql.Rows) (telemetry.Span, error) {
	var (
		span                      telemetry.Span
		id, parent                []byte
		kind, start, end          int64
		attributes, events, links string
	)
	if err := rows.Scan(&id, &parent, &span.Name, &kind, &span.Service, &span.Instance, &start, &end,
		&span.Error, &span.Message, &attributes, &events, &links); err != nil {
		return span, err
	}
	span.SpanID, span.ParentID = hex.EncodeToString(id), hex.EncodeToString(parent)
	span.Kind = kindName(kind)
	span.Start, span.End = time.Unix(0, start), time.Unix(0, end)
	var err error
	if span.Attributes, err = decodeAttributes(attributes); err != nil {
		return span, err
	}
	if span.Events, err = decodeEvents(events); err != nil {
		return span, err
	}
	if links != "" {
		if err := json.Unmarshal([]byte(links), &span.Links); err != nil {
			return span, fmt.Errorf("links: %w", err)
		}
	}
	return span, nil
}

// decodeAttributes reads attributes back: whole numbers as int64, others as
// float64.
func decodeAttributes(text string) (map[string]any, error) {
	if text == "" {
		return nil, nil
	}
	var raw map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&raw); err != nil {
		return nil, fmt.Errorf("attributes: %w", err)
	}
	for key, value := range raw {
		raw[key] = plainNumbers(value)
	}
	return raw, nil
}

func plainNumbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = plainNumbers(v[key])
		}
	}
	return value
}

func decodeEvents(text string) ([]telemetry.SpanEvent, error) {
	if text == "" {
		return nil, nil
	}
	var raw []struct {
		Name       string          `json:"name"`
		Time       int64           `json:"time"`
		Attributes json.RawMessage `json:"attributes"`
	}
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	events := make([]telemetry.SpanEvent, len(raw))
	for i, r := range raw {
		attributes, err := decodeAttributes(string(r.Attributes))
		if err != nil {
			return nil, err
		}
		events[i] = telemetry.SpanEvent{Name: r.Name, Time: time.Unix(0, r.Time), Attributes: attributes}
	}
	return events, nil
}

// scanLimit is how many spans Traces looks at between two looks at whole traces.
const scanLimit = 512

// Traces gives the traces that match, newest first. From and To bound the
// start of a span that takes part; Service and SpanName hold for one and the
// same span; MinDuration and ErrorsOnly hold for the trace as a whole.
func (a *Archive) Traces(ctx context.Context, q telemetry.TraceQuery) ([]telemetry.TraceSummary, error) {
	if q.Limit <= 0 {
		q.Limit = 20
	}
	summary, err := a.telemetry.PrepareContext(ctx, `SELECT span_id, parent_id, name, service, start, "end", error
		FROM span JOIN resource ON resource.id = span.resource WHERE trace_id = ? ORDER BY start, span.rowid`)
	if err != nil {
		return nil, fmt.Errorf("reading traces: %w", err)
	}
	defer summary.Close()
	var found []telemetry.TraceSummary
	seen := make(map[[16]byte]bool)
	for at := (cursor{start: math.MaxInt64, row: math.MaxInt64}); len(found) < q.Limit && !at.done; {
		var ids [][16]byte
		if ids, at, err = a.candidates(ctx, q, at); err != nil {
			return nil, fmt.Errorf("reading traces: %w", err)
		}
		for _, id := range ids {
			if seen[id] || len(found) == q.Limit {
				continue
			}
			seen[id] = true
			trace, err := summarize(ctx, summary, id)
			if err != nil {
				return nil, fmt.Errorf("reading trace %x: %w", id, err)
			}
			if trace.Duration >= q.MinDuration && (trace.Errors > 0 || !q.ErrorsOnly) {
				found = append(found, trace)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b telemetry.TraceSummary) int { return b.Start.Compare(a.Start) })
	return found, nil
}

// cursor is where a scan from new to old stands.
type cursor struct {
	start, row int64
	done       bool
}

// candidates gives the trace ids of the next matching spans, newest first.
func (a *Archive) candidates(ctx context.Context, q telemetry.TraceQuery, at cursor) ([][16]byte, cursor, error) {
	where := []string{"(start, rowid) < (?, ?)"}
	args := []any{at.start, at.row}
	add := func(condition string, arg ...any) { where, args = append(where, condition), append(args, arg...) }
	if !q.From.IsZero() {
		add("start >= ?", q.From.UnixNano())
	}
	if !q.To.IsZero() {
		add("start <= ?", q.To.UnixNano())
	}
	if q.Service != "" {
		add("resource IN (SELECT id FROM resource WHERE service = ?)", q.Service)
	}
	if q.SpanName != "" {
		add("name = ?", q.SpanName)
	}
	if q.ErrorsOnly && q.Service == "" && q.SpanName == "" {
		add("error = 1") // any error of the trace will do, and these have an index
	}
	rows, err := a.telemetry.QueryContext(ctx, "SELECT trace_id, start, rowid FROM span WHERE "+strings.Join(where, " AND ")+
		" ORDER BY start DESC, rowid DESC LIMIT ?", append(args, scanLimit)...)
	if err != nil {
		return nil, at, err
	}
	defer rows.Close()
	var ids [][16]byte
	for rows.Next() {
		var id []byte
		if err := rows.Scan(&id, &at.start, &at.row); err != nil {
			return nil, at, err
		}
		if len(id) == 16 {
			ids = append(ids, [16]byte(id))
		}
	}
	at.done = len(ids) < scanLimit
	return ids, at, rows.Err()
}

// summarize reads a trace just far enough for a list. The root is the
// earliest span whose parent was not recorded: the caller that began the trace
// need not have recorded a span of its own.
func summarize(ctx context.Context, stmt *sql.Stmt, id [16]byte) (telemetry.TraceSummary, error) {
	rows, err := stmt.QueryContext(ctx, id[:])
	if err != nil {
		return telemetry.TraceSummary{}, err
	}
	defer rows.Close()
	type light struct{ parent, name, service string }
	var (
		spans       []light
		recorded    = make(map[string]bool)
		first, last = int64(math.MaxInt64), int64(math.MinInt64)
		summary     = telemetry.TraceSummary{ID: hex.EncodeToString(id[:])}
	)
	for rows.Next() {
		var (
			spanID, parent sql.RawBytes
			s              light
			start, end     int64
			failed         bool
		)
		if err := rows.Scan(&spanID, &parent, &s.name, &s.service, &start, &end, &failed); err != nil {
			return summary, err
		}
		recorded[string(spanID)] = true
		s.parent = string(parent)
		spans = append(spans, s)
		first, last = min(first, start), max(last, end)
		if failed {
			summary.Errors++
		}
	}
	if err := rows.Err(); err != nil {
		return summary, err
	}
	for _, s := range spans {
		if s.parent == "" || !recorded[s.parent] {
			summary.Root, summary.Service = s.name, s.service
			break
		}
	}
	summary.Spans, summary.Start, summary.Duration = len(spans), time.Unix(0, first), time.Duration(last-first)
	return summary, nil
}

// Logs gives the newest records that match, by time. Contains is looked for in
// the body, with no regard to the case of ASCII letters.
func (a *Archive) Logs(ctx context.Context, q telemetry.LogQuery) ([]telemetry.LogRecord, error) {
	where, args, err := logConditions(q)
	if err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	if q.Limit <= 0 {
		q.Limit = 100
	}
	rows, err := a.telemetry.QueryContext(ctx, `SELECT time, severity, body, service, instance, trace_id, span_id, coalesce(log.attributes, '')
		FROM log JOIN resource ON resource.id = log.resource WHERE `+strings.Join(where, " AND ")+
		" ORDER BY time DESC, log.rowid DESC LIMIT ?", append(args, q.Limit)...)
	if err != nil {
		return nil, fmt.Errorf("reading logs: %w", err)
	}
	defer rows.Close()
	var records []telemetry.LogRecord
	for rows.Next() {
		var (
			r               telemetry.LogRecord
			at              int64
			severity        int32
			traceID, spanID []byte
			attributes      string
		)
		if err := rows.Scan(&at, &severity, &r.Body, &r.Service, &r.Instance, &traceID, &spanID, &attributes); err != nil {
			return nil, fmt.Errorf("reading logs: %w", err)
		}
		r.Time, r.Severity = time.Unix(0, at), severityName(severity)
		r.TraceID, r.SpanID = hex.EncodeToString(traceID), hex.EncodeToString(spanID)
		if r.Attributes, err = decodeAttributes(attributes); err != nil {
			return nil, fmt.Errorf("reading logs: %w", err)
		}
		records = append(records, r)
	}
	slices.Reverse(records)
	return records, rows.Err()
}

func logConditions(q telemetry.LogQuery) (where []string, args []any, err error) {
	where = []string{"1"}
	add := func(condition string, arg any) { where, args = append(where, condition), append(args, arg) }
	if !q.From.IsZero() {
		add("time >= ?", q.From.UnixNano())
	}
	if !q.To.IsZero() {
		add("time <= ?", q.To.UnixNano())
	}
	if q.TraceID != "" {
		key, err := hex.DecodeString(q.TraceID)
		if err != nil {
			return nil, nil, fmt.Errorf("trace %q: an id has 32 hex digits", q.TraceID)
		}
		add("trace_id = ?", key)
	}
	if q.Service != "" {
		add("log.resource IN (SELECT id FROM resource WHERE service = ?)", q.Service)
	}
	if q.MinSeverity != "" {
		least := severityNumber(strings.ToUpper(q.MinSeverity))
		if least == 0 {
			return nil, nil, fmt.Errorf("severity %q: must be DEBUG, INFO, WARN or ERROR", q.MinSeverity)
		}
		add("severity >= ?", least)
	}
	if q.Contains != "" {
		escaped := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(q.Contains)
		add(`body LIKE ? ESCAPE '\'`, "%"+escaped+"%")
	}
	return where, args, nil
}

// Message is a received OTLP message, as it came.
type Message struct {
	Signal   string // traces | logs
	Received time.Time
	Body     []byte // an ExportTraceServiceRequest or ExportLogsServiceRequest in protobuf
}

// Messages gives every received message in order, for sending them on to
// another backend. It stops at each's first error and returns it.
func (a *Archive) Messages(ctx context.Context, each func(Message) error) error {
	rows, err := a.telemetry.QueryContext(ctx, "SELECT signal, received, body FROM otlp ORDER BY id")
	if err != nil {
		return fmt.Errorf("reading messages: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var (
			m        Message
			received int64
			body     []byte
		)
		if err := rows.Scan(&m.Signal, &received, &body); err != nil {
			return fmt.Errorf("reading messages: %w", err)
		}
		m.Received = time.Unix(0, received)
		if m.Body, err = gunzip(body, math.MaxInt64); err != nil {
			return fmt.Errorf("reading messages: %w", err)
		}
		if err := each(m); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading messages: %w", err)
	}
	return nil
}

// errTooLarge says that a body is over its limit, perhaps only once unpacked.
var errTooLarge = errors.New("message too large")

// gunzip unpacks at most limit bytes.
func gunzip(body []byte, limit int64) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	defer r.Close()
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(r, limit))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if n == limit {
		if extra, _ := r.Read(make([]byte, 1)); extra > 0 {
			return nil, errTooLarge
		}
	}
	return out.Bytes(), nil
}
