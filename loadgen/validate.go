package loadgen

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/baggage"
)

// The protocols of a Target.
const (
	protocolHTTP = "http"
	protocolGRPC = "grpc"
)

// maxArrivals bounds the schedule of one load, which is held in memory at 8
// bytes an arrival.
const maxArrivals = 20_000_000

// Validate returns everything that is wrong with the share, joined, and
// changes nothing.
func (s Share) Validate() error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if s.Worker < 0 || s.Worker >= s.workers() {
		add("worker %d of %d: workers count from 0", s.Worker, s.workers())
	}
	if s.MaxInFlight < 0 || s.Drain < 0 || s.Spin < 0 {
		add("max_in_flight, drain and spin cannot be negative")
	}
	if s.Spin > coarse {
		add("spin %s: at most %s", s.Spin, coarse)
	}
	if len(s.Loads) == 0 {
		add("there is no load")
	}
	names := map[string]bool{}
	for _, load := range s.Loads {
		if names[load.Name] {
			add("load %q: there are two of that name", load.Name)
		}
		names[load.Name] = true
		problems = append(problems, s.validateLoad(load)...)
	}
	return errors.Join(problems...)
}

// Validate returns everything that is wrong with the target, joined.
func (t Target) Validate() error {
	var problems []error
	if t.Protocol != protocolHTTP && t.Protocol != protocolGRPC {
		problems = append(problems, fmt.Errorf("protocol %q: permitted: http, grpc", t.Protocol))
	}
	if len(t.Addrs) == 0 {
		problems = append(problems, errors.New("there is no address"))
	}
	for _, addr := range t.Addrs {
		_, port, err := net.SplitHostPort(addr)
		if _, notNumber := strconv.ParseUint(port, 10, 16); err != nil || notNumber != nil {
			problems = append(problems, fmt.Errorf("address %q is not host:port", addr))
		}
	}
	return errors.Join(problems...)
}

// Validate returns everything that is wrong with the load itself, joined;
// protocol, "http" or "grpc", is that of the service that it calls.
func (l Load) Validate(protocol string) error {
	problems := l.validateRate()
	if l.Name == "" {
		problems = append(problems, errors.New("there is no name"))
	}
	if l.SLO < 0 || l.Timeout < 0 || l.Users < 0 {
		problems = append(problems, errors.New("slo, timeout and users cannot be negative"))
	}
	if _, err := compileSteps(l.Steps, protocol); err != nil {
		problems = append(problems, err)
	}
	if l.Experiment < 0 || l.Experiment > 0.5 {
		problems = append(problems, fmt.Errorf("experiment %g: at most a half, for the control is as large", l.Experiment))
	}
	problems = append(problems, l.validateBaggage()...)
	return errors.Join(problems...)
}

func (l Load) validateBaggage() []error {
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(l.Baggage)) {
		if strings.HasPrefix(name, ownBaggage) {
			problems = append(problems, fmt.Errorf("baggage %q: names that begin with %q are the lab's own", name, ownBaggage))
		}
		// NewMember is stricter with the name than NewMemberRaw, whose name may be lost on the way.
		if _, err := baggage.NewMember(name, "x"); err != nil {
			problems = append(problems, fmt.Errorf("baggage %q: the name is no token, such as priority or tenant-id", name))
		}
		if _, err := baggage.NewMemberRaw(cmp.Or(name, "x"), l.Baggage[name]); err != nil {
			problems = append(problems, fmt.Errorf("baggage %q: %w", name, err))
		}
	}
	return problems
}

func (s Share) validateLoad(load Load) []error {
	var problems []error
	target, known := s.Targets[load.Service]
	if !known {
		problems = append(problems, fmt.Errorf("service %q is not among the targets", load.Service))
	} else if err := target.Validate(); err != nil {
		problems = append(problems, fmt.Errorf("target %q: %w", load.Service, err))
	} else if err := load.Validate(target.Protocol); err != nil {
		problems = append(problems, err)
	}
	for i, problem := range problems {
		problems[i] = fmt.Errorf("load %q: %w", load.Name, problem)
	}
	return problems
}

func (l Load) validateRate() []error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	switch l.Arrivals {
	case "", Poisson, Constant:
	default:
		add("arrivals %q: permitted: %s, %s", l.Arrivals, Poisson, Constant)
	}
	expected := 0.0
	for i, stage := range l.Stages {
		if stage.For <= 0 {
			add("stage %d: lasts %s; it must last longer than nothing", i+1, stage.For)
		}
		if !isRate(stage.From) || !isRate(stage.To) {
			add("stage %d: from %v/s to %v/s; a rate is a number from 0", i+1, stage.From, stage.To)
			continue
		}
		expected += (stage.From + stage.To) / 2 * stage.For.Seconds()
	}
	if len(l.Stages) == 0 {
		add("there are no stages")
	}
	if l.Users == 0 && expected > maxArrivals {
		add("%.0f arrivals are more than the %d that one load may have", expected, maxArrivals)
	}
	return problems
}

func isRate(r float64) bool { return r >= 0 && !math.IsInf(r, 1) }

func (s Share) workers() int { return max(1, s.Workers) }

func (s Share) maxInFlight() int64 {
	if s.MaxInFlight == 0 {
		return 20_000
	}
	return int64(s.MaxInFlight)
}

func (s Share) drain() time.Duration {
	if s.Drain != 0 {
		return s.Drain
	}
	drain := 3 * time.Second
	for _, load := range s.Loads {
		drain = max(drain, load.SLO)
	}
	return drain
}

func (l Load) timeout() time.Duration {
	if l.Timeout == 0 {
		return 30 * time.Second
	}
	return l.Timeout
}

// validPath says whether a rendered path can stand in a request line.
func validPath(path string) bool {
	return strings.HasPrefix(path, "/") && !strings.ContainsFunc(path, func(r rune) bool {
		return r <= ' ' || r == 0x7f
	})
}
