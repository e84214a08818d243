package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/resilience"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/system"
)

// began is when the load of every run in these tests begins.
var began = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func testMeta() Meta {
	return Meta{
		Scenario: "slow bank", Variant: "naive", System: "shop", Seed: 7, Version: "v0.1.0", Machine: "linux/amd64, 2 CPUs",
		Started: time.Date(2026, 3, 1, 11, 59, 58, 0, time.UTC),
	}
}

func testPlan() *plan.Plan {
	timeout, _ := resilience.Parse("timeout", "500ms")
	return &plan.Plan{
		Scenario: "slow bank", Variant: "naive", System: "shop", Seed: 7, MaxLag: 5 * time.Millisecond,
		Phases: []plan.Phase{{Name: "warmup", End: time.Second}, {Name: "fault", Start: time.Second, End: 4 * time.Second}},
		Loads:  []loadgen.Load{{Name: "browse", Service: "gateway", SLO: 300 * time.Millisecond}},
		Faults: []plan.Window{
			{Fault: chaos.Fault{ID: "slow", Kind: "latency"}, Start: time.Second, End: 3 * time.Second},
			{Fault: chaos.Fault{ID: "cut", Kind: "down"}, Start: 2 * time.Second, End: 4 * time.Second},
		},
		Policies: resilience.Policies{"payments->bank": {timeout}},
		Expect:   []plan.Expectation{{In: "fault", That: "goodput(browse) < 50%", Source: "x.yaml:3"}},
	}
}

func testSystem() *system.System {
	return &system.System{Name: "shop", Entry: "gateway", Services: []*system.Service{{Name: "gateway", Protocol: "http", Replicas: 1}}}
}

// result is due at an offset of the run and takes 20 ms.
func result(seq int, offset time.Duration) loadgen.Result {
	due := began.Add(offset)
	return loadgen.Result{
		Load: "browse", Seq: uint64(seq), Due: due, Sent: due.Add(100 * time.Microsecond), Done: due.Add(20 * time.Millisecond),
		Status: 200, OK: true, Bytes: 1234, TraceID: fmt.Sprintf("%032x", seq+1),
	}
}

func create(t *testing.T) *Writer {
	t.Helper()
	w, err := Create(t.TempDir(), testMeta(), testPlan(), testSystem(), []byte("name: slow bank\n"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close(w.Meta()) })
	return w
}

