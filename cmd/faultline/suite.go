package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/faultline-lab/faultline/internal/bench"
	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/scenarios"
)

// suiteFolder is where a suite's name is looked up: in ./scenarios before the
// bundled ones, as for scenarios.
const suiteFolder = "suites"

// suiteNames lists the suites that go by name.
func suiteNames() []string {
	bundled, err := fs.Glob(scenarios.FS, suiteFolder+"/*.yaml")
	if err != nil { // the pattern is constant
		panic(err)
	}
	local, err := filepath.Glob(filepath.Join(scenarioFolder, suiteFolder, "*.yaml"))
	if err != nil { // the pattern is constant
		panic(err)
	}
	var names []string
	for _, file := range append(bundled, local...) {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func suiteList() string { return "Suites by name: " + strings.Join(suiteNames(), ", ") + "." }

// findSuite reads the suite that the user named; not found where the names are those of scenarios.
func findSuite(names []string) (suite *bench.SuiteFile, found bool, err error) {
	for _, name := range names {
		file, text, err := readSuite(name)
		switch {
		case err != nil:
			return nil, false, err
		case text == nil:
			continue
		case len(names) > 1:
			return nil, false, fmt.Errorf("%s is a suite, and stands alone; list its scenarios in place of it", name)
		}
		return bench.ReadSuite(file, text), true, nil
	}
	return nil, false, nil
}

// readSuite reads a suite by path or name; no text where the name is not a suite's.
func readSuite(name string) (file string, text []byte, err error) {
	if isPath(name) {
		text, err := os.ReadFile(name)
		if err != nil || !bench.IsSuite(text) {
			return "", nil, nil // what is wrong with a scenario says who reads one
		}
		return name, text, nil
	}
	if slices.Contains(scenarioNames(), name) {
		return "", nil, nil
	}
	file = filepath.Join(scenarioFolder, suiteFolder, name+".yaml")
	if text, err = os.ReadFile(file); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return file, text, err
	}
	if text, err = scenarios.FS.ReadFile(suiteFolder + "/" + name + ".yaml"); err == nil {
		return file, text, nil
	}
	return "", nil, unknownBenchmark(name)
}

func unknownBenchmark(name string) error {
	message, hint := strictyaml.Unknown("scenario or suite", name, append(scenarioNames(), suiteNames()...))
	return fmt.Errorf("%s; %s", message, hint)
}

// oneScenario refuses the flags that make sense with one scenario alone.
func oneScenario(cmd *cobra.Command, instead string) error {
	for _, name := range []string{"variant", "aa", "sweep"} {
		if cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s is of one scenario, and there are several; %s", name, instead)
		}
	}
	return nil
}

// shared takes over the flags that hold for every scenario.
func (f *benchFlags) shared(cmd *cobra.Command, file *bench.SuiteFile) {
	set := cmd.Flags().Changed
	if set("repeats") || file.Repeats == 0 {
		file.Repeats = f.options.Repeats
	}
	if set("keep") || file.Keep == "" {
		file.Keep = f.keep
	}
	if set("warmup-blocks") {
		file.WarmupBlocks = f.options.WarmupBlocks
	}
	if set("seed") {
		file.Seed = &f.seed
	}
	for i := range file.Scenarios {
		if set("repeats") {
			file.Scenarios[i].Repeats = 0
		}
	}
}

// suite works out the campaigns of a suite file. Every error of the file comes at once, with its place.
func (f *benchFlags) suite(cmd *cobra.Command, file *bench.SuiteFile) (*bench.Suite, error) {
	if err := oneScenario(cmd, "the suite file says it of each: {scenario: NAME, variants: [...], aa: ...}"); err != nil {
		return nil, err
	}
	f.shared(cmd, file)
	members, err := suiteMembers(file)
	if err != nil {
		return nil, err
	}
	return newSuite(file, members)
}

// several works out the campaigns of scenarios that were named one by one.
func (f *benchFlags) several(cmd *cobra.Command, names []string) (*bench.Suite, error) {
	if err := oneScenario(cmd, "name one, or write a suite ('faultline bench --help' shows how)"); err != nil {
		return nil, err
	}
	file := &bench.SuiteFile{Name: "several", About: "Scenarios that were named one by one."}
	for _, name := range names {
		file.Scenarios = append(file.Scenarios, bench.SuiteMember{Scenario: name})
	}
	f.shared(cmd, file)
	var members []*bench.Campaign
	var errs []error
	for _, m := range file.Scenarios {
		source, err := benchSource(m.Scenario)
		if err == nil {
			var c *bench.Campaign
			c, err = bench.New(source, file.Options(m))
			members = append(members, c)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return newSuite(file, members)
}

func newSuite(file *bench.SuiteFile, members []*bench.Campaign) (*bench.Suite, error) {
	return bench.NewSuite(bench.SuiteSource{Name: file.Name, About: file.About, Version: buildVersion(), Machine: machine()}, members)
}

func suiteMembers(file *bench.SuiteFile) ([]*bench.Campaign, error) {
	var members []*bench.Campaign
	for _, m := range file.Scenarios {
		if m.Scenario == "" || file.Source.Failed(m.Path) {
			continue
		}
		if c := suiteMember(file, m); c != nil {
			members = append(members, c)
		}
	}
	if err := file.Source.Err(); err != nil {
		return nil, err
	}
	return members, nil
}

// suiteMember works out one campaign; nil where something is wrong, which the file's source then holds.
func suiteMember(file *bench.SuiteFile, m bench.SuiteMember) *bench.Campaign {
	at := func(key string) string {
		if path := m.Path + "." + key; file.Source.Has(path) {
			return path
		}
		return m.Path
	}
	name := m.Scenario
	if isPath(name) && !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(file.Source.Name), name)
	} else if !isPath(name) && !slices.Contains(scenarioNames(), name) {
		message, hint := strictyaml.Unknown("scenario", name, scenarioNames())
		file.Source.Fail(at("scenario"), message, hint)
		return nil
	}
	source, err := benchSource(name)
	if err != nil {
		file.Source.Fail(at("scenario"), err.Error(), "")
		return nil
	}
	known := source.Variants
	for i, variant := range m.Variants {
		if !slices.Contains(known, variant) {
			message, hint := strictyaml.Unknown("variant", variant, known)
			file.Source.Fail(fmt.Sprintf("%s[%d]", at("variants"), i), message, hint)
		}
	}
	if among := m.Variants; m.AA != "" {
		if len(among) == 0 {
			among = known
		}
		if !slices.Contains(among, m.AA) {
			message, hint := strictyaml.Unknown("variant", m.AA, among)
			file.Source.Fail(at("aa"), message, hint)
		}
	}
	if file.Source.Failed(m.Path) {
		return nil
	}
	c, err := bench.New(source, file.Options(m))
	if err != nil {
		file.Source.Fail(m.Path, err.Error(), "")
		return nil
	}
	return c
}
