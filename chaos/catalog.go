package chaos

import (
	"slices"

	"github.com/faultline-lab/faultline/parameter"
)

// The families of faults. Each family has one injector.
const (
	FamilyNetwork = "network" // on the wire of an edge, through its proxy
	FamilyRequest = "request" // on single requests of an edge, through its layer-7 hop
	FamilyProcess = "process" // on the processes of a service
	FamilyAdmin   = "admin"   // what a service does to itself when its admin port is asked
	FamilyLoad    = "load"    // on the load itself; part of the plan, nothing is injected
)

// What a kind of fault acts on.
const (
	TargetEdge    = "edge"
	TargetService = "service"
	TargetGroups  = "groups"
	TargetLoad    = "load"
)

// The kinds of fault.
const (
	Latency   = "latency"
	Bandwidth = "bandwidth"
	SlowClose = "slow_close"
	Timeout   = "timeout"
	ResetPeer = "reset_peer"
	Slicer    = "slicer"
	LimitData = "limit_data"
	Down      = "down"
	Partition = "partition"
	Kill      = "kill"
	Pause     = "pause"
	Restart   = "restart"
	Admin     = "admin"
	Spike     = "spike"
)

// The directions in which bytes cross an edge, in Toxiproxy's words.
const (
	Upstream   = "upstream"   // from the caller to the callee: requests
	Downstream = "downstream" // from the callee to the caller: answers
	Both       = "both"
)

// Kind describes one kind of fault.
type Kind struct {
	Name   string
	Family string // a Family constant
	Target string // a Target constant
	About  string // what it does, in a sentence or two
	// Params are all the parameters, those that name the target among them.
	Params  []parameter.Parameter
	Example string // one entry of a scenario's faults, in YAML
	Cannot  string // what it cannot do, and what it is often mistaken for
	Felt    string // what has to be measured before it counts as felt
	Undo    string // how it is taken back
}

// Catalog returns every kind of fault, by family, in the order in which they are to be
// shown. The caller may keep and change what it gets.
func Catalog() []Kind {
	return slices.Concat(slowingKinds(), losingKinds(), cuttingKinds(), requestKinds(), processKinds(), adminKinds(), loadKinds())
}

// Find returns the kind of the given name, and whether there is one.
func Find(name string) (Kind, bool) {
	for _, kind := range Catalog() {
		if kind.Name == name {
			return kind, true
		}
	}
	return Kind{}, false
}

// longest bounds every duration of a fault, in seconds. A run is minutes
// long; more is a typing error.
const longest = 300

