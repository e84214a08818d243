package main

import (
	"context"
	"fmt"

	"github.com/faultline-lab/faultline/services/accounts"
	"github.com/faultline-lab/faultline/services/bank"
	"github.com/faultline-lab/faultline/services/broker"
	"github.com/faultline-lab/faultline/services/catalog"
	"github.com/faultline-lab/faultline/services/gateway"
	"github.com/faultline-lab/faultline/services/inventory"
	"github.com/faultline-lab/faultline/services/kit"
	"github.com/faultline-lab/faultline/services/node"
	"github.com/faultline-lab/faultline/services/notifications"
	"github.com/faultline-lab/faultline/services/orders"
	"github.com/faultline-lab/faultline/services/payments"
	"github.com/faultline-lab/faultline/services/recommendations"
	"github.com/faultline-lab/faultline/services/registry"
	"github.com/faultline-lab/faultline/services/shipping"
)

// member is one process of the shop.
type member struct {
	name, protocol string
	about          string
	calls          []string // whose <NAME>_ADDR it needs
	env            [][2]string
	run            func(context.Context, kit.Env) error
}

// serve makes a member of a service.
func serve(svc kit.Service, about string, calls []string, env ...[2]string) *member {
	return &member{
		name: svc.Name, protocol: string(svc.Protocol), about: about, calls: calls, env: env,
		run: func(ctx context.Context, e kit.Env) error { return kit.Run(ctx, svc, e) },
	}
}

// members returns the shop, in the order in which a request passes through it.
func members() []*member {
	return []*member{
		serve(gateway.Service(), "REST for the world: tokens, rate limits, routing",
			[]string{"accounts", "catalog", "recommendations", "inventory", "orders"},
			[2]string{"RATE_LIMIT", "requests a second for each account or address (10000; 0 for no limit)"},
			[2]string{"TOKEN_LEEWAY", "how far the clock of who signed a token may be off (1s)"}),
		serve(accounts.Service(), "who the customers are; signs their tokens", nil,
			[2]string{"TOKEN_TTL", "how long a token is good (1h)"}),
		serve(catalog.Service(), "what is for sale, behind a cache", nil,
			[2]string{"CACHE_TTL", "how long a cache entry is good (30s; 0s for no cache)"},
			[2]string{"CACHE_MISSES", "joined: misses of one key make one read; alone: each reads (joined)"}),
		serve(recommendations.Service(), "what goes with what; fans out to its shards", []string{"catalog"},
			[2]string{"SHARDS", "how many shards (8)"}),
		serve(inventory.Service(), "how much there is; reserves stock", nil),
		serve(orders.Service(), "orders, and the saga that makes one", []string{"inventory", "payments", "broker"}),
		serve(payments.Service(), "charges, each at most once", []string{"bank"}),
		serve(bank.Service(), "the outside provider that holds the money", nil),
		serve(shipping.Service(), "sends what was ordered; consumes messages", []string{"broker", "inventory"}),
		serve(notifications.Service(), "tells the customer; consumes messages", []string{"broker"},
			[2]string{"CONSUME", "parallel: as many messages at once as workers; ordered: one after the other (parallel)"},
			[2]string{"DEAD_LETTERS", "on; off: what cannot be handled is tried for ever (on)"}),
		{
			name: "broker", protocol: "nats", about: "NATS with JetStream",
			run: func(ctx context.Context, e kit.Env) error { return broker.Run(ctx, e) },
		},
	}
}

// nodeMember serves a service that is all configuration. It is no part of the
// shop: systems of other shapes are made of it.
func nodeMember() *member {
	m := &member{
		name: "node", protocol: "http or grpc", about: "a service that is all configuration, to make systems of any shape of",
		run: func(ctx context.Context, e kit.Env) error { return node.Run(ctx, e) },
	}
	for _, variable := range node.Variables() {
		about := variable.About
		if variable.Default != nil && variable.Default != "" {
			about += fmt.Sprintf(" (%v)", variable.Default)
		}
		m.env = append(m.env, [2]string{variable.Name, about})
	}
	return m
}

// registryMember tells the callers in systems of nodes which replicas there are.
func registryMember() *member {
	return serve(registry.Service(), "which replicas callers are to use, for systems with discovery", nil,
		[2]string{"RECORDS", `the replicas of each service: "backend=1,2,3; other=1"`})
}

// watcherMember gives a NATS server that is another program the metrics of the shop's own.
func watcherMember() *member {
	return &member{
		name: "broker-metrics", protocol: "http", about: "the metrics of a NATS server that is another program",
		run: func(ctx context.Context, e kit.Env) error { return broker.Watch(ctx, e) },
		env: [][2]string{{"MONITOR_URL", "the NATS server's monitoring port, such as http://127.0.0.1:8222"}},
	}
}

// served are all that can be served one by one.
func served() []*member { return append(members(), nodeMember(), registryMember(), watcherMember()) }

func memberNames() []string {
	var names []string
	for _, m := range served() {
		names = append(names, m.name)
	}
	return names
}

func find(name string) *member {
	for _, m := range served() {
		if m.name == name {
			return m
		}
	}
	return nil
}
