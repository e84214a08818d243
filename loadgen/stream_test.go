package loadgen

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// results are n rows such as a load makes.
func results(n int) []Result {
	random := rand.New(rand.NewPCG(1, 1))
	start := time.Unix(1_700_000_000, 123)
	rows := make([]Result, n)
	for i := range rows {
		due := start.Add(time.Duration(i) * 2 * time.Millisecond)
		sent := due.Add(time.Duration(random.IntN(200_000)))
		traceID, _ := newTrace()
		rows[i] = Result{
			Load: "checkout", Step: []string{"", "login", "buy"}[i%3], Seq: uint64(i / 3), Due: due, Sent: sent,
			Done: sent.Add(time.Duration(random.IntN(100_000_000))), Status: 200, OK: true, Bytes: random.Int64N(5000), TraceID: traceID,
		}
		if i%20 == 0 {
			rows[i].Status, rows[i].OK, rows[i].Error = 503, false, "status 503"
		}
	}
	return rows
}

func encode(t testing.TB, rows []Result) []byte {
	t.Helper()
	var out bytes.Buffer
	e := newEncoder(&out)
	err := e.ready()
	for _, row := range rows {
		err = errors.Join(err, e.result(row))
	}
	if err := errors.Join(err, e.done(), e.flush()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func decodeAll(r io.Reader) (messages []message, err error) {
	d := newDecoder(r)
	for {
		m, err := d.next()
		if err != nil {
			return messages, err
		}
		messages = append(messages, m)
	}
}

func TestStreamRoundTrip(t *testing.T) {
	want := results(1000)
	want = append(want,
		Result{Load: "checkout", ID: "o-17", Share: "control", Due: time.Unix(0, 0), Sent: time.Unix(0, 0), Done: time.Unix(0, 0)},
		Result{Due: time.Unix(0, 0), Sent: time.Unix(0, 0), Done: time.Unix(0, 0)},
		Result{
			Load: "ü", Error: strings.Repeat("x", maxText), Faults: "a,b", Seq: 1<<64 - 1, Status: -1, Bytes: 1 << 62,
			Due: time.Unix(1<<32, 0), Sent: time.Unix(5, 0), Done: time.Unix(1<<32, 1),
		})
	for i := range 2 * maxTexts { // more texts than the table takes
		want = append(want, Result{Load: fmt.Sprint(i), Error: fmt.Sprint(i % 7), Due: time.Unix(1, 0), Sent: time.Unix(1, 0), Done: time.Unix(1, 0)})
	}
	messages, err := decodeAll(bytes.NewReader(encode(t, want)))
	if err != io.EOF {
		t.Fatal(err)
	}
	if first, last := messages[0], messages[len(messages)-1]; first.kind != kindReady || last.kind != kindDone || last.count != uint64(len(want)) {
		t.Errorf("begins with %+v and ends with %+v", first, last)
	}
	for i, row := range want {
		if got := messages[i+1].result; !reflect.DeepEqual(got, row) {
			t.Fatalf("row %d:\n got %+v\nwant %+v", i, got, row)
		}
	}
}

func TestStreamIsCompact(t *testing.T) {
	rows := results(1000)
	if size := len(encode(t, rows)) / len(rows); size > 45 {
		t.Errorf("%d bytes a result", size)
	}
}

func TestStreamOddTraceID(t *testing.T) {
	for _, id := range []string{"", "short", strings.Repeat("g", 32), strings.Repeat("ab", 15)} {
		messages, _ := decodeAll(bytes.NewReader(encode(t, []Result{{TraceID: id, Due: time.Unix(0, 0)}})))
		if got := messages[1].result.TraceID; got != "" {
			t.Errorf("trace id %q came as %q", id, got)
		}
	}
}

func TestStreamFailed(t *testing.T) {
	var out bytes.Buffer
	e := newEncoder(&out)
	if err := errors.Join(e.failed(strings.Repeat("no ", maxFrame)), e.flush()); err != nil {
		t.Fatal(err)
	}
	messages, err := decodeAll(&out)
	if err != io.EOF || len(messages) != 1 || messages[0].kind != kindFailed || !strings.HasPrefix(messages[0].text, "no no") {
		t.Errorf("got %d messages, error %v", len(messages), err)
	}
}

func TestStreamMalformed(t *testing.T) {
	whole := encode(t, results(3))
	tests := map[string]struct {
		data string
		want string
	}{
		"text instead":        {"usage: faultline ...", `"usage: faultline " is not what a load worker says`},
		"a short text":        {"no", `"no" is not what a load worker says`},
		"a frame of nothing":  {preamble + "\x00", "a frame of 0 bytes"},
		"a frame too large":   {preamble + "\xff\xff\xff\x7f", "a frame of 268435455 bytes"},
		"an unknown kind":     {preamble + "\x01\x63", "a frame of unknown kind 99"},
		"ready with more":     {preamble + "\x02\x01\x01", "a frame of kind 1: malformed"},
		"done without count":  {preamble + "\x01\x04", "a frame of kind 4: malformed"},
		"a result of nothing": {preamble + "\x01\x02", "a frame of kind 2: malformed"},
		"a text not sent":     {preamble + "\x05\x02\x00\x09\x01x", "a frame of kind 2: malformed"},
		"cut within a frame":  {string(whole[:len(whole)-1]), "reading a frame: unexpected EOF"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := decodeAll(strings.NewReader(test.data)); err == nil || err.Error() != test.want {
				t.Errorf("got error %v, want %s", err, test.want)
			}
		})
	}
	clean := 0
	for n := range whole {
		if _, err := decodeAll(bytes.NewReader(whole[:n])); err == io.EOF {
			clean++
		}
	}
	if clean != 6 { // before and after the preamble, after ready, after each result
		t.Errorf("a cut stream looks whole in %d places", clean)
	}
}

func FuzzStream(f *testing.F) {
	f.Add(encode(f, results(5)))
	f.Add(encode(f, nil))
	f.Add([]byte(preamble + "\x05\x02\x00\x09\x01x"))
	f.Add([]byte(preamble + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		messages, _ := decodeAll(bytes.NewReader(data))
		var rows []Result
		for _, m := range messages {
			if m.kind == kindResult {
				rows = append(rows, m.result)
			}
		}
		again, err := decodeAll(bytes.NewReader(encode(t, rows)))
		if err != io.EOF {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		for i, row := range rows {
			got := again[i+1].result
			// Times beyond the range of a time.Duration do not survive subtraction.
			got.Due, got.Sent, got.Done = row.Due, row.Sent, row.Done
			if !reflect.DeepEqual(got, row) {
				t.Errorf("row %d: %+v, then %+v", i, row, got)
			}
		}
	})
}

// BenchmarkStream compares the stream with what it could have been instead.
func BenchmarkStream(b *testing.B) {
	rows := results(1000)
	type format struct {
		encode func(io.Writer) func(Result) error
		decode func(io.Reader) func() error
	}
	formats := map[string]format{
		"own": {
			func(w io.Writer) func(Result) error {
				e := newEncoder(w)
				return func(r Result) error { return errors.Join(e.result(r), e.flush()) }
			},
			func(r io.Reader) func() error {
				d := newDecoder(r)
				return func() error { _, err := d.next(); return err }
			},
		},
		"gob": {
			func(w io.Writer) func(Result) error {
				e := gob.NewEncoder(w)
				return func(r Result) error { return e.Encode(r) }
			},
			func(r io.Reader) func() error {
				d := gob.NewDecoder(r)
				return func() error { return d.Decode(new(Result)) }
			},
		},
		"json": {
			func(w io.Writer) func(Result) error {
				e := json.NewEncoder(w)
				return func(r Result) error { return e.Encode(r) }
			},
			func(r io.Reader) func() error {
				d := json.NewDecoder(r)
				return func() error { return d.Decode(new(Result)) }
			},
		},
	}
	for name, f := range formats {
		var data bytes.Buffer
		write := f.encode(&data)
		for _, row := range rows {
			if err := write(row); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("encode/"+name, func(b *testing.B) {
			write := f.encode(io.Discard)
			for i := range b.N {
				_ = write(rows[i%len(rows)])
			}
			b.ReportMetric(float64(data.Len())/float64(len(rows)), "bytes/result")
		})
		b.Run("decode/"+name, func(b *testing.B) {
			for n := 0; n < b.N; n += len(rows) {
				read := f.decode(bytes.NewReader(data.Bytes()))
				for range min(len(rows), b.N-n) {
					if err := read(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
