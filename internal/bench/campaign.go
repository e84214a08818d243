package bench

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/parameter"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/internal/system"
)

// Keep says what of a run's record stays on the disk once its figures were
// taken.
type Keep string

// What may be kept.
const (
	KeepAll     Keep = "all"     // everything
	KeepResults Keep = "results" // plan, results, events, verdict and page; no telemetry
	KeepNone    Keep = "none"    // nothing: only what the campaign itself keeps
)

// Options say what a campaign is made of. They never change once it began.
type Options struct {
	// Variants are compared with the first of them; empty means all of the scenario.
	Variants []string `json:"variants"`
	// AA is the variant that runs twice in each block; "" means the first, and in a sweep none.
	AA string `json:"aa,omitempty"`
	// Repeats is how many blocks there are: each variant runs once in each.
	Repeats int `json:"repeats"`
	// WarmupBlocks are run first and counted nowhere.
	WarmupBlocks int `json:"warmup_blocks"`
	// Seed is that of the first block; each further block has the next. nil means the scenario's.
	Seed *uint64 `json:"seed"`
	Keep Keep    `json:"keep"`
	// Sweep holds at most two parameters; every combination of their values is run.
	Sweep []Axis `json:"sweep,omitempty"`
}

// Bounds of a campaign.
const (
	mostRepeats = 1000
	mostWarmups = 20
	mostRuns    = 20_000
)

// Twin is what the second run of the A/A variant in a block is called.
func Twin(variant string) string { return variant + "'" }

// State is how far a run of the campaign is.
type State string

// The states.
const (
	Planned State = "planned" // yet to run, or to be repeated
	Running State = "running" // under way; in the file of a campaign that is not: interrupted
	Done    State = "done"    // its figures were taken
	Failed  State = "failed"  // it could not be carried out; going on with the campaign repeats it
)

// Slot is one run of a campaign: what, and in which place.
type Slot struct {
	Number  int    `json:"number"` // 1-based, in the order of running
	Block   int    `json:"block"`  // 1-based; warm-up blocks are 0, -1 and so on downwards
	Cell    int    `json:"cell"`   // of the sweep; 0 without one
	Variant string `json:"variant"`
	Twin    bool   `json:"twin,omitempty"` // the second run of the A/A variant
	Seed    uint64 `json:"seed"`

	State    State     `json:"state"`
	Record   string    `json:"record,omitempty"` // the record's directory, relative to the campaign's; "" when it is not kept
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Attempts []Attempt `json:"attempts,omitempty"` // earlier ones that came to no end

	// Scenario is told to a Watcher where the campaign is one of a suite; Number is then the run's in the suite.
	Scenario string `json:"-"`
}

// Name is the variant, marked where it is the twin.
func (s Slot) Name() string {
	if s.Twin {
		return Twin(s.Variant)
	}
	return s.Variant
}

// Warmup tells whether the run counts nowhere.
func (s Slot) Warmup() bool { return s.Block < 1 }

// Attempt is a run that came to no end: interrupted, or not carried out.
type Attempt struct {
	Record string    `json:"record,omitempty"`
	Began  time.Time `json:"began"`
	Why    string    `json:"why"`
}

// FormatVersion is the version of the campaign directory that this code
// writes and reads.
const FormatVersion = 1

// State of a campaign, as campaign.json holds it.
type file struct {
	Format   int       `json:"format"`
	Version  string    `json:"version"` // of faultline
	Scenario string    `json:"scenario"`
	Source   string    `json:"source"` // as the user named the scenario; a path is absolute
	Plan     string    `json:"plan"`   // hash of all that is run
	Machine  string    `json:"machine"`
	Created  time.Time `json:"created"`
	Options  Options   `json:"options"`
	Slots    []*Slot   `json:"slots"`
}

// Source is what a campaign is made from.
type Source struct {
	Named   string // the scenario as the user named it; a path has to be absolute
	File    string // the scenario's file, for messages
	Text    []byte // its content
	System  *system.System
	Version string // of faultline
	Machine string
	// Variants are the scenario's, for whoever checks a choice of them beforehand.
	Variants []string
}

// Cell is one combination of a sweep's values, or the only one without a
// sweep.
type Cell struct {
	Values []string // one for each axis
	Frame  Frame

	text     []byte
	scenario *scenario.Scenario
}

// Campaign is a campaign: new, interrupted or finished. Its methods are for
// one goroutine at a time.
type Campaign struct {
	dir    string // "" until it was created
	source Source
	file   file
	cells  []Cell
	lock   *lock
}

// New works a campaign out. Nothing is written before Create. All errors are
// the user's to put right.
func New(source Source, options Options) (*Campaign, error) {
	c := &Campaign{source: source, file: file{Format: FormatVersion, Version: source.Version, Source: source.Named, Machine: source.Machine}}
	if err := c.compile(options); err != nil {
		return nil, err
	}
	c.file.Slots = c.draw()
	if len(c.file.Slots) > mostRuns {
		return nil, fmt.Errorf("%d runs; a campaign has at most %d", len(c.file.Slots), mostRuns)
	}
	return c, nil
}

