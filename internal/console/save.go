package console

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/parameter"
)

type saveRequest struct {
	Name  string `json:"name"`
	About string `json:"about"`
	// Keep is set to write the file; else it is only shown.
	Keep bool `json:"keep"`
}

type saved struct {
	File string `json:"file"`
	Text string `json:"text"`
}

// save writes what was done so far as a scenario, once it is sure that it can be compiled.
func (s *Server) save(c *run.Control, in saveRequest) (any, error) {
	if !system.ValidName(in.Name) {
		return nil, &run.InvalidError{Problems: []parameter.Problem{{Name: "name", Message: system.NameRule}}}
	}
	if in.About == "" {
		in.About = "Done by hand on the page; saved from " + c.ID() + "."
	}
	text := plan.Write(c.Plan(), c.System(), plan.Written{Name: in.Name, About: in.About, System: s.cfg.System})
	file := filepath.Join(s.cfg.Scenarios, in.Name+".yaml")
	if err := compiles(file, text, c.System()); err != nil {
		return nil, fmt.Errorf("what was done cannot be planned: %w", err)
	}
	if !in.Keep {
		return saved{Text: string(text)}, nil
	}
	if err := create(file, text); err != nil {
		return nil, err
	}
	return saved{File: file, Text: string(text)}, nil
}

// compiles tells why a scenario cannot be run.
func compiles(file string, text []byte, sys *system.System) error {
	sc, err := scenario.Load(file, text)
	if err != nil {
		return err
	}
	return plan.Check(sc, sys)
}

// create writes a new file, and never over another.
func create(file string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("saving the scenario: %w", err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &run.InvalidError{Problems: []parameter.Problem{{Name: "name", Message: file + " is there already"}}}
	}
	if err != nil {
		return fmt.Errorf("saving the scenario: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("saving the scenario: %w", err), os.Remove(file))
	}
	return nil
}