// completed is the final page of a run.
func completed(w *Writer) Meta {
	meta := w.Meta()
	meta.Load, meta.Ended, meta.Outcome, meta.Reason = began, began.Add(4*time.Second), Completed, ""
	return meta
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunComesBackAsItWasWritten(t *testing.T) {
	w := create(t)
	var events []Event
	for _, e := range []Event{
		{Time: began, Kind: EventPhase, Name: "warmup", Text: "started"},
		{Time: began.Add(time.Second), Kind: EventFault, Name: "slow", Text: "felt", Effect: &chaos.Effect{Felt: true, Measure: "latency", Unit: "ms", Before: 1, During: 300}},
		{Time: began.Add(4 * time.Second), Kind: EventAudit, Name: "invariants", Data: map[string]any{"settled": true, "violations": []any{}}},
	} {
		must(t, w.Event(e))
		events = append(events, e)
	}
	results := []loadgen.Result{result(0, 500*time.Millisecond), result(1, 1500*time.Millisecond), result(2, 2500*time.Millisecond), result(3, 3500*time.Millisecond)}
	results[2].Sent, results[2].Done, results[2].OK, results[2].Status, results[2].Error, results[2].TraceID = time.Time{}, time.Time{}, false, 0, loadgen.ErrorNotSent, ""
	results[3].Step = "buy"
	for _, r := range results {
		must(t, w.Result(r))
	}
	final := completed(w)
	final.Loss.ScrapesFailed = 3
	must(t, w.Close(final))

	run, err := Open(w.Dir())
	must(t, err)
	for i, ids := range []string{"", "slow", "slow,cut", "cut"} {
		results[i].Faults = ids
	}
	if !reflect.DeepEqual(run.Results, results) {
		t.Errorf("results: got\n%+v\nwant\n%+v", run.Results, results)
	}
	if !reflect.DeepEqual(run.Events, events) {
		t.Errorf("events: got\n%+v\nwant\n%+v", run.Events, events)
	}
	final.Events = len(events)
	if final.ResultsSHA256 = run.Meta.ResultsSHA256; len(final.ResultsSHA256) != 64 {
		t.Errorf("the checksum is %q", final.ResultsSHA256)
	}
	if !reflect.DeepEqual(run.Meta, final) {
		t.Errorf("page: got\n%+v\nwant\n%+v", run.Meta, final)
	}
	if !reflect.DeepEqual(run.Plan, testPlan()) {
		t.Errorf("plan: got\n%+v\nwant\n%+v", run.Plan, testPlan())
	}
	if !reflect.DeepEqual(run.System, testSystem()) {
		t.Errorf("system: got\n%+v\nwant\n%+v", run.System, testSystem())
	}
	if _, err := os.Stat(filepath.Join(w.Dir(), SpoolFile)); err == nil {
		t.Error("the spool is still there")
	}
	if yaml, err := os.ReadFile(filepath.Join(w.Dir(), ScenarioFile)); err != nil || string(yaml) != "name: slow bank\n" {
		t.Errorf("scenario: got %q, %v", yaml, err)
	}
}

func TestDirectoryNamesAreUniqueAndPlain(t *testing.T) {
	root := filepath.Join(t.TempDir(), "deep", "runs")
	var names []string
	for range 3 {
		w, err := Create(root, testMeta(), testPlan(), testSystem(), nil)
		must(t, err)
		names = append(names, filepath.Base(w.Dir()))
		target, err := os.Readlink(filepath.Join(root, LatestLink))
		if err != nil || target != filepath.Base(w.Dir()) {
			t.Errorf("latest points to %q (%v), want %q", target, err, filepath.Base(w.Dir()))
		}
		if w.Meta().ID != filepath.Base(w.Dir()) {
			t.Errorf("id is %q, want the directory's name", w.Meta().ID)
		}
		must(t, w.Close(completed(w)))
	}
	want := []string{"20260301-115958-slow_bank-naive", "20260301-115958-slow_bank-naive-2", "20260301-115958-slow_bank-naive-3"}
	if !reflect.DeepEqual(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	entries, err := os.ReadDir(root)
	must(t, err)
	if len(entries) != 4 {
		t.Errorf("%d entries, want three runs and the link", len(entries))
	}
}

// A lab that is killed never gets to Close.
func TestKilledRunIsReadAsFarAsItCame(t *testing.T) {
	w := create(t)
	must(t, w.Event(Event{Time: began.Add(time.Second), Kind: EventPhase, Name: "fault", Text: "started"}))
	must(t, w.Result(result(0, 1500*time.Millisecond)))
	appendTo(t, filepath.Join(w.Dir(), SpoolFile), `{"load":"browse","seq":1,"du`)
	appendTo(t, filepath.Join(w.Dir(), EventsFile), `{"time":"2026-`)

	run, err := Open(w.Dir())
	must(t, err)
	if run.Meta.Outcome != Interrupted || run.Meta.Reason == "" {
		t.Errorf("outcome is %q (%q), want interrupted", run.Meta.Outcome, run.Meta.Reason)
	}
	if !run.Meta.Load.Equal(began) {
		t.Errorf("load began at %v, want %v, by the first phase", run.Meta.Load, began)
	}
	if len(run.Results) != 1 || run.Results[0].Faults != "slow" {
		t.Errorf("results: got %+v, want the one whole line, during slow", run.Results)
	}
	if len(run.Events) != 1 {
		t.Errorf("events: got %+v, want the one whole line", run.Events)
	}
}

func TestUpdateTellsWhenTheLoadBegan(t *testing.T) {
	w := create(t)
	meta := w.Meta()
	meta.Load, meta.Outcome, meta.ID = began, Completed, "other"
	must(t, w.Update(meta))
	run, err := Open(w.Dir())
	must(t, err)
	if !run.Meta.Load.Equal(began) || run.Meta.Outcome != Interrupted || run.Meta.ID != filepath.Base(w.Dir()) {
		t.Errorf("got %+v, want the load's begin and no other change", run.Meta)
	}
	must(t, w.Close(Meta{Outcome: Broken}))
	run, err = Open(w.Dir())
	must(t, err)
	if !run.Meta.Load.Equal(began) || run.Meta.Outcome != Broken {
		t.Errorf("after closing: got %+v", run.Meta)
	}
}

func TestWritingAfterTheEndIsAnError(t *testing.T) {
	w := create(t)
	must(t, w.Close(completed(w)))
	must(t, w.Close(completed(w)))
	for name, err := range map[string]error{"event": w.Event(Event{}), "result": w.Result(loadgen.Result{}), "update": w.Update(Meta{})} {
		if !errors.Is(err, errClosed) {
			t.Errorf("%s: got %v, want %v", name, err, errClosed)
		}
	}
}

func TestWriterTakesManyAtOnce(t *testing.T) {
	w := create(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				_ = w.Result(result(g*200+i, time.Duration(i)*time.Millisecond))
				_ = w.Event(Event{Time: began, Kind: EventNote, Name: "x"})
			}
		})
	}
	wg.Wait()
	must(t, w.Close(completed(w)))
	run, err := Open(w.Dir())
	must(t, err)
	seen := map[uint64]bool{}
	for _, r := range run.Results {
		seen[r.Seq] = true
	}
	if len(seen) != 1600 || len(run.Results) != 1600 || len(run.Events) != 1600 {
		t.Errorf("%d results, %d different, %d events; want 1600 each", len(run.Results), len(seen), len(run.Events))
	}
}

