package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/faultline-lab/faultline/internal/console"
	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/report"
	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/system"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/services"
)

func upCommand() *cobra.Command {
	var root, listen, variant string
	cmd := &cobra.Command{
		Use: "up [SYSTEM|SCENARIO]", Short: "Start a system with load, to watch it and break it by hand on a page", GroupID: "run", Args: between(0, 1),
		Long: `Start a system with load and without faults, for as long as you like: the page shows
it live and breaks it by hand. SYSTEM is shop, the default, or a system file; a
scenario lends its system, its load and the policies of a variant. Ctrl-C ends it.
What happened is recorded like any run, and the page saves it as a scenario.`,
		Example: `  faultline up
  faultline up cascade-failure --variant contained`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "shop"
			if len(args) > 0 {
				name = args[0]
			}
			src, p, err := benchOf(name, variant)
			if err != nil {
				return usage(err)
			}
			ctx, out, done := whileRead(cmd.Context(), cmd.OutOrStdout())
			defer done()
			defer sayWhenStopping(ctx, cmd.ErrOrStderr())()
			return up(ctx, src, p, pageFlags{root: root, listen: listen}, out, cmd.ErrOrStderr())
		},
	}
	rootFlag(cmd, &root)
	cmd.Flags().StringVar(&variant, "variant", "", "the scenario's variant (default: its first)")
	listenFlag(cmd, &listen)
	return cmd
}

// pageFlags say where the page and the records are.
type pageFlags struct{ root, listen string }

// listenFlag is the flag that says where the page is served.
func listenFlag(cmd *cobra.Command, listen *string) {
	cmd.Flags().StringVar(listen, "listen", "127.0.0.1:0", "host:port of the page; beyond this machine it takes the token in the address that is printed")
}

// startPage serves the page.
func startPage(ctx context.Context, src *sources, flags pageFlags, errOut io.Writer) (*console.Server, error) {
	page, err := console.Start(ctx, console.Config{
		Listen: flags.listen, Runs: flags.root, Scenarios: "scenarios", System: systemName(src), Version: buildVersion(), Log: labLog(errOut),
	})
	if err != nil {
		return nil, usage(err)
	}
	return page, nil
}

func sayPage(out io.Writer, page *console.Server) { fmt.Fprintf(out, "page     %s\n", page.URL()) }

func labLog(errOut io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelError}))
}

// systemName is how a scenario in another folder names the system.
func systemName(src *sources) string {
	name := src.scenario.System
	if !strings.ContainsRune(name, filepath.Separator) && !strings.HasSuffix(name, ".yaml") && !strings.HasSuffix(name, ".yml") {
		return name
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(src.scenario.Source.Name), name)
	}
	if absolute, err := filepath.Abs(name); err == nil {
		return absolute
	}
	return name
}

// scenarioKey is what only a scenario begins a line with.
var scenarioKey = regexp.MustCompile(`(?m)^system:`)

// benchOf reads what 'up' is asked to start, and plans a run of it without faults and without an end.
func benchOf(name, variant string) (*sources, *plan.Plan, error) {
	text, err := services.FS.ReadFile(name + ".yaml")
	if err != nil {
		text, err = os.ReadFile(name)
	}
	if err == nil && !scenarioKey.Match(text) {
		return benchOfSystem(name, variant)
	}
	src, err := open(name)
	if err != nil {
		return nil, nil, err
	}
	if variant == "" {
		variant = src.scenario.VariantNames()[0]
	}
	p, err := plan.Compile(src.scenario, src.system, variant, plan.Options{})
	if err != nil {
		return nil, nil, err
	}
	return src, withoutEnd(p), nil
}

