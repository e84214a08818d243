package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/collectors"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/proxy/hop"
)

// Server holds proxies and their toxics, and the lease on them. It is Toxiproxy's
// ApiServer made safe: see the package comment.
type Server struct {
	within time.Duration
	log    *slog.Logger
	toxi   *toxiproxy.ApiServer
	routes http.Handler // Toxiproxy's own
	lease  *lease
	hops   *hops
	tunnel *tunnel // nil: nobody may

	mu      sync.Mutex
	proxies map[string]*entry

	background sync.WaitGroup // calls that outlived their limit
}

// entry is one proxy. The Toxiproxy object below it is replaced when it hangs.
type entry struct {
	name     string
	counters *counters
	control  chan struct{} // holds a token: one control call at a time
	px       *toxiproxy.Proxy
}

// NewServer returns a Server without proxies.
func NewServer(config Config) *Server {
	registerToxics()
	metrics := toxiproxy.NewMetricsContainer(nil)
	metrics.ProxyMetrics = collectors.NewProxyMetricCollectors()
	metrics.RuntimeMetrics = collectors.NewRuntimeMetricCollectors()
	s := &Server{
		within:  config.CallWithin,
		log:     config.Log,
		toxi:    toxiproxy.NewServer(metrics, zerolog.Nop()),
		lease:   newLease(),
		hops:    &hops{rules: hop.NewRules()},
		proxies: map[string]*entry{},
	}
	if s.within <= 0 {
		s.within = 3 * time.Second
	}
	if config.Tunnel {
		s.tunnel = newTunnel()
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.routes = s.toxi.Routes()
	return s
}

// Close cuts every connection and stops every proxy and hop.
func (s *Server) Close() error {
	failures := s.each(func(e *entry) error {
		ctx, cancel := context.WithTimeout(context.Background(), s.within)
		defer cancel()
		return s.disable(ctx, e)
	})
	ended := make(chan struct{})
	go func() { s.background.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(s.within):
		failures = append(failures, errHangs)
	}
	failures = append(failures, s.hops.close())
	if s.tunnel != nil {
		s.tunnel.close()
	}
	return errors.Join(failures...)
}

// each runs do for every proxy, all at the same time.
func (s *Server) each(do func(*entry) error) []error {
	entries := s.entries()
	failures := make([]error, len(entries))
	var running sync.WaitGroup
	for i, e := range entries {
		running.Go(func() { failures[i] = do(e) })
	}
	running.Wait()
	return failures
}

// entries returns the proxies by name.
func (s *Server) entries() []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	entries := make([]*entry, 0, len(s.proxies))
	for _, e := range s.proxies {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	return entries
}

func (s *Server) entry(name string) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.proxies[name]
	if e == nil {
		return nil, toxiproxy.ErrProxyNotFound
	}
	return e, nil
}

var errHangs = errors.New("the call hangs")

// lock waits for the proxy's token until ctx ends.
func (e *entry) lock(ctx context.Context) error {
	select {
	case e.control <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("proxy %s is busy: %w", e.name, errHangs)
	}
}

func (e *entry) unlock() { <-e.control }

// limited runs do and stops waiting for it when ctx ends. Toxiproxy's calls
// take no context; one that hangs goes on hanging in the background.
func limited[T any](ctx context.Context, s *Server, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	results := make(chan result, 1)
	s.background.Go(func() {
		value, err := do()
		results <- result{value, err}
	})
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, errHangs
	}
}

// try is limited for calls without a value.
func (s *Server) try(ctx context.Context, do func() error) error {
	_, err := limited(ctx, s, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

// disable cuts the connections of a proxy and closes its listener.
func (s *Server) disable(ctx context.Context, e *entry) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	px := e.px
	e.counters.cutOpen()
	if err := s.try(ctx, func() error { px.Stop(); return nil }); err != nil {
		return fmt.Errorf("disabling %s: %w", e.name, err)
	}
	return nil
}

// enable makes a proxy listen again.
func (s *Server) enable(ctx context.Context, e *entry) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	return s.enableLocked(ctx, e)
}

func (s *Server) enableLocked(ctx context.Context, e *entry) error {
	px := e.px
	err := s.try(ctx, px.Start)
	if err != nil && !errors.Is(err, toxiproxy.ErrProxyAlreadyStarted) {
		return fmt.Errorf("enabling %s: %w", e.name, err)
	}
	return nil
}

// spec is a proxy as a client of the API asks for it.
type spec struct {
	Name     string `json:"name"`
	Listen   string `json:"listen"`
	Upstream string `json:"upstream"`
	Enabled  *bool  `json:"enabled"`
}

func (p spec) validate() error {
	for _, field := range []struct{ name, value string }{{"name", p.Name}, {"upstream", p.Upstream}} {
		if field.value == "" {
			return &toxiproxy.ApiError{Message: "missing required field: " + field.name, StatusCode: http.StatusBadRequest}
		}
	}
	if strings.Contains(p.Name, "/") {
		return &toxiproxy.ApiError{Message: "the name of a proxy contains a slash", StatusCode: http.StatusBadRequest}
	}
	return nil
}

