package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
)

// CutHeader is set on answers of the API when connections were cut to get rid of a
// toxic: their number, and why.
const CutHeader = "Faultline-Connections-Cut"

// longestReset bounds reset_peer, the one toxic of Toxiproxy's own that is left and
// cannot be interrupted.
const longestReset = 10 * time.Second

// Handler serves Toxiproxy's HTTP API, and beside it /lease, /metrics and what is below /faultline.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(r *http.Request) (int, any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.UserAgent(), "Mozilla/") { // as Toxiproxy: no page of another site may use it
				http.Error(w, "user agent not allowed", http.StatusForbidden)
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, 4<<20)
			status, answer, err := h(r)
			if done, ok := answer.(removal); ok {
				if done.cut > 0 || done.why != "" {
					w.Header().Set(CutHeader, fmt.Sprintf("%d: %s", done.cut, done.why))
				}
				answer = nil
			}
			reply(w, status, answer, err)
		})
	}
	handle("GET /proxies", s.listProxies)
	handle("POST /proxies", s.createProxy)
	handle("POST /populate", s.populate)
	handle("GET /proxies/{proxy}", s.showProxy)
	handle("POST /proxies/{proxy}", s.updateProxy)
	handle("PATCH /proxies/{proxy}", s.updateProxy)
	handle("DELETE /proxies/{proxy}", s.deleteProxy)
	handle("GET /proxies/{proxy}/toxics", s.listToxics)
	handle("POST /proxies/{proxy}/toxics", s.createToxic)
	handle("GET /proxies/{proxy}/toxics/{toxic}", s.showToxic)
	handle("POST /proxies/{proxy}/toxics/{toxic}", s.updateToxic)
	handle("PATCH /proxies/{proxy}/toxics/{toxic}", s.updateToxic)
	handle("DELETE /proxies/{proxy}/toxics/{toxic}", s.deleteToxic)
	handle("POST /reset", s.reset)
	handle("GET /lease", func(*http.Request) (int, any, error) { return http.StatusOK, leaseView(s.lease.state()), nil })
	handle("POST /lease", s.renewLease)
	handle("GET /faultline/traffic", func(*http.Request) (int, any, error) { return http.StatusOK, s.Traffic(), nil })
	s.handleHops(handle)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /faultline/metrics", s.hopMetrics)
	mux.Handle("/", s.routes) // /version
	return s.tunnel.before(mux)
}

func reply(w http.ResponseWriter, status int, answer any, err error) {
	if err != nil {
		var api *toxiproxy.ApiError
		if !errors.As(err, &api) {
			api = &toxiproxy.ApiError{Message: err.Error(), StatusCode: http.StatusInternalServerError}
		}
		status, answer = api.StatusCode, api
	}
	if answer == nil {
		w.WriteHeader(status)
		return
	}
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client has gone if it fails
}

func badRequest(format string, args ...any) error {
	return &toxiproxy.ApiError{Message: fmt.Sprintf(format, args...), StatusCode: http.StatusBadRequest}
}

func notFound(message string) error {
	return &toxiproxy.ApiError{Message: message, StatusCode: http.StatusNotFound}
}

func decode(r *http.Request, into any) error {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return badRequest("bad request body: %v", err)
	}
	return nil
}

// proxyView is a proxy as the API shows it.
type proxyView struct {
	Name     string                 `json:"name"`
	Listen   string                 `json:"listen"`
	Upstream string                 `json:"upstream"`
	Enabled  bool                   `json:"enabled"`
	Toxics   []*toxics.ToxicWrapper `json:"toxics"`
}

func (s *Server) view(ctx context.Context, e *entry) (proxyView, error) {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	if err := e.lock(ctx); err != nil {
		return proxyView{}, err
	}
	defer e.unlock()
	px := e.px
	return limited(ctx, s, func() (proxyView, error) {
		return proxyView{Name: px.Name, Listen: px.Listen, Upstream: px.Upstream, Enabled: px.Enabled, Toxics: faults(px)}, nil
	})
}

func (s *Server) listProxies(r *http.Request) (int, any, error) {
	views := map[string]proxyView{}
	for _, e := range s.entries() {
		view, err := s.view(r.Context(), e)
		if err != nil {
			return 0, nil, err
		}
		views[e.name] = view
	}
	return http.StatusOK, views, nil
}

func (s *Server) createProxy(r *http.Request) (int, any, error) {
	var p spec
	if err := decode(r, &p); err != nil {
		return 0, nil, err
	}
	e, err := s.create(p)
	if err != nil {
		return 0, nil, err
	}
	view, err := s.view(r.Context(), e)
	return http.StatusCreated, view, err
}

