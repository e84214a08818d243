package record

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/faultline-lab/faultline/loadgen"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/system"
)

// LatestLink is the link, beside the runs, to the one that was begun last.
const LatestLink = "latest"

// Writer writes a run's directory while the run goes on. It is safe for
// concurrent use.
type Writer struct {
	dir  string
	plan *plan.Plan

	mu     sync.Mutex
	meta   Meta
	events *lines
	spool  *lines
	closed bool
}

// lines is a file that is written line by line. After a failed write, which may
// have left half a line, nothing more is written: what stands before stays readable.
type lines struct {
	file io.WriteCloser
	n    int // written whole
	err  error
}

func (l *lines) append(v any) error {
	if l.err != nil {
		return l.err
	}
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, l.err = l.file.Write(append(line, '\n')); l.err == nil {
		l.n++
	}
	return l.err
}

// errClosed is met by whoever writes to a record after its end.
var errClosed = errors.New("the record is closed")

// Create makes the directory <time>-<scenario>-<variant> below root, which is
// made as well if need be, with the plan, the system and the scenario in it,
// and points the link latest to it. The directory is always a new one: where the name is
// taken, a number is added.
func Create(root string, meta Meta, p *plan.Plan, sys *system.System, scenarioYAML []byte) (*Writer, error) {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of runs: %w", err)
	}
	dir, err := makeDir(root, dirName(meta))
	if err != nil {
		return nil, err
	}
	meta.Format, meta.ID, meta.Outcome, meta.Reason = FormatVersion, filepath.Base(dir), Interrupted, "the lab ended before the run did"
	w := &Writer{dir: dir, plan: p, meta: meta}
	if err := w.begin(sys, scenarioYAML); err != nil {
		return nil, errors.Join(err, w.closeFiles())
	}
	if err := link(root, meta.ID); err != nil {
		return nil, errors.Join(err, w.closeFiles())
	}
	return w, nil
}

// dirName builds a name that sorts by time and needs no quotes in a shell.
func dirName(meta Meta) string {
	parts := []string{meta.Started.Format("20060102-150405"), plainName(meta.Scenario)}
	if meta.Variant != "" {
		parts = append(parts, plainName(meta.Variant))
	}
	return strings.Join(parts, "-")
}

func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r) {
			return r
		}
		return '_'
	}, name)
}

// makeDir makes a directory that was not there, so that two runs that start in
// the same second never share one.
func makeDir(root, name string) (string, error) {
	dir := filepath.Join(root, name)
	for n := 2; ; n++ {
		err := os.Mkdir(dir, 0o755)
		if !errors.Is(err, fs.ErrExist) {
			if err != nil {
				return "", fmt.Errorf("making the run's directory: %w", err)
			}
			return dir, nil
		}
		dir = filepath.Join(root, name+"-"+strconv.Itoa(n))
	}
}

func (w *Writer) begin(sys *system.System, scenarioYAML []byte) error {
	if err := w.writeJSON(PlanFile, w.plan); err != nil {
		return err
	}
	if err := w.writeJSON(SystemFile, sys); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, ScenarioFile), scenarioYAML, 0o644); err != nil {
		return fmt.Errorf("writing the scenario: %w", err)
	}
	if err := w.writeJSON(MetaFile, w.meta); err != nil {
		return err
	}
	var err error
	if w.events, err = w.openLines(EventsFile); err != nil {
		return err
	}
	w.spool, err = w.openLines(SpoolFile)
	return err
}

func (w *Writer) openLines(name string) (*lines, error) {
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", name, err)
	}
	return &lines{file: f}, nil
}

// writeJSON replaces a file in one step, so that a reader or a crash never
// meets half of it.
func (w *Writer) writeJSON(name string, v any) error { return writeJSON(w.dir, name, v) }

func writeJSON(dir, name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return replace(filepath.Join(dir, name), func(f io.Writer) error {
		_, err := f.Write(append(data, '\n'))
		return err
	})
}