// slowingKinds are faults of an edge on which everything still arrives.
func slowingKinds() []Kind {
	return []Kind{
		{
			Name: Latency, Family: FamilyNetwork, Target: TargetEdge,
			About: "Delays what crosses the edge, one way, without slowing its rate: 3s on the way of the answers adds 3s to each call.",
			Params: edgeParams(
				parameter.Parameter{Name: "delay", Type: parameter.Duration, Required: true, Min: parameter.Bound(0.001), Max: parameter.Bound(longest), About: "how much later the bytes arrive"},
				parameter.Parameter{Name: "jitter", Type: parameter.Duration, Default: "0s", Max: parameter.Bound(longest), About: "each chunk's delay is drawn evenly from delay - jitter to delay + jitter"},
				direction(Upstream, Downstream, Both),
			),
			Example: "slow-bank: {latency: {edge: payments->bank, delay: 3s, jitter: 300ms}, during: fault}",
			Cannot:  "It does not delay connecting. Chunks keep their order, so under pipelining jitter turns into a running maximum and the mean delay grows. Only one latency at a time on an edge, replica and direction.",
			Felt:    "A probe through the proxy takes longer than before by at least 70 % of the delay (with both, of twice the delay), and calls of others crossed the edge.",
			Undo:    "The delay is lifted; what was being held back is sent at once. Connections live on.",
		},
		{
			Name: Bandwidth, Family: FamilyNetwork, Target: TargetEdge,
			About: "Limits the bytes a second of each connection.",
			Params: edgeParams(
				parameter.Parameter{Name: "rate", Type: parameter.Size, Required: true, Min: parameter.Bound(1 << 10), Max: parameter.Bound(1 << 30), About: "bytes a second, for each connection and direction, such as 64KB"},
				direction(Upstream, Downstream, Both),
			),
			Example: "thin-pipe: {bandwidth: {edge: gateway->catalog, rate: 64KB}, during: fault}",
			Cannot:  "The limit is for each connection, not for the edge as a whole: a caller with ten connections gets ten times the rate.",
			Felt:    "The proxy held chunks back for 1 ms or more, at the mean.",
			Undo:    "The limit is lifted; what was being held back is sent at once. Connections live on.",
		},
		{
			Name: SlowClose, Family: FamilyNetwork, Target: TargetEdge,
			About: "Delays the closing of connections, so that they pile up.",
			Params: edgeParams(
				parameter.Parameter{Name: "delay", Type: parameter.Duration, Required: true, Min: parameter.Bound(0.001), Max: parameter.Bound(longest), About: "how much later the other side learns of the closing"},
				direction(Upstream, Downstream),
			),
			Example: "lingering: {slow_close: {edge: gateway->orders, delay: 5s}, during: fault}",
			Cannot:  "It changes nothing for connections that stay open, as those of a pool or of gRPC do.",
			Felt:    "The proxy delayed the closing of a connection.",
			Undo:    "The delay is lifted; closings being held back happen at once.",
		},
	}
}

// losingKinds are faults of an edge on which bytes or connections are lost, or cut up.
func losingKinds() []Kind {
	return []Kind{
		{
			Name: Timeout, Family: FamilyNetwork, Target: TargetEdge,
			About: "Swallows what crosses the edge: a black hole. With after, the connection is closed when nothing was sent for that long.",
			Params: edgeParams(
				parameter.Parameter{Name: "after", Type: parameter.Duration, Default: "0s", Max: parameter.Bound(longest), About: "close the connection when nothing was sent on it for that long; 0 keeps it open and silent"},
				direction(Upstream, Downstream, Both),
			),
			Example: "black-hole: {timeout: {edge: orders->payments, direction: downstream}, during: fault}",
			Cannot:  "Every chunk restarts the clock of after, so a busy connection never closes. Downstream, the callee does the work and only the answer is lost; upstream, the request never arrives.",
			Felt:    "A probe gets no answer within its limit, or sees its connection closed without one, and calls of others crossed the edge.",
			Undo:    "The hole is closed. The connections that were in it have lost bytes and are closed too, as the callers' next calls would go wrong on them.",
		},
		{
			Name: ResetPeer, Family: FamilyNetwork, Target: TargetEdge,
			About: "Resets connections (TCP RST) once bytes cross them. Connections that are open already are cut when the fault begins.",
			Params: edgeParams(
				parameter.Parameter{Name: "after", Type: parameter.Duration, Default: "0s", Max: parameter.Bound(10), About: "how long after the first bytes; 0 means at once"},
				direction(Upstream, Downstream),
			),
			Example: "flaky-link: {reset_peer: {edge: gateway->accounts}, during: fault}",
			Cannot:  "Connections open at the start see an orderly end (FIN), not a reset. It hits every connection: for a share of the requests, use a fault of the request family.",
			Felt:    "A probe sees its connection reset or closed before the answer, and calls of others crossed the edge.",
			Undo:    "New connections live. Those waiting for their reset are closed.",
		},
		{
			Name: Slicer, Family: FamilyNetwork, Target: TargetEdge,
			About: "Cuts what crosses the edge into small slices, with a pause after each.",
			Params: edgeParams(
				parameter.Parameter{Name: "average_size", Type: parameter.Size, Required: true, Min: parameter.Bound(1), Max: parameter.Bound(1 << 20), About: "bytes of a slice, at the mean"},
				parameter.Parameter{Name: "size_variation", Type: parameter.Size, Default: int64(0), Max: parameter.Bound(1 << 20), About: "slices differ from average_size by up to that much; less than average_size"},
				parameter.Parameter{Name: "delay", Type: parameter.Duration, Default: "0s", Max: parameter.Bound(1), About: "the pause after each slice"},
				direction(Upstream, Downstream, Both),
			),
			Example: "crumbs: {slicer: {edge: gateway->catalog, average_size: 64, size_variation: 16, delay: 1ms}, during: fault}",
			Cannot:  "The kernel may join slices again when delay is 0. Messages smaller than a slice pass whole.",
			Felt:    "The proxy cut something that crossed the edge.",
			Undo:    "Slicing ends; the rest of what was being cut is sent at once. Connections live on.",
		},
		{
			Name: LimitData, Family: FamilyNetwork, Target: TargetEdge,
			About: "Closes each connection after so many bytes.",
			Params: edgeParams(
				parameter.Parameter{Name: "bytes", Type: parameter.Size, Required: true, Min: parameter.Bound(1), Max: parameter.Bound(1 << 40), About: "bytes that each connection may carry, from the start of the fault on"},
				direction(Upstream, Downstream),
			),
			Example: "cut-short: {limit_data: {edge: gateway->catalog, bytes: 16KB}, during: fault}",
			Cannot:  "It counts bytes on the wire, headers and frames among them, and so cannot aim at an answer's middle.",
			Felt:    "The proxy closed a connection that had used up its bytes.",
			Undo:    "New connections carry any amount. Connections that are open live on.",
		},
	}
}

