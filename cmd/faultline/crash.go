package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/report"
	"github.com/faultline-lab/faultline/internal/system"
)

// crashFlags say what a crash test does.
type crashFlags struct {
	journey string
	kills   int
	rate    float64
	seed    uint64
}

func crashCommand() *cobra.Command {
	var flags crashFlags
	r := &runs{}
	cmd := &cobra.Command{
		Use: "crash [SYSTEM]", Short: "Kill every stateful process at random moments under load, and check the data", GroupID: "run", Args: between(0, 1),
		Long: `Kill the processes of every service that has a store, one after the other, at random
moments under load, and start each again soon after. At the end the system's own audit, and
what clients were told, decide: no invariant may be broken. SYSTEM is shop, or a system file.

The moments follow from the seed. The record and its report are those of a run like any other.`,
		Example: `  faultline crash
  faultline crash --kills 100 --seed 7
  BUG=lost-outbox faultline crash`,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "shop"
			if len(args) > 0 {
				name = args[0]
			}
			if !cmd.Flags().Changed("seed") {
				flags.seed = rand.Uint64N(1_000_000)
			}
			worked, err := crashPlan(name, flags)
			if err != nil {
				return usage(err)
			}
			ctx, out, done := whileRead(cmd.Context(), cmd.OutOrStdout())
			defer done()
			r.plans, r.out, r.errOut, r.lines = worked, out, &aside{out: cmd.ErrOrStderr()}, !isTerminal(out)
			defer sayWhenStopping(ctx, r.errOut)()
			r.after = func(judged []*report.Judged) { sayKills(out, judged, name, flags) }
			return r.all(ctx)
		},
	}
	rootFlag(cmd, &r.root)
	cmd.Flags().IntVar(&flags.kills, "kills", 56, "how many processes are killed")
	cmd.Flags().Float64Var(&flags.rate, "rate", 15, "journeys a second meanwhile")
	cmd.Flags().StringVar(&flags.journey, "journey", "checkout", "what is sent: a journey of the system file")
	cmd.Flags().Uint64Var(&flags.seed, "seed", 0, "what the moments are drawn from (default: another one each time)")
	return cmd
}

// crashPlan writes the scenario of a crash test, and works it out.
func crashPlan(name string, flags crashFlags) (*plans, error) {
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	sys, err := openSystem(name, here)
	if err != nil {
		return nil, err
	}
	stateful := statefulOf(sys)
	switch {
	case len(stateful) == 0:
		return nil, fmt.Errorf("system %s has no service with a store", sys.Name)
	case flags.kills < 1 || flags.kills > 2000:
		return nil, fmt.Errorf("--kills must be 1 to 2000, not %d", flags.kills)
	case flags.rate <= 0:
		return nil, fmt.Errorf("--rate must be above 0, not %v", flags.rate)
	}
	if strings.ContainsRune(name, filepath.Separator) && !filepath.IsAbs(name) {
		name = filepath.Join(here, name)
	}
	folder, err := os.MkdirTemp("", "faultline-crash-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "crash.yaml")
	if err := os.WriteFile(file, []byte(crashScenario(name, stateful, flags)), 0o600); err != nil {
		return nil, err
	}
	return compile(file, planFlags{})
}

// statefulOf lists the processes that keep something: each replica of each service with a store.
func statefulOf(sys *system.System) []victim {
	var out []victim
	for _, svc := range sys.Services {
		for replica := range svc.Replicas {
			if svc.Store {
				out = append(out, victim{svc.Name, replica + 1})
			}
		}
	}
	return out
}

// victim is a process to be killed.
type victim struct {
	service string
	replica int
}

// How a crash test goes on: the time from one kill to the next, and how long a process stays dead. Two that are
// dead at once, of different services, are part of it.
const (
	crashBegins = 3 * time.Second
	leastGap    = 600 * time.Millisecond
	mostGap     = 3 * time.Second
	leastDead   = 100 * time.Millisecond
	mostDead    = time.Second
	reviveFor   = 3 * time.Second // before a process of the same service is killed again
	crashRest   = 8 * time.Second
)

// crashScenario writes the scenario: everybody is killed equally often, in an order and at moments drawn from the seed.
func crashScenario(name string, victims []victim, flags crashFlags) string {
	random := rand.New(rand.NewPCG(flags.seed, 0xc7a5))
	var faults strings.Builder
	at, free := crashBegins, map[string]time.Duration{} // by service: nothing is done to one of which a replica is still dead
	var turn []victim
	for n := range flags.kills {
		if len(turn) == 0 {
			turn = slices.Clone(victims)
			random.Shuffle(len(turn), func(i, j int) { turn[i], turn[j] = turn[j], turn[i] })
		}
		v := turn[0]
		turn = turn[1:]
		at = max(at+leastGap+drawn(random, mostGap-leastGap), free[v.service]).Round(time.Millisecond)
		dead := (leastDead + drawn(random, mostDead-leastDead)).Round(time.Millisecond)
		free[v.service] = at + dead + reviveFor
		fmt.Fprintf(&faults, "  kill-%03d: {kill: {service: %s, replica: %d}, at: %s, for: %s}\n", n+1, v.service, v.replica, at, dead)
	}
	length := (at + mostDead + reviveFor).Round(time.Second)
	return fmt.Sprintf(`name: crash
about: Every process that keeps something is killed again and again, at random moments under load. Nothing that was acknowledged may be lost, and nothing done twice.
system: %s
seed: %d
load:
  customers: {journey: %s, rate: %g/s, slo: 2s, timeout: 10s}
phases: {warmup: 1s, crashes: %s, rest: %s}
faults:
%sexpect:
  - {that: violations() == 0}
max_lag: 5s # the data is judged here, not the time that anything took
`, name, flags.seed, flags.journey, flags.rate, length, crashRest, faults.String())
}

// drawn is a length of time below most.
func drawn(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}

// sayKills tells how often each process was killed, and how to have the same again.
func sayKills(out io.Writer, judged []*report.Judged, name string, flags crashFlags) {
	for _, j := range judged {
		kills, all := map[string]int{}, 0
		for _, e := range j.Run.Events {
			if e.Kind != record.EventFault || e.Text != chaos.EventInjected {
				continue
			}
			for _, w := range j.Run.Plan.Faults {
				if w.ID == e.Name {
					kills[w.Services[0]]++
					all++
				}
			}
		}
		var parts []string
		for _, service := range j.Run.System.Services {
			if n := kills[service.Name]; n > 0 {
				parts = append(parts, fmt.Sprintf("%s %d", service.Name, n))
			}
		}
		fmt.Fprintf(out, "\nkilled   %s: %s\nbroken   %s\nagain    faultline crash %s --kills %d --rate %g --journey %s --seed %d\n", strings.Replace(countOf(all, "process"), "processs", "processes", 1), strings.Join(parts, ", "),
			countOf(len(j.Verdict.Violations), "invariant"), name, flags.kills, flags.rate, flags.journey, flags.seed)
	}
}
