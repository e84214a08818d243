// Package request owns the faults of the family request: it puts layer-7 hops
// on edges through the API of the proxy process (package proxy), puts faults in force
// there, and reads how many requests were hit.
//
// A fault counts as felt when it has hit a request, and as gone when it is no
// longer in force: a hop hits nothing by itself.
//
// It does not know when a fault begins or ends: that is chaos.Controller's.
package request

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/chaos/proxy"
	"github.com/faultline-lab/faultline/chaos/proxy/hop"
)

// Config says how an Injector works.
type Config struct {
	// API is the base URL of the proxy process.
	API string
	// Seed is what is drawn from which requests are hit.
	Seed uint64
	// CallWithin bounds a control call; 0 means 5 s.
	CallWithin time.Duration
}

// Injector is the chaos.Injector of the family request.
type Injector struct {
	config Config
	http   *http.Client

	mu   sync.Mutex
	hops []proxy.Hop
}

// The optional powers that this injector has.
var (
	_ chaos.Injector = (*Injector)(nil)
	_ chaos.Checker  = (*Injector)(nil)
)

// New returns an Injector without hops. Close it when done.
func New(config Config) *Injector {
	if config.CallWithin <= 0 {
		config.CallWithin = 5 * time.Second
	}
	config.API = strings.TrimSuffix(config.API, "/")
	return &Injector{config: config, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}}}
}

// Close closes connections to the proxy process. It takes no fault back.
func (i *Injector) Close() { i.http.CloseIdleConnections() }

// Export says where the hops' spans go: OTLP over gRPC, such as http://127.0.0.1:4317. It has
// to be called before the first hop is put up.
func (i *Injector) Export(ctx context.Context, endpoint string) error {
	if err := i.call(ctx, http.MethodPost, "/faultline/telemetry", map[string]string{"endpoint": endpoint}, nil); err != nil {
		return fmt.Errorf("telling the proxy where spans go: %w", err)
	}
	return nil
}

// CreateHops puts up a hop for each spec and returns them in the same order.
func (i *Injector) CreateHops(ctx context.Context, specs []hop.Spec) ([]proxy.Hop, error) {
	var created []proxy.Hop
	for _, spec := range specs {
		var one proxy.Hop
		if err := i.call(ctx, http.MethodPost, "/faultline/hops", spec, &one); err != nil {
			return nil, fmt.Errorf("putting a hop on %s: %w", spec.Edge, err)
		}
		created = append(created, one)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hops = append(i.hops, created...)
	return created, nil
}

// Check implements chaos.Checker: a hop has to stand on every edge.
func (i *Injector) Check(f chaos.Fault) error {
	if kind, found := chaos.Find(f.Kind); !found || kind.Family != chaos.FamilyRequest {
		return fmt.Errorf("%s is not a fault of requests", f.Kind)
	}
	if len(f.Edges) == 0 {
		return errors.New("it names no edge")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, edge := range f.Edges {
		at := slices.IndexFunc(i.hops, func(h proxy.Hop) bool {
			return h.Edge == edge && h.Upstream != "" && !h.Observe && (f.Replica == 0 || f.Replica == h.Replica)
		})
		if at < 0 {
			return fmt.Errorf("no layer-7 hop stands on %s: a run puts them only where its scenario has a fault of requests", chaos.Fault{Edges: []chaos.Edge{edge}, Replica: f.Replica}.Target())
		}
		if err := chaos.CheckProtocol(f, i.hops[at].Protocol); err != nil {
			return fmt.Errorf("%s: %w", edge, err)
		}
	}
	return nil
}

// Inject implements chaos.Injector.
func (i *Injector) Inject(ctx context.Context, f chaos.Fault) error {
	if err := i.Check(f); err != nil {
		return err
	}
	return i.call(ctx, http.MethodPost, "/faultline/faults", proxy.RequestFault{Fault: f, Seed: i.config.Seed}, nil)
}

// Active implements chaos.Injector.
func (i *Injector) Active(ctx context.Context, f chaos.Fault) (chaos.Effect, error) {
	var tally hop.Tally
	if err := i.call(ctx, http.MethodGet, path(f), nil, &tally); err != nil {
		return chaos.Effect{}, err
	}
	return chaos.Effect{
		Felt:    tally.Active && tally.Hit > 0,
		Measure: "requests hit on " + f.Target(), Unit: "requests", During: float64(tally.Hit),
		Detail: fmt.Sprintf("of %d that it could have hit so far", tally.Matched),
	}, nil
}

// Recover implements chaos.Injector.
func (i *Injector) Recover(ctx context.Context, f chaos.Fault) error {
	return i.call(ctx, http.MethodDelete, path(f), nil, nil)
}

func path(f chaos.Fault) string { return "/faultline/faults/" + url.PathEscape(f.ID) }

// call sends in as JSON, unless it is nil, and decodes the answer into out, unless that is nil.
func (i *Injector) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, i.config.CallWithin)
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, i.config.API+path, body)
	if err != nil {
		return err
	}
	answer, err := i.http.Do(request)
	if err != nil {
		return fmt.Errorf("calling the proxy: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("calling the proxy: %w", err)
	}
	if answer.StatusCode >= 300 {
		failure := struct {
			Error string `json:"error"`
		}{Error: string(text)}
		_ = json.Unmarshal(text, &failure) // the text itself otherwise
		return fmt.Errorf("the proxy answered %d: %s", answer.StatusCode, failure.Error)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("reading the proxy's answer: %w", err)
	}
	return nil
}
