// Package replay owns sending a recorded run to the programs in which people
// look at telemetry: traces and logs over OTLP, metrics over Prometheus' remote
// write, profiles over Pyroscope's ingest, each with the times at which it was
// recorded, and the verdict behind them.
//
// It owns neither the record (package record) nor how telemetry is kept in it
// (package embedded). Sending a run twice is harmless for metrics, traces and logs, for what is
// there already is told by its ids and times; profiles would be added up.
package replay

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/observability/embedded"
)

// Config says where to. Each address is a base URL, such as http://127.0.0.1:9090;
// "" leaves out what would go there.
type Config struct {
	OTLP       string // a collector, or Tempo: OTLP over HTTP. Logs go there too unless Loki is set
	Prometheus string // with its remote-write receiver on
	Loki       string // 3.0 or newer: OTLP over HTTP below /otlp
	Pyroscope  string
	Client     *http.Client        // nil means one without a time limit of its own
	Tell       func(Part)          // told what was sent so far, at each message, one call at a time; nil means nobody
	pause      func(time.Duration) // waits before a message is sent again; nil means waiting, for tests
}

// Part is what of one kind was sent.
type Part struct {
	What    string // Spans | LogRecords | Samples | Profiles | Verdict
	To      string // the address
	Sent    int64  // taken by the other side
	Refused int64  // not taken
	Extra   string // what went along: "12 exemplars"
	Why     string // the first reason for which something was refused
	Err     error  // why this part ended before its end
}

// What is sent.
const (
	Spans      = "spans"
	LogRecords = "log records"
	Samples    = "samples"
	Profiles   = "profiles"
	Verdict    = "verdict"
)

// Report is what became of a run.
type Report struct {
	Run      record.Meta
	From, To time.Time // of the load and of the record's end
	Parts    []Part
}

// Err is what went wrong, of all parts; nil when everything was taken.
func (r Report) Err() error {
	var errs []error
	for _, p := range r.Parts {
		switch {
		case p.Err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", p.What, p.Err))
		case p.Refused > 0:
			errs = append(errs, fmt.Errorf("%s: %s refused %d of %d: %s", p.What, p.To, p.Refused, p.Sent+p.Refused, p.Why))
		}
	}
	return errors.Join(errs...)
}

// Run sends the run recorded in dir. A part that fails does not keep the others from
// being sent; Report.Err has what went wrong. The error is of what keeps everything from being sent: no
// address, nobody who listens at one of them, a record that cannot be read, or ctx.
func Run(ctx context.Context, dir string, cfg Config) (Report, error) {
	s := &sender{cfg: cfg, client: cfg.Client}
	if s.client == nil {
		s.client = &http.Client{Transport: &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 2}}
		defer s.client.CloseIdleConnections()
	}
	run, err := record.Open(dir)
	if err != nil {
		return Report{}, err
	}
	report := Report{Run: run.Meta, From: run.Meta.Load, To: run.Meta.Ended}
	if err := s.reach(ctx); err != nil {
		return report, err
	}
	archive, err := embedded.OpenArchive(dir)
	if err != nil {
		return report, err
	}
	defer archive.Close()
	for _, part := range s.parts(dir, run, archive) {
		p := part.part
		p.Err = part.send(ctx, &p)
		if ctx.Err() != nil {
			p.Err = nil // what it came to because of that is no news
		}
		report.Parts = append(report.Parts, p)
		if ctx.Err() != nil {
			return report, fmt.Errorf("replaying %s: %w", run.Meta.ID, context.Cause(ctx))
		}
	}
	return report, nil
}

// step is a part that is yet to be sent.
type step struct {
	part Part
	send func(context.Context, *Part) error
}

// parts lists what there is to send, and where to.
func (s *sender) parts(dir string, run *record.Run, archive *embedded.Archive) []step {
	var out []step
	add := func(what, to string, send func(context.Context, *Part) error) {
		if to != "" {
			out = append(out, step{Part{What: what, To: to}, send})
		}
	}
	add(Spans, s.cfg.OTLP, func(ctx context.Context, p *Part) error { return s.traces(ctx, p, archive) })
	logs := s.cfg.OTLP
	if s.cfg.Loki != "" {
		logs = s.cfg.Loki
	}
	add(LogRecords, logs, func(ctx context.Context, p *Part) error { return s.logs(ctx, p, archive) })
	add(Samples, s.cfg.Prometheus, func(ctx context.Context, p *Part) error { return s.metrics(ctx, p, archive) })
	add(Profiles, s.cfg.Pyroscope, func(ctx context.Context, p *Part) error { return s.profiles(ctx, p, archive) })
	add(Verdict, s.cfg.Prometheus, func(ctx context.Context, p *Part) error { return s.verdict(ctx, p, dir, run) })
	return out
}
