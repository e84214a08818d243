package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/faultline-lab/faultline/services/kit"
)

// one serves a single member until ctx ends, and prints where.
func one(ctx context.Context, m *member, env kit.Env, stdout io.Writer) error {
	began := time.Now()
	env, err := withPorts(ctx, env)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.run(ctx, env) })
	group.Go(func() error {
		admin := net.JoinHostPort(orElse(env["ADMIN_HOST"], host), env["ADMIN_PORT"])
		if awaitReady(ctx, admin) != nil {
			return nil // it is over, or the member is still busy starting: whoever started it waits on their own terms
		}
		_, err := fmt.Fprintf(stdout, "%s speaks %s at %s, admin at %s, ready after %d ms\n",
			m.name, m.protocol, net.JoinHostPort(orElse(env["HOST"], host), env["PORT"]), admin, time.Since(began).Milliseconds())
		return err
	})
	return group.Wait()
}

// withPorts settles the ports that the environment leaves open, so that they can be told.
func withPorts(ctx context.Context, env kit.Env) (kit.Env, error) {
	var open []string
	for _, variable := range []string{"PORT", "ADMIN_PORT"} {
		if env[variable] == "" || env[variable] == "0" {
			open = append(open, variable)
		}
	}
	ports := make([]int, len(open))
	if err := freePorts(ctx, ports); err != nil {
		return nil, err
	}
	settled := maps.Clone(env)
	for i, variable := range open {
		settled[variable] = strconv.Itoa(ports[i])
	}
	return settled, nil
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
