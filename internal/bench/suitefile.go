package bench

import (
	"fmt"
	"regexp"

	"github.com/faultline-lab/faultline/internal/strictyaml"
)

// SuiteFile is a file that lists scenarios to be benchmarked together. What it says holds for every scenario
// that says nothing else.
type SuiteFile struct {
	Name         string        `yaml:"name,required" about:"the suite's name: small letters, digits and hyphens"`
	About        string        `yaml:"about" about:"what it asks, in a sentence or two"`
	Repeats      int           `yaml:"repeats" min:"1" max:"1000" about:"how many blocks; 5 when left out"`
	WarmupBlocks int           `yaml:"warmup_blocks" min:"0" max:"20" about:"blocks that are run first and counted nowhere"`
	Seed         *uint64       `yaml:"seed" about:"seed of the first block; the scenario's when left out"`
	Keep         string        `yaml:"keep" allowed:"all,results,none" about:"what stays of each record; results when left out"`
	Scenarios    []SuiteMember `yaml:"scenarios,required" about:"the scenarios, each a name or a path from this file's folder, or a map"`

	// Source tells the place of every part, and holds the errors found so far.
	Source *strictyaml.Source
}

// SuiteMember is a scenario of a suite.
type SuiteMember struct {
	Scenario string   `yaml:"scenario,required" about:"a scenario by name, or by its path from this file's folder"`
	Variants []string `yaml:"variants" about:"only these; the first is what the others are compared with"`
	AA       string   `yaml:"aa" about:"the variant that runs twice in each block; the first when left out"`
	Repeats  int      `yaml:"repeats" min:"1" max:"1000" about:"in place of the suite's"`

	// Path is where it stands in the file, for Source.Fail.
	Path string
}

// member is SuiteMember without its way of being read.
type member SuiteMember

// UnmarshalValue reads a member: a text is the scenario alone.
func (m *SuiteMember) UnmarshalValue(v strictyaml.Value) {
	m.Path = v.Path
	switch v.Kind {
	case strictyaml.KindText:
		v.Decode(&m.Scenario)
	case strictyaml.KindMap:
		v.Decode((*member)(m))
	default:
		v.Want("the name of a scenario, or a map such as {scenario: retry-storm, repeats: 3}")
	}
}

var suiteName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,61}$`)

// ReadSuite reads a suite file; the name is for messages. Errors are in its Source, to which the caller adds those of the
// scenarios themselves.
func ReadSuite(file string, data []byte) *SuiteFile {
	s := &SuiteFile{}
	s.Source = strictyaml.Decode(file, data, s)
	if s.Name != "" && !suiteName.MatchString(s.Name) {
		s.Source.Fail("name", fmt.Sprintf("%q is not a name; a name has small letters, digits and hyphens, begins with a letter and has at most 62 of them", s.Name), "")
	}
	if s.Source.Has("scenarios") && len(s.Scenarios) == 0 && !s.Source.Failed("scenarios") {
		s.Source.Fail("scenarios", "the suite lists no scenario", "")
	}
	return s
}

// IsSuite tells a suite file from a scenario: it lists scenarios.
func IsSuite(data []byte) bool {
	root, err := strictyaml.Read("", data)
	return err == nil && root.Get("scenarios").Kind != strictyaml.KindNull
}

// Options are what the suite says of a member.
func (s *SuiteFile) Options(m SuiteMember) Options {
	o := Options{Variants: m.Variants, AA: m.AA, Repeats: s.Repeats, WarmupBlocks: s.WarmupBlocks, Seed: s.Seed, Keep: Keep(s.Keep)}
	if m.Repeats > 0 {
		o.Repeats = m.Repeats
	}
	return o
}
