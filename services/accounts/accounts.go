// Package accounts owns who the customers are: 1,000 of them in a store of their
// own, and the key that signs their tokens.
//
// It keeps no sessions: a token is good until it expires, and whoever has the
// public key checks it without asking (package token).
//
// Environment, beside what every service gets: TOKEN_TTL (how long a token is
// good, "1h" by default). The admin port takes PUT /clock?off=-90s, which sets the clock wrong that tokens
// are dated by.
package accounts

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/faultline-lab/faultline/services/kit"
	accountsv1 "github.com/faultline-lab/faultline/services/proto/shop/accounts/v1"
)

const defaultTTL = time.Hour

// Service describes accounts to the kit.
func Service() kit.Service {
	return kit.Service{Name: "accounts", Protocol: kit.GRPC, Build: build}
}

func build(ctx context.Context, rt *kit.Runtime) (*kit.Parts, error) {
	ttl, err := tokenTTL(rt.Env["TOKEN_TTL"])
	if err != nil {
		return nil, err
	}
	db, err := rt.Store(ctx, schema)
	if err != nil {
		return nil, err
	}
	r := &register{db: db}
	if err := r.seed(ctx, seedAccounts(), seedPassword); err != nil {
		return nil, err
	}
	watch := &clock{}
	srv, err := newServer(ctx, r, ttl, watch.now)
	if err != nil {
		return nil, err
	}
	return &kit.Parts{
		GRPC:  func(r grpc.ServiceRegistrar) { accountsv1.RegisterAccountsServer(r, srv) },
		Admin: map[string]http.Handler{"PUT /clock": http.HandlerFunc(watch.serve)},
	}, nil
}

func tokenTTL(text string) (time.Duration, error) {
	if text == "" {
		return defaultTTL, nil
	}
	ttl, err := time.ParseDuration(text)
	if err != nil || ttl < time.Second {
		return 0, fmt.Errorf(`reading TOKEN_TTL: %q is not a duration of at least a second, such as "1h"`, text)
	}
	return ttl, nil
}
