package console

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/faultline-lab/faultline/internal/report"
	"github.com/faultline-lab/faultline/observability/embedded"
)

// profile answers with the CPU profile of a service around a span, in the shape of the report.
func (s *Server) profile(w http.ResponseWriter, r *http.Request) {
	page, _, status, err := s.profileAsked(r)
	if err != nil {
		answer(w, status, problem(err))
		return
	}
	answer(w, http.StatusOK, page)
}

// profileFile answers with the same profile as a file for go tool pprof.
func (s *Server) profileFile(w http.ResponseWriter, r *http.Request) {
	page, file, status, err := s.profileAsked(r)
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", fmt.Sprintf("cpu-%.0fs.pb.gz", page.From)))
	_, _ = w.Write(file) // whoever asked may have gone
}

// profileAsked reads a request: the service, its instance ("" for any), when a span began, in seconds from the start
// of the load, and how long it took, in milliseconds.
func (s *Server) profileAsked(r *http.Request) (page report.PageProfile, file []byte, status int, err error) {
	l := s.current()
	if l == nil {
		return page, nil, http.StatusNotFound, errNoRun
	}
	at, err := number(r, "at")
	took, err2 := number(r, "ms")
	if err := errors.Join(err, err2); err != nil {
		return page, nil, http.StatusBadRequest, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), readWithin)
	defer cancel()
	from := l.control.Start().Add(time.Duration(at * float64(time.Second)))
	query := embedded.ProfileQuery{
		Service: r.FormValue("service"), Instance: r.FormValue("instance"), From: from, To: from.Add(time.Duration(took * float64(time.Millisecond))),
	}
	page, file, err = report.ProfileOf(ctx, l.control.Archive(), l.control.Start(), query)
	switch {
	case errors.Is(err, report.ErrNoProfile):
		return page, nil, http.StatusNotFound, err
	case err != nil:
		return page, nil, http.StatusInternalServerError, err
	}
	return page, file, http.StatusOK, nil
}

// mostSeconds bounds what a number of a request may be: a run lasts a day at most.
const mostSeconds = 1e6

func number(r *http.Request, name string) (float64, error) {
	v, err := strconv.ParseFloat(r.FormValue(name), 64)
	if err != nil || math.IsNaN(v) || math.Abs(v) > mostSeconds {
		return 0, fmt.Errorf("%s: must be a number of at most %g", name, float64(mostSeconds))
	}
	return v, nil
}