// benchOfSystem lends a system a little load: each of its journeys, or its entry's first page.
func benchOfSystem(name, variant string) (*sources, *plan.Plan, error) {
	if variant != "" {
		return nil, nil, errors.New("a system has no variants; name a scenario")
	}
	sys, err := openSystem(name, ".")
	if err != nil {
		return nil, nil, err
	}
	text := benchScenario(name, sys)
	sc, err := scenario.Load("up.yaml", text)
	if err != nil {
		return nil, nil, fmt.Errorf("giving %s load: %w", name, err)
	}
	p, err := plan.Compile(sc, sys, scenario.DefaultVariant, plan.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("giving %s load: %w; name a scenario, and its load is sent", name, err)
	}
	return &sources{scenario: sc, system: sys, text: text}, withoutEnd(p), nil
}

func benchScenario(name string, sys *system.System) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "name: %s-bench\nabout: The system with a little load, to be broken by hand.\nsystem: %q\nphases: {bench: 1h}\nload:\n", sys.Name, name)
	for _, journey := range slices.Sorted(maps.Keys(sys.Journeys)) {
		rate := 20
		if len(sys.Journeys[journey]) > 1 {
			rate = 10
		}
		fmt.Fprintf(&out, "  %s: {journey: %s, rate: %d/s, slo: 500ms, timeout: 10s}\n", journey, journey, rate)
	}
	if len(sys.Journeys) == 0 {
		fmt.Fprintf(&out, "  browse: {request: GET /, rate: 20/s, slo: 500ms, timeout: 10s}\n")
	}
	return out.Bytes()
}

// How long a bench may last, and how many arrivals it may come to as planned.
const (
	longestBench = 24 * time.Hour
	mostArrivals = 15e6
)

// withoutEnd makes of a plan one without faults, whose loads keep their first rate for as long as somebody likes.
func withoutEnd(p *plan.Plan) *plan.Plan {
	out := p.Clone()
	length := longestBench
	for _, load := range out.Loads {
		if rate := firstRate(load); rate > 0 {
			length = min(length, time.Duration(mostArrivals/rate)*time.Second)
		}
	}
	out.Phases = []plan.Phase{{Name: "bench", End: length}}
	out.Faults, out.Expect, out.Abort = nil, nil, nil
	for i, load := range out.Loads {
		rate := firstRate(load)
		out.Loads[i].Stages = []loadgen.Stage{{For: length, From: rate, To: rate}}
	}
	return out
}

// firstRate is the rate with which a load begins; where it begins with none, the one that comes then.
func firstRate(load loadgen.Load) float64 {
	for _, stage := range load.Stages {
		if rate := max(stage.From, stage.To); load.Users == 0 && rate > 0 {
			if stage.From > 0 {
				return stage.From
			}
			return rate
		}
	}
	return 0
}

// up runs a plan without an end until ctx ends or somebody aborts it on the page.
func up(ctx context.Context, src *sources, p *plan.Plan, flags pageFlags, out, errOut io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return broken(fmt.Errorf("finding this program: %w", err))
	}
	page, err := startPage(ctx, src, flags, errOut)
	if err != nil {
		return err
	}
	sayPage(out, page)
	fmt.Fprintf(out, "%s: starting %s; Ctrl-C ends it\n", p.System, countOf(len(src.system.Services), "service"))
	dir, runErr := run.Run(ctx, run.Config{
		Plan: p, System: src.system, Scenario: src.text, Root: flags.root, Self: self, Bin: []string{filepath.Dir(self)},
		Version: buildVersion(), Console: page, Bench: true, Watch: ready{out}, Log: labLog(errOut),
	})
	after := context.WithoutCancel(ctx)
	closed := page.Close(after, "Faultline has ended. The record of this run is "+dir+"; its report is there as well.")
	if dir == "" {
		return broken(errors.Join(runErr, closed))
	}
	j, err := judge(after, dir)
	if err == nil {
		err = write(after, j)
		closeAll([]*report.Judged{j})
		fmt.Fprintf(out, "\nreport   %s\n", filepath.Join(dir, "report.html"))
	}
	fmt.Fprintf(out, "record   %s\n", dir)
	switch {
	case runErr != nil:
		return broken(runErr)
	case ctx.Err() != nil && err != nil: // ended before there was anything to judge
		return nil
	}
	return errors.Join(err, closed)
}
