package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/figure"
)

// SuiteSource says what a suite is.
type SuiteSource struct {
	Name    string
	About   string
	Version string // of faultline
	Machine string
}

// Suite is the campaigns of several scenarios, carried out as one: block by block over all of them, in one directory, with
// one summary. Its methods are for one goroutine at a time.
type Suite struct {
	dir     string // "" until it was created
	file    suiteState
	members []*Campaign
}

// suiteState is what suite.json holds. All that changes while the suite goes on is in the members' own directories.
type suiteState struct {
	Format  int       `json:"format"`
	Version string    `json:"version"` // of faultline
	Name    string    `json:"name"`
	About   string    `json:"about"`
	Machine string    `json:"machine"`
	Created time.Time `json:"created"`
	// Members are the scenarios; each has the folder of its name, which is a campaign's directory.
	Members []string `json:"members"`
}

// The files of a suite's directory, beside the members' folders.
const (
	SuiteStateFile = "suite.json"
	SuitePage      = "summary.html"
	SuiteCSV       = "summary.csv"
	SuiteJSON      = "summary.json"
)

// NewSuite makes a suite of campaigns, of which none was created. Nothing is written before Create.
func NewSuite(source SuiteSource, members []*Campaign) (*Suite, error) {
	s := &Suite{members: members, file: suiteState{
		Format: FormatVersion, Version: source.Version, Name: source.Name, About: source.About, Machine: source.Machine,
	}}
	runs := 0
	for _, c := range members {
		for _, other := range s.file.Members {
			if other == c.file.Scenario {
				return nil, fmt.Errorf("scenario %s is named twice; its variants go into one campaign", other)
			}
		}
		s.file.Members = append(s.file.Members, c.file.Scenario)
		runs += len(c.file.Slots)
	}
	if runs > mostRuns {
		return nil, fmt.Errorf("%d runs; a suite has at most %d", runs, mostRuns)
	}
	return s, nil
}

// Create makes the suite's directory, <time>-<name>-bench below root, and a campaign's for each scenario in it.
func (s *Suite) Create(root string, now time.Time) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("making the folder of runs: %w", err)
	}
	dir, err := makeDir(root, s.file.Name, now)
	if err != nil {
		return err
	}
	s.dir, s.file.Created = dir, now
	for _, c := range s.members {
		member := filepath.Join(dir, c.file.Scenario)
		if err := os.Mkdir(member, 0o755); err != nil {
			return fmt.Errorf("making the campaign's directory: %w", err)
		}
		if err := c.create(member, now); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(s.file, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", SuiteStateFile, err)
	}
	return replace(filepath.Join(dir, SuiteStateFile), append(data, '\n'))
}

// IsSuiteDir tells a suite's directory from a campaign's.
func IsSuiteDir(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, SuiteStateFile))
	return err == nil
}

// ResumeSuite opens a suite to go on with it. source finds a scenario as it was named. The error says why it cannot be
// gone on with, as Resume's does; version is this faultline's.
func ResumeSuite(dir, version string, source func(named string) (Source, error)) (*Suite, error) {
	s := &Suite{dir: dir}
	data, err := os.ReadFile(filepath.Join(dir, SuiteStateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not the directory of a suite: it has no %s", dir, SuiteStateFile)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the suite: %w", err)
	}
	if err := json.Unmarshal(data, &s.file); err != nil {
		return nil, fmt.Errorf("%s of %s is damaged: %w", SuiteStateFile, dir, err)
	}
	if s.file.Format != FormatVersion {
		return nil, otherFormat("suite", dir, s.file.Format, s.file.Version)
	}
	for _, name := range s.file.Members {
		c, err := resumeMember(filepath.Join(dir, name), version, source)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.members = append(s.members, c)
	}
	return s, nil
}

func resumeMember(dir, version string, source func(string) (Source, error)) (*Campaign, error) {
	header, err := ReadHeader(dir)
	if err == nil {
		err = SameVersion(dir, header.Version, version)
	}
	if err != nil {
		return nil, err
	}
	from, err := source(header.Named)
	if err != nil {
		return nil, fmt.Errorf("campaign %s cannot be gone on with: %w", dir, err)
	}
	return Resume(dir, from)
}

// Run carries out the runs that are left: the first block of every scenario, then the second of every one. So what changes slowly meets
// all of them, and a suite that is stopped early has something of each.
func (s *Suite) Run(ctx context.Context, run Runner, watch Watcher, now func() time.Time) error {
	first, last := s.blocks()
	in := &series{run: run, now: now}
	for block := first; block <= last; block++ {
		for _, c := range s.members {
			of := inSuite{Watcher: watch, suite: s, scenario: c.file.Scenario}
			if err := c.run(ctx, in, of, func(slot *Slot) bool { return slot.Block == block }); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Suite) blocks() (first, last int) {
	first = 1
	for _, c := range s.members {
		first, last = min(first, 1-c.file.Options.WarmupBlocks), max(last, c.file.Options.Repeats)
	}
	return first, last
}

// inSuite tells a Watcher of a run as one of the suite's.
type inSuite struct {
	Watcher
	suite    *Suite
	scenario string
}

// Begins is part of Watcher.
func (p inSuite) Begins(slot Slot, values []string, _ int, _ time.Duration) {
	slot.Scenario, slot.Number = p.scenario, p.suite.ended()+1
	p.Watcher.Begins(slot, values, p.suite.runs(), p.suite.Length())
}

// runs is how many there are.
func (s *Suite) runs() int {
	n := 0
	for _, c := range s.members {
		n += len(c.file.Slots)
	}
	return n
}

// ended is how many are not still to be carried out.
func (s *Suite) ended() int {
	n := 0
	for _, c := range s.members {
		for _, slot := range c.file.Slots {
			if slot.State == Done || slot.State == Failed {
				n++
			}
		}
	}
	return n
}

// Left is how many runs are still to be carried out.
func (s *Suite) Left() int {
	n := 0
	for _, c := range s.members {
		n += c.Left()
	}
	return n
}

// Length is about how long the runs that are left take.
func (s *Suite) Length() time.Duration {
	var all pace
	for _, c := range s.members {
		all = all.plus(c.pace())
	}
	return all.left()
}

// Dir is the suite's directory; "" before Create.
func (s *Suite) Dir() string { return s.dir }

// Members are its campaigns, in their order.
func (s *Suite) Members() []*Campaign { return s.members }

// Close lets go of the directories of all campaigns.
func (s *Suite) Close() error {
	var errs []error
	for _, c := range s.members {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Describe prints what would be run, and in which order.
func (s *Suite) Describe(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s, %s, about %s\n", s.file.Name, countOf(len(s.members), "scenario"), countOf(s.runs(), "run"), figure.Duration(s.Length().Round(time.Second)))
	first, last := s.blocks()
	number := 0
	for block := first; block <= last; block++ {
		name := fmt.Sprintf("block %d", block)
		if block < 1 {
			name = "warm-up block"
		}
		fmt.Fprintln(&text, name)
		for _, c := range s.members {
			for _, slot := range c.file.Slots {
				if slot.Block == block {
					number++
					fmt.Fprintf(&text, "  %*d  %s, %s, seed %d\n", len(fmt.Sprint(s.runs())), number, c.file.Scenario, slot.Name(), slot.Seed)
				}
			}
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}
