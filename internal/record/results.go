package record

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/faultline-lab/faultline/loadgen"

	"github.com/faultline-lab/faultline/internal/plan"
)

// rowGroup bounds how many rows are held in memory while results are packed:
// some 2 MB.
const rowGroup = 10_000

// batch is how many rows are read or written at once.
const batch = 1_000

// maxLine bounds a line of events.jsonl or of the spool. Only an audit with
// very many violations comes near it.
const maxLine = 16 << 20

// faults knows which faults were planned at a time.
type faults struct {
	windows []plan.Window
	load    time.Time // time zero of the windows
}

func newFaults(p *plan.Plan, load time.Time) *faults {
	return &faults{windows: p.Faults, load: load}
}

// at returns the ids of the faults whose window holds the time, in the order
// of the plan, separated by commas.
func (f *faults) at(due time.Time) string {
	if f.load.IsZero() {
		return ""
	}
	offset := due.Sub(f.load)
	var ids []string
	for _, w := range f.windows {
		if offset >= w.Start && offset < w.End {
			ids = append(ids, w.ID)
		}
	}
	return strings.Join(ids, ",")
}

// packParquet turns a spool into a Parquet file, row group by row group, so
// that memory stays bounded however long the run was.
func packParquet(out io.Writer, spool io.Reader, active *faults) error {
	w := parquet.NewGenericWriter[loadgen.Result](out,
		parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(rowGroup), parquet.CreatedBy("faultline", "", ""))
	rows := make([]loadgen.Result, 0, batch)
	flush := func() error {
		_, err := w.Write(rows)
		rows = rows[:0]
		return err
	}
	err := readSpool(spool, func(r loadgen.Result) error {
		r.Faults = active.at(r.Due)
		if rows = append(rows, r); len(rows) == batch {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	return w.Close()
}

// readSpool reads results line by line. A last line without its end is what a
// crash left and is passed over; any other line that cannot be read is an error.
func readSpool(in io.Reader, each func(loadgen.Result) error) error {
	return readLines(in, SpoolFile, func(line []byte) error {
		var r loadgen.Result
		if err := json.Unmarshal(line, &r); err != nil {
			return err
		}
		return each(r)
	})
}

// readEvents reads events as readSpool reads results.
func readEvents(in io.Reader) ([]Event, error) {
	var events []Event
	err := readLines(in, EventsFile, func(line []byte) error {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		events = append(events, e)
		return nil
	})
	return events, err
}

func readLines(in io.Reader, name string, each func([]byte) error) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if errors.Is(err, io.EOF) {
			return nil // what is left has no end: the lab died while writing it
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := each(line); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
}

// readLine reads up to and with the next line end.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
		if len(line) > maxLine {
			return nil, fmt.Errorf("the line is longer than %d bytes", maxLine)
		}
	}
}

// readParquet reads all results of a Parquet file that has this checksum.
func readParquet(path, sha string) ([]loadgen.Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, missing(ResultsFile, err)
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", ResultsFile, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != sha {
		return nil, fmt.Errorf("%s is damaged: it is not the file that was recorded (its checksum differs from that in %s)", ResultsFile, MetaFile)
	}
	return parseParquet(f, size)
}

func parseParquet(in io.ReaderAt, size int64) ([]loadgen.Result, error) {
	file, err := parquet.OpenFile(in, size)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", ResultsFile, err)
	}
	if err := checkColumns(file.Schema()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", ResultsFile, err)
	}
	r := parquet.NewGenericReader[loadgen.Result](file)
	defer r.Close()
	var results []loadgen.Result
	kept := texts{}
	rows := make([]loadgen.Result, batch)
	for {
		n, err := r.Read(rows)
		for _, row := range rows[:n] {
			results = append(results, kept.clean(row))
		}
		clear(rows)
		if errors.Is(err, io.EOF) {
			return results, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", ResultsFile, err)
		}
		if n == 0 {
			return nil, fmt.Errorf("reading %s: the file ends before its rows do", ResultsFile)
		}
	}
}

// checkColumns refuses a file that lacks a column, for it would be read as
// zeros.
func checkColumns(schema *parquet.Schema) error {
	columns := parquet.SchemaOf(loadgen.Result{})
	for _, want := range columns.Columns() {
		leaf, _ := columns.Lookup(want...)
		if _, found := schema.Lookup(want...); !found && !leaf.Node.Optional() { // older records have none of the optional ones
			return fmt.Errorf("the column %s is missing", strings.Join(want, "."))
		}
	}
	return nil
}

// texts keeps one copy of each of the few texts that repeat in every row.
type texts map[string]string

func (t texts) one(s string) string {
	if kept, found := t[s]; found {
		return kept
	}
	s = strings.Clone(s)
	if len(t) < 10_000 {
		t[s] = s
	}
	return s
}

func (t texts) clean(r loadgen.Result) loadgen.Result {
	r.Load, r.Step, r.Error, r.Faults, r.Share = t.one(r.Load), t.one(r.Step), t.one(r.Error), t.one(r.Faults), t.one(r.Share)
	r.TraceID, r.ID = strings.Clone(r.TraceID), strings.Clone(r.ID)
	r.Due, r.Sent, r.Done = instant(r.Due), instant(r.Sent), instant(r.Done)
	return r
}

// instant gives a time back as it was before it went through a count of
// nanoseconds since 1970, in which the zero time has no place and comes out as a
// year in the 18th century.
func instant(t time.Time) time.Time {
	if t.Year() < 1900 {
		return time.Time{}
	}
	return t.UTC()
}
