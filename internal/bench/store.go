package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/faultline-lab/faultline/internal/record"
)

// The files of a campaign's directory.
const (
	CampaignFile = "campaign.json"
	ScenarioFile = "scenario.yaml"
	RunsDir      = "runs"    // one record a run
	FiguresDir   = "figures" // what was measured of each run, by its number
	JSONFile     = "bench.json"
	CSVFile      = "bench.csv"
	SweepFile    = "sweep.csv"
	PageFile     = "bench.html"
	lockFile     = "lock"
)

// Create makes the campaign's directory, <time>-<scenario>-bench below root.
func (c *Campaign) Create(root string, now time.Time) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("making the folder of runs: %w", err)
	}
	dir, err := makeDir(root, c.file.Scenario, now)
	if err != nil {
		return err
	}
	return c.create(dir, now)
}

// makeDir makes the directory <time>-<name>-bench below root, with a number behind it where there is one already.
func makeDir(root, of string, now time.Time) (string, error) {
	name := now.Format("20060102-150405") + "-" + of + "-bench"
	dir := filepath.Join(root, name)
	for n := 2; ; n++ {
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("making the campaign's directory: %w", err)
		}
		dir = filepath.Join(root, name+"-"+strconv.Itoa(n))
	}
}

// create fills the campaign's directory.
func (c *Campaign) create(dir string, now time.Time) error {
	c.dir, c.file.Created = dir, now
	for _, folder := range []string{RunsDir, FiguresDir} {
		if err := os.Mkdir(c.path(folder), 0o755); err != nil {
			return fmt.Errorf("making the campaign's directory: %w", err)
		}
	}
	if err := os.WriteFile(c.path(ScenarioFile), c.source.Text, 0o644); err != nil {
		return fmt.Errorf("writing the scenario: %w", err)
	}
	if err := c.acquire(); err != nil {
		return err
	}
	return c.save()
}

// Header is what a campaign's directory says of itself, to find what it is
// made from.
type Header struct {
	Scenario string // its name
	Named    string // as the user named it; a path is absolute
	Version  string // of the faultline that began it
	Left     int    // runs to go
}

// ReadHeader reads the beginning of a campaign's directory. Its errors say why
// the directory is none that can be gone on with.
func ReadHeader(dir string) (Header, error) {
	f, err := readFile(dir)
	if err != nil {
		return Header{}, err
	}
	c := Campaign{file: f}
	return Header{Scenario: f.Scenario, Named: f.Source, Version: f.Version, Left: c.Left()}, nil
}

