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

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/parameter"
	"github.com/faultline-lab/faultline/scenarios"
	"github.com/faultline-lab/faultline/services"
)

// sources is a scenario with the system that it runs on.
type sources struct {
	scenario *scenario.Scenario
	system   *system.System
	text     []byte // of the scenario file
}

// open reads a scenario by name or path, and its system.
func open(name string) (*sources, error) {
	file, text, err := readScenario(name)
	if err != nil {
		return nil, err
	}
	sc, err := scenario.Load(file, text)
	if sc == nil {
		return nil, err
	}
	sys, systemErr := openSystem(sc.System, filepath.Dir(file))
	switch {
	case systemErr != nil:
		return nil, errors.Join(err, systemErr)
	case err != nil:
		return nil, plan.Check(sc, sys) // says these errors and those that only the system shows
	}
	return &sources{scenario: sc, system: sys, text: text}, nil
}

// planFlags are the flags that change what is planned.
type planFlags struct {
	variants []string
	seed     uint64
	seedSet  bool
}

func (f *planFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.variants, "variant", nil, "only these variants (default: all, in the file's order)")
	cmd.Flags().Uint64Var(&f.seed, "seed", 0, "another seed than the scenario's")
}

func (f *planFlags) read(cmd *cobra.Command) { f.seedSet = cmd.Flags().Changed("seed") }

// plans is a scenario worked out for each variant that was asked for.
type plans struct {
	*sources
	plans []*plan.Plan
}

func compile(name string, flags planFlags) (*plans, error) {
	src, err := open(name)
	if err != nil {
		return nil, err
	}
	out := &plans{sources: src}
	variants := flags.variants
	if len(variants) == 0 {
		variants = src.scenario.VariantNames()
	}
	var options plan.Options
	if flags.seedSet {
		options.Seed = &flags.seed
	}
	for _, setting := range src.system.Settings {
		if value := os.Getenv(setting.Name); value != "" {
			if options.Settings == nil {
				options.Settings = map[string]string{}
			}
			options.Settings[setting.Name] = value
		}
	}
	for _, variant := range variants {
		p, err := plan.Compile(src.scenario, src.system, variant, options)
		if err != nil {
			return nil, err // it names every error of the file already
		}
		out.plans = append(out.plans, p)
	}
	return out, nil
}

// scenarioFolder is where a scenario's name is looked up before the bundled
// ones, so that an edited file counts without building anew.
const scenarioFolder = "scenarios"

// readScenario finds a scenario by its path or its name.
func readScenario(name string) (file string, text []byte, err error) {
	if isPath(name) {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", nil, fmt.Errorf("reading the scenario: %w", err)
		}
		return name, text, nil
	}
	file = filepath.Join(scenarioFolder, name+".yaml")
	if text, err = os.ReadFile(file); !errors.Is(err, fs.ErrNotExist) {
		return file, text, err
	}
	if text, err = scenarios.FS.ReadFile(name + ".yaml"); err == nil {
		return file, text, nil
	}
	if near := parameter.Nearest(name, scenarioNames()); near != "" {
		return "", nil, fmt.Errorf("no scenario %q; did you mean %q?", name, near)
	}
	return "", nil, fmt.Errorf("no scenario %q; there are: %s; or give a path, such as ./%s.yaml", name, strings.Join(scenarioNames(), ", "), name)
}

// isPath tells a path from a name.
func isPath(name string) bool {
	return strings.ContainsRune(name, filepath.Separator) || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// scenarioNames lists the scenarios that go by name: those bundled, and those
// in the scenario folder.
func scenarioNames() []string {
	bundled, err := fs.Glob(scenarios.FS, "*.yaml")
	if err != nil { // the pattern is constant
		panic(err)
	}
	local, err := filepath.Glob(filepath.Join(scenarioFolder, "*.yaml"))
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

// openSystem reads a bundled system by name, or a file relative to the scenario's folder.
func openSystem(name, folder string) (*system.System, error) {
	if !isPath(name) {
		if !slices.Contains(services.Systems(), name) {
			return nil, unknownSystem(name)
		}
		text, err := services.FS.ReadFile(name + ".yaml")
		if err != nil {
			return nil, err
		}
		return system.Load("services/"+name+".yaml", text, services.FS.ReadFile)
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(folder, name)
	}
	return system.LoadFile(name)
}

func unknownSystem(name string) error {
	if near := parameter.Nearest(name, services.Systems()); near != "" {
		return fmt.Errorf("no bundled system %q; did you mean %q?", name, near)
	}
	return fmt.Errorf("no bundled system %q; there are: %s; or name a file, such as ./%s.yaml", name, strings.Join(services.Systems(), ", "), name)
}
