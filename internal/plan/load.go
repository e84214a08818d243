package plan

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/internal/scenario"
	"github.com/faultline-lab/faultline/internal/strictyaml"
	"github.com/faultline-lab/faultline/loadgen"
	"github.com/faultline-lab/faultline/parameter"
	"github.com/faultline-lab/faultline/resilience"
)

// patience is how long a client waits for an answer where the scenario does not say.
const patience = 30 * time.Second

func (c *compiler) loads() {
	for _, change := range c.variant.Value.Loads {
		if _, known := c.sc.Loads.Get(change.Name); !known {
			c.unknown(change.Path, "load", change.Name, c.sc.Loads.Names())
		}
	}
	for _, load := range c.sc.Loads {
		c.load(load)
	}
}

func (c *compiler) load(in strictyaml.Named[scenario.LoadSpec]) {
	spec, at := c.varied(in)
	out := loadgen.Load{
		Name: in.Name, Service: spec.Service, Arrivals: loadgen.Arrivals(spec.Arrivals),
		Users: spec.Users, SLO: spec.SLO, Timeout: patience, Seed: seedOf(c.plan.Seed, in.Name),
	}
	if out.Service == "" {
		out.Service = c.sys.Entry
	}
	if out.Arrivals == "" {
		out.Arrivals = loadgen.Poisson
	}
	if spec.Timeout != nil {
		out.Timeout = *spec.Timeout
		c.timeout(at("timeout"), out)
	}
	out.Baggage = c.baggage(in.Path+".baggage", in.Value)
	out.Experiment = c.experiment(in.Path+".experiment", string(in.Value.Experiment))
	out.Steps = c.steps(in.Path, in.Value)
	out.Stages = c.stages(in.Path, spec, at)
	c.target(in.Path, in.Value, out)
	if !c.src.Failed(in.Path) && !c.src.Failed(c.variant.Path+".load."+in.Name) {
		if err := out.Validate(protocolOf(out.Steps)); err != nil {
			c.fail(in.Path, strings.ReplaceAll(err.Error(), "\n", "; ")+c.only(in.Path), "")
		}
	}
	c.plan.Loads = append(c.plan.Loads, out)
}

// varied is the load with the variant's changes, and the function that tells
// where one of its keys stands.
func (c *compiler) varied(in strictyaml.Named[scenario.LoadSpec]) (spec scenario.LoadSpec, at func(key string) string) {
	spec = in.Value
	changed := map[string]bool{}
	if change, found := c.variant.Value.Loads.Get(in.Name); found {
		if change.Rate != nil || change.Stages != nil || change.Users > 0 {
			spec.Rate, spec.Stages, spec.Users = change.Rate, change.Stages, change.Users
			changed["rate"], changed["stages"], changed["users"] = true, true, true
		}
		if change.Arrivals != "" {
			spec.Arrivals = change.Arrivals
		}
		if change.Timeout != nil {
			spec.Timeout, changed["timeout"] = change.Timeout, true
		}
	}
	return spec, func(key string) string {
		if changed[key] {
			return c.variant.Path + ".load." + in.Name + "." + key
		}
		return in.Path + "." + key
	}
}

func (c *compiler) timeout(path string, load loadgen.Load) {
	switch {
	case c.src.Failed(path):
	case load.Timeout == 0:
		c.fail(path, "0s is no time at all", "leave timeout out for 30s")
	case load.Timeout < load.SLO:
		c.fail(path, fmt.Sprintf("a client that gives up after %s never sees an slo of %s missed", load.Timeout, load.SLO), "")
	}
}

// baggage is what every request of the load carries. A priority that nothing goes by is a slip of the pen.
func (c *compiler) baggage(path string, in scenario.LoadSpec) map[string]string {
	if len(in.Baggage) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, member := range in.Baggage {
		out[member.Name] = string(member.Value)
		if member.Name != resilience.PriorityKey || c.src.Failed(member.Path) {
			continue
		}
		if _, err := resilience.ParsePriority(string(member.Value)); err != nil {
			c.fail(member.Path, err.Error(), "")
		}
	}
	return out
}

// experiment reads the share of a load that is the experiment.
func (c *compiler) experiment(path, text string) float64 {
	if text == "" || c.src.Failed(path) {
		return 0
	}
	// Not above half, for the control is as large as the experiment.
	described := []parameter.Parameter{{Name: "experiment", Type: parameter.Ratio, Max: parameter.Bound(0.5)}}
	values, problems := parameter.Check(described, map[string]any{"experiment": text})
	for _, p := range problems {
		c.fail(path, p.Message, "above 0 and at most 50%: the control is as large as the experiment")
	}
	if len(problems) == 0 && values.Float("experiment") == 0 {
		c.fail(path, "0 marks nothing as the experiment", "above 0 and at most 50%")
	}
	return values.Float("experiment")
}

// steps are those of the journey, or the one request.
func (c *compiler) steps(path string, in scenario.LoadSpec) []loadgen.Step {
	if c.src.Failed(path) {
		return nil
	}
	var given []string
	for _, key := range []struct{ name, value string }{{"request", in.Request}, {"rpc", in.RPC}, {"journey", in.Journey}} {
		if key.value != "" {
			given = append(given, key.name)
		}
	}
	switch {
	case len(given) == 0:
		c.fail(path, "nothing to send", "give request, rpc or journey")
		return nil
	case len(given) > 1:
		c.fail(path, strings.Join(given, " and ")+" stand side by side", "give one of request, rpc, journey")
		return nil
	case in.Journey == "":
		step := in.RequestFile.Check(c.src, path, nil)
		return []loadgen.Step{step}
	}
	if in.Body != "" || len(in.Headers) > 0 || len(in.Accept) > 0 {
		c.fail(path, "headers, body and accept belong to a request", "a journey's are in the system file")
	}
	steps, known := c.sys.Journeys[in.Journey]
	if !known {
		c.unknown(path+".journey", "journey", in.Journey, slices.Sorted(maps.Keys(c.sys.Journeys)))
	}
	return steps
}