// replace writes a new file beside the old one, syncs it and puts it in its
// place. On failure the old file stands and nothing else is left.
func replace(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing %s: %w", filepath.Base(path), err), os.Remove(f.Name()))
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// link points latest to a run. The link is made beside and moved into place,
// so that there is always one.
func link(root, id string) error {
	beside := filepath.Join(root, "."+LatestLink+"-"+id)
	if err := os.Symlink(id, beside); err != nil {
		return fmt.Errorf("linking %s: %w", LatestLink, err)
	}
	if err := os.Rename(beside, filepath.Join(root, LatestLink)); err != nil {
		return errors.Join(fmt.Errorf("linking %s: %w", LatestLink, err), os.Remove(beside))
	}
	return nil
}

// Dir is the run's directory.
func (w *Writer) Dir() string { return w.dir }

// Meta is the run's page as it stands now.
func (w *Writer) Meta() Meta {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.meta
}

// Event appends an event. It is in the file when Event returns.
func (w *Writer) Event(e Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("recording an event: %w", errClosed)
	}
	if err := w.events.append(e); err != nil {
		return fmt.Errorf("recording an event: %w", err)
	}
	return nil
}

// Result appends a result to the spool. It is in the file when Result
// returns: one write of some 300 bytes, about 5 µs.
func (w *Writer) Result(r loadgen.Result) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("recording a result: %w", errClosed)
	}
	if err := w.spool.append(r); err != nil {
		return fmt.Errorf("recording a result: %w", err)
	}
	return nil
}

// Update replaces the run's page while the run goes on, so that a run that
// dies later says how far it came: above all Meta.Load, when the load began. Format and ID
// stay, and so does the outcome, which only Close sets.
func (w *Writer) Update(meta Meta) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("updating the run's page: %w", errClosed)
	}
	meta.Format, meta.ID, meta.Outcome, meta.Reason = w.meta.Format, w.meta.ID, w.meta.Outcome, w.meta.Reason
	w.meta = meta
	return w.writeJSON(MetaFile, w.meta)
}

// Replan replaces the plan by the one that was carried out in its place, such as
// one with faults that somebody brought about by hand.
func (w *Writer) Replan(p *plan.Plan) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("replacing the plan: %w", errClosed)
	}
	w.plan = p
	return w.writeJSON(PlanFile, p)
}

// Close turns the spool into results.parquet, with the ids of the faults that
// were planned at each result's due time, and writes the final page. When the
// results cannot be turned, because the disk is full, the spool stays and Open
// reads it. A second Close does nothing.
func (w *Writer) Close(meta Meta) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	meta.Format, meta.ID = w.meta.Format, w.meta.ID
	if meta.Load.IsZero() {
		meta.Load = w.meta.Load
	}
	w.meta = meta
	w.meta.Events = w.events.n
	err := w.closeFiles()
	if err == nil {
		w.meta.ResultsSHA256, err = w.packResults()
	}
	if err = errors.Join(err, w.writeJSON(MetaFile, w.meta)); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(w.dir, SpoolFile)); err != nil {
		return fmt.Errorf("removing the spool of results: %w", err)
	}
	return nil
}

// NoteGrafana notes in the record of a run that has ended which Grafana's programs hold its telemetry as well,
// by Grafana's base URL. Everything else stays.
func NoteGrafana(dir, base string) error {
	meta, err := readMeta(dir)
	if err != nil {
		return fmt.Errorf("noting the Grafana in run %s: %w", dir, err)
	}
	if meta.Grafana == base {
		return nil
	}
	meta.Grafana = base
	if err := writeJSON(dir, MetaFile, meta); err != nil {
		return fmt.Errorf("noting the Grafana in run %s: %w", dir, err)
	}
	return nil
}

func (w *Writer) closeFiles() error {
	var errs []error
	for _, f := range []*lines{w.events, w.spool} {
		if f != nil {
			errs = append(errs, f.file.Close())
		}
	}
	return errors.Join(errs...)
}

// packResults writes results.parquet from the spool and returns its checksum.
func (w *Writer) packResults() (string, error) {
	f, err := os.Open(filepath.Join(w.dir, SpoolFile))
	if err != nil {
		return "", fmt.Errorf("packing the results: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	err = replace(filepath.Join(w.dir, ResultsFile), func(out io.Writer) error {
		return packParquet(io.MultiWriter(out, sum), f, newFaults(w.plan, w.meta.Load))
	})
	if err != nil {
		return "", fmt.Errorf("packing the results: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