// populate creates a list of proxies. One that exists with another address is replaced.
func (s *Server) populate(r *http.Request) (int, any, error) {
	var list []spec
	if err := decode(r, &list); err != nil {
		return 0, nil, err
	}
	for _, p := range list {
		if err := p.validate(); err != nil {
			return 0, nil, err
		}
	}
	views := []proxyView{}
	for _, p := range list {
		e, err := s.createOrReplace(r.Context(), p)
		if err != nil {
			return 0, nil, err
		}
		view, err := s.view(r.Context(), e)
		if err != nil {
			return 0, nil, err
		}
		views = append(views, view)
	}
	return http.StatusCreated, map[string]any{"proxies": views}, nil
}

func (s *Server) createOrReplace(ctx context.Context, p spec) (*entry, error) {
	if existing, err := s.entry(p.Name); err == nil {
		view, err := s.view(ctx, existing)
		if err != nil {
			return nil, err
		}
		if view.Upstream == p.Upstream && (p.Listen == "" || view.Listen == p.Listen) {
			return existing, nil
		}
		if err := s.delete(ctx, existing); err != nil {
			return nil, err
		}
	}
	return s.create(p)
}

func (s *Server) showProxy(r *http.Request) (int, any, error) {
	e, err := s.entry(r.PathValue("proxy"))
	if err != nil {
		return 0, nil, err
	}
	view, err := s.view(r.Context(), e)
	return http.StatusOK, view, err
}

// updateProxy enables or disables a proxy. Its addresses stay as they are.
func (s *Server) updateProxy(r *http.Request) (int, any, error) {
	e, err := s.entry(r.PathValue("proxy"))
	if err != nil {
		return 0, nil, err
	}
	var change spec
	if err := decode(r, &change); err != nil {
		return 0, nil, err
	}
	now, err := s.view(r.Context(), e)
	if err != nil {
		return 0, nil, err
	}
	if change.Listen != "" && change.Listen != now.Listen || change.Upstream != "" && change.Upstream != now.Upstream {
		return 0, nil, badRequest("the addresses of a proxy cannot change: delete it and create another")
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.within)
	defer cancel()
	switch {
	case change.Enabled == nil:
	case *change.Enabled:
		err = s.enable(ctx, e)
	default:
		err = s.disable(ctx, e)
	}
	if err != nil {
		return 0, nil, err
	}
	view, err := s.view(r.Context(), e)
	return http.StatusOK, view, err
}

func (s *Server) deleteProxy(r *http.Request) (int, any, error) {
	e, err := s.entry(r.PathValue("proxy"))
	if err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, s.delete(r.Context(), e)
}

func (s *Server) delete(ctx context.Context, e *entry) error {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	if err := s.disable(ctx, e); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.proxies, e.name)
	return nil
}

func (s *Server) listToxics(r *http.Request) (int, any, error) {
	e, err := s.entry(r.PathValue("proxy"))
	if err != nil {
		return 0, nil, err
	}
	list, err := s.toxicsOf(e)
	return http.StatusOK, list, err
}

func (s *Server) showToxic(r *http.Request) (int, any, error) {
	_, toxic, err := s.toxic(r)
	return http.StatusOK, toxic, err
}

func (s *Server) toxic(r *http.Request) (*entry, *toxics.ToxicWrapper, error) {
	e, err := s.entry(r.PathValue("proxy"))
	if err != nil {
		return nil, nil, err
	}
	list, err := s.toxicsOf(e)
	if err != nil {
		return nil, nil, err
	}
	for _, toxic := range list {
		if toxic.Name == r.PathValue("toxic") {
			return e, toxic, nil
		}
	}
	return nil, nil, toxiproxy.ErrToxicNotFound
}

func (s *Server) createToxic(r *http.Request) (int, any, error) {
	e, err := s.entry(r.PathValue("proxy"))
	if err != nil {
		return 0, nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, nil, badRequest("bad request body: %v", err)
	}
	toxic, err := s.add(r.Context(), e, body)
	return http.StatusOK, toxic, err
}

// add adds a toxic, given as in the API, once it is sure to do no harm.
func (s *Server) add(ctx context.Context, e *entry, body []byte) (*toxics.ToxicWrapper, error) {
	if err := checkToxic(body); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	if err := e.lock(ctx); err != nil {
		return nil, err
	}
	defer e.unlock()
	px := e.px
	toxic, err := limited(ctx, s, func() (*toxics.ToxicWrapper, error) { return px.Toxics.AddToxicJson(strings.NewReader(string(body))) })
	if err != nil {
		return nil, fmt.Errorf("adding a toxic to %s: %w", e.name, err)
	}
	return toxic, nil
}