// create makes a proxy and starts it unless it is to be disabled.
func (s *Server) create(p spec) (*entry, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proxies[p.Name] != nil {
		return nil, toxiproxy.ErrProxyAlreadyExists
	}
	e := &entry{name: p.Name, counters: newCounters(), control: make(chan struct{}, 1)}
	px, err := s.open(e, p.Listen, p.Upstream, p.Enabled == nil || *p.Enabled)
	if err != nil {
		return nil, err
	}
	e.px = px
	s.proxies[p.Name] = e
	return e, nil
}

// Ports for proxies whose client does not care are taken from below the
// ranges from which Linux and macOS serve outgoing connections: while a proxy
// is down its port is free, and an outgoing connection that took it would keep the proxy down.
const (
	firstPort = 20000
	lastPort  = 32000
)

// open returns a metered proxy that listens, if it is to be enabled.
func (s *Server) open(e *entry, listen, upstream string, enabled bool) (*toxiproxy.Proxy, error) {
	host, port, err := net.SplitHostPort(listen)
	if listen != "" && err != nil {
		return nil, &toxiproxy.ApiError{Message: fmt.Sprintf("listen: %v", err), StatusCode: http.StatusBadRequest}
	}
	if listen != "" && port != "0" {
		return s.openAt(e, listen, upstream, enabled)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	for range 500 {
		at := net.JoinHostPort(host, strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		px, err := s.openAt(e, at, upstream, true)
		if err != nil {
			continue // taken
		}
		if !enabled {
			px.Stop()
		}
		return px, nil
	}
	return nil, fmt.Errorf("no free port from %d to %d on %s", firstPort, lastPort, host)
}

func (s *Server) openAt(e *entry, listen, upstream string, enabled bool) (*toxiproxy.Proxy, error) {
	px := toxiproxy.NewProxy(s.toxi, e.name, listen, upstream)
	if err := addMeters(px, e.counters); err != nil {
		return nil, err
	}
	if enabled {
		if err := px.Start(); err != nil {
			return nil, fmt.Errorf("listening for %s: %w", e.name, err)
		}
	}
	return px, nil
}

// addMeters is called before the proxy starts, so that no connection is without.
func addMeters(px *toxiproxy.Proxy, c *counters) error {
	for _, direction := range []string{chaos.Upstream, chaos.Downstream} {
		body := fmt.Sprintf(`{"type":%q,"name":%q,"stream":%q}`, meterType, meterType+"_"+direction, direction)
		wrapper, err := px.Toxics.AddToxicJson(strings.NewReader(body))
		if err != nil {
			return fmt.Errorf("adding a meter: %w", err)
		}
		m := wrapper.Toxic.(*meter)
		m.counters, m.direction = c, upward
		if direction == chaos.Downstream {
			m.direction = downward
		}
	}
	return nil
}

// faults returns the toxics that are faults: all but the meters.
func faults(px *toxiproxy.Proxy) []*toxics.ToxicWrapper {
	list := []*toxics.ToxicWrapper{}
	for _, toxic := range px.Toxics.GetToxicArray() {
		if wrapper, ok := toxic.(*toxics.ToxicWrapper); ok && wrapper.Type != meterType {
			list = append(list, wrapper)
		}
	}
	return list
}

// removal says what removing toxics took.
type removal struct {
	toxics  int   // removed
	faults  int   // of requests, removed
	enabled bool  // the proxy was down, and is up
	cut     int64 // connections cut on the way
	why     string
}

// remove removes one toxic, or every one when name is "". A removal that
// hangs is ended by replacing the proxy, which cuts its connections.
func (s *Server) remove(ctx context.Context, e *entry, name string) (removal, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	if err := e.lock(ctx); err != nil {
		return removal{}, err
	}
	defer e.unlock()
	return s.removeLocked(ctx, e, name)
}

func (s *Server) removeLocked(ctx context.Context, e *entry, name string) (removal, error) {
	px := e.px
	all, err := limited(ctx, s, func() ([]*toxics.ToxicWrapper, error) { return faults(px), nil })
	if err != nil { // something hangs in there already
		return s.replace(e, nil, "the proxy did not answer")
	}
	var doomed, kept []*toxics.ToxicWrapper
	for _, toxic := range all {
		if name == "" || toxic.Name == name {
			doomed = append(doomed, toxic)
		} else {
			kept = append(kept, toxic)
		}
	}
	if name != "" && len(doomed) == 0 {
		return removal{}, toxiproxy.ErrToxicNotFound
	}
	var done removal
	for _, toxic := range doomed {
		err := s.removeToxic(ctx, e, toxic)
		if errors.Is(err, errHangs) {
			done, err = s.replace(e, kept, fmt.Sprintf("removing %s did not end within %s", toxic.Name, s.within))
			done.toxics = len(doomed)
			return done, err
		}
		if err != nil && !errors.Is(err, toxiproxy.ErrToxicNotFound) {
			return done, fmt.Errorf("removing toxic %s of %s: %w", toxic.Name, e.name, err)
		}
		done.toxics++
		done.cut += cutBy(toxic)
	}
	if done.cut > 0 {
		e.counters.cut.Add(done.cut)
		done.why = "their receivers took nothing"
	}
	return done, nil
}

// removeToxic removes a toxic; the meter before it, if it stands right before it, passes nothing on meanwhile.
func (s *Server) removeToxic(ctx context.Context, e *entry, toxic *toxics.ToxicWrapper) error {
	px := e.px
	if toxic.Index == behindMeter {
		direction := upward
		if toxic.Direction == stream.Downstream {
			direction = downward
		}
		defer e.counters.holdBack(direction)()
	}
	return s.try(ctx, func() error { return px.Toxics.RemoveToxic(context.WithoutCancel(ctx), toxic.Name) })
}

// behindMeter is the index of the first toxic after the noop and the meter; see toxics.go.
const behindMeter = 2

func cutBy(toxic *toxics.ToxicWrapper) int64 {
	if e, ok := toxic.Toxic.(effective); ok {
		return e.read().Cut
	}
	return 0
}

// replace puts a new proxy with the given toxics in the place of one that
// hangs. Its connections are cut. The old one keeps what it hangs on.
func (s *Server) replace(e *entry, kept []*toxics.ToxicWrapper, why string) (removal, error) {
	old := e.px
	done := removal{cut: e.counters.cutOpen(), why: why}
	s.log.Warn("replacing a proxy that hangs; its connections are cut", "proxy", e.name, "why", why, "connections", done.cut)
	enabled, listen, upstream := old.Enabled, old.Listen, old.Upstream
	ctx, cancel := context.WithTimeout(context.Background(), s.within)
	defer cancel()
	_ = s.try(ctx, func() error { old.Stop(); return nil }) // it closes its listener first, and may hang then
	px, err := s.openAt(e, listen, upstream, enabled)
	if err != nil {
		return done, fmt.Errorf("replacing %s: %w", e.name, err)
	}
	for _, toxic := range kept {
		body, err := json.Marshal(toxic)
		if err != nil {
			return done, fmt.Errorf("replacing %s: %w", e.name, err)
		}
		if _, err := px.Toxics.AddToxicJson(strings.NewReader(string(body))); err != nil {
			return done, fmt.Errorf("replacing %s: %w", e.name, err)
		}
	}
	e.px = px
	return done, nil
}

// lift removes every toxic of every proxy and enables all, and removes every fault of requests.
func (s *Server) lift(ctx context.Context) (removal, error) {
	var mu sync.Mutex
	total := removal{faults: s.hops.rules.Clear()}
	failures := s.each(func(e *entry) error {
		done, err := s.liftOne(ctx, e)
		mu.Lock()
		defer mu.Unlock()
		total.toxics += done.toxics
		total.cut += done.cut
		total.enabled = total.enabled || done.enabled
		return err
	})
	return total, errors.Join(failures...)
}

func (s *Server) liftOne(ctx context.Context, e *entry) (removal, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*s.within)
	defer cancel()
	if err := e.lock(ctx); err != nil {
		return removal{}, err
	}
	defer e.unlock()
	done, err := s.removeLocked(ctx, e, "")
	if err != nil || e.px.Enabled {
		return done, err
	}
	if err := s.enableLocked(ctx, e); err != nil {
		return done, err
	}
	done.enabled = true
	return done, nil
}

// Traffic returns what crossed each proxy so far, by name.
func (s *Server) Traffic() []Traffic {
	all := []Traffic{}
	for _, e := range s.entries() {
		t := Traffic{
			Name: e.name, Accepted: e.counters.accepted.Load(), Open: e.counters.live(), Cut: e.counters.cut.Load(),
			UpstreamBytes: e.counters.upstream.Load(), DownstreamBytes: e.counters.downstream.Load(), Toxics: []Toxic{},
		}
		if list, err := s.toxicsOf(e); err == nil { // without them when it hangs
			t.Toxics = describe(list)
		}
		all = append(all, t)
	}
	return all
}

func (s *Server) toxicsOf(e *entry) ([]*toxics.ToxicWrapper, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.within)
	defer cancel()
	if err := e.lock(ctx); err != nil {
		return nil, err
	}
	defer e.unlock()
	px := e.px
	return limited(ctx, s, func() ([]*toxics.ToxicWrapper, error) { return faults(px), nil })
}

func describe(list []*toxics.ToxicWrapper) []Toxic {
	described := make([]Toxic, 0, len(list))
	for _, wrapper := range list {
		toxic := Toxic{Name: wrapper.Name, Type: wrapper.Type, Stream: wrapper.Stream}
		if e, ok := wrapper.Toxic.(effective); ok {
			toxic.Effect = e.read()
		}
		described = append(described, toxic)
	}
	return described
}