// cuttingKinds are faults that take edges down.
func cuttingKinds() []Kind {
	return []Kind{
		{
			Name: Down, Family: FamilyNetwork, Target: TargetEdge,
			About:   "Takes the edge down: connections are cut, new ones refused.",
			Params:  edgeParams(),
			Example: "no-bank: {down: {edge: payments->bank}, during: fault}",
			Cannot:  "The callee stays up, and reachable for its other callers; kill ends it for everyone.",
			Felt:    "A probe's connection is refused.",
			Undo:    "Connections are accepted again.",
		},
		{
			Name: Partition, Family: FamilyNetwork, Target: TargetGroups,
			About: "Separates groups of services: every edge from one group to another is down, edges within a group work.",
			Params: []parameter.Parameter{
				{Name: "groups", Type: parameter.Any, Required: true, About: "two or more lists of services, such as [[gateway, orders], [payments, bank]]"},
			},
			Example: "split: {partition: {groups: [[gateway, orders], [payments, bank]]}, during: fault}",
			Cannot:  "It acts on the edges of the system file. A service that is in no group reaches all.",
			Felt:    "A probe's connection is refused on every edge between the groups.",
			Undo:    "Connections are accepted again.",
		},
	}
}

func processKinds() []Kind {
	return []Kind{
		{
			Name: Kill, Family: FamilyProcess, Target: TargetService,
			About:   "Kills the processes of a service (SIGKILL) and keeps them dead while the fault lasts.",
			Params:  serviceParams(),
			Example: "dead-payments: {kill: {service: payments}, during: fault}",
			Cannot:  "Edges go through a proxy, so callers see an accepted connection that ends at once, not a refused one.",
			Felt:    "The service's health check fails.",
			Undo:    "The processes are started again; the fault is over when they are healthy.",
		},
		{
			Name: Pause, Family: FamilyProcess, Target: TargetService,
			About:   "Stops the processes of a service where they stand (SIGSTOP): connections stay open, nothing answers. Like a long garbage collection or a frozen machine.",
			Params:  serviceParams(),
			Example: "frozen-replica: {pause: {service: catalog, replica: 2}, during: fault}",
			Cannot:  "The kernel goes on accepting connections for a stopped process, until its backlog is full.",
			Felt:    "The service's health check gets no answer.",
			Undo:    "The processes go on (SIGCONT); the fault is over when they are healthy.",
		},
		{
			Name: Restart, Family: FamilyProcess, Target: TargetService,
			About:   "Kills the processes of a service and starts them again, once, at the start of the fault.",
			Params:  serviceParams(),
			Example: "blip: {restart: {service: orders}, during: fault}",
			Cannot:  "The length of the outage is what starting takes; for a given length use kill.",
			Felt:    "The service's health check failed while it was restarted; the outage is timed.",
			Undo:    "Nothing is left to undo; the fault is over when the service is healthy.",
		},
	}
}