// full is a disk that takes so many bytes more.
type full struct {
	left int
	into *os.File
}

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	if _, err := f.into.Write(p[:n]); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (f *full) Close() error { return f.into.Close() }

func TestFullDiskIsAnErrorAndLeavesAReadableRun(t *testing.T) {
	w := create(t)
	must(t, w.Event(Event{Time: began, Kind: EventPhase, Name: "warmup", Text: "started"}))
	must(t, w.Result(result(0, time.Second)))
	for _, l := range []*lines{w.events, w.spool} {
		l.file = &full{left: 40, into: l.file.(*os.File)}
	}
	for range 2 { // the second finds half a line, and must not write behind it
		if err := w.Event(Event{Time: began, Kind: EventNote, Name: "x", Text: strings.Repeat("x", 40)}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("event: got %v, want no space left", err)
		}
		if err := w.Result(result(1, time.Second)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("result: got %v, want no space left", err)
		}
	}
	run, err := Open(w.Dir())
	must(t, err)
	if len(run.Results) != 1 || len(run.Events) != 1 {
		t.Errorf("%d results and %d events, want what was written before the disk was full", len(run.Results), len(run.Events))
	}
}

func TestResultsStayReadableWhenTheyCannotBePacked(t *testing.T) {
	w := create(t)
	must(t, w.Event(Event{Time: began, Kind: EventPhase, Name: "warmup", Text: "started"}))
	must(t, w.Result(result(0, 1500*time.Millisecond)))
	// A directory in its place is something that no rename replaces.
	must(t, os.MkdirAll(filepath.Join(w.Dir(), ResultsFile, "x"), 0o755))
	if err := w.Close(completed(w)); err == nil || !strings.Contains(err.Error(), "packing the results") {
		t.Fatalf("got %v, want an error of packing", err)
	}
	must(t, os.RemoveAll(filepath.Join(w.Dir(), ResultsFile)))
	run, err := Open(w.Dir())
	must(t, err)
	if run.Meta.Outcome != Completed || len(run.Results) != 1 || run.Results[0].Faults != "slow" {
		t.Errorf("got %+v with %d results", run.Meta, len(run.Results))
	}
	left, err := filepath.Glob(filepath.Join(w.Dir(), ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestReplaceKeepsTheOldFileOnFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page")
	must(t, os.WriteFile(path, []byte("old"), 0o644))
	w := &Writer{dir: filepath.Dir(path)}
	if err := w.writeJSON("page", func() {}); err == nil {
		t.Error("what JSON cannot hold was written")
	}
	if err := w.writeJSON("no/such/folder", 1); err == nil {
		t.Error("a file was written into no folder")
	}
	if data, _ := os.ReadFile(path); string(data) != "old" {
		t.Errorf("the old file is now %q", data)
	}
}

func TestCreateRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o644))
	if _, err := Create(file, testMeta(), testPlan(), testSystem(), nil); err == nil || !strings.Contains(err.Error(), "making the folder of runs") {
		t.Errorf("root is a file: got %v", err)
	}
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, LatestLink, "x"), 0o755))
	if _, err := Create(root, testMeta(), testPlan(), testSystem(), nil); err == nil || !strings.Contains(err.Error(), "linking latest") {
		t.Errorf("latest is a folder: got %v", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   string
	}{
		{"no directory", func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) }, "the directory is missing"},
		{"no page", remove(MetaFile), "it is not the directory of a run: run.json is missing"},
		{"page damaged", write(MetaFile, `{"format": 1,`), "run.json is damaged: unexpected end of JSON input"},
		{"newer", write(MetaFile, `{"format": 2, "version": "v9"}`), "it was written by a newer faultline (v9): its format is 2, and this one reads up to 1"},
		{"newer, unnamed", write(MetaFile, `{"format": 9}`), "it was written by a newer faultline (version unknown): its format is 9, and this one reads up to 1"},
		{"foreign", write(MetaFile, `{"name": "x"}`), "run.json states no format; faultline did not write it"},
		{"no plan", remove(PlanFile), "plan.json is missing"},
		{"plan damaged", write(PlanFile, `{"seed": -1}`), "plan.json is damaged: json: cannot unmarshal number -1"},
		{"no system", remove(SystemFile), "system.json is missing"},
		{"no events", remove(EventsFile), "events.jsonl is missing"},
		{"event damaged", write(EventsFile, "{}\n\n{x}\n{}\n"), "events.jsonl:3: invalid character 'x'"},
		{"events cut within a line", cut(EventsFile, 10), `events.jsonl:2: it is damaged: 1 of 2 events are missing; the last it has is "phase warmup started", at 12:00:00`},
		{"events cut at a line's end", write(EventsFile, `{"kind":"fault","name":"slow","text":"felt"}`+"\n"), `events.jsonl:2: it is damaged: 1 of 2 events are missing; the last it has is "fault slow felt"`},
		{"events empty", write(EventsFile, ""), "events.jsonl:1: it is damaged: 2 of 2 events are missing; it has none"},
		{"no results", remove(ResultsFile), "results.parquet is missing"},
		{"results cut", cut(ResultsFile, 300), "results.parquet is damaged: it is not the file that was recorded"},
		{"results empty", write(ResultsFile, ""), "results.parquet is damaged"},
		{"results without a checksum", write(MetaFile, `{"format": 1}`), "results.parquet is damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := create(t)
			for i := range 100 {
				must(t, w.Result(result(i, time.Duration(i)*time.Millisecond)))
			}
			must(t, w.Event(Event{Time: began, Kind: EventPhase, Name: "warmup", Text: "started"}))
			must(t, w.Event(Event{Time: began, Kind: EventPhase, Name: "warmup", Text: "ended"}))
			must(t, w.Close(completed(w)))
			test.damage(t, w.Dir())
			_, err := Open(w.Dir())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %s", err, test.want)
			}
			if want := "opening run " + w.Dir(); !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v does not begin with %s", err, want)
			}
		})
	}
}

