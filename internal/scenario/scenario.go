// Package scenario owns the scenario language: the form of a scenario file,
// and all that can be checked about it without knowing the system that it
// runs on. Package plan checks the rest and works out what will happen.
//
// The language is described in docs/scenario-language.md.
package scenario

import (
	"errors"
	"fmt"
	"time"

	"github.com/faultline-lab/faultline/internal/measure/grammar"
	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/internal/system"
)

// Scenario is a scenario file.
type Scenario struct {
	Name      string                        `yaml:"name,required" about:"the scenario's name: small letters, digits and hyphens"`
	About     string                        `yaml:"about" about:"the story, in a sentence or two"`
	Mechanism string                        `yaml:"mechanism" about:"how the trigger becomes the failure, in a sentence"`
	Signal    string                        `yaml:"signal" about:"where telemetry shows the mechanism: which metric, of what"`
	Pattern   string                        `yaml:"pattern" about:"what contains it"`
	Sources   []string                      `yaml:"sources" about:"where the story is told: papers, books, post-mortems"`
	System    string                        `yaml:"system,required" about:"the system it runs on: a bundled one by name (shop), or a system file by its path from this file's folder"`
	Seed      *uint64                       `yaml:"seed" about:"what all randomness is drawn from; 1 when left out"`
	Loads     strictyaml.Map[LoadSpec]      `yaml:"load,required" about:"the loads by name; each is sent over the whole run"`
	Phases    strictyaml.Map[time.Duration] `yaml:"phases,required" about:"the phases by name, one after the other, each with its length; warmup is left out of what is measured over the whole run, baseline is what recovery is compared with"`
	Faults    strictyaml.Map[Fault]         `yaml:"faults" about:"the faults by name: what goes wrong, and when"`
	Policies  strictyaml.Map[Chain]         `yaml:"policies" about:"resilience policies of every variant: by edge (caller->callee) or by service, meaning its door; outermost first"`
	Enforce   string                        `yaml:"enforce" allowed:"library,proxy" about:"who enforces the policies of edges: library, which is in the services, when left out; proxy, a layer-7 proxy in front of the callee, for services in any language"`
	Observe   string                        `yaml:"observe" allowed:"services,proxy" about:"who measures the edges, in place of what the system file says"`
	Services  strictyaml.Map[Change]        `yaml:"services" about:"what is different from the system file, in every variant"`
	Variants  strictyaml.Map[Variant]       `yaml:"variants" about:"the variants by name, each run once; one named default when left out"`
	Expect    []Expectation                 `yaml:"expect" about:"what should hold in every variant"`
	Abort     []Abort                       `yaml:"abort" about:"when to end a run early"`
	MaxLag    *time.Duration                `yaml:"max_lag" about:"the greatest p99 of the generator's own delay with which a verdict is given; 5ms or 5 % of the tightest slo when left out, whichever is more"`

	// Source tells the place of every part, and holds the errors found so far.
	Source *strictyaml.Source
}

// LoadSpec is one stream of requests or journeys.
type LoadSpec struct {
	Journey string `yaml:"journey" about:"a journey of the system file; or give request or rpc"`
	system.RequestFile
	Rate     *strictyaml.Rate                `yaml:"rate" about:"arrivals per second, over the whole run" example:"80/s"`
	Stages   []Stage                         `yaml:"stages" about:"a rate that changes: stretch after stretch; the last rate holds on to the end of the run"`
	Users    int                             `yaml:"users" min:"1" max:"100000" about:"closed loop: so many users, each starting anew when the last journey ended; in place of rate"`
	Arrivals string                          `yaml:"arrivals" allowed:"poisson,constant" about:"poisson when left out: independent arrivals; constant: evenly spaced"`
	Service  string                          `yaml:"service" about:"the service that is called; the system's entry when left out"`
	SLO      time.Duration                   `yaml:"slo" about:"a journey that ends well within it counts as good; without it, any that ends well"`
	Timeout  *time.Duration                  `yaml:"timeout" about:"after which the client gives up a step; 30s when left out"`
	Baggage  strictyaml.Map[strictyaml.Word] `yaml:"baggage" about:"W3C baggage of every request, passed on from service to service; priority: critical, default, sheddable or bulk is what the policy priority goes by" example:"{priority: critical}"`
	// Experiment marks a share of the journeys, and an equal one as its control.
	Experiment strictyaml.Word `yaml:"experiment" about:"the share of the journeys, at most 50%, that carry faultline.share=experiment in their baggage, for a fault to be kept to; as many carry faultline.share=control. Measures of the load take load/experiment and load/control" example:"10%"`
}

// Stage is a stretch of time with a rate of its own.
type Stage struct {
	For  time.Duration    `yaml:"for,required" about:"how long the stretch is"`
	Rate *strictyaml.Rate `yaml:"rate" about:"a rate that stays the same"`
	From *strictyaml.Rate `yaml:"from" about:"where the rate starts; where the stretch before ended when left out"`
	To   *strictyaml.Rate `yaml:"to" about:"where the rate ends, going there in a straight line"`
}

// Variant is one way to face the faults.
type Variant struct {
	About    string                     `yaml:"about" about:"what is different here, in a sentence"`
	Policies strictyaml.Map[Chain]      `yaml:"policies" about:"policies by edge or service; a chain here takes the place of the scenario's for the same edge or service"`
	Enforce  string                     `yaml:"enforce" allowed:"library,proxy" about:"who enforces the policies of edges here, in place of what the scenario says"`
	Services strictyaml.Map[Change]     `yaml:"services" about:"what is different from the system file"`
	Loads    strictyaml.Map[LoadChange] `yaml:"load" about:"loads by name that are sent otherwise here"`
	Faults   strictyaml.Map[Fault]      `yaml:"faults" about:"faults by name, added or in place of the scenario's; none takes one away"`
	Expect   []Expectation              `yaml:"expect" about:"what this variant should show, besides what every variant should"`
}

