package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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

// readScenario finds a scenario: a path, or a name in ./scenarios, which wins
// over the bundled ones so that an edited file counts without building anew.
func readScenario(name string) (string, []byte, error) {
	if strings.ContainsRune(name, filepath.Separator) || strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", nil, fmt.Errorf("reading the scenario: %w", err)
		}
		return name, text, nil
	}
	file := filepath.Join("scenarios", name+".yaml")
	if text, err := os.ReadFile(file); err == nil {
		return file, text, nil
	}
	text, err := scenarios.FS.ReadFile(name + ".yaml")
	if errors.Is(err, fs.ErrNotExist) {
		bundled := bundledScenarios()
		hint := "; there are: " + strings.Join(bundled, ", ")
		if near := parameter.Nearest(name, bundled); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
		return "", nil, fmt.Errorf("no scenario %q%s", name, hint)
	}
	return file, text, err
}

func bundledScenarios() []string {
	files, err := fs.Glob(scenarios.FS, "*.yaml")
	if err != nil { // the pattern is constant
		panic(err)
	}
	names := make([]string, 0, len(files))
	for _, file := range files {
		names = append(names, strings.TrimSuffix(file, ".yaml"))
	}
	return names
}

// openSystem reads a bundled system by name, or a file relative to the scenario's folder.
func openSystem(name, folder string) (*system.System, error) {
	if !strings.ContainsRune(name, filepath.Separator) && !strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".yml") {
		text, err := services.FS.ReadFile(name + ".yaml")
		if err != nil {
			return nil, fmt.Errorf("no bundled system %q; there is: shop; or name a file, such as ./system.yaml", name)
		}
		return system.Load("services/"+name+".yaml", text, services.FS.ReadFile)
	}
	file := name
	if !filepath.IsAbs(file) {
		file = filepath.Join(folder, file)
	}
	return system.LoadFile(file)
}
