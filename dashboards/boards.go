package dashboards

import "github.com/faultline-lab/faultline/observability/names"

// Boards returns all dashboards, in the order in which they are read.
func Boards() []Board {
	return []Board{lab(), servicesBoard(), edges(), resilience(), bench()}
}

func lab() Board {
	good := is(names.Outcome, "good")
	done := func(matchers ...string) string {
		return sumBy(names.Load, rate(names.LoadDone, append(matchers, chosen(names.Load))...))
	}
	return Board{
		Name: "lab", Title: "Faultline: Lab",
		About:     "What is being done to the system, and whether it holds. Red bands are faults, as faultline_fault_active has them.",
		Variables: []Variable{{Name: names.Load, Label: "Load", Metric: names.LoadDone, Of: names.Load}},
		Panels: []Panel{
			{
				Kind: Stat, Title: "Which scenario runs, in which variant?", Width: 6, Height: 5, Unit: "none", Values: []Meaning{{1, "run", "blue"}},
				Queries: []Query{{Expr: "max by (scenario, variant) (" + names.RunInfo + ")", Legend: "{{scenario}}: {{variant}}"}},
			},
			{
				Kind: Stat, Title: "Did it hold?", About: "The lab judges when the run has ended; faultline replay brings the verdict with it.",
				Width: 4, Height: 5, Unit: "none", Values: verdicts(), Queries: []Query{{Expr: "max(" + names.RunVerdict + ")", Legend: "verdict"}},
			},
			{
				Kind: Stat, Title: "Which expectations held?", Width: 14, Height: 5, Unit: "none", Values: verdicts(),
				Queries: []Query{{Expr: "max by (that, in) (" + names.Finding + ")", Legend: "{{that}} {{in}}"}},
			},
			{
				Kind: Timeline, Title: "Which phase is on?", Width: 8, Height: 6, Unit: "none", Values: onOff("on", "blue"),
				Queries: []Query{{Expr: "max by (phase) (" + names.PhaseActive + ")", Legend: "{{phase}}"}},
			},
			{
				Kind: Timeline, Title: "Which faults act, and on what?", Width: 8, Height: 6, Unit: "none", Values: onOff("acts", "red"),
				Queries: []Query{{Expr: "max by (fault, kind, target) (" + names.FaultActive + ")", Legend: "{{fault}}: {{kind}} {{target}}"}},
			},
			{
				Kind: Timeline, Title: "Which alerts fire?", Width: 8, Height: 6, Unit: "none", Values: onOff("fires", "orange"),
				Queries: []Query{{Expr: `max by (alertname) (ALERTS{alertstate="firing"})`, Legend: "{{alertname}}"}},
			},
			ratios(Panel{
				Kind: TimeSeries, Title: "Which share of the load is served well and in time?", About: "Goodput: journeys that ended well within their slo, of all that ended.", Width: 12,
				Queries: []Query{{Expr: done(good) + " / " + done(), Legend: "{{load}}"}},
			}),
			{
				Kind: TimeSeries, Title: "Does what is achieved keep up with what is offered?", About: "Offered: what comes due by plan. Good: what ended well and in time.", Width: 12, Unit: "reqps", Min: number(0),
				Queries: []Query{
					{Expr: selector(names.LoadPlanned, chosen(names.Load)), Legend: "{{load}} offered"},
					{Expr: done(), Legend: "{{load}} ended"},
					{Expr: done(good), Legend: "{{load}} good"},
				},
			},
			{
				Kind: Heatmap, Title: "How long do journeys take, from when they were due?", About: "Each column is a moment, each cell how many journeys took that long. A system that stands still shows here, as requests count from when they were due.",
				Width: 12, Height: 9, Unit: "s",
				Queries: []Query{{Expr: sumBy("le", "increase("+selector(names.LoadLatency+"_bucket", chosen(names.Load))+window+")"), Legend: "{{le}}", Heatmap: true, Exemplars: true}},
			},
			{
				Kind: TimeSeries, Title: "How slow are the slowest, against the slo?", About: "Dots are single journeys: click one for its trace.", Width: 12, Height: 9, Unit: "s", Min: number(0),
				Queries: []Query{
					{Expr: quantile(.99, names.Load, names.LoadLatency, chosen(names.Load)), Legend: "{{load}} p99", Exemplars: true},
					{Expr: quantile(.5, names.Load, names.LoadLatency, chosen(names.Load)), Legend: "{{load}} p50"},
					{Expr: selector(names.LoadSLO, chosen(names.Load)), Legend: "{{load}} slo"},
				},
			},
			{
				Kind: TimeSeries, Title: "What became of the journeys?", Width: 8, Unit: "reqps", Stack: true, Min: number(0),
				Queries: []Query{{Expr: sumBy(names.Outcome, rate(names.LoadDone, chosen(names.Load))), Legend: "{{outcome}}"}},
			},
			{
				Kind: TimeSeries, Title: "Can the figures be believed, or did the generator lag?", About: "p99 of sent - due. Over 5 ms, or 5 % of the tightest slo, the verdict is inconclusive.", Width: 8, Unit: "s", Min: number(0),
				Steps:   []Step{{0, "green"}, {.005, "orange"}},
				Queries: []Query{{Expr: quantile(.99, names.Load, names.LoadLag), Legend: "{{load}}"}},
			},
			{
				Kind: TimeSeries, Title: "What do the processes cost?", About: "Processor time a second, of the lab's own processes too.", Width: 8, Unit: "suffix: cores", Stack: true, Min: number(0),
				Queries: []Query{{Expr: sumBy(names.Process, rate(names.ProcessCPU)), Legend: "{{process}}"}},
			},
			{
				Kind: Table, Title: "Which requests failed or took long?", About: "Click one for its trace, and from there its logs and profiles.", Width: 12, Height: 9,
				Queries: []Query{{Source: Tempo, Expr: `{ kind = server && (status = error || duration > 500ms) }`}},
			},
			{
				Kind: Logs, Title: "What do the services complain of?", Width: 12, Height: 9,
				Queries: []Query{{Source: Loki, Expr: `{service_name=~".+"} | detected_level=~"warn|error"`}},
			},
		},
	}
}

