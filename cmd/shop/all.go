package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/faultline-lab/faultline/services/kit"
)

const allUsage = `shop all serves every service and the broker in this process, each on ports of its own.

  --base-port N   the gateway's port is N, its admin port N+1, and so on; 0 takes ports that are free (0)
  --data DIR      keep the databases in DIR; without it they are gone at the end

The other variables of 'shop help' hold for every service, except PYROSCOPE_URL:
a profile is of a process, not of a service in it.
`

const (
	host = "127.0.0.1"
	// readyWithin bounds the start of all services together.
	readyWithin = 20 * time.Second
	readyEvery  = 10 * time.Millisecond
)

// place is where a member is served.
type place struct {
	*member
	port, adminPort int
}

func (p place) addr() string  { return net.JoinHostPort(host, strconv.Itoa(p.port)) }
func (p place) admin() string { return net.JoinHostPort(host, strconv.Itoa(p.adminPort)) }

// all serves every member until ctx ends or one of them fails.
func all(ctx context.Context, args []string, env kit.Env, stdout io.Writer) (err error) {
	basePort, data, err := allFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		_, err := fmt.Fprint(stdout, allUsage)
		return err
	}
	if err != nil {
		return err
	}
	places, err := allot(ctx, members(), basePort)
	if err != nil {
		return err
	}
	if data == "" {
		if data, err = os.MkdirTemp("", "shop-"); err != nil {
			return fmt.Errorf("making data folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range places {
		group.Go(func() error { return p.run(ctx, placeEnv(env, places, p, data)) })
	}
	group.Go(func() error { return announce(ctx, places, stdout) })
	return group.Wait()
}

func allFlags(args []string) (basePort int, data string, err error) {
	flags := flag.NewFlagSet("all", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.IntVar(&basePort, "base-port", 0, "")
	flags.StringVar(&data, "data", "", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0, "", err
	case err != nil:
		return 0, "", misused("all: %s", err)
	case flags.NArg() > 0:
		return 0, "", misused("all takes no arguments, got %q", flags.Arg(0))
	}
	if last := basePort + 2*len(members()) - 1; basePort < 0 || last > 65535 {
		return 0, "", misused("all: --base-port %d: ports %d to %d are needed", basePort, basePort, last)
	}
	return basePort, data, nil
}

// allot gives each member two ports: the next ones, or any that are free.
func allot(ctx context.Context, members []*member, basePort int) ([]place, error) {
	ports := make([]int, 2*len(members))
	if basePort > 0 {
		for i := range ports {
			ports[i] = basePort + i
		}
	} else if err := freePorts(ctx, ports); err != nil {
		return nil, err
	}
	places := make([]place, len(members))
	for i, m := range members {
		places[i] = place{member: m, port: ports[2*i], adminPort: ports[2*i+1]}
	}
	return places, nil
}

// freePorts fills ports. All are held until the last is found, so that none is given twice.
func freePorts(ctx context.Context, ports []int) (err error) {
	var config net.ListenConfig
	for i := range ports {
		listener, e := config.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
		if e != nil {
			return fmt.Errorf("looking for free ports: %w", e)
		}
		defer func() { err = errors.Join(err, listener.Close()) }()
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// placeEnv is a member's environment: that of the process, with its own
// ports and folder and everybody's addresses.
func placeEnv(env kit.Env, places []place, p place, data string) kit.Env {
	own := maps.Clone(env)
	delete(own, "PYROSCOPE_URL")
	for _, other := range places {
		own[addrVariable(other.name)] = other.addr()
	}
	own["HOST"] = host
	own["PORT"], own["ADMIN_PORT"] = strconv.Itoa(p.port), strconv.Itoa(p.adminPort)
	own["DATA_DIR"] = filepath.Join(data, p.name)
	own["OTEL_SERVICE_NAME"] = p.name
	return own
}

// announce prints where everything is, once everything is ready.
func announce(ctx context.Context, places []place, stdout io.Writer) error {
	limit, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for _, p := range places {
		switch err := awaitReady(limit, p.admin()); {
		case ctx.Err() != nil: // it is over, for a reason of its own
			return nil
		case err != nil:
			return fmt.Errorf("%s is not ready after %s: %w", p.name, readyWithin, err)
		}
	}
	table := tabwriter.NewWriter(stdout, 0, 0, 3, ' ', 0)
	fmt.Fprint(table, "SERVICE\tADDRESS\tSPEAKS\tADMIN\n")
	for _, p := range places {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.name, p.addr(), p.protocol, p.admin())
	}
	fmt.Fprintf(table, "\nTry: curl %s/products/p-17\nCtrl-C ends it.\n", places[0].addr())
	return table.Flush()
}

// awaitReady asks until the answer is yes or ctx ends; the error is that of the last answer.
func awaitReady(ctx context.Context, admin string) error {
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		err := ask(ctx, "http://"+admin+"/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func ask(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}