func TestParquetOfAnotherShapeIsRefused(t *testing.T) {
	type other struct {
		Load string `parquet:"load"`
	}
	var file bytes.Buffer
	must(t, parquet.Write(&file, []other{{"browse"}}))
	_, err := parseParquet(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err == nil || !strings.Contains(err.Error(), "the column step is missing") {
		t.Errorf("got %v, want the missing column", err)
	}
	if _, err := parseParquet(strings.NewReader("PAR1PAR1"), 8); err == nil || !strings.Contains(err.Error(), "reading results.parquet") {
		t.Errorf("no Parquet at all: got %v", err)
	}
}

// A crash after packing leaves both files; the spool is whole then.
func TestSpoolGoesBeforeParquet(t *testing.T) {
	w := create(t)
	must(t, w.Result(result(0, time.Second)))
	must(t, os.WriteFile(filepath.Join(w.Dir(), ResultsFile), []byte("half"), 0o644))
	run, err := Open(w.Dir())
	must(t, err)
	if len(run.Results) != 1 {
		t.Errorf("%d results, want that of the spool", len(run.Results))
	}
}

func TestListAndFind(t *testing.T) {
	root := t.TempDir()
	var dirs []string
	for i := range 3 {
		meta := testMeta()
		meta.Started = meta.Started.Add(time.Duration(i) * time.Minute)
		w, err := Create(root, meta, testPlan(), testSystem(), nil)
		must(t, err)
		must(t, w.Close(completed(w)))
		dirs = append(dirs, w.Dir())
	}
	must(t, os.Mkdir(filepath.Join(root, "no run"), 0o755))
	write(MetaFile, `{`)(t, dirs[0])

	listed, err := List(root)
	must(t, err)
	var got []string
	for _, l := range listed {
		got = append(got, l.Dir)
	}
	if want := []string{dirs[2], dirs[1], dirs[0]}; !reflect.DeepEqual(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	if listed[2].Err == nil || listed[1].Err != nil || listed[1].Meta.Scenario != "slow bank" {
		t.Errorf("got %+v", listed)
	}
	if none, err := List(filepath.Join(root, "nowhere")); err != nil || len(none) != 0 {
		t.Errorf("of nowhere: got %v, %v", none, err)
	}
	if _, err := List(filepath.Join(dirs[0], MetaFile)); err == nil {
		t.Error("a file was listed")
	}

	base := filepath.Base(dirs[1])
	for _, test := range []struct{ name, dir, err string }{
		{dirs[1], dirs[1], ""},
		{base, dirs[1], ""},
		{"latest", dirs[2], ""},
		{"latest/", dirs[2], ""},
		{filepath.Join(root, "latest"), dirs[2], ""},
		{"lates", "", `there is no run "lates" below ` + root + `; did you mean "latest"?`},
		{"something else", "", `there is no run "something else" below ` + root + `; the latest is ` + filepath.Base(dirs[2])},
	} {
		dir, err := Find(root, test.name)
		if dir != test.dir || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%s: got %q, %v; want %q, %s", test.name, dir, err, test.dir, test.err)
		}
	}
	if _, err := Find(t.TempDir(), "x"); err == nil || !strings.Contains(err.Error(), "and no other") {
		t.Errorf("among no runs: got %v", err)
	}
}

func TestManyResultsArePackedInRowGroups(t *testing.T) {
	w := create(t)
	const n = rowGroup + 2*batch + 1
	w.spool.file.Close()
	f, err := os.Create(filepath.Join(w.Dir(), SpoolFile))
	must(t, err)
	encoder := json.NewEncoder(f)
	for i := range n {
		must(t, encoder.Encode(result(i, time.Duration(i)*time.Microsecond)))
	}
	w.spool.file = f
	must(t, w.Close(completed(w)))
	run, err := Open(w.Dir())
	must(t, err)
	if len(run.Results) != n || run.Results[n-1].Seq != n-1 {
		t.Fatalf("%d results, want %d", len(run.Results), n)
	}
	info, err := os.Stat(filepath.Join(w.Dir(), ResultsFile))
	must(t, err)
	if perRow := info.Size() / n; perRow > 80 {
		t.Errorf("%d bytes a row, want at most 80", perRow)
	}
}

func remove(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, name))) }
}

func write(name, text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)) }
}

// cut shortens a file by so many bytes.
func cut(name string, by int64) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		must(t, err)
		must(t, os.Truncate(path, info.Size()-by))
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, errors.Join(err, f.Close()))
}

func TestReplan(t *testing.T) {
	w := create(t)
	must(t, w.Result(loadgen.Result{Load: "browse", Due: began.Add(time.Second), Done: began.Add(2 * time.Second)}))
	meta := completed(w)
	meta.Load = began
	must(t, w.Update(meta))
	p := w.plan.Clone()
	p.Faults = append(p.Faults, plan.Window{Fault: chaos.Fault{ID: "by-hand"}, Start: 500 * time.Millisecond, End: 2 * time.Second})
	must(t, w.Replan(p))
	must(t, w.Close(meta))
	if err := w.Replan(p); !errors.Is(err, errClosed) {
		t.Errorf("after closing: got %v", err)
	}
	run, err := Open(w.Dir())
	must(t, err)
	if n := len(run.Plan.Faults); run.Plan.Faults[n-1].ID != "by-hand" || !strings.Contains(run.Results[0].Faults, "by-hand") {
		t.Errorf("got faults %+v, results %+v", run.Plan.Faults, run.Results)
	}
}
