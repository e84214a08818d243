// Package names owns every name that telemetry goes by: metrics, labels, span
// attributes. Whoever emits and whoever queries takes the name from here, and
// a test holds dashboards and alert rules to this list.
package names

// Metrics of a service's door: where requests enter and wait for a worker.
const (
	DoorWorkers       = "door_workers"              // gauge: how many may work at once
	DoorBusy          = "door_busy_workers"         // gauge
	DoorQueueLimit    = "door_queue_limit"          // gauge
	DoorQueueDepth    = "door_queue_depth"          // gauge: requests waiting for a worker
	DoorRequests      = "door_requests_total"       // counter by outcome: served | shed | expired | abandoned
	DoorWait          = "door_wait_seconds"         // histogram: time waited in the queue
	DoorServiceTime   = "door_service_time_seconds" // histogram: time a worker was really held
	DoorWastedSeconds = "door_wasted_seconds_total" // counter: worker time spent for callers who had gone
)

// Metrics of an edge as its caller sees it. A call is what the program asked
// for; an attempt is one try that a policy made of it. Attempts over calls is the
// edge's amplification.
const (
	EdgeCalls           = "edge_calls_total"              // counter by caller, callee, outcome
	EdgeAttempts        = "edge_attempts_total"           // counter by caller, callee, outcome
	EdgeCallDuration    = "edge_call_duration_seconds"    // histogram by caller, callee; exemplars
	EdgeAttemptDuration = "edge_attempt_duration_seconds" // histogram by caller, callee, replica; exemplars
	EdgeInFlight        = "edge_in_flight"                // gauge by caller, callee: calls under way
)

// Metrics of policies. The label policy is the kind ("circuit_breaker"), on is the edge
// ("payments->bank") or the service whose door it guards.
const (
	PolicyRejections  = "policy_rejections_total"  // counter by on, policy, cause
	PolicyRetries     = "policy_retries_total"     // counter by on
	PolicyState       = "policy_state"             // gauge by on, policy: breaker 0 closed, 1 half-open, 2 open; limit now; tokens left; chance of rejection; replicas ejected
	PolicyTransitions = "policy_transitions_total" // counter by on, policy, to
	PolicyHedges      = "policy_hedges_total"      // counter by on, outcome: sent | won
	PolicyFallbacks   = "policy_fallbacks_total"   // counter by on, outcome: served | missed
)

// Metrics of servers, after OpenTelemetry's semantic conventions, with exemplars.
const (
	HTTPServerDuration = "http_server_request_duration_seconds" // http_request_method, http_route, http_response_status_code
	RPCServerDuration  = "rpc_server_call_duration_seconds"     // rpc_method, rpc_response_status_code
)

// Metrics of messaging and of the shop's own business.
const (
	MessagesPublished = "messaging_published_total" // subject
	MessagesConsumed  = "messaging_consumed_total"  // subject, outcome: ok | retried | duplicate | dead_letter
	OutboxPending     = "outbox_pending"            // gauge: committed, not yet published
	SagasTotal        = "sagas_total"               // outcome: confirmed | cancelled
	SagasPending      = "sagas_pending"             // gauge
	CacheRequests     = "cache_requests_total"      // cache, outcome: hit | miss | coalesced (joined another's read)
	DeadLetters       = "dead_letters_total"        // subject
)

// Metrics of a service's store. The label pool is write or read; PostgreSQL has one for both, write.
const (
	StoreStatement   = "store_statement_seconds"  // histogram: time of a statement or commit, without the wait for a connection
	StoreConnections = "store_connections"        // gauge by pool: how many there may be
	StoreBusy        = "store_busy_connections"   // gauge by pool
	StoreWaits       = "store_waits_total"        // counter by pool: how often somebody had to wait for a connection
	StoreWaitSeconds = "store_wait_seconds_total" // counter by pool
)

// Metrics of discovery, of callers that ask a registry.
const (
	DiscoveryReplicas = "discovery_replicas"      // gauge by callee: replicas that the caller takes to be there
	DiscoveryAnswers  = "discovery_answers_total" // counter by callee, outcome: ok | empty | failed
)