// adminKinds are what only the service itself can do.
func adminKinds() []Kind {
	return []Kind{
		{
			Name: Admin, Family: FamilyAdmin, Target: TargetService,
			About: "Asks a service, on its admin port, for what only it can do: to empty its cache, to slow its store, to step its clock. What there is to ask for is the service's own affair.",
			Params: serviceParams(
				parameter.Parameter{Name: "do", Type: parameter.Text, Required: true, About: "method and path, such as POST /cache/flush; each replica is asked once, at the start"},
				parameter.Parameter{Name: "undo", Type: parameter.Text, About: "method and path that takes it back at the end; nothing is asked then when left out"},
				parameter.Parameter{Name: "body", Type: parameter.Text, About: "the body that goes with do"},
			),
			Example: "slow-disk: {admin: {service: inventory, do: PUT /store?delay=50ms, undo: PUT /store?delay=0s}, during: fault}",
			Cannot:  "That it happened is the service's word: expect something of the service's metrics beside. A service that is restarted meanwhile forgets what it was asked.",
			Felt:    "Every replica answered do with a status of 2xx; what it said is in the event.",
			Undo:    "Every replica answered undo with 2xx. Without undo nothing is left to take back.",
		},
	}
}

func loadKinds() []Kind {
	return []Kind{
		{
			Name: Spike, Family: FamilyLoad, Target: TargetLoad,
			About: "Raises (or lowers) the arrival rate of a load while the fault lasts. Give rate or factor.",
			Params: []parameter.Parameter{
				{Name: "load", Type: parameter.Text, Required: true, About: "the name of a load of the scenario"},
				{Name: "rate", Type: parameter.Rate, Max: parameter.Bound(100000), About: "arrivals a second during the fault, such as 400/s"},
				{Name: "factor", Type: parameter.Number, Min: parameter.Bound(0), Max: parameter.Bound(1000), About: "the load's own rate times this"},
			},
			Example: "rush: {spike: {load: browse, factor: 5}, during: fault}",
			Cannot:  "It is part of the plan from the start and cannot be injected by hand during a run.",
			Felt:    "The generator offered the rate.",
			Undo:    "The load goes back to its own rate.",
		},
	}
}

func edgeParams(own ...parameter.Parameter) []parameter.Parameter {
	return append([]parameter.Parameter{
		{Name: "edge", Type: parameter.Text, About: "the edge acted on, such as payments->bank"},
		{Name: "edges", Type: parameter.Texts, About: "several edges, in place of edge"},
		{Name: "replica", Type: parameter.Integer, Min: parameter.Bound(1), Max: parameter.Bound(1000), About: "only this replica of the callee, counted from 1; every one when left out"},
	}, own...)
}

func serviceParams(own ...parameter.Parameter) []parameter.Parameter {
	return append([]parameter.Parameter{
		{Name: "service", Type: parameter.Text, About: "the service acted on"},
		{Name: "services", Type: parameter.Texts, About: "several services, in place of service"},
		{Name: "replica", Type: parameter.Integer, Min: parameter.Bound(1), Max: parameter.Bound(1000), About: "only this replica, counted from 1; every one when left out"},
	}, own...)
}

func direction(allowed ...string) parameter.Parameter {
	return parameter.Parameter{Name: "direction", Type: parameter.Text, Default: Downstream, Allowed: allowed, About: "upstream: from the caller to the callee; downstream: the way of the answers"}
}