func servicesBoard() Board {
	service := chosen(names.Service)
	by := func(label, name string, matchers ...string) string {
		return sumBy(label, rate(name, append(matchers, service)...))
	}
	grpcFaults := like("rpc_response_status_code", "UNKNOWN|DEADLINE_EXCEEDED|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS|RESOURCE_EXHAUSTED")
	return Board{
		Name: "services", Title: "Faultline: Services",
		About:     "Rate, errors, duration and saturation of each service.",
		Variables: []Variable{{Name: names.Service, Label: "Service", Metric: names.DoorWorkers, Of: names.Service}},
		Panels: []Panel{
			{Kind: Row, Title: "Requests"},
			{
				Kind: TimeSeries, Title: "How much does each service get to do?", Unit: "reqps", Min: number(0),
				Queries: []Query{{Expr: by(names.Service, names.DoorRequests), Legend: "{{service}}"}},
			},
			ratios(Panel{
				Kind: TimeSeries, Title: "Which share of its answers are its own errors?", About: "HTTP 5xx, and gRPC codes that are a server's fault.",
				Queries: []Query{
					{Expr: by(names.Service, names.HTTPServerDuration+"_count", like("http_response_status_code", "5..")) + " / " + by(names.Service, names.HTTPServerDuration+"_count"), Legend: "{{service}} http"},
					{Expr: by(names.Service, names.RPCServerDuration+"_count", grpcFaults) + " / " + by(names.Service, names.RPCServerDuration+"_count"), Legend: "{{service}} grpc"},
				},
			}),
			{
				Kind: TimeSeries, Title: "How long do its answers take, waiting included (p99)?", Unit: "s", Min: number(0),
				Queries: []Query{
					{Expr: quantile(.99, names.Service, names.HTTPServerDuration, service), Legend: "{{service}} http", Exemplars: true},
					{Expr: quantile(.99, names.Service, names.RPCServerDuration, service), Legend: "{{service}} grpc", Exemplars: true},
				},
			},
			{Kind: Row, Title: "Saturation"},
			ratios(Panel{
				Kind: TimeSeries, Title: "Whose workers are all busy?", Steps: []Step{{0, "green"}, {.95, "red"}},
				Queries: []Query{{Expr: selector(names.DoorBusy, service) + " / (" + selector(names.DoorWorkers, service) + " > 0)", Legend: "{{instance}}"}},
			}),
			{
				Kind: TimeSeries, Title: "Where do requests queue?", Unit: "short", Min: number(0),
				Queries: []Query{{Expr: selector(names.DoorQueueDepth, service), Legend: "{{instance}}"}},
			},
			{
				Kind: TimeSeries, Title: "Who turns requests away, and how?", About: "shed: no place in the queue. expired: nobody waited for it any more. abandoned: its caller went while it was worked on.", Unit: "reqps", Min: number(0),
				Queries: []Query{{Expr: sumBy("service, outcome", rate(names.DoorRequests, service, isNot(names.Outcome, "served"))), Legend: "{{service}} {{outcome}}"}},
			},
			{
				Kind: TimeSeries, Title: "How long do requests wait for a worker (p99)?", Unit: "s", Min: number(0),
				Queries: []Query{{Expr: quantile(.99, names.Service, names.DoorWait, service), Legend: "{{service}}"}},
			},
			{
				Kind: TimeSeries, Title: "How long is a worker held (p50, p99)?", About: "Real work and drawn service time, and all waiting for callees.", Unit: "s", Min: number(0),
				Queries: []Query{
					{Expr: quantile(.5, names.Service, names.DoorServiceTime, service), Legend: "{{service}} p50"},
					{Expr: quantile(.99, names.Service, names.DoorServiceTime, service), Legend: "{{service}} p99"},
				},
			},
			ratios(Panel{
				Kind: TimeSeries, Title: "How much work is done for callers who have gone?",
				Queries: []Query{{Expr: by(names.Service, names.DoorWastedSeconds) + " / " + by(names.Service, names.DoorServiceTime+"_sum"), Legend: "{{service}}"}},
			}),
			{Kind: Row, Title: "Business and messages"},
			{
				Kind: TimeSeries, Title: "How do orders end?", Unit: "ops", Stack: true, Min: number(0),
				Queries: []Query{{Expr: sumBy(names.Outcome, rate(names.SagasTotal)), Legend: "{{outcome}}"}},
			},
			{
				Kind: TimeSeries, Title: "What is not finished yet?", About: "Orders under way, events not yet published, messages not yet delivered or acknowledged.", Unit: "short", Min: number(0),
				Queries: []Query{
					{Expr: sumBy(names.Service, names.SagasPending), Legend: "sagas of {{service}}"},
					{Expr: sumBy(names.Service, names.OutboxPending), Legend: "outbox of {{service}}"},
					{Expr: sumBy("consumer", names.BrokerConsumerPending), Legend: "{{consumer}} not delivered"},
					{Expr: sumBy("consumer", names.BrokerConsumerUnacked), Legend: "{{consumer}} not acknowledged"},
				},
			},
			{
				Kind: TimeSeries, Title: "What becomes of messages?", Unit: "ops", Min: number(0),
				Queries: []Query{
					{Expr: sumBy("subject", rate(names.MessagesPublished)), Legend: "{{subject}} published"},
					{Expr: sumBy("subject, outcome", rate(names.MessagesConsumed)) + " > 0", Legend: "{{subject}} {{outcome}}"},
				},
			},
			{
				Kind: TimeSeries, Title: "Which messages were given up?", About: "Dead letters so far.", Unit: "short", Min: number(0),
				Queries: []Query{{Expr: sumBy("service, subject", names.DeadLetters), Legend: "{{service}}: {{subject}}"}},
			},
			ratios(Panel{
				Kind: TimeSeries, Title: "Do the caches help?", About: "Share of reads that the cache answered.",
				Queries: []Query{{Expr: sumBy("cache", rate(names.CacheRequests, is(names.Outcome, "hit"))) + " / " + sumBy("cache", rate(names.CacheRequests)), Legend: "{{cache}}"}},
			}),
			{
				Kind: TimeSeries, Title: "Is telemetry lost?", Unit: "short", Min: number(0),
				Queries: []Query{
					{Expr: sumBy(names.Service, names.SpansDropped), Legend: "{{service}} spans"},
					{Expr: sumBy(names.Service, names.LogsDropped), Legend: "{{service}} log records"},
				},
			},
			{Kind: Row, Title: "Runtime"},
			{
				Kind: Timeline, Title: "Who answers?", Height: 10, Unit: "none", Values: []Meaning{{0, "down", "red"}, {1, "up", "green"}},
				Queries: []Query{{Expr: selector("up", service), Legend: "{{instance}}"}},
			},
			{
				Kind: TimeSeries, Title: "Who uses the processor?", Height: 10, Unit: "suffix: cores", Min: number(0),
				Queries: []Query{{Expr: sumBy(names.Instance, rate("process_cpu_seconds_total", service)), Legend: "{{instance}}"}},
			},
			{
				Kind: TimeSeries, Title: "Who uses the memory?", Height: 10, Unit: "bytes", Min: number(0),
				Queries: []Query{{Expr: selector("process_resident_memory_bytes", service), Legend: "{{instance}}"}},
			},
			{
				Kind: TimeSeries, Title: "Do goroutines pile up?", Unit: "short", Min: number(0),
				Queries: []Query{{Expr: selector("go_goroutines", service), Legend: "{{instance}}"}},
			},
			{
				Kind: TimeSeries, Title: "How long does garbage collection stop it?", Unit: "s", Min: number(0),
				Queries: []Query{{Expr: `max by (instance) (` + selector("go_gc_duration_seconds", service) + `)`, Legend: "{{instance}}"}},
			},
			{
				Kind: TimeSeries, Title: "Do open connections and files pile up?", Unit: "short", Min: number(0),
				Queries: []Query{{Expr: selector("process_open_fds", service), Legend: "{{instance}}"}},
			},
			{
				Kind: Flames, Title: "Where does the processor time go?", Width: 12, Height: 12,
				Queries: []Query{{Source: Pyroscope, Expr: `{service_name=~"$service"}`}},
			},
			{
				Kind: Logs, Title: "What does it say?", Width: 12, Height: 12,
				Queries: []Query{{Source: Loki, Expr: `{service_name=~"$service"}`}},
			},
		},
	}
}

