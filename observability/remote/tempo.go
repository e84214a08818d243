package remote

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Trace gives a trace of Tempo's, or false while Tempo does not have it.
func (c *Client) Trace(ctx context.Context, id string) (Message, bool, error) {
	body, err := c.get(ctx, c.cfg.Tempo+"/api/v2/traces/"+url.PathEscape(id), "application/protobuf")
	if err != nil {
		return Message{}, false, fmt.Errorf("asking Tempo: %w", err)
	}
	// A TraceByIDResponse: its field 1 is a trace, whose field 1 are resource spans, as in an ExportTraceServiceRequest.
	for len(body) > 0 {
		number, kind, n := protowire.ConsumeTag(body)
		if n < 0 {
			return Message{}, false, fmt.Errorf("reading Tempo's answer: %w", protowire.ParseError(n))
		}
		body = body[n:]
		if number == 1 && kind == protowire.BytesType {
			trace, n := protowire.ConsumeBytes(body)
			if n < 0 {
				return Message{}, false, fmt.Errorf("reading Tempo's answer: %w", protowire.ParseError(n))
			}
			return Message{Signal: "traces", Body: trace}, len(trace) > 0, nil
		}
		if n = protowire.ConsumeFieldValue(number, kind, body); n < 0 {
			return Message{}, false, fmt.Errorf("reading Tempo's answer: %w", protowire.ParseError(n))
		}
		body = body[n:]
	}
	return Message{}, false, nil
}

// logsAtOnce is the most records that Loki gives in one answer, unless it is configured otherwise.
const logsAtOnce = 5000

// Logs gives the records of Loki's from a time until another, the oldest first. Of more than 5,000 it
// gives the first, and until when they reach.
func (c *Client) Logs(ctx context.Context, from, to time.Time) (m Message, records int, until time.Time, err error) {
	query := url.Values{
		"query": {`{service_name=~".+"}`}, "direction": {"forward"}, "limit": {strconv.Itoa(logsAtOnce)},
		"start": {strconv.FormatInt(from.UnixNano(), 10)}, "end": {strconv.FormatInt(to.UnixNano(), 10)},
	}
	body, err := c.get(ctx, c.cfg.Loki+"/loki/api/v1/query_range?"+query.Encode(), "")
	if err != nil {
		return Message{}, 0, from, fmt.Errorf("asking Loki: %w", err)
	}
	var answer struct {
		Data struct {
			Result []struct {
				Stream map[string]string
				Values [][]string
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return Message{}, 0, from, fmt.Errorf("reading Loki's answer: %w", err)
	}
	request, until := &collogspb.ExportLogsServiceRequest{}, to
	newest := from
	for _, stream := range answer.Data.Result {
		resource := &logspb.ResourceLogs{Resource: resourceOf(stream.Stream)}
		scope := &logspb.ScopeLogs{}
		for _, value := range stream.Values {
			record, at, ok := logRecord(stream.Stream, value)
			if !ok {
				continue
			}
			records++
			if at.After(newest) {
				newest = at
			}
			scope.LogRecords = append(scope.LogRecords, record)
		}
		resource.ScopeLogs = []*logspb.ScopeLogs{scope}
		request.ResourceLogs = append(request.ResourceLogs, resource)
	}
	if records >= logsAtOnce {
		until = newest.Add(1)
	}
	m.Signal = "logs"
	m.Body, err = proto.Marshal(request)
	return m, records, until, err
}

// logRecord reads one of Loki's records: its time in nanoseconds and its text. Its structured metadata comes among
// the labels of its stream.
func logRecord(labels map[string]string, value []string) (*logspb.LogRecord, time.Time, bool) {
	if len(value) < 2 {
		return nil, time.Time{}, false
	}
	at, err := strconv.ParseInt(value[0], 10, 64)
	if err != nil {
		return nil, time.Time{}, false
	}
	record := &logspb.LogRecord{TimeUnixNano: uint64(at), SeverityText: labels["severity_text"], Body: text("", value[1]).GetValue()}
	if number, err := strconv.Atoi(labels["severity_number"]); err == nil {
		record.SeverityNumber = logspb.SeverityNumber(number)
	}
	record.TraceId, _ = hex.DecodeString(labels["trace_id"]) // without one it belongs to none
	record.SpanId, _ = hex.DecodeString(labels["span_id"])
	for name, content := range labels {
		switch {
		case lokisOwn[name] || ofResource[name] != "":
		case dotted[name] != "":
			record.Attributes = append(record.Attributes, text(dotted[name], content))
		default:
			record.Attributes = append(record.Attributes, text(name, content))
		}
	}
	return record, time.Unix(0, at), true
}

// resourceOf is who wrote the records of a stream.
func resourceOf(labels map[string]string) *resourcepb.Resource {
	out := &resourcepb.Resource{}
	for label, name := range ofResource {
		if content, found := labels[label]; found {
			out.Attributes = append(out.Attributes, text(name, content))
		}
	}
	return out
}

// ofResource are the labels that Loki makes of a resource's attributes, such as package observability gives it, by the names
// that those have: Loki puts _ in the place of each dot.
var ofResource = map[string]string{
	"service_name": "service.name", "service_instance_id": "service.instance.id", "process_pid": "process.pid",
	"telemetry_sdk_name": "telemetry.sdk.name", "telemetry_sdk_language": "telemetry.sdk.language", "telemetry_sdk_version": "telemetry.sdk.version",
}

// dotted are those attributes of records whose names have dots.
var dotted = map[string]string{
	"exception_message": "exception.message", "exception_type": "exception.type", "exception_stacktrace": "exception.stacktrace",
}

// lokisOwn are labels that are not attributes of the record.
var lokisOwn = map[string]bool{
	"severity_text": true, "severity_number": true, "trace_id": true, "span_id": true,
	"detected_level": true, "observed_timestamp": true, "scope_name": true, "flags": true,
}

func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}