// Metrics of the broker, as the broker itself counts.
const (
	BrokerConnections      = "broker_connections"          // gauge: clients connected
	BrokerReceived         = "broker_received_total"       // counter: messages that clients sent it
	BrokerDelivered        = "broker_delivered_total"      // counter: messages that it sent to clients
	BrokerSlowConsumers    = "broker_slow_consumers_total" // counter: clients cut off because they did not read
	BrokerStoredMessages   = "broker_stored_messages"      // gauge by stream
	BrokerStoredBytes      = "broker_stored_bytes"         // gauge by stream
	BrokerConsumerPending  = "broker_consumer_pending"     // gauge by stream, consumer: not yet delivered
	BrokerConsumerUnacked  = "broker_consumer_unacked"     // gauge by stream, consumer: delivered, not yet acknowledged
	BrokerConsumerRepeated = "broker_consumer_repeated"    // gauge by stream, consumer: delivered more than once, not yet acknowledged
)

// Metrics of telemetry itself.
const (
	SpansDropped = "telemetry_spans_dropped_total"
	LogsDropped  = "telemetry_logs_dropped_total"
)

// Metrics of the lab, exported by the controller.
const (
	FaultActive         = "faultline_fault_active"               // gauge 0/1 by fault, kind, target; of every planned fault from the start
	PhaseActive         = "faultline_phase_active"               // gauge 0/1 by phase
	RunInfo             = "faultline_run_info"                   // 1, by run, scenario, variant, system
	RunVerdict          = "faultline_run_verdict"                // gauge by run, scenario, variant: 0 not judged yet, 1 pass, 2 fail, 3 inconclusive
	Finding             = "faultline_finding"                    // gauge by run, scenario, variant, that, in: of one expectation, values as above
	LoadPlanned         = "faultline_load_planned_rate"          // gauge by load: journeys per second that are to come due now; not of closed loops
	LoadSLO             = "faultline_load_slo_seconds"           // gauge by load: a journey that takes longer is slow
	LoadOffered         = "faultline_load_offered_total"         // counter by load: journeys that came due
	LoadDone            = "faultline_load_done_total"            // counter by load, outcome: good | slow | failed
	LoadLatency         = "faultline_load_latency_seconds"       // histogram by load, from due; exemplars
	LoadLag             = "faultline_load_lag_seconds"           // histogram by load: sent - due
	ProcessCPU          = "faultline_process_cpu_seconds"        // gauge by process: CPU seconds used so far
	ProcessResident     = "faultline_process_resident_bytes"     // gauge by process
	ProcessProportional = "faultline_process_proportional_bytes" // gauge by process: shared pages counted by their share; Linux only
	ProxyConnections    = "faultline_proxy_connections"          // gauge by caller, callee, replica
	RequestFaults       = "faultline_request_faults_total"       // counter by fault, caller, callee: requests that a fault hit
	ProxyBytes          = "faultline_proxy_bytes"                // gauge by caller, callee, replica, direction: bytes passed so far
)

// Labels.
const (
	Caller   = "caller"
	Callee   = "callee"
	Replica  = "replica" // 1-based
	Outcome  = "outcome" // of calls and attempts: ok | error | timeout | rejected | cancelled
	On       = "on"
	Policy   = "policy"
	Cause    = "cause"
	To       = "to"
	Service  = "service"  // added by scraping: the service's name
	Instance = "instance" // added by scraping: service-replica, such as catalog-2
	Load     = "load"
	Fault    = "fault"
	Kind     = "kind"
	Target   = "target"
	Phase    = "phase"
	Process  = "process"
	Pool     = "pool"
	Run      = "run"
	Scenario = "scenario"
	Variant  = "variant"
	System   = "system"
	That     = "that" // an expectation, as written
	In       = "in"   // the phase or fault that it speaks of; "" is the whole run
)

// Span attributes beyond the semantic conventions.
const (
	AttrEdge      = "edge"                 // caller->callee, on client spans
	AttrReplica   = "edge.replica"         // which replica of the callee was asked
	AttrAttempt   = "retry.attempt"        // 1-based, on client spans of attempts
	AttrPolicy    = "policy"               // which policy ended the call
	AttrQueued    = "door.wait_ms"         // on server spans: time waited for a worker
	AttrHeld      = "door.held_ms"         // on server spans: time a worker was held
	AttrOutcome   = "door.outcome"         // on server spans
	AttrFault     = "faultline.fault"      // id of the fault that hit this request
	AttrFaultKind = "faultline.fault.kind" // its kind, on the span of a request that it hit
	AttrRoute     = "request.route"        // method and path, or the gRPC method, on the spans of layer-7 hops
	AttrLoad      = "faultline.load"       // on the load generator's baggage
	AttrJourney   = "faultline.journey"    // seq of the journey
)
