package bench

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/check"
	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/measure"
	"github.com/faultline-lab/faultline/internal/plan"
)

// Report is what a campaign comes to: the content of bench.json.
type Report struct {
	Format   int       `json:"format"`
	Scenario string    `json:"scenario"`
	About    string    `json:"about"`
	Sources  []string  `json:"sources"`
	Version  string    `json:"version"`
	Machine  string    `json:"machine"`
	Created  time.Time `json:"created"`
	Plan     string    `json:"plan"` // hash of all that was run
	Options  Options   `json:"options"`
	// Reference is the variant that the others are compared with.
	Reference string         `json:"reference"`
	Windows   []Window       `json:"windows"` // of the first cell
	Phases    []plan.Phase   `json:"phases"`
	Loads     []FrameLoad    `json:"loads"`
	Total     Tally          `json:"total"`
	Variants  []Variant      `json:"variants"`
	Figures   []FigureReport `json:"figures"` // none of a sweep
	Sweep     *Map           `json:"sweep,omitempty"`
	Runs      []Run          `json:"runs"`

	frame []Figure
}

// Tally counts the campaign's runs.
func (r *Report) Tally() Tally { return r.Total }

// Tally counts runs, those of warm-up blocks not among them.
type Tally struct {
	Planned int `json:"planned"`
	Done    int `json:"done"`   // ended and measured
	Void    int `json:"void"`   // of these: not the experiment that was planned
	Failed  int `json:"failed"` // could not be carried out
}

// Variant is a variant and its runs. The twin of the A/A pair is one too.
type Variant struct {
	Name     string   `json:"name"`
	Twin     bool     `json:"twin"`
	About    string   `json:"about"`
	Policies []string `json:"policies"`
	Tally
	// Never is the share of the runs that did not recover before they ended: P(metastable).
	Never  Share       `json:"never_recovered"`
	Curves []LoadCurve `json:"curves"`
	CDFs   []CDF       `json:"cdfs"`
}

// Share is a share of runs, with its Wilson interval.
type Share struct {
	K    int    `json:"k"`
	N    int    `json:"n"`
	Low  Number `json:"low"`
	High Number `json:"high"`
}

// LoadCurve is a load's goodput second by second over the runs that count;
// seconds in which nothing was due have no number.
type LoadCurve struct {
	Load   string   `json:"load"`
	Median []Number `json:"median"`
	Least  []Number `json:"least"`
	Most   []Number `json:"most"`
}

// CDF is the share of all journeys due in a window, over all runs that count,
// that were answered well within a time. It ends where success does, not at 1.
type CDF struct {
	Load   string      `json:"load"`
	Window string      `json:"window"`
	Due    int         `json:"due"`
	Points [][2]Number `json:"points"` // seconds, share
}

// FigureReport is a figure in all variants, and the comparisons of it.
type FigureReport struct {
	Figure
	Values []Summary `json:"values"` // by variant, in their order
	// AA compares the twin with its variant: nothing differs but chance and the machine.
	AA          *Comparison  `json:"aa"`
	Comparisons []Comparison `json:"comparisons"` // of each further variant with the reference
}

// Summary is a figure's values over the runs of a variant that count.
type Summary struct {
	Variant string `json:"variant"`
	N       int    `json:"n"`
	Median  Number `json:"median"`
	Least   Number `json:"least"`
	Most    Number `json:"most"`
	Never   int    `json:"never"` // in how many it never came
	Text    string `json:"text"`  // the median, for people
}

// Says is what may be said of a comparison.
type Says string

// What may be said.
const (
	SaysBetter  Says = "better"
	SaysWorse   Says = "worse"
	HintsBetter Says = "better?" // the interval says so, the number of pairs does not allow a claim
	HintsWorse  Says = "worse?"
	NoClaim     Says = "no claim"
	TooFew      Says = "too few" // pairs, to say anything
)

