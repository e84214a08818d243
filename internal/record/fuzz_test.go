package record

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultline-lab/faultline/loadgen"
)

func FuzzReadEvents(f *testing.F) {
	for _, text := range []string{
		"", "\n\n", "{}\n", `{"time":"2026-03-01T12:00:00Z","kind":"fault","name":"slow","text":"felt","effect":{"felt":true}}` + "\n",
		`{"time":"never"}` + "\n", "{}\n{", "null\n", "\x00\n", `{"data":{"a":[1,{"b":null}]}}` + "\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := readEvents(bytes.NewReader(data))
		if err != nil {
			if !strings.HasPrefix(err.Error(), EventsFile+":") {
				t.Fatalf("the error names no place: %v", err)
			}
			return
		}
		if len(events) > bytes.Count(data, []byte("\n")) {
			t.Fatalf("%d events from %d lines", len(events), bytes.Count(data, []byte("\n")))
		}
	})
}

func FuzzReadSpool(f *testing.F) {
	line, err := json.Marshal(result(1, time.Second))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(line, '\n'))
	f.Add([]byte(`{"seq":-1}` + "\n"))
	f.Add([]byte(`{"due":"0001-01-01T00:00:00Z"}` + "\n{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var out bytes.Buffer
		if err := packParquet(&out, bytes.NewReader(data), newFaults(testPlan(), began)); err != nil {
			return
		}
		n := 0
		if err := readSpool(bytes.NewReader(data), func(loadgen.Result) error { n++; return nil }); err != nil {
			t.Fatalf("packed but not read: %v", err)
		}
		packed, err := parseParquet(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil || len(packed) != n {
			t.Fatalf("%d rows of %d came back: %v", len(packed), n, err)
		}
	})
}

// No damage gets as far as the Parquet reader, which would believe it.
func FuzzReadParquet(f *testing.F) {
	var spool, out bytes.Buffer
	for i := range 20 {
		if err := json.NewEncoder(&spool).Encode(result(i, time.Second)); err != nil {
			f.Fatal(err)
		}
	}
	if err := packParquet(&out, &spool, newFaults(testPlan(), began)); err != nil {
		f.Fatal(err)
	}
	good := out.Bytes()
	sum := fmt.Sprintf("%x", sha256.Sum256(good))
	f.Add(good)
	f.Add([]byte("PAR1"))
	f.Add(append(bytes.Clone(good), 0))
	path := filepath.Join(f.TempDir(), ResultsFile)
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		results, err := readParquet(path, sum)
		if same := bytes.Equal(data, good); same != (err == nil) || same != (len(results) == 20) {
			t.Fatalf("the same bytes: %v; %d results, %v", same, len(results), err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	meta, err := json.Marshal(Meta{Format: FormatVersion, Load: began, Outcome: Completed})
	if err != nil {
		f.Fatal(err)
	}
	p, err := json.Marshal(testPlan())
	if err != nil {
		f.Fatal(err)
	}
	s, err := json.Marshal(testSystem())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(meta, p, s)
	f.Add([]byte(`{"format":1,"load":"x"}`), []byte(`{"policies":{"a->b":[{"x":1}]}}`), []byte(`{"services":[null]}`))
	f.Fuzz(func(t *testing.T, meta, p, s []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{MetaFile: meta, PlanFile: p, SystemFile: s, EventsFile: nil, SpoolFile: nil} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		run, err := Open(dir)
		if err == nil && (run.Plan == nil || run.System == nil) {
			t.Fatal("a run without plan or system")
		}
	})
}
