package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/report"
	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/observability/telemetry"
	"github.com/faultline-lab/faultline/parameter"
)

// who is how the record names whoever acts through the page.
const who = "page"

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page("live"))
	mux.HandleFunc("GET /runs", s.page("runs"))
	mux.HandleFunc("GET /live.js", s.script("live"))
	mux.HandleFunc("GET /runs.js", s.script("runs"))
	mux.HandleFunc("GET /api/live", s.stream)
	mux.HandleFunc("GET /api/catalog", s.catalog)
	mux.HandleFunc("GET /api/trace/{id}", s.trace)
	mux.HandleFunc("GET /api/logs", s.logs)
	mux.HandleFunc("GET /api/profile", s.profile)
	mux.HandleFunc("GET /profile.pb.gz", s.profileFile)
	mux.HandleFunc("GET /api/runs", s.listRuns)
	mux.HandleFunc("GET /api/trends", s.trends)
	mux.HandleFunc("GET /api/collections", s.collections)
	mux.HandleFunc("GET /runs/{id}/report", s.runReport)
	mux.HandleFunc("GET /sets/{name}", s.collectedReport)
	mux.HandleFunc("POST /api/compare", s.compare)
	mux.HandleFunc("GET /compare/{name}", s.compared)
	mux.HandleFunc("POST /api/inject", act(s, s.inject))
	mux.HandleFunc("POST /api/recover", act(s, s.recover))
	mux.HandleFunc("POST /api/clear", act(s, s.clear))
	mux.HandleFunc("POST /api/rate", act(s, s.rate))
	mux.HandleFunc("POST /api/abort", act(s, s.abort))
	mux.HandleFunc("POST /api/save", act(s, s.save))
	return mux
}

// mostBytes bounds what a request may hold.
const mostBytes = 64 << 10

// errNoRun refuses what needs a run.
var errNoRun = errors.New("nothing runs at the moment")

// act is a handler of requests that act on the run: In is what they hold, as JSON.
func act[In any](s *Server, do func(*run.Control, In) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := read(w, r, &in); err != nil {
			answer(w, http.StatusBadRequest, problem(err))
			return
		}
		l := s.current()
		if l == nil {
			answer(w, http.StatusConflict, problem(errNoRun))
			return
		}
		out, err := do(l.control, in)
		var invalid *run.InvalidError
		switch {
		case errors.As(err, &invalid):
			answer(w, http.StatusUnprocessableEntity, problem(err))
		case err != nil:
			answer(w, http.StatusConflict, problem(err))
		default:
			answer(w, http.StatusOK, out)
		}
	}
}

func read(w http.ResponseWriter, r *http.Request, in any) error {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBytes))
	if err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(in); err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	return nil
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asked may have gone
}

// problemShape says what is wrong, and with which fields of a form.
type problemShape struct {
	Error  string            `json:"error"`
	Fields map[string]string `json:"fields,omitempty"`
}

func problem(err error) problemShape {
	out := problemShape{Error: err.Error()}
	var invalid *run.InvalidError
	if errors.As(err, &invalid) {
		out.Fields = map[string]string{}
		for _, p := range invalid.Problems {
			out.Fields[p.Name] = p.Message
		}
	}
	return out
}

type injectRequest struct {
	Kind   string         `json:"kind"`
	Params map[string]any `json:"params"`
}

func (s *Server) inject(c *run.Control, in injectRequest) (any, error) {
	f, err := c.Inject(who, in.Kind, in.Params)
	return map[string]string{"id": f.ID}, err
}

type nameRequest struct {
	ID string `json:"id"`
}

func (s *Server) recover(c *run.Control, in nameRequest) (any, error) {
	return struct{}{}, c.Recover(who, in.ID)
}

func (s *Server) clear(c *run.Control, _ struct{}) (any, error) {
	return struct{}{}, c.RecoverAll(who)
}

type rateRequest struct {
	Load string  `json:"load"`
	Rate float64 `json:"rate"`
}

func (s *Server) rate(c *run.Control, in rateRequest) (any, error) {
	return struct{}{}, c.SetRate(who, in.Load, in.Rate)
}

func (s *Server) abort(c *run.Control, _ struct{}) (any, error) {
	return struct{}{}, c.Abort(who)
}

// kindShape is a kind of fault as the form is made of it.
type kindShape struct {
	Name   string       `json:"name"`
	Family string       `json:"family"`
	Target string       `json:"target"`
	About  string       `json:"about"`
	Cannot string       `json:"cannot"`
	Params []paramShape `json:"params"`
}

type paramShape struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Required bool     `json:"required"`
	Default  any      `json:"default"`
	Allowed  []string `json:"allowed,omitempty"`
	About    string   `json:"about"`
}

func (s *Server) catalog(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, catalog()) }

// catalog is the catalog of faults as the form is made of it.
func catalog() []kindShape {
	out := []kindShape{}
	for _, kind := range chaos.Catalog() {
		shape := kindShape{Name: kind.Name, Family: kind.Family, Target: kind.Target, About: kind.About, Cannot: kind.Cannot, Params: []paramShape{}}
		for _, p := range kind.Params {
			shape.Params = append(shape.Params, describe(p))
		}
		out = append(out, shape)
	}
	return out
}

func describe(p parameter.Parameter) paramShape {
	return paramShape{Name: p.Name, Type: string(p.Type), Required: p.Required, Default: p.Default, Allowed: p.Allowed, About: p.About}
}

// readWithin bounds reading traces and logs.
const readWithin = 5 * time.Second

// trace answers with a trace and its logs, in the shape of the report.
func (s *Server) trace(w http.ResponseWriter, r *http.Request) {
	l := s.current()
	if l == nil {
		answer(w, http.StatusNotFound, problem(errNoRun))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readWithin)
	defer cancel()
	id := r.PathValue("id")
	trace, err := l.control.Archive().Trace(ctx, id)
	if err != nil {
		answer(w, http.StatusNotFound, problem(err))
		return
	}
	logs, err := l.control.Archive().Logs(ctx, telemetry.LogQuery{TraceID: id, Limit: 60})
	if err != nil {
		answer(w, http.StatusInternalServerError, problem(err))
		return
	}
	if len(trace.Spans) == 0 {
		answer(w, http.StatusNotFound, problem(errors.New("no span of this trace has arrived; services send theirs once a second")))
		return
	}
	shown := &record.Run{Meta: record.Meta{Load: l.control.Start()}, Plan: l.control.Plan(), System: l.control.System()}
	answer(w, http.StatusOK, report.TraceOf(shown, trace, logs))
}

// logs searches the log lines of the run.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	l := s.current()
	if l == nil {
		answer(w, http.StatusNotFound, problem(errNoRun))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readWithin)
	defer cancel()
	limit, err := strconv.Atoi(r.FormValue("limit"))
	if err != nil || limit <= 0 || limit > keptLogs {
		limit = keptLogs
	}
	records, err := l.control.Archive().Logs(ctx, telemetry.LogQuery{
		From: l.control.Start(), Contains: r.FormValue("contains"), Service: r.FormValue("service"), MinSeverity: r.FormValue("severity"), Limit: limit,
	})
	if err != nil {
		answer(w, http.StatusBadRequest, problem(err))
		return
	}
	out := []logLine{}
	for _, line := range records {
		out = append(out, l.line(line))
	}
	answer(w, http.StatusOK, out)
}