func edges() Board {
	edge := []string{chosen(names.Caller), chosen(names.Callee)}
	by := func(label, name string, matchers ...string) string {
		return sumBy(label, rate(name, append(matchers, edge...)...))
	}
	return Board{
		Name: "edges", Title: "Faultline: Edges",
		About: "What callers see of their callees, and what policies make of it. A call is what the program asked for, an attempt one try of it.",
		Variables: []Variable{
			{Name: names.Caller, Label: "Caller", Metric: names.EdgeCalls, Of: names.Caller},
			{Name: names.Callee, Label: "Callee", Metric: names.EdgeCalls, Of: names.Callee},
		},
		Panels: []Panel{
			{Kind: Row, Title: "Calls"},
			{
				Kind: TimeSeries, Title: "Who calls whom, how often?", Unit: "reqps", Min: number(0),
				Queries: []Query{{Expr: by("caller, callee", names.EdgeCalls), Legend: "{{caller}}→{{callee}}"}},
			},
			ratios(Panel{
				Kind: TimeSeries, Title: "On which edges do calls fail?", About: "Share of the calls that did not end well, whatever the reason.",
				Queries: []Query{{Expr: by("caller, callee", names.EdgeCalls, isNot(names.Outcome, "ok")) + " / " + by("caller, callee", names.EdgeCalls), Legend: "{{caller}}→{{callee}}"}},
			}),
			{
				Kind: TimeSeries, Title: "How do calls end?", Unit: "reqps", Stack: true, Min: number(0),
				Queries: []Query{{Expr: by(names.Outcome, names.EdgeCalls), Legend: "{{outcome}}"}},
			},
			{
				Kind: TimeSeries, Title: "How long does the caller wait (p99)?", About: "All attempts and the pauses between them. Dots are single calls: click one for its trace.", Unit: "s", Min: number(0),
				Queries: []Query{{Expr: quantile(.99, "caller, callee", names.EdgeCallDuration, edge...), Legend: "{{caller}}→{{callee}}", Exemplars: true}},
			},
			{
				Kind: TimeSeries, Title: "Is it the callee that is slow, or what lies between (p99)?", About: "An attempt as its caller sees it, against the same work as the callee sees it. What they differ by is the way there and back: the network, and the faults on it.",
				Unit: "s", Min: number(0), Width: 8,
				Queries: []Query{
					{Expr: quantile(.99, names.Callee, names.EdgeAttemptDuration, edge...), Legend: "{{callee}} seen by callers", Exemplars: true},
					{Expr: quantile(.99, names.Service, names.RPCServerDuration, `service=~"$callee"`), Legend: "{{service}} seen by itself"},
					{Expr: quantile(.99, names.Service, names.HTTPServerDuration, `service=~"$callee"`), Legend: "{{service}} seen by itself"},
				},
			},
			{
				Kind: TimeSeries, Title: "Which replica is the slow one (p99 of attempts)?", Unit: "s", Min: number(0),
				Queries: []Query{{Expr: quantile(.99, "callee, replica", names.EdgeAttemptDuration, edge...), Legend: "{{callee}}-{{replica}}"}},
			},
			{
				Kind: TimeSeries, Title: "How many calls are under way?", About: "Where calls pile up, somebody waits.", Unit: "short", Min: number(0),
				Queries: []Query{{Expr: sumBy("caller, callee", selector(names.EdgeInFlight, edge...)), Legend: "{{caller}}→{{callee}}"}},
			},
			{
				Kind: TimeSeries, Title: "How much passes through the proxies?", About: "Each edge leads through a proxy, on which network faults act.", Unit: "Bps", Min: number(0),
				Queries: []Query{{Expr: by("caller, callee", names.ProxyBytes), Legend: "{{caller}}→{{callee}}"}},
			},
			{
				Kind: TimeSeries, Title: "How many connections are open?", Unit: "short", Min: number(0),
				Queries: []Query{{Expr: sumBy("caller, callee", selector(names.ProxyConnections, edge...)), Legend: "{{caller}}→{{callee}}"}},
			},
			{Kind: Row, Title: "Policies and faults"},
			{
				Kind: TimeSeries, Title: "How many attempts does one call cost?", About: "Amplification: 1 without retries and hedges. Below 1, calls were rejected before anything was sent.", Unit: "suffix: x", Min: number(0),
				Steps:   []Step{{0, "green"}, {1.5, "red"}},
				Queries: []Query{{Expr: by("caller, callee", names.EdgeAttempts) + " / " + by("caller, callee", names.EdgeCalls), Legend: "{{caller}}→{{callee}}"}},
			},
			{
				Kind: TimeSeries, Title: "Which policy rejects calls, and why?", Unit: "reqps", Min: number(0),
				Queries: []Query{{Expr: sumBy("on, policy, cause", rate(names.PolicyRejections)), Legend: "{{on}} {{policy}}: {{cause}}"}},
			},
			{
				Kind: Timeline, Title: "Which breakers are open?", Unit: "none", Values: []Meaning{{0, "closed", "green"}, {1, "half-open", "yellow"}, {2, "open", "red"}},
				Queries: []Query{{Expr: selector(names.PolicyState, is(names.Policy, "circuit_breaker")), Legend: "{{on}}"}},
			},
			{
				Kind: TimeSeries, Title: "How full or strict are the other policies?", About: "What policy_state means depends on the policy: a bulkhead's or limiter's limit, tokens left of a budget, chance of rejection of a throttle, replicas ejected.", Unit: "short", Min: number(0),
				Queries: []Query{{Expr: selector(names.PolicyState, isNot(names.Policy, "circuit_breaker")), Legend: "{{on}} {{policy}}"}},
			},
			{
				Kind: TimeSeries, Title: "What do policies do besides?", Unit: "ops", Min: number(0),
				Queries: []Query{
					{Expr: sumBy("on", rate(names.PolicyRetries)), Legend: "{{on}} retries"},
					{Expr: sumBy("on, outcome", rate(names.PolicyHedges)), Legend: "{{on}} hedges {{outcome}}"},
					{Expr: sumBy("on, outcome", rate(names.PolicyFallbacks)), Legend: "{{on}} fallback {{outcome}}"},
					{Expr: sumBy("on, to", rate(names.PolicyTransitions)), Legend: "{{on}} breaker {{to}}"},
				},
			},
			{
				Kind: TimeSeries, Title: "How many requests did faults hit, one by one?", About: "Faults of single requests. Each that was hit has a span that says so in its trace.", Unit: "reqps", Min: number(0),
				Queries: []Query{{Expr: sumBy("fault, caller, callee", rate(names.RequestFaults)), Legend: "{{fault}} on {{caller}}→{{callee}}"}},
			},
			{
				Kind: NodeGraph, Title: "Who depends on whom, as the traces have it?", About: "The service graph that Tempo makes of traces: a node's ring is its share of errors.", Width: 12, Height: 12,
				Queries: []Query{{Source: Tempo, Expr: `{client=~"$caller", server=~"$callee"}`}},
			},
			{
				Kind: Table, Title: "Which attempts failed?", About: "Spans of calls that ended in an error. A span with faultline.fault was hit by a fault.", Width: 12, Height: 12,
				Queries: []Query{{Source: Tempo, Expr: `{ kind = client && status = error }`}},
			},
		},
	}
}