// checkToxic checks what Toxiproxy does not, and what would crash it.
func checkToxic(body []byte) error {
	asked := struct {
		Type       string          `json:"type"`
		Toxicity   *float64        `json:"toxicity"`
		Attributes json.RawMessage `json:"attributes"`
	}{}
	if err := json.Unmarshal(body, &asked); err != nil {
		return badRequest("bad request body: %v", err)
	}
	toxic := toxics.New(&toxics.ToxicWrapper{Type: asked.Type})
	if toxic == nil || asked.Type == meterType {
		return toxiproxy.ErrInvalidToxicType
	}
	if asked.Toxicity != nil && *asked.Toxicity != 1 {
		return badRequest("toxicity %v is refused: Toxiproxy draws it for each connection and direction, and again at each change, not for each request", *asked.Toxicity)
	}
	if len(asked.Attributes) > 0 {
		if err := json.Unmarshal(asked.Attributes, toxic); err != nil {
			return badRequest("bad attributes: %v", err)
		}
	}
	if reset, ok := toxic.(*toxics.ResetToxic); ok && (reset.Timeout < 0 || reset.Timeout > longestReset.Milliseconds()) {
		return badRequest("reset_peer timeout of %d ms: want 0 to %d", reset.Timeout, longestReset.Milliseconds())
	}
	if v, ok := toxic.(validator); ok {
		if err := v.validate(); err != nil {
			return badRequest("bad attributes: %v", err)
		}
	}
	return nil
}

// updateToxic removes the toxic and adds it anew: Toxiproxy's own updating is a data race.
func (s *Server) updateToxic(r *http.Request) (int, any, error) {
	e, toxic, err := s.toxic(r)
	if err != nil {
		return 0, nil, err
	}
	change := struct {
		Toxicity   *float64       `json:"toxicity"`
		Attributes map[string]any `json:"attributes"`
	}{}
	if err := decode(r, &change); err != nil {
		return 0, nil, err
	}
	body, err := merge(toxic, change.Attributes, change.Toxicity)
	if err != nil {
		return 0, nil, err
	}
	if err := checkToxic(body); err != nil {
		return 0, nil, err
	}
	if _, err := s.remove(r.Context(), e, toxic.Name); err != nil {
		return 0, nil, err
	}
	added, err := s.add(r.Context(), e, body)
	return http.StatusOK, added, err
}

func merge(toxic *toxics.ToxicWrapper, attributes map[string]any, toxicity *float64) ([]byte, error) {
	now, err := json.Marshal(toxic)
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	if err := json.Unmarshal(now, &all); err != nil {
		return nil, err
	}
	merged, _ := all["attributes"].(map[string]any)
	for name, value := range attributes {
		merged[name] = value
	}
	if toxicity != nil {
		all["toxicity"] = *toxicity
	}
	return json.Marshal(all)
}

func (s *Server) deleteToxic(r *http.Request) (int, any, error) {
	e, err := s.entry(r.PathValue("proxy"))
	if err != nil {
		return 0, nil, err
	}
	done, err := s.remove(r.Context(), e, r.PathValue("toxic"))
	return http.StatusNoContent, done, err
}

func (s *Server) reset(r *http.Request) (int, any, error) {
	done, err := s.lift(r.Context())
	return http.StatusNoContent, done, err
}

// renewLease takes {"ttl": "3s"}.
func (s *Server) renewLease(r *http.Request) (int, any, error) {
	asked := struct {
		TTL string `json:"ttl"`
	}{}
	if err := decode(r, &asked); err != nil {
		return 0, nil, err
	}
	ttl, err := time.ParseDuration(asked.TTL)
	if err != nil || ttl < 100*time.Millisecond || ttl > time.Hour {
		return 0, nil, badRequest("ttl %q: want a duration from 100ms to 1h, such as 3s", asked.TTL)
	}
	return http.StatusOK, leaseView(s.lease.renew(ttl)), nil
}

func leaseView(l Lease) map[string]any {
	return map[string]any{"held": l.Held, "ttl": l.TTL.String(), "left": l.Left.Round(time.Millisecond).String(), "lapsed": l.Lapsed}
}

// metrics serves Toxiproxy's own metrics and Go's, and the traffic after them.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	plain := r.Clone(r.Context())
	plain.Header = http.Header{} // neither compressed nor in another format: more follows
	s.routes.ServeHTTP(w, plain)
	writeMetrics(w, s.Traffic())
}

// ConnectionsCut reads CutHeader: how many connections were cut to get rid of a toxic, and why.
func ConnectionsCut(header http.Header) (connections int64, why string) {
	number, why, _ := strings.Cut(header.Get(CutHeader), ": ")
	connections, _ = strconv.ParseInt(number, 10, 64)
	return connections, why
}
