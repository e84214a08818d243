package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/parameter"
	"github.com/faultline-lab/faultline/resilience"
	"github.com/faultline-lab/faultline/services/kit"
)

// The values of variables that are words.
const (
	inSequence, inParallel  = "sequence", "parallel"
	workAnyway, dropExpired = "work", "drop"

	maxTimes    = 1000
	maxResponse = 16 << 20
)

// Variables describes what a node reads from its environment, beside what every service reads.
func Variables() []parameter.Parameter {
	return []parameter.Parameter{
		{Name: "SPEAKS", Type: parameter.Text, Default: string(kit.HTTP), Allowed: []string{string(kit.HTTP), string(kit.GRPC)}, About: "what it serves: GET /work, or node.v1.Node/Work"},
		{Name: "CALLS", Type: parameter.Text, Default: "", About: `whom each request calls: "b, c x3, d 10%, e shard=a, grpc://f optional"`},
		{Name: "CALLS_IN", Type: parameter.Text, Default: inSequence, Allowed: []string{inSequence, inParallel}, About: "one call after the other, or all at once"},
		{Name: "ERRORS", Type: parameter.Ratio, Default: 0.0, About: "share of requests that fail after the node's own work, before any call"},
		{Name: "SLOW_SHARE", Type: parameter.Ratio, Default: 0.0, About: "share of requests that hold their worker for SLOW_BY longer"},
		{Name: "SLOW_BY", Type: parameter.Duration, Default: "0s", About: "how much longer those take"},
		{Name: "RESPONSE", Type: parameter.Size, Default: int64(3), Max: parameter.Bound(maxResponse), About: "size of an answer, such as 2KB"},
		{Name: "QUEUE", Type: parameter.Text, Default: "", About: "discipline of its queue, as the policy queue has it: fifo, lifo, codel, codel_lifo"},
		{Name: "ABANDONED", Type: parameter.Text, Default: workAnyway, Allowed: []string{workAnyway, dropExpired}, About: "what becomes of work whose caller has gone"},
	}
}

// config is what a node is to do.
type config struct {
	protocol kit.Protocol
	calls    []call
	parallel bool
	errors   float64
	slow     float64
	slowBy   time.Duration
	response int
	door     resilience.Chain // policies of its own door, where nobody else sets any of their kinds
}

// call is one entry of CALLS.
type call struct {
	callee   string
	protocol kit.Protocol
	times    int     // for each request
	chance   float64 // that a request makes the call at all
	optional bool    // its failure is not the request's
	key      string  // of the baggage that a request needs for the call to be made; "" means none
	value    string
}

// readConfig returns every error of the environment at once.
func readConfig(env kit.Env) (config, error) {
	raw := map[string]any{}
	for _, variable := range Variables() {
		if text := env[variable.Name]; text != "" {
			raw[variable.Name] = text
		}
	}
	values, problems := parameter.Check(Variables(), raw)
	var errs []error
	for _, p := range problems {
		errs = append(errs, fmt.Errorf("%s: %s (%s)", p.Name, p.Message, p.Hint))
	}
	calls, err := readCalls(env["CALLS"])
	if err != nil {
		errs = append(errs, fmt.Errorf("CALLS: %w", err))
	}
	door, err := readDoor(values.Text("QUEUE"), values.Text("ABANDONED"))
	if err != nil {
		errs = append(errs, fmt.Errorf("QUEUE: %w", err))
	}
	if len(errs) > 0 {
		return config{}, errors.Join(errs...)
	}
	return config{
		protocol: kit.Protocol(values.Text("SPEAKS")),
		calls:    calls,
		parallel: values.Text("CALLS_IN") == inParallel,
		errors:   values.Float("ERRORS"),
		slow:     values.Float("SLOW_SHARE"),
		slowBy:   values.Duration("SLOW_BY"),
		response: int(values.Int("RESPONSE")),
		door:     door,
	}, nil
}