// compile checks the options and works out every plan once, so that nothing
// can be wrong with one in the middle of the night.
func (c *Campaign) compile(options Options) error {
	base, err := scenario.Load(c.source.File, c.source.Text)
	if err != nil {
		return err
	}
	if err := options.complete(base); err != nil {
		return err
	}
	c.file.Options, c.file.Scenario = options, base.Name
	hash := sha256.New()
	encoder := json.NewEncoder(hash)
	err = encoder.Encode([]any{FormatVersion, c.source.System, c.source.System.Alerts})
	for _, values := range combinations(options.Sweep) {
		cell, plans, cellErr := c.cell(values)
		if cellErr != nil {
			return cellErr
		}
		for _, p := range plans {
			for i := range p.Expect {
				p.Expect[i].Source = "" // where the file lies makes no difference
			}
			err = errors.Join(err, encoder.Encode(p))
		}
		c.cells = append(c.cells, cell)
	}
	if err != nil {
		return fmt.Errorf("hashing the plans: %w", err)
	}
	c.file.Plan = hex.EncodeToString(hash.Sum(nil))
	return nil
}

func (c *Campaign) cell(values []string) (Cell, []*plan.Plan, error) {
	cell := Cell{Values: values, text: c.source.Text}
	var where []string
	for i, axis := range c.file.Options.Sweep {
		where = append(where, axis.Path+"="+values[i])
		text, err := set(cell.text, axis.Path, values[i])
		if err != nil {
			return cell, nil, fmt.Errorf("--sweep %s: %w", axis.Path, err)
		}
		cell.text = text
	}
	fail := func(err error) (Cell, []*plan.Plan, error) {
		if len(where) > 0 {
			err = fmt.Errorf("with %s:\n%w", strings.Join(where, " and "), err)
		}
		return cell, nil, err
	}
	var err error
	if cell.scenario, err = scenario.Load(c.source.File, cell.text); err != nil {
		return fail(err)
	}
	var plans []*plan.Plan
	for _, variant := range c.file.Options.Variants {
		p, err := plan.Compile(cell.scenario, c.source.System, variant, plan.Options{Seed: c.file.Options.Seed})
		if err != nil {
			return fail(err)
		}
		plans = append(plans, p)
	}
	cell.Frame = NewFrame(plans, c.source.System)
	return cell, plans, nil
}

// complete fills in what was left out and refuses what is impossible, all of
// it at once.
func (o *Options) complete(sc *scenario.Scenario) error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	known := sc.VariantNames()
	if len(o.Variants) == 0 {
		o.Variants = known
	}
	for i, name := range o.Variants {
		if !slices.Contains(known, name) {
			message, hint := strictyaml.Unknown("variant", name, known)
			fail("--variant: %s; %s", message, hint)
		} else if slices.Contains(o.Variants[:i], name) {
			fail("--variant: %s is named twice; the pair of equal runs is that of --aa", name)
		}
	}
	switch {
	case o.AA != "" && len(o.Sweep) > 0:
		fail("--aa: a sweep draws a map and compares no variants, so it has no use for a pair of equal runs; leave it out")
	case o.AA != "" && !slices.Contains(o.Variants, o.AA):
		message, hint := strictyaml.Unknown("variant", o.AA, o.Variants)
		fail("--aa: %s; %s", message, hint)
	case o.AA == "" && len(o.Sweep) == 0:
		o.AA = o.Variants[0]
	}
	if o.Repeats < 1 || o.Repeats > mostRepeats {
		fail("--repeats %d: from 1 to %d are possible", o.Repeats, mostRepeats)
	}
	if o.WarmupBlocks < 0 || o.WarmupBlocks > mostWarmups {
		fail("--warmup-blocks %d: from 0 to %d are possible", o.WarmupBlocks, mostWarmups)
	}
	if keeps := []string{string(KeepAll), string(KeepResults), string(KeepNone)}; !slices.Contains(keeps, string(o.Keep)) {
		hint := "permitted: " + strings.Join(keeps, ", ")
		if near := parameter.Nearest(string(o.Keep), keeps); near != "" {
			hint = fmt.Sprintf("did you mean %q? %s", near, hint)
		}
		fail("--keep %q; %s", o.Keep, hint)
	}
	if len(o.Sweep) > mostAxes {
		fail("--sweep: %d parameters; at most %d can be drawn as a map", len(o.Sweep), mostAxes)
	}
	if len(o.Sweep) == mostAxes && o.Sweep[0].Path == o.Sweep[1].Path {
		fail("--sweep: %s is given twice", o.Sweep[0].Path)
	}
	if o.Seed == nil {
		seed := sc.SeedOrDefault()
		o.Seed = &seed
	}
	return errors.Join(errs...)
}