// LoadChange is what a variant may change about a load. What is sent and what
// counts as good stay the same, or variants could not be compared.
type LoadChange struct {
	Rate     *strictyaml.Rate `yaml:"rate" about:"arrivals per second, over the whole run"`
	Stages   []Stage          `yaml:"stages" about:"a rate that changes"`
	Users    int              `yaml:"users" min:"1" max:"100000" about:"closed loop: so many users"`
	Arrivals string           `yaml:"arrivals" allowed:"poisson,constant" about:"poisson or constant"`
	Timeout  *time.Duration   `yaml:"timeout" about:"after which the client gives up a step"`
}

// Change is what a scenario or a variant changes about a service.
type Change struct {
	Replicas int                             `yaml:"replicas" min:"1" max:"100" about:"how many run"`
	Capacity *system.CapacityFile            `yaml:"capacity" about:"the service's door, in place of the system file's"`
	Env      strictyaml.Map[strictyaml.Word] `yaml:"env" about:"environment, on top of the system file's"`
}

// Expectation is a comparison that should hold.
type Expectation struct {
	In   string `yaml:"in" about:"a phase or a fault; the whole run without its warmup when left out"`
	That string `yaml:"that,required" about:"a measure, compared with a number" example:"goodput(browse) >= 99%"`
}

// Abort is a comparison that ends a run early.
type Abort struct {
	That string        `yaml:"that,required" about:"a measure, compared with a number" example:"lag() > 50ms"`
	For  time.Duration `yaml:"for" about:"how long it has to hold; 0 when left out: once is enough"`
}

// DefaultVariant is the name of the variant of a scenario that lists none.
const DefaultVariant = "default"

// Load reads a scenario file; the name is for messages. The error is a
// strictyaml.Errors with every error of the file's form. The scenario is nil only when
// nothing could be read: otherwise plan.Compile takes it in spite of an
// error, to return these errors together with those that it finds itself.
func Load(file string, data []byte) (*Scenario, error) {
	sc := &Scenario{}
	sc.Source = strictyaml.Decode(file, data, sc)
	if sc.Source.Failed("") && sc.Name == "" && len(sc.Loads) == 0 && len(sc.Phases) == 0 {
		return nil, sc.Source.Err()
	}
	sc.check()
	if len(sc.Variants) == 0 {
		sc.Variants = strictyaml.Map[Variant]{{Name: DefaultVariant, Path: "variants." + DefaultVariant}}
	}
	return sc, sc.Source.Err()
}

// VariantNames returns the names of the variants in the order of the file.
func (sc *Scenario) VariantNames() []string { return sc.Variants.Names() }

// SeedOrDefault is the seed of the file, or 1.
func (sc *Scenario) SeedOrDefault() uint64 {
	if sc.Seed == nil {
		return 1
	}
	return *sc.Seed
}

// check checks what decoding does not: names, lengths, comparisons.
func (sc *Scenario) check() {
	if sc.Name != "" {
		sc.name("name", sc.Name)
	}
	names(sc, sc.Loads)
	names(sc, sc.Phases)
	names(sc, sc.Faults)
	names(sc, sc.Variants)
	for _, need := range []struct {
		path, what string
		count      int
	}{{"load", "load", len(sc.Loads)}, {"phases", "phase", len(sc.Phases)}} {
		if need.count == 0 && sc.Source.Has(need.path) && !sc.Source.Failed(need.path) {
			sc.Source.Fail(need.path, "there is no "+need.what, "")
		}
	}
	for _, fault := range sc.Faults {
		if fault.Value.Off {
			sc.Source.Fail(fault.Path, "none takes a fault away in a variant; here there is nothing to take away", "")
		}
	}
	sc.comparisons("expect", sc.Expect)
	for _, variant := range sc.Variants {
		names(sc, variant.Value.Faults)
		sc.comparisons(variant.Path+".expect", variant.Value.Expect)
	}
	for i, abort := range sc.Abort {
		sc.comparison(fmt.Sprintf("abort[%d].that", i), abort.That)
	}
}

func names[T any](sc *Scenario, m strictyaml.Map[T]) {
	for _, entry := range m {
		sc.name(entry.Path, entry.Name)
	}
}

func (sc *Scenario) name(path, name string) {
	if !system.ValidName(name) {
		sc.Source.Fail(path, fmt.Sprintf("%q is not a name", name), system.NameRule)
	}
}

func (sc *Scenario) comparisons(path string, list []Expectation) {
	for i, expectation := range list {
		sc.comparison(fmt.Sprintf("%s[%d].that", path, i), expectation.That)
	}
}

func (sc *Scenario) comparison(path, text string) {
	if sc.Source.Failed(path) || !sc.Source.Has(path) {
		return
	}
	_, err := grammar.Parse(text)
	var wrong *grammar.Error
	switch {
	case errors.As(err, &wrong):
		sc.Source.Fail(path, fmt.Sprintf("%q, character %d: %s", text, wrong.Position, wrong.Message), wrong.Hint)
	case err != nil:
		sc.Source.Fail(path, err.Error(), "")
	}
}

// Schema returns the JSON schema of scenario files.
func Schema() ([]byte, error) {
	return strictyaml.Schema(&Scenario{}, "Faultline scenario",
		"A scripted failure: a system, the load on it, what goes wrong, and what should hold.")
}
