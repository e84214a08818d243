package kit

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/faultline-lab/faultline/resilience"
)

// Env is the environment that a service runs in. The doc of the package lists
// what the kit reads from it.
type Env map[string]string

// OSEnv returns the environment of the process, for a program's main.
func OSEnv() Env {
	env := Env{}
	for _, entry := range os.Environ() {
		key, value, _ := strings.Cut(entry, "=")
		env[key] = value
	}
	return env
}

// Get returns the value, or "" when it is not set.
func (e Env) Get(key string) string { return e[key] }

// Addrs returns the addresses of a callee, from <CALLEE>_ADDR, in the order of its replicas.
func (e Env) Addrs(callee string) ([]string, error) {
	key := strings.ToUpper(strings.ReplaceAll(callee, "-", "_")) + "_ADDR"
	var addrs []string
	for addr := range strings.SplitSeq(e[key], ",") {
		if addr = strings.TrimSpace(addr); addr != "" {
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("no address of %s: %s is not set", callee, key)
	}
	return addrs, nil
}

// settings is what the kit itself reads from the environment.
type settings struct {
	mainAddr, adminAddr string
	capacity            Capacity
	policies            resilience.Policies
	seed                uint64
	replica             int
	elsewhere           []string // edges that others measure
	drain               time.Duration
	storeDelay          time.Duration
	storeReaders        int
	discover            []string // callees that the registry is asked about
	discoverEvery       time.Duration
	believeEmpty        bool
}

// defaultDrain is how long requests under way may take when the service is asked to stop.
const defaultDrain = 5 * time.Second

// settings reads everything and returns every error.
func (e Env) settings() (settings, error) {
	var s settings
	var errs []error
	host := e.orElse("HOST", "127.0.0.1")
	s.mainAddr = host + ":" + strconv.FormatUint(e.number("PORT", 0, 65535, &errs), 10)
	s.adminAddr = e.orElse("ADMIN_HOST", "127.0.0.1") + ":" + strconv.FormatUint(e.number("ADMIN_PORT", 0, 65535, &errs), 10)
	s.seed = e.number("SEED", 1, 1<<64-1, &errs)
	s.replica = int(e.number("REPLICA", 1, 1<<20, &errs))
	s.storeReaders = int(e.number("STORE_READERS", 0, 1000, &errs))
	s.elsewhere = strings.Split(e["EDGES_MEASURED_ELSEWHERE"], ",")
	var err error
	if s.capacity, err = ParseCapacity([]byte(e["CAPACITY"])); err != nil {
		errs = append(errs, fmt.Errorf("CAPACITY: %w", err))
	}
	if s.policies, err = resilience.ParsePolicies([]byte(e["RESILIENCE_POLICIES"])); err != nil {
		errs = append(errs, fmt.Errorf("RESILIENCE_POLICIES: %w", err))
	}
	if s.drain, err = time.ParseDuration(e.orElse("DRAIN_TIMEOUT", defaultDrain.String())); err != nil || s.drain < 0 {
		errs = append(errs, fmt.Errorf("DRAIN_TIMEOUT: %q is not a duration, such as 5s", e["DRAIN_TIMEOUT"]))
	}
	if s.storeDelay, err = time.ParseDuration(e.orElse("STORE_DELAY", "0s")); err != nil || s.storeDelay < 0 {
		errs = append(errs, fmt.Errorf("STORE_DELAY: %q is not a duration, such as 20ms", e["STORE_DELAY"]))
	}
	if e["DISCOVER"] != "" {
		s.discover = strings.Split(strings.ReplaceAll(e["DISCOVER"], " ", ""), ",")
	}
	if s.discoverEvery, err = time.ParseDuration(e.orElse("DISCOVER_EVERY", discoverEvery.String())); err != nil || s.discoverEvery <= 0 {
		errs = append(errs, fmt.Errorf("DISCOVER_EVERY: %q is not a duration, such as 500ms", e["DISCOVER_EVERY"]))
	}
	switch text := e.orElse("DISCOVER_EMPTY", emptyKept); text {
	case emptyKept, emptyBelieved:
		s.believeEmpty = text == emptyBelieved
	default:
		errs = append(errs, fmt.Errorf("DISCOVER_EMPTY: %q is neither %s nor %s", text, emptyKept, emptyBelieved))
	}
	return s, errors.Join(errs...)
}

func (e Env) orElse(key, otherwise string) string {
	if v := e[key]; v != "" {
		return v
	}
	return otherwise
}

func (e Env) number(key string, otherwise, most uint64, errs *[]error) uint64 {
	text := e[key]
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > most {
		*errs = append(*errs, fmt.Errorf("%s: %q is not a whole number from 0 to %d", key, text, most))
		return otherwise
	}
	return n
}