// combinations lists every combination of the axes' values, the last axis
// fastest; one empty combination without axes.
func combinations(axes []Axis) [][]string {
	out := [][]string{{}}
	for _, axis := range axes {
		var longer [][]string
		for _, values := range out {
			for _, value := range axis.Values {
				longer = append(longer, append(slices.Clone(values), value))
			}
		}
		out = longer
	}
	return out
}

// draw fixes the order: blocks one after the other, and in each block every
// variant of every cell once, and the twin, in an order drawn from the seed. So what
// changes slowly, such as the machine's other work, meets all of them alike.
func (c *Campaign) draw() []*Slot {
	o := c.file.Options
	var out []*Slot
	for block := 1 - o.WarmupBlocks; block <= o.Repeats; block++ {
		seed := *o.Seed + uint64(block) - 1
		if block < 1 {
			seed = *o.Seed + uint64(o.Repeats) + uint64(-block)
		}
		var inBlock []*Slot
		for cell := range c.cells {
			for _, variant := range o.Variants {
				inBlock = append(inBlock, &Slot{Block: block, Cell: cell, Variant: variant, Seed: seed, State: Planned})
				if variant == o.AA {
					inBlock = append(inBlock, &Slot{Block: block, Cell: cell, Variant: variant, Twin: true, Seed: seed, State: Planned})
				}
			}
		}
		order := rand.New(rand.NewPCG(*o.Seed, uint64(int64(block))+mix(c.file.Scenario)))
		order.Shuffle(len(inBlock), func(i, j int) { inBlock[i], inBlock[j] = inBlock[j], inBlock[i] })
		out = append(out, inBlock...)
	}
	for i, slot := range out {
		slot.Number = i + 1
	}
	return out
}

func mix(text string) uint64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(text)) // never fails
	return hash.Sum64()
}

// plan works out the plan of a slot: the same for all slots of a block but for
// the variant.
func (c *Campaign) plan(slot *Slot) (*plan.Plan, error) {
	p, err := plan.Compile(c.cells[slot.Cell].scenario, c.source.System, slot.Variant, plan.Options{Seed: &slot.Seed})
	if err != nil {
		return nil, err
	}
	p.Variant = slot.Name()
	return p, nil
}

// Dir is the campaign's directory; "" before Create.
func (c *Campaign) Dir() string { return c.dir }

// Options are the campaign's, with everything filled in that was left out.
func (c *Campaign) Options() Options { return c.file.Options }

// Slots are the campaign's runs in their order. They are not to be changed.
func (c *Campaign) Slots() []*Slot { return c.file.Slots }

// Cells are the combinations of the sweep, or the only one.
func (c *Campaign) Cells() []Cell { return c.cells }

// Left is how many runs are still to be carried out.
func (c *Campaign) Left() int {
	n := 0
	for _, slot := range c.file.Slots {
		if slot.State != Done {
			n++
		}
	}
	return n
}

// startAndEnd is about what a run takes beyond its plan: starting the system,
// coming to rest, judging.
const startAndEnd = 12 * time.Second

// Length is about how long the runs that are left take, from the plans, or once some
// have ended, from how long those took.
func (c *Campaign) Length() time.Duration { return c.pace().left() }

// pace is how long runs take by their plans, and how long they took.
type pace struct{ planned, took, plannedOfDone time.Duration }

func (c *Campaign) pace() pace {
	var p pace
	for _, slot := range c.file.Slots {
		windows := c.cells[slot.Cell].Frame.Windows
		length := windows[len(windows)-1].End + startAndEnd
		if slot.State == Done {
			p.took, p.plannedOfDone = p.took+slot.Ended.Sub(slot.Started), p.plannedOfDone+length
		} else {
			p.planned += length
		}
	}
	return p
}

func (p pace) plus(o pace) pace {
	return pace{p.planned + o.planned, p.took + o.took, p.plannedOfDone + o.plannedOfDone}
}

func (p pace) left() time.Duration {
	if p.plannedOfDone > 0 {
		return time.Duration(float64(p.planned) * float64(p.took) / float64(p.plannedOfDone))
	}
	return p.planned
}

// path is a file of the campaign.
func (c *Campaign) path(parts ...string) string {
	return filepath.Join(append([]string{c.dir}, parts...)...)
}

// Describe prints what would be run, and in which order.
func (c *Campaign) Describe(out io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s, about %s\n", c.file.Scenario, countOf(len(c.file.Slots), "run"), figure.Duration(c.Length().Round(time.Second)))
	block := math.MinInt
	for _, slot := range c.file.Slots {
		if slot.Block != block {
			block = slot.Block
			name := fmt.Sprintf("block %d", block)
			if slot.Warmup() {
				name = "warm-up block"
			}
			fmt.Fprintf(&text, "%s, seed %d\n", name, slot.Seed)
		}
		fmt.Fprintf(&text, "  %*d  %s\n", len(fmt.Sprint(len(c.file.Slots))), slot.Number, strings.Join(append([]string{slot.Name()}, c.cells[slot.Cell].Values...), ", "))
	}
	_, err := io.WriteString(out, text.String())
	return err
}