func readFile(dir string) (file, error) {
	var f file
	data, err := os.ReadFile(filepath.Join(dir, CampaignFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(dir); err != nil {
			return f, fmt.Errorf("there is no campaign %s", dir)
		}
		return f, fmt.Errorf("%s is not the directory of a campaign: it has no %s", dir, CampaignFile)
	case err != nil:
		return f, fmt.Errorf("reading the campaign: %w", err)
	}
	var format struct {
		Format  int    `json:"format"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(data, &format); err != nil {
		return f, fmt.Errorf("%s of %s is damaged: %w", CampaignFile, dir, err)
	}
	if format.Format != FormatVersion {
		return f, otherFormat("campaign", dir, format.Format, format.Version)
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return f, fmt.Errorf("%s of %s is damaged: %w", CampaignFile, dir, err)
	}
	return f, nil
}

// SameVersion is the error that a campaign cannot be gone on with by another version than the one that began it.
func SameVersion(dir, begun, version string) error {
	if begun == version {
		return nil
	}
	return fmt.Errorf("campaign %s was begun by faultline %s, and this is %s: runs of two versions are not compared; go on with that one, or start anew", dir, begun, version)
}

func otherFormat(what, dir string, format int, version string) error {
	return fmt.Errorf("%s %s has format %d (faultline %s), and this faultline goes on with format %d only; start it anew", what, dir, format, version, FormatVersion)
}

// Resume opens a campaign to go on with it. Runs that ended are kept, one that
// was interrupted is repeated. The error says why the directory cannot be gone on with: another
// version of faultline, a scenario or system that has changed since, somebody else at it.
func Resume(dir string, source Source) (*Campaign, error) {
	f, err := readFile(dir)
	if err != nil {
		return nil, err
	}
	if err := SameVersion(dir, f.Version, source.Version); err != nil {
		return nil, err
	}
	c := &Campaign{dir: dir, source: source, file: file{Version: source.Version}}
	if err := c.compile(f.Options); err != nil {
		return nil, fmt.Errorf("campaign %s cannot be gone on with: %w", dir, err)
	}
	if c.file.Plan != f.Plan {
		return nil, fmt.Errorf("campaign %s was begun with another plan: the scenario %s or its system has changed since (%.12s then, %.12s now); its copy is %s; put it back, or start anew",
			dir, f.Source, f.Plan, c.file.Plan, filepath.Join(dir, ScenarioFile))
	}
	c.file = f
	if err := c.consistent(); err != nil {
		return nil, fmt.Errorf("%s of %s is damaged: %w", CampaignFile, dir, err)
	}
	if err := c.acquire(); err != nil {
		return nil, err
	}
	err = c.repeatInterrupted()
	if err == nil {
		err = c.save()
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// consistent holds the slots against the order that the options give.
func (c *Campaign) consistent() error {
	want := c.draw()
	if len(want) != len(c.file.Slots) {
		return fmt.Errorf("it has %d runs, and its options make %d", len(c.file.Slots), len(want))
	}
	for i, slot := range c.file.Slots {
		if slot == nil || slot.Cell < 0 || slot.Cell >= len(c.cells) || slot.Number != i+1 || slot.Name() != want[i].Name() ||
			slot.Block != want[i].Block || slot.Cell != want[i].Cell || slot.Seed != want[i].Seed {
			return fmt.Errorf("run %d is not the one that its options make", i+1)
		}
	}
	return nil
}

// repeatInterrupted sets back what was under way when the lab died, what could
// not be carried out, and what has no figures although it says so.
func (c *Campaign) repeatInterrupted() error {
	for _, slot := range c.file.Slots {
		switch slot.State {
		case Running:
			c.giveUp(slot, Planned, "the lab ended before the run did")
		case Failed:
			slot.State = Planned // the attempt is noted already
		case Done:
			if _, err := c.readMeasured(slot); errors.Is(err, fs.ErrNotExist) {
				c.giveUp(slot, Planned, "its figures are missing")
			} else if err != nil {
				return err
			}
		case Planned:
		default:
			return fmt.Errorf("%s of %s is damaged: run %d is %q", CampaignFile, c.dir, slot.Number, slot.State)
		}
	}
	return nil
}

// giveUp notes an attempt that came to no end.
func (c *Campaign) giveUp(slot *Slot, state State, why string) {
	slot.Attempts = append(slot.Attempts, Attempt{Record: slot.Record, Began: slot.Started, Why: why})
	slot.State, slot.Record, slot.Started, slot.Ended = state, "", time.Time{}, time.Time{}
}

// save writes campaign.json anew, in one step.
func (c *Campaign) save() error {
	data, err := json.MarshalIndent(c.file, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", CampaignFile, err)
	}
	return replace(c.path(CampaignFile), append(data, '\n'))
}

// replace puts a file in the place of another, or leaves the old one.
func replace(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

func (c *Campaign) figuresPath(slot *Slot) string {
	return c.path(FiguresDir, fmt.Sprintf("%04d.json", slot.Number))
}

func (c *Campaign) writeMeasured(slot *Slot, m *Measured) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing the figures of run %d: %w", slot.Number, err)
	}
	return replace(c.figuresPath(slot), append(data, '\n'))
}

func (c *Campaign) readMeasured(slot *Slot) (*Measured, error) {
	data, err := os.ReadFile(c.figuresPath(slot))
	if err != nil {
		return nil, fmt.Errorf("reading the figures of run %d: %w", slot.Number, err)
	}
	m := &Measured{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("the figures of run %d in %s are damaged: %w", slot.Number, c.dir, err)
	}
	return m, nil
}

// lock keeps two programs from going on with the same campaign. The kernel
// lets go of it when the program ends, however it does.
type lock struct{ file *os.File }

func (c *Campaign) acquire() error {
	f, err := os.OpenFile(c.path(lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("locking the campaign: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fmt.Errorf("another faultline is at campaign %s", c.dir)
		}
		return errors.Join(err, f.Close())
	}
	c.lock = &lock{f}
	return nil
}

// Close lets go of the campaign's directory. The file of the lock stays: were
// it removed, two others could each hold a file of that name.
func (c *Campaign) Close() error {
	if c.lock == nil {
		return nil
	}
	err := c.lock.file.Close()
	c.lock = nil
	return err
}

// dropped lists what of a record is not kept, besides what no version knows.
func dropped(keep Keep) []string {
	switch keep {
	case KeepResults:
		return []string{
			record.TelemetryFile, record.TelemetryFile + "-wal", record.TelemetryFile + "-shm",
			record.MetricsDir, record.ProfilesDir, "data", // what the services stored
		}
	case KeepNone:
		return []string{"."}
	}
	return nil
}

// Slim removes from a record what is not to be kept, and tells whether
// anything of it is left.
func Slim(dir string, keep Keep) (left bool, err error) {
	for _, name := range dropped(keep) {
		if name == "." {
			return false, os.RemoveAll(dir)
		}
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
	}
	return true, err
}