var (
	timesPattern  = regexp.MustCompile(`^x([0-9]+)$`)
	chancePattern = regexp.MustCompile(`^([0-9.]+)%$`)
	entryPattern  = regexp.MustCompile(`^([A-Za-z0-9._-]+)=([A-Za-z0-9._-]+)$`)
	calleePattern = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
)

// readCalls reads CALLS.
func readCalls(text string) ([]call, error) {
	var calls []call
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	for entry := range strings.SplitSeq(text, ",") {
		c, err := readCall(strings.Fields(entry))
		if err != nil {
			return nil, fmt.Errorf("%q: %w", strings.TrimSpace(entry), err)
		}
		calls = append(calls, c)
	}
	return calls, nil
}

func readCall(words []string) (call, error) {
	c := call{protocol: kit.HTTP, times: 1, chance: 1}
	if len(words) == 0 {
		return call{}, errors.New("no callee")
	}
	var found bool
	if c.callee, found = strings.CutPrefix(words[0], "grpc://"); found {
		c.protocol = kit.GRPC
	}
	if !calleePattern.MatchString(c.callee) {
		return call{}, fmt.Errorf("%q is not the name of a service", c.callee)
	}
	for _, word := range words[1:] {
		if err := c.read(word); err != nil {
			return call{}, err
		}
	}
	return c, nil
}

// read takes in what may follow a callee's name.
func (c *call) read(word string) error {
	if word == "optional" {
		c.optional = true
		return nil
	}
	if m := timesPattern.FindStringSubmatch(word); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil || n < 1 || n > maxTimes {
			return fmt.Errorf("%s: how often must be 1 to %d", word, maxTimes)
		}
		c.times = n
		return nil
	}
	if m := chancePattern.FindStringSubmatch(word); m != nil {
		percent, err := strconv.ParseFloat(m[1], 64)
		if err != nil || percent <= 0 || percent > 100 {
			return fmt.Errorf("%s: a chance must be above 0%% and at most 100%%", word)
		}
		c.chance = percent / 100
		return nil
	}
	if m := entryPattern.FindStringSubmatch(word); m != nil {
		c.key, c.value = m[1], m[2]
		return nil
	}
	return fmt.Errorf("%q is none of x3 (how often), 10%% (how likely), key=value (only for requests with this entry in their baggage) and optional", word)
}

// readDoor makes policies of what is said about the queue.
func readDoor(discipline, abandoned string) (resilience.Chain, error) {
	var chain resilience.Chain
	if abandoned == dropExpired {
		spec, problems := resilience.Parse("deadline", nil)
		if len(problems) > 0 {
			return nil, errors.New(problems[0].Message)
		}
		chain = append(chain, spec)
	}
	if discipline != "" {
		spec, problems := resilience.Parse("queue", discipline)
		if len(problems) > 0 {
			return nil, errors.New(problems[0].Message)
		}
		chain = append(chain, spec)
	}
	return chain, nil
}

// withDoor returns the environment with the node's own policies at its door. What
// RESILIENCE_POLICIES says of the same kind of policy wins: it is what a scenario tries out.
func withDoor(env kit.Env, name string, door resilience.Chain) (kit.Env, error) {
	policies, err := resilience.ParsePolicies([]byte(env["RESILIENCE_POLICIES"]))
	if err != nil {
		return nil, fmt.Errorf("RESILIENCE_POLICIES: %w", err)
	}
	if policies == nil {
		policies = resilience.Policies{}
	}
	given := map[string]bool{}
	for _, spec := range policies[name] {
		given[spec.Kind] = true
	}
	for _, spec := range door {
		if !given[spec.Kind] {
			policies[name] = append(policies[name], spec)
		}
	}
	text, err := json.Marshal(policies)
	if err != nil {
		return nil, fmt.Errorf("writing the policies of the door: %w", err)
	}
	own := maps.Clone(env)
	own["RESILIENCE_POLICIES"] = string(text)
	return own, nil
}
