package proxy

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/proxy/hop"
	"github.com/faultline-lab/faultline/observability"
)

// hops are the layer-7 hops of the process and what they have in common.
type hops struct {
	rules *hop.Rules

	mu        sync.Mutex
	telemetry *observability.Telemetry // made for the first hop, or before
	list      []*hop.Hop
}

// Hop is a layer-7 hop as the API shows it.
type Hop struct {
	hop.Spec
	Addr string `json:"addr"` // where it listens
}

// RequestFault is a fault of requests as the API takes it.
type RequestFault struct {
	Fault chaos.Fault `json:"fault"`
	Seed  uint64      `json:"seed"` // which requests are hit is drawn from it
}

// export says where the hops' spans go.
func (h *hops) export(ctx context.Context, endpoint string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.telemetry != nil {
		return badRequest("telemetry is set up already")
	}
	return h.setUp(ctx, endpoint)
}

// setUp is called with the lock held.
func (h *hops) setUp(ctx context.Context, endpoint string) error {
	telemetry, err := observability.Setup(ctx, observability.Config{Service: "proxy", Endpoint: endpoint})
	if err != nil {
		return badRequest("%v", err)
	}
	h.telemetry = telemetry
	return nil
}

func (h *hops) create(ctx context.Context, spec hop.Spec) (Hop, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.telemetry == nil {
		if err := h.setUp(ctx, ""); err != nil {
			return Hop{}, err
		}
	}
	one, err := hop.Start(spec, hop.Shared{Rules: h.rules, TracerProvider: h.telemetry.TracerProvider, Registerer: h.telemetry.Registry})
	if err != nil {
		return Hop{}, badRequest("%v", err)
	}
	h.list = append(h.list, one)
	return Hop{Spec: one.Spec(), Addr: one.Addr()}, nil
}

func (h *hops) all() []Hop {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := []Hop{}
	for _, one := range h.list {
		all = append(all, Hop{Spec: one.Spec(), Addr: one.Addr()})
	}
	return all
}

// close ends every hop, and sends what is left of their telemetry.
func (h *hops) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rules.Clear()
	var failures []error
	for _, one := range h.list {
		failures = append(failures, one.Close())
	}
	h.list = nil
	if h.telemetry != nil {
		failures = append(failures, h.telemetry.Shutdown(context.Background()))
	}
	return errors.Join(failures...)
}

// handleHops adds what concerns hops to the API.
func (s *Server) handleHops(handle func(string, func(*http.Request) (int, any, error))) {
	handle("POST /faultline/telemetry", s.setTelemetry)
	handle("GET /faultline/hops", func(*http.Request) (int, any, error) { return http.StatusOK, s.hops.all(), nil })
	handle("POST /faultline/hops", s.createHop)
	handle("POST /faultline/faults", s.addFault)
	handle("GET /faultline/faults/{fault}", s.showFault)
	handle("DELETE /faultline/faults/{fault}", s.removeFault)
}

// setTelemetry takes {"endpoint": "http://127.0.0.1:4317"}.
func (s *Server) setTelemetry(r *http.Request) (int, any, error) {
	asked := struct {
		Endpoint string `json:"endpoint"`
	}{}
	if err := decode(r, &asked); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, s.hops.export(context.WithoutCancel(r.Context()), asked.Endpoint)
}

func (s *Server) createHop(r *http.Request) (int, any, error) {
	var spec hop.Spec
	if err := decode(r, &spec); err != nil {
		return 0, nil, err
	}
	created, err := s.hops.create(context.WithoutCancel(r.Context()), spec)
	return http.StatusCreated, created, err
}

func (s *Server) addFault(r *http.Request) (int, any, error) {
	var asked RequestFault
	if err := decode(r, &asked); err != nil {
		return 0, nil, err
	}
	if err := s.hops.rules.Add(asked.Fault, asked.Seed); err != nil {
		return 0, nil, badRequest("%v", err)
	}
	return http.StatusNoContent, nil, nil
}

func (s *Server) showFault(r *http.Request) (int, any, error) {
	tally, known := s.hops.rules.Tally(r.PathValue("fault"))
	if !known {
		return 0, nil, notFound("there was no fault " + r.PathValue("fault"))
	}
	return http.StatusOK, tally, nil
}

func (s *Server) removeFault(r *http.Request) (int, any, error) {
	s.hops.rules.Remove(r.PathValue("fault")) // one that is not there is removed
	return http.StatusNoContent, nil, nil
}

// hopMetrics serves the metrics of hops with their exemplars, apart from those of the proxies:
// Toxiproxy's are in another format.
func (s *Server) hopMetrics(w http.ResponseWriter, r *http.Request) {
	s.hops.mu.Lock()
	telemetry := s.hops.telemetry
	s.hops.mu.Unlock()
	if telemetry != nil {
		telemetry.MetricsHandler().ServeHTTP(w, r)
	}
}
