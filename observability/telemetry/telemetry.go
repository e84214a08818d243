// Package telemetry owns the shapes of recorded telemetry: spans, log
// records, samples and series, as any backend gives them back. It has no
// behaviour beyond small derived values, and no dependencies.
package telemetry

import "time"

// Span is one recorded span.
type Span struct {
	TraceID    string         `json:"trace_id"`  // 32 hex digits
	SpanID     string         `json:"span_id"`   // 16 hex digits
	ParentID   string         `json:"parent_id"` // "" for a root
	Name       string         `json:"name"`
	Kind       string         `json:"kind"` // internal | server | client | producer | consumer
	Service    string         `json:"service"`
	Instance   string         `json:"instance,omitempty"` // service.instance.id, such as catalog-2
	Start      time.Time      `json:"start"`
	End        time.Time      `json:"end"`
	Error      bool           `json:"error,omitempty"`
	Message    string         `json:"message,omitempty"` // the status message
	Attributes map[string]any `json:"attributes,omitempty"`
	Events     []SpanEvent    `json:"events,omitempty"`
	Links      []SpanLink     `json:"links,omitempty"`
}

// Duration is End - Start.
func (s Span) Duration() time.Duration { return s.End.Sub(s.Start) }

// SpanEvent is a moment within a span.
type SpanEvent struct {
	Name       string         `json:"name"`
	Time       time.Time      `json:"time"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// SpanLink points to a span of another trace.
type SpanLink struct {
	TraceID string `json:"trace_id"`
	SpanID  string `json:"span_id"`
}

// Trace is every recorded span of one trace, by start time.
type Trace struct {
	ID    string `json:"id"`
	Spans []Span `json:"spans"`
}

// TraceQuery selects traces. Zero fields do not restrict.
type TraceQuery struct {
	From, To    time.Time
	Service     string // a span of this service takes part
	SpanName    string
	MinDuration time.Duration
	ErrorsOnly  bool
	Limit       int // 0 means 20
}

// TraceSummary is a trace in a list.
type TraceSummary struct {
	ID       string        `json:"id"`
	Root     string        `json:"root"` // name of the root span
	Service  string        `json:"service"`
	Start    time.Time     `json:"start"`
	Duration time.Duration `json:"duration"`
	Spans    int           `json:"spans"`
	Errors   int           `json:"errors"`
}

// LogRecord is one recorded log line.
type LogRecord struct {
	Time       time.Time      `json:"time"`
	Severity   string         `json:"severity"` // DEBUG | INFO | WARN | ERROR
	Body       string         `json:"body"`
	Service    string         `json:"service"`
	Instance   string         `json:"instance,omitempty"`
	TraceID    string         `json:"trace_id,omitempty"`
	SpanID     string         `json:"span_id,omitempty"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// LogQuery selects log records. Zero fields do not restrict.
type LogQuery struct {
	From, To    time.Time
	TraceID     string
	Service     string
	MinSeverity string
	Contains    string
	Limit       int // 0 means 100
}

// Point is a value at a time.
type Point struct {
	Time  time.Time `json:"t"`
	Value float64   `json:"v"`
}

// Series is a labelled line of points. An instant query gives series of one point.
type Series struct {
	Labels map[string]string `json:"labels"`
	Points []Point           `json:"points"`
}

// Loss counts what a backend was sent, or told of, but does not hold.
type Loss struct {
	SpansReceived   int64 `json:"spans_received"`
	SpansDropped    int64 `json:"spans_dropped"` // by senders and by the store's bound
	LogsReceived    int64 `json:"logs_received"`
	LogsDropped     int64 `json:"logs_dropped"`
	ScrapesFailed   int64 `json:"scrapes_failed"`
	ProfilesDropped int64 `json:"profiles_dropped"`
}
