package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/observability/telemetry"
)

// recorded writes rows to a new database and opens it for reading.
func recorded(t *testing.T, b *batch) *Archive {
	t.Helper()
	dir := t.TempDir()
	s, err := openStore(t.Context(), filepath.Join(dir, telemetryFile), Limits{}.withDefaults(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if !s.offer(b) {
		t.Fatal("no room")
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	a := &Archive{dir: dir}
	if err := a.openTelemetry(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

var day = time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC)

// span makes a row; trace and id are single digits that fill the ids.
func span(service string, trace, id, parent byte, name string, startMS, endMS int, failed bool) spanRow {
	row := spanRow{
		resource: &resource{service: service, instance: service + "-1"}, name: name, failed: failed,
		traceID: []byte(strings.Repeat(string(rune(trace)), 16)), spanID: []byte(strings.Repeat(string(rune(id)), 8)),
		start: day.Add(time.Duration(startMS) * time.Millisecond).UnixNano(), end: day.Add(time.Duration(endMS) * time.Millisecond).UnixNano(),
	}
	if parent != 0 {
		row.parentID = []byte(strings.Repeat(string(rune(parent)), 8))
	}
	return row
}

func TestTraces(t *testing.T) {
	a := recorded(t, &batch{signal: signalTraces, body: []byte("body"), spans: []spanRow{
		span("gateway", 1, 1, 9, "GET /a", 0, 100, false), // its parent, a load generator's, was not recorded
		span("catalog", 1, 2, 1, "List", 10, 20, false),
		span("gateway", 2, 1, 0, "GET /b", 1000, 1900, false),
		span("bank", 2, 2, 1, "charge", 1100, 1200, true),
		span("catalog", 2, 3, 1, "List", 1150, 1160, false),
		span("broker", 3, 2, 0, "deliver", 2000, 2010, false),
		span("broker", 3, 1, 0, "publish", 1995, 4000, false), // a second root; the earlier one is shown
	}})
	id := func(trace byte) string { return fmt.Sprintf("%x", strings.Repeat(string(rune(trace)), 16)) }
	tests := []struct {
		name  string
		query telemetry.TraceQuery
		want  []string
	}{
		{"all, newest first", telemetry.TraceQuery{}, []string{id(3), id(2), id(1)}},
		{"limited", telemetry.TraceQuery{Limit: 2}, []string{id(3), id(2)}},
		{"by a service that takes part", telemetry.TraceQuery{Service: "catalog"}, []string{id(2), id(1)}},
		{"by a span", telemetry.TraceQuery{SpanName: "charge"}, []string{id(2)}},
		{"by a span of another service", telemetry.TraceQuery{SpanName: "charge", Service: "catalog"}, nil},
		{"with errors", telemetry.TraceQuery{ErrorsOnly: true}, []string{id(2)}},
		{"with errors, anywhere in the trace", telemetry.TraceQuery{ErrorsOnly: true, Service: "catalog"}, []string{id(2)}},
		{"slow", telemetry.TraceQuery{MinDuration: 500 * time.Millisecond}, []string{id(3), id(2)}},
		{"from a time", telemetry.TraceQuery{From: day.Add(1150 * time.Millisecond)}, []string{id(3), id(2)}},
		{"to a time", telemetry.TraceQuery{To: day.Add(999 * time.Millisecond)}, []string{id(1)}},
		{"of a service nobody knows", telemetry.TraceQuery{Service: "nobody"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found, err := a.Traces(t.Context(), test.query)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, trace := range found {
				got = append(got, trace.ID)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}

	all, err := a.Traces(t.Context(), telemetry.TraceQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i].Start = all[i].Start.UTC()
	}
	want := []telemetry.TraceSummary{
		{ID: id(3), Root: "publish", Service: "broker", Start: day.Add(1995 * time.Millisecond), Duration: 2005 * time.Millisecond, Spans: 2},
		{ID: id(2), Root: "GET /b", Service: "gateway", Start: day.Add(time.Second), Duration: 900 * time.Millisecond, Spans: 3, Errors: 1},
		{ID: id(1), Root: "GET /a", Service: "gateway", Start: day, Duration: 100 * time.Millisecond, Spans: 2},
	}
	if !reflect.DeepEqual(all, want) {
		t.Errorf("summaries:\n%+v\nwant:\n%+v", all, want)
	}
}

// A search goes on until it has enough, however many spans it must pass over.
func TestTracesGoesThroughAllSpans(t *testing.T) {
	b := numbered(0, 3*scanLimit)
	b.spans[5].start, b.spans[5].end = 0, int64(time.Hour)
	a := recorded(t, b)
	found, err := a.Traces(t.Context(), telemetry.TraceQuery{MinDuration: time.Minute})
	if err != nil || len(found) != 1 {
		t.Errorf("found %v, %v", found, err)
	}
	if found, err = a.Traces(t.Context(), telemetry.TraceQuery{Limit: 2*scanLimit + 1}); err != nil || len(found) != 2*scanLimit+1 {
		t.Errorf("found %d, %v", len(found), err)
	}
}

func TestTraceErrors(t *testing.T) {
	a := recorded(t, numbered(0, 1))
	if _, err := a.Trace(t.Context(), "zz"); err == nil || err.Error() != `trace "zz": an id has 32 hex digits` {
		t.Errorf("error = %v", err)
	}
	if _, err := a.Trace(t.Context(), strings.Repeat("a", 32)); !errors.Is(err, ErrNotFound) {
		t.Errorf("error = %v", err)
	}
}

func TestLogs(t *testing.T) {
	record := func(service string, ms int, severity int32, body string, trace byte) logRow {
		row := logRow{resource: &resource{service: service}, time: day.Add(time.Duration(ms) * time.Millisecond).UnixNano(), severity: severity, body: body}
		if trace > 0 {
			row.traceID = []byte(strings.Repeat(string(rune(trace)), 16))
		}
		return row
	}
	a := recorded(t, &batch{signal: signalLogs, body: []byte("body"), logs: []logRow{
		record("bank", 30, 17, "third: 100% wrong", 1),
		record("bank", 10, 5, "first", 0),
		record("gateway", 20, 9, "Second_thing", 2),
		record("gateway", 40, 13, "fourth", 1),
	}})
	tests := []struct {
		name  string
		query telemetry.LogQuery
		want  []string
	}{
		{"all, by time", telemetry.LogQuery{}, []string{"DEBUG first", "INFO Second_thing", "ERROR third: 100% wrong", "WARN fourth"}},
		{"the newest", telemetry.LogQuery{Limit: 2}, []string{"ERROR third: 100% wrong", "WARN fourth"}},
		{"of a trace", telemetry.LogQuery{TraceID: strings.Repeat("01", 16)}, []string{"ERROR third: 100% wrong", "WARN fourth"}},
		{"of a service", telemetry.LogQuery{Service: "gateway"}, []string{"INFO Second_thing", "WARN fourth"}},
		{"severe", telemetry.LogQuery{MinSeverity: "warn"}, []string{"ERROR third: 100% wrong", "WARN fourth"}},
		{"debug and above is all", telemetry.LogQuery{MinSeverity: "DEBUG", Limit: 9}, []string{"DEBUG first", "INFO Second_thing", "ERROR third: 100% wrong", "WARN fourth"}},
		{"with a text", telemetry.LogQuery{Contains: "second"}, []string{"INFO Second_thing"}},
		{"with a text that looks like a pattern", telemetry.LogQuery{Contains: "0% w"}, []string{"ERROR third: 100% wrong"}},
		{"wildcards are taken as they are", telemetry.LogQuery{Contains: "d%w"}, nil},
		{"nor does an underscore match all", telemetry.LogQuery{Contains: "fir_t"}, nil},
		{"between times", telemetry.LogQuery{From: day.Add(15 * time.Millisecond), To: day.Add(30 * time.Millisecond)}, []string{"INFO Second_thing", "ERROR third: 100% wrong"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found, err := a.Logs(t.Context(), test.query)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range found {
				got = append(got, l.Severity+" "+l.Body)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	for want, query := range map[string]telemetry.LogQuery{
		`reading logs: severity "LOUD": must be DEBUG, INFO, WARN or ERROR`: {MinSeverity: "LOUD"},
		`reading logs: trace "xyz": an id has 32 hex digits`:                {TraceID: "xyz"},
	} {
		if _, err := a.Logs(t.Context(), query); err == nil || err.Error() != want {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
}

// Whoever opens the file by hand finds views that read well.
func TestViews(t *testing.T) {
	b := &batch{signal: signalTraces, body: []byte("body"),
		spans: []spanRow{span("bank", 1, 2, 3, "charge", 0, 5, true)},
		logs:  []logRow{{resource: &resource{service: "bank", instance: "bank-1"}, time: day.UnixNano(), severity: 13, body: "hm"}}}
	b.spans[0].kind, b.spans[0].attributes = 3, `{"edge":"payments->bank"}`
	a := recorded(t, b)
	for query, want := range map[string]string{
		`SELECT trace_id || ' ' || parent_id || ' ' || service || ' ' || kind || ' ' || start || ' ' || duration_ms || ' ' || json_extract(attributes, '$.edge') FROM spans`: "01010101010101010101010101010101 0303030303030303 bank client 2030-01-02T03:00:00.000 5.0 payments->bank",
		`SELECT time || ' ' || severity || ' ' || instance || ' ' || body FROM logs`:                                                                                         "2030-01-02T03:00:00.000 WARN bank-1 hm",
	} {
		var got string
		if err := a.telemetry.QueryRow(query).Scan(&got); err != nil || got != want {
			t.Errorf("%s\ngives %q, %v\nwant  %q", query, got, err, want)
		}
	}
}

func TestSeverityOfText(t *testing.T) {
	for text, want := range map[string]string{
		"": "INFO", "info": "INFO", "Warning": "WARN", "ERR": "ERROR", "fatal": "ERROR", "TRACE2": "DEBUG", "debug": "DEBUG", "notice": "INFO",
	} {
		if got := severityName(severityOfText(text)); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

func TestDecodeAttributes(t *testing.T) {
	got, err := decodeAttributes(`{"i":9007199254740993,"f":2.0,"s":"x","l":[1,2.5,{"n":3}],"big":1e400}`)
	want := map[string]any{"i": int64(9007199254740993), "f": 2.0, "s": "x", "l": []any{int64(1), 2.5, map[string]any{"n": int64(3)}}, "big": "1e400"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, %v", got, err)
	}
	if _, err := decodeAttributes("{"); err == nil {
		t.Error("want an error")
	}
}

func TestGunzip(t *testing.T) {
	packed := gzipped(t, []byte("hello"))
	if got, err := gunzip(packed, 5); err != nil || string(got) != "hello" {
		t.Errorf("at the limit: %q, %v", got, err)
	}
	if _, err := gunzip(packed, 4); !errors.Is(err, errTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
	if _, err := gunzip(packed[:len(packed)-6], 100); err == nil {
		t.Error("cut off: want an error")
	}
}
