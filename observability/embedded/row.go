package embedded

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// resource is what sent a span or a log record.
type resource struct {
	service, instance string
	attributes        string // JSON
}

// spanRow is a span as the database holds it.
type spanRow struct {
	resource                  *resource
	traceID, spanID, parentID []byte // parentID is nil for a root
	name                      string
	kind                      int32
	start, end                int64 // Unix nanoseconds
	failed                    bool
	message                   string
	attributes, events, links string // JSON, "" for none
}

// logRow is a log record as the database holds it.
type logRow struct {
	resource        *resource
	time            int64 // Unix nanoseconds
	severity        int32
	body            string
	traceID, spanID []byte // nil if the record belongs to none
	attributes      string
}

// maxDepth bounds nested attribute values; what is deeper is left out.
const maxDepth = 16

// spanRows turns received spans into rows. Spans without valid ids or times
// cannot be stored and are counted as rejected.
func spanRows(received []*tracepb.ResourceSpans) (rows []spanRow, rejected int) {
	for _, rs := range received {
		from := resourceOf(rs.GetResource())
		for _, scope := range rs.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				row, ok := newSpanRow(from, span)
				if !ok {
					rejected++
					continue
				}
				rows = append(rows, row)
			}
		}
	}
	return rows, rejected
}

func newSpanRow(from *resource, s *tracepb.Span) (spanRow, bool) {
	if !validID(s.GetTraceId(), 16) || !validID(s.GetSpanId(), 8) || s.GetStartTimeUnixNano() == 0 ||
		s.GetStartTimeUnixNano() > math.MaxInt64 || s.GetEndTimeUnixNano() > math.MaxInt64 {
		return spanRow{}, false
	}
	row := spanRow{
		resource: from,
		traceID:  s.GetTraceId(), spanID: s.GetSpanId(),
		name: s.GetName(), kind: int32(s.GetKind()),
		start: int64(s.GetStartTimeUnixNano()), end: int64(s.GetEndTimeUnixNano()),
		failed: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR, message: s.GetStatus().GetMessage(),
		attributes: attributesJSON(s.GetAttributes()),
		events:     eventsJSON(s.GetEvents()),
		links:      linksJSON(s.GetLinks()),
	}
	row.end = max(row.end, row.start) // clocks step back; a duration is never negative
	if validID(s.GetParentSpanId(), 8) {
		row.parentID = s.GetParentSpanId()
	}
	return row, true
}

// logRows turns received records into rows; now dates those that carry no time.
func logRows(received []*logspb.ResourceLogs, now int64) (rows []logRow) {
	for _, rl := range received {
		from := resourceOf(rl.GetResource())
		for _, scope := range rl.GetScopeLogs() {
			for _, record := range scope.GetLogRecords() {
				rows = append(rows, newLogRow(from, record, now))
			}
		}
	}
	return rows
}

func newLogRow(from *resource, r *logspb.LogRecord, now int64) logRow {
	row := logRow{
		resource:   from,
		time:       now,
		severity:   int32(r.GetSeverityNumber()),
		body:       bodyText(r.GetBody()),
		attributes: attributesJSON(r.GetAttributes()),
	}
	for _, at := range []uint64{r.GetObservedTimeUnixNano(), r.GetTimeUnixNano()} {
		if at > 0 && at <= math.MaxInt64 {
			row.time = int64(at)
		}
	}
	if row.severity <= 0 {
		row.severity = severityOfText(r.GetSeverityText())
	}
	if validID(r.GetTraceId(), 16) {
		row.traceID = r.GetTraceId()
		if validID(r.GetSpanId(), 8) {
			row.spanID = r.GetSpanId()
		}
	}
	return row
}

// validID says whether an id has its length and is not all zeros.
func validID(id []byte, length int) bool {
	if len(id) != length {
		return false
	}
	for _, b := range id {
		if b != 0 {
			return true
		}
	}
	return false
}

func resourceOf(r *resourcepb.Resource) *resource {
	from := &resource{service: "unknown_service", attributes: attributesJSON(r.GetAttributes())}
	for _, kv := range r.GetAttributes() {
		switch kv.GetKey() {
		case "service.name":
			from.service = kv.GetValue().GetStringValue()
		case "service.instance.id":
			from.instance = kv.GetValue().GetStringValue()
		}
	}
	return from
}

// The severities of telemetry.LogRecord by the least number of
// OpenTelemetry's scale that has the name.
var severities = []struct {
	name  string
	least int32
}{{"ERROR", 17}, {"WARN", 13}, {"INFO", 9}, {"DEBUG", 1}}

