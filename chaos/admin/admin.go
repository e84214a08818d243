// Package admin owns the fault of the family admin: it asks the replicas of a
// service, on their admin ports, to do something to themselves, and at the end to take it
// back. What there is to ask for, and what comes of it, is the service's.
//
// It counts as felt when every replica answered with 2xx, and as gone when every replica
// answered 2xx to what takes it back, or when there is nothing to take back.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/faultline-lab/faultline/chaos"
)

const (
	answerWithin = 3 * time.Second // of one replica
	answerLimit  = 300             // bytes of an answer that the event keeps
)

// Addrs lists the admin ports, host:port, of a service's replicas; replica 0 means all.
type Addrs func(service string, replica int) []string

// Injector is the chaos.Injector of the family admin.
type Injector struct {
	addrs  Addrs
	client *http.Client

	mu    sync.Mutex
	asked map[string]*asked // by the fault's id
}

// The optional powers that this injector has.
var (
	_ chaos.Injector = (*Injector)(nil)
	_ chaos.Checker  = (*Injector)(nil)
	_ chaos.Releaser = (*Injector)(nil)
)

// asked is what became of a fault so far.
type asked struct {
	answers int    // replicas that said yes
	detail  string // what they said
	undone  bool
}

// New returns an Injector that finds admin ports by addrs and connects by dial; nil connects
// as any program of this machine does.
func New(addrs Addrs, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Injector {
	return &Injector{
		addrs:  addrs,
		client: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: answerWithin},
		asked:  map[string]*asked{},
	}
}

// Check implements chaos.Checker.
func (i *Injector) Check(f chaos.Fault) error {
	if f.Kind != chaos.Admin {
		return fmt.Errorf("%s is not a fault of admin ports", f.Kind)
	}
	if len(f.Services) == 0 {
		return errors.New("it names no service")
	}
	for _, name := range []string{"do", "undo"} {
		if name == "undo" && !f.Params.Has(name) {
			continue
		}
		if _, _, err := chaos.ParseAsk(f.Params.Text(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Inject implements chaos.Injector. A replica that says no fails it.
func (i *Injector) Inject(ctx context.Context, f chaos.Fault) error {
	if err := i.Check(f); err != nil {
		return err
	}
	a := &asked{}
	i.mu.Lock()
	i.asked[f.ID] = a
	i.mu.Unlock()
	answers, err := i.ask(ctx, f, f.Params.Text("do"), f.Params.Text("body"))
	i.mu.Lock()
	a.answers, a.detail = len(answers), strings.Join(answers, "; ")
	i.mu.Unlock()
	return err
}

// ask asks every replica at the same time, and returns what those said who said yes.
func (i *Injector) ask(ctx context.Context, f chaos.Fault, what, body string) ([]string, error) {
	method, path, err := chaos.ParseAsk(what)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, service := range f.Services {
		found := i.addrs(service, f.Replica)
		if len(found) == 0 {
			return nil, fmt.Errorf("%s has no admin port that could be asked", service)
		}
		addrs = append(addrs, found...)
	}
	answers, failures := make([]string, len(addrs)), make([]error, len(addrs))
	var asking sync.WaitGroup
	for n, addr := range addrs {
		asking.Go(func() { answers[n], failures[n] = i.one(ctx, method, "http://"+addr+path, body) })
	}
	asking.Wait()
	var said []string
	for n, answer := range answers {
		if failures[n] == nil {
			said = append(said, answer)
		}
	}
	return said, errors.Join(failures...)
}

func (i *Injector) one(ctx context.Context, method, url, body string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	response, err := i.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return "", fmt.Errorf("reading the answer to %s %s: %w", method, url, err)
	}
	answer := strings.Join(strings.Fields(string(text)), " ")
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return "", fmt.Errorf("%s %s: answered %s: %s", method, url, response.Status, answer)
	}
	return answer, nil
}

// Active implements chaos.Injector.
func (i *Injector) Active(_ context.Context, f chaos.Fault) (chaos.Effect, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	a := i.asked[f.ID]
	if a == nil {
		return chaos.Effect{}, fmt.Errorf("%s was not injected", f.ID)
	}
	effect := chaos.Effect{Measure: "replicas of " + f.Target() + " that did " + f.Params.Text("do"), Detail: a.detail}
	if !a.undone {
		effect.Felt, effect.During = a.answers > 0, float64(a.answers)
	}
	return effect, nil
}

// Recover implements chaos.Injector. Where a fault was half injected, those are asked too who never did it.
func (i *Injector) Recover(ctx context.Context, f chaos.Fault) error {
	var said []string
	if f.Params.Has("undo") {
		var err error
		if said, err = i.ask(ctx, f, f.Params.Text("undo"), ""); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if a := i.asked[f.ID]; a != nil {
		a.undone, a.detail = true, strings.Join(said, "; ")
	}
	return nil
}

// Release implements chaos.Releaser.
func (i *Injector) Release(f chaos.Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.asked, f.ID)
}