// target checks that the service exists and speaks what the steps speak.
func (c *compiler) target(path string, in scenario.LoadSpec, load loadgen.Load) {
	at := path
	if in.Service != "" {
		at = path + ".service"
	}
	svc := c.sys.Service(load.Service)
	switch {
	case svc == nil:
		c.unknown(at, "service", load.Service, c.serviceNames())
	case c.src.Failed(path):
	case svc.Protocol != protocolOf(load.Steps):
		c.fail(at, fmt.Sprintf("%s speaks %s, and %s is sent", svc.Name, svc.Protocol, protocolOf(load.Steps)),
			"http takes request, grpc takes rpc, tcp takes no load")
	}
}

func protocolOf(steps []loadgen.Step) string {
	if len(steps) > 0 && steps[0].RPC != "" {
		return "grpc"
	}
	return "http"
}

// stages lays the load's rate over the whole run.
func (c *compiler) stages(path string, spec scenario.LoadSpec, at func(string) string) []loadgen.Stage {
	length := c.plan.Length()
	given := 0
	for _, is := range []bool{spec.Rate != nil, spec.Stages != nil, spec.Users > 0} {
		if is {
			given++
		}
	}
	switch {
	case c.src.Failed(path) || c.src.Failed(at("rate")) || c.src.Failed(at("stages")) || c.src.Failed(at("users")):
		return nil
	case given == 0:
		c.fail(path, "how much to send is missing", "give rate, stages or users")
	case given > 1:
		where := strings.TrimSuffix(at("rate"), ".rate")
		c.fail(where, "more than one of rate, stages, users", "give one of them")
	case spec.Users > 0:
		if spec.Arrivals != "" {
			c.fail(at("users"), "arrivals mean nothing with users, who wait for their answers", "leave arrivals out, or give rate")
		}
		return []loadgen.Stage{{For: length}}
	case spec.Rate != nil:
		c.positive(at("rate"), float64(*spec.Rate))
		return []loadgen.Stage{{For: length, From: float64(*spec.Rate), To: float64(*spec.Rate)}}
	default:
		return c.staged(at("stages"), spec.Stages, length)
	}
	return nil
}

func (c *compiler) positive(path string, most float64) {
	if most <= 0 && !c.src.Failed(path) {
		c.fail(path, "a rate of 0/s sends nothing", "leave the load out")
	}
}

func (c *compiler) staged(path string, in []scenario.Stage, length time.Duration) []loadgen.Stage {
	var out []loadgen.Stage
	var total time.Duration
	var last, most float64
	if len(in) == 0 {
		c.fail(path, "there is no stage", "")
	}
	for i, stage := range in {
		at := fmt.Sprintf("%s[%d]", path, i)
		from, to := last, last
		switch {
		case stage.Rate != nil && (stage.From != nil || stage.To != nil):
			c.fail(at, "rate stands beside from or to", "rate is for a rate that stays the same")
		case stage.Rate != nil:
			from, to = float64(*stage.Rate), float64(*stage.Rate)
		case stage.To == nil:
			c.fail(at, "how much to send is missing", "give rate, or to")
		default:
			to = float64(*stage.To)
			if stage.From != nil {
				from = float64(*stage.From)
			}
		}
		if stage.For == 0 {
			c.fail(at+".for", "0s is no time at all", "")
		}
		out = append(out, loadgen.Stage{For: stage.For, From: from, To: to})
		last, most, total = to, max(most, from, to), total+stage.For
	}
	if total > length {
		c.fail(path, fmt.Sprintf("the stages take %s, the run %s", total, length), "")
	}
	if total < length {
		out = append(out, loadgen.Stage{For: length - total, From: last, To: last})
	}
	c.positive(path, most)
	return out
}

// seedOf derives the seed of a part from the plan's by the part's name, so that
// adding or removing another part changes nothing. The mixing is SplitMix64's
// (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
func seedOf(seed uint64, name string) uint64 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name)) // never fails
	z := seed + hash.Sum64()*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// spike changes the rate of stages between two points of time.
//
//	    ____             before:  from ____/ to
//	___|    |____        after:   cut at start and end, the part between changed
func spike(stages []loadgen.Stage, start, end time.Duration, change func(rate float64) float64) []loadgen.Stage {
	var out []loadgen.Stage
	var at time.Duration
	for _, stage := range stages {
		for _, cut := range []struct {
			from, to time.Duration
			inside   bool
		}{{0, start, false}, {start, end, true}, {end, math.MaxInt64, false}} {
			from, to := max(at, cut.from), min(at+stage.For, cut.to)
			if from >= to {
				continue
			}
			part := loadgen.Stage{For: to - from, From: rateAt(stage, from-at), To: rateAt(stage, to-at)}
			if cut.inside {
				part.From, part.To = change(part.From), change(part.To)
			}
			out = append(out, part)
		}
		at += stage.For
	}
	return out
}

func rateAt(stage loadgen.Stage, at time.Duration) float64 {
	if stage.From == stage.To {
		return stage.From
	}
	return stage.From + (stage.To-stage.From)*float64(at)/float64(stage.For)
}

// expected is how many arrivals stages come to.
func expected(stages []loadgen.Stage) float64 {
	var sum float64
	for _, stage := range stages {
		sum += (stage.From + stage.To) / 2 * stage.For.Seconds()
	}
	return sum
}