// Comparison is a figure of one variant against that of another, in pairs of
// runs of the same block. A difference on the scale Ratio is a factor: 1 is no difference.
type Comparison struct {
	Variant  string `json:"variant"`
	Against  string `json:"against"`
	Pairs    int    `json:"pairs"`
	Excluded int    `json:"excluded"` // blocks left out, as one of both runs is void, failed or without the figure
	Limited  int    `json:"limited"`  // pairs in which one counts with the figure's limit, as it never came
	Estimate Number `json:"estimate"` // Hodges and Lehmann's
	Low      Number `json:"low"`      // of the 95 % interval
	High     Number `json:"high"`
	P        Number `json:"p"`    // of the sign-flip test
	Holm     Number `json:"holm"` // corrected over the variants that this figure is compared in
	Ahead    Number `json:"ahead"`
	// Least is the smallest difference that may be claimed: how far the interval of the A/A pair reaches.
	Least Number `json:"least"`
	Says  Says   `json:"says"`
	Text  string `json:"text"`  // the estimate, for people
	Range string `json:"range"` // the interval, for people
	Noise string `json:"noise"` // Least, for people
}

// Run is a run in the report.
type Run struct {
	Number   int                      `json:"number"`
	Block    int                      `json:"block"`
	Warmup   bool                     `json:"warmup"`
	Values   []string                 `json:"values"` // of the sweep
	Variant  string                   `json:"variant"`
	Seed     uint64                   `json:"seed"`
	State    State                    `json:"state"`
	Outcome  check.Outcome            `json:"outcome"`
	Findings []Finding                `json:"findings"`
	Void     []string                 `json:"void"`
	Record   string                   `json:"record"`
	Page     string                   `json:"page"` // of the record, where it is kept
	Seconds  float64                  `json:"seconds"`
	Attempts []Attempt                `json:"attempts"`
	Lag      measure.Value            `json:"lag"`
	Figures  map[string]measure.Value `json:"figures,omitempty"`
}

// Map is a sweep's result: one cell for each combination of values.
type Map struct {
	Axes  []Axis    `json:"axes"`
	Cells []MapCell `json:"cells"` // variant by variant, the last axis fastest
}

// MapCell is one variant at one point of the map.
type MapCell struct {
	Variant string   `json:"variant"`
	Values  []string `json:"values"`
	Tally
	Recovered Share             `json:"recovered"`
	Medians   map[string]Number `json:"medians"` // of the goodputs, by figure
}

// Number is a number that JSON may not know: NaN, where there is none, is null
// there, and infinity "never".
type Number float64

// MarshalJSON writes null for NaN and "never" for infinity.
func (n Number) MarshalJSON() ([]byte, error) {
	switch v := float64(n); {
	case math.IsNaN(v):
		return []byte("null"), nil
	case math.IsInf(v, 1):
		return []byte(`"never"`), nil
	case math.IsInf(v, -1):
		return []byte(`"-never"`), nil
	default:
		return json.Marshal(v)
	}
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (n *Number) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "null":
		*n = Number(math.NaN())
	case `"never"`:
		*n = Number(math.Inf(1))
	case `"-never"`:
		*n = Number(math.Inf(-1))
	default:
		return json.Unmarshal(data, (*float64)(n))
	}
	return nil
}

// Known tells whether there is a number.
func (n Number) Known() bool { return !math.IsNaN(float64(n)) }

// differenceText writes a difference of a figure, with its sign; of a ratio,
// the factor.
func (f Figure) differenceText(n Number) string {
	v := float64(n)
	if math.IsNaN(v) {
		return "-"
	}
	if f.Scale == Ratio {
		return figure.Times.Text(v)
	}
	sign := "+"
	if v < 0 {
		sign, v = "-", -v
	}
	if v == 0 {
		sign = ""
	}
	if f.Unit == figure.Ratio { // per cent of per cents mislead
		points := math.Round(v*1e4) / 1e2
		if points == 0 {
			sign = ""
		}
		return sign + figure.Plain.Text(points) + "pp"
	}
	return sign + f.Unit.Text(v)
}

// noiseText writes the smallest difference that may be claimed.
func (f Figure) noiseText(n Number) string {
	switch {
	case !n.Known():
		return "-"
	case f.Scale == Ratio:
		return figure.Times.Text(float64(n))
	}
	return strings.TrimLeft(f.differenceText(n), "+-")
}

// text writes a value of the figure; cores stand in the figure's name.
func (f Figure) text(v float64) string {
	if f.Unit == figure.Cores {
		return figure.Plain.Text(v)
	}
	return f.Unit.Text(v)
}