func severityName(number int32) string {
	for _, s := range severities {
		if number >= s.least {
			return s.name
		}
	}
	return severities[len(severities)-1].name
}

// severityNumber is the least number of a severity, 0 for an unknown name.
func severityNumber(name string) int32 {
	for _, s := range severities {
		if s.name == name {
			return s.least
		}
	}
	return 0
}

// severityOfText reads the severity of a record that has no number. Loggers
// spell it in many ways; INFO is what it is when nothing says otherwise.
func severityOfText(text string) int32 {
	switch text = strings.ToUpper(text); {
	case strings.HasPrefix(text, "ERR"), strings.HasPrefix(text, "FATAL"), strings.HasPrefix(text, "CRIT"), strings.HasPrefix(text, "PANIC"):
		return 17
	case strings.HasPrefix(text, "WARN"):
		return 13
	case strings.HasPrefix(text, "DEBUG"), strings.HasPrefix(text, "TRACE"):
		return 5
	}
	return 9
}

// bodyText gives a record's body as text: a string as it is, anything else as JSON.
func bodyText(v *commonpb.AnyValue) string {
	if s, ok := v.GetValue().(*commonpb.AnyValue_StringValue); ok {
		return s.StringValue
	}
	if v.GetValue() == nil {
		return ""
	}
	return string(appendValue(nil, v, 0))
}

func attributesJSON(attributes []*commonpb.KeyValue) string {
	if len(attributes) == 0 {
		return ""
	}
	return string(appendObject(make([]byte, 0, 32*len(attributes)), attributes, 0))
}

func eventsJSON(events []*tracepb.Span_Event) string {
	if len(events) == 0 {
		return ""
	}
	out := []byte{'['}
	for i, event := range events {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"name":`...)
		out = appendString(out, event.GetName())
		out = append(out, `,"time":`...)
		out = strconv.AppendInt(out, int64(min(event.GetTimeUnixNano(), math.MaxInt64)), 10)
		out = append(out, `,"attributes":`...)
		out = append(appendObject(out, event.GetAttributes(), 0), '}')
	}
	return string(append(out, ']'))
}

func linksJSON(links []*tracepb.Span_Link) string {
	out := []byte{'['}
	for _, link := range links {
		if !validID(link.GetTraceId(), 16) || !validID(link.GetSpanId(), 8) {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, `{"trace_id":"`...)
		out = appendHex(out, link.GetTraceId())
		out = append(out, `","span_id":"`...)
		out = append(appendHex(out, link.GetSpanId()), `"}`...)
	}
	if len(out) == 1 {
		return ""
	}
	return string(append(out, ']'))
}

func appendObject(out []byte, attributes []*commonpb.KeyValue, depth int) []byte {
	out = append(out, '{')
	for i, kv := range attributes {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, kv.GetKey()), ':')
		out = appendValue(out, kv.GetValue(), depth+1)
	}
	return append(out, '}')
}

func appendValue(out []byte, v *commonpb.AnyValue, depth int) []byte {
	if depth > maxDepth {
		return append(out, "null"...)
	}
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return appendString(out, v.StringValue)
	case *commonpb.AnyValue_BoolValue:
		return strconv.AppendBool(out, v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return strconv.AppendInt(out, v.IntValue, 10)
	case *commonpb.AnyValue_DoubleValue:
		return appendFloat(out, v.DoubleValue)
	case *commonpb.AnyValue_BytesValue:
		out = append(out, '"')
		out = base64.StdEncoding.AppendEncode(out, v.BytesValue)
		return append(out, '"')
	case *commonpb.AnyValue_ArrayValue:
		out = append(out, '[')
		for i, item := range v.ArrayValue.GetValues() {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendValue(out, item, depth+1)
		}
		return append(out, ']')
	case *commonpb.AnyValue_KvlistValue:
		return appendObject(out, v.KvlistValue.GetValues(), depth)
	}
	return append(out, "null"...)
}

// appendFloat writes a number that reads back as one with a fraction; JSON has
// no infinities, they become text.
func appendFloat(out []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendString(out, strconv.FormatFloat(f, 'g', -1, 64))
	}
	begin := len(out)
	out = strconv.AppendFloat(out, f, 'g', -1, 64)
	if !strings.ContainsAny(string(out[begin:]), ".e") {
		out = append(out, '.', '0')
	}
	return out
}

// appendString quotes a string; the common one that needs no escapes is
// copied as it is.
func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				return append(out, `""`...) // a string always marshals
			}
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}

const hexDigits = "0123456789abcdef"

func appendHex(out, id []byte) []byte {
	for _, b := range id {
		out = append(out, hexDigits[b>>4], hexDigits[b&15])
	}
	return out
}
