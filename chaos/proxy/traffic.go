package proxy

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/Shopify/toxiproxy/v2/toxics"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/observability/names"
)

// Name is the name of the proxy of an edge and replica: "payments->bank#1".
func Name(edge chaos.Edge, replica int) string {
	return edge.String() + "#" + strconv.Itoa(replica)
}

// ParseName takes a name apart. It returns false for a proxy that somebody else named.
func ParseName(name string) (edge chaos.Edge, replica int, ok bool) {
	text, number, _ := strings.Cut(name, "#")
	edge, err := chaos.ParseEdge(text)
	if err != nil {
		return chaos.Edge{}, 0, false
	}
	replica, err = strconv.Atoi(number)
	return edge, replica, err == nil && replica > 0
}

// Traffic is what crossed one proxy so far, and what its toxics did to it.
// Bytes are counted when they reach the proxy, before any toxic.
type Traffic struct {
	Name            string  `json:"name"`
	Accepted        int64   `json:"accepted"`         // connections, so far
	Open            int64   `json:"open"`             // connections, now
	UpstreamBytes   int64   `json:"upstream_bytes"`   // from the caller
	DownstreamBytes int64   `json:"downstream_bytes"` // from the callee
	Cut             int64   `json:"cut"`              // connections cut by disabling, or to get rid of a toxic
	Toxics          []Toxic `json:"toxics"`
}

// Toxic is one toxic of a proxy and what it did so far.
type Toxic struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Stream string `json:"stream"`
	Effect
}

// counters belong to one proxy. They live as long as it does, whatever becomes of its toxics.
type counters struct {
	accepted, cut        atomic.Int64
	upstream, downstream atomic.Int64
	// open counts since the listener last opened: what was cut with the listener
	// need not come to an orderly end, and must not be counted for ever.
	open atomic.Pointer[atomic.Int64]
	// still is the removal of a toxic under way, by direction: see holdBack.
	still [2]atomic.Pointer[removing]
	// opening is the connection whose upstream direction was just set up; Toxiproxy
	// sets up the downstream direction right after, in the same goroutine.
	opening atomic.Pointer[connection]
}

// connection is what its two directions know of one another.
type connection struct {
	open  *atomic.Int64
	ended [2]chan struct{} // closed when the source has ended: the caller, the callee
}

// removing is the removal of a toxic, until it is done.
type removing struct{ done chan struct{} }

// holdBack lets the meters of a direction pass nothing on until the toxic behind them has been removed from their connection.
// Between what the toxic still held and the meter's turn Toxiproxy tries each chunk that comes for five
// seconds; a source that floods a client that goes just then would make that last for ever.
func (c *counters) holdBack(direction int) (release func()) {
	r := &removing{done: make(chan struct{})}
	c.still[direction].Store(r)
	return func() {
		c.still[direction].Store(nil)
		close(r.done)
	}
}

func newCounters() *counters {
	c := &counters{}
	c.open.Store(new(atomic.Int64))
	return c
}

func (c *counters) live() int64 { return max(0, c.open.Load().Load()) }

// cutOpen records that every open connection was cut, and returns how many.
func (c *counters) cutOpen() int64 {
	n := max(0, c.open.Swap(new(atomic.Int64)).Load())
	c.cut.Add(n)
	return n
}

// meterType is the type of the toxic that counts. It is no fault: it stays for
// good and the API does not show it.
const meterType = "faultline_meter"

// meter counts what passes. It is the first toxic of each chain, see toxics.go.
type meter struct {
	counters  *counters
	direction int // an index of connection.ended
}

// The directions of meters.
const (
	upward = iota
	downward
)

func (m *meter) NewState() any {
	l := &link{}
	if m.direction == downward {
		l.connection = m.counters.opening.Load()
		return l
	}
	m.counters.accepted.Add(1)
	l.connection = &connection{open: m.counters.open.Load(), ended: [2]chan struct{}{make(chan struct{}), make(chan struct{})}}
	l.connection.open.Add(1)
	m.counters.opening.Store(l.connection)
	return l
}

func (m *meter) Pipe(stub *toxics.ToxicStub) {
	l := stub.State.(*link)
	for {
		if m.heldBack(stub, l) {
			return
		}
		counted := l.pending != nil
		c, interrupted := l.take(stub)
		if interrupted {
			l.passed = m.counters.still[m.direction].Load()
			return
		}
		if c == nil {
			m.end(l)
			stub.Close()
			return
		}
		if !counted {
			m.bytes().Add(int64(len(c.Data)))
		}
		if !m.send(stub, l, c) {
			l.passed = m.counters.still[m.direction].Load()
			return
		}
	}
}

// heldBack waits while a toxic is being removed, and says whether it was interrupted: then the toxic is gone from this connection.
func (m *meter) heldBack(stub *toxics.ToxicStub, l *link) (interrupted bool) {
	removal := m.counters.still[m.direction].Load()
	if removal == nil || removal == l.passed {
		return false
	}
	select {
	case <-removal.done:
		return false
	case <-stub.Interrupt:
		l.passed = removal
		return true
	}
}

func (m *meter) bytes() *atomic.Int64 {
	if m.direction == upward {
		return &m.counters.upstream
	}
	return &m.counters.downstream
}

func (m *meter) end(l *link) {
	if m.direction == upward {
		l.connection.open.Add(-1)
	}
	close(l.connection.ended[m.direction])
}

// lingering is how long a chunk may wait for a receiver that has ended its own sending.
const lingering = time.Second

// send passes a chunk on. When nobody takes it and the receiver has gone (its
// own direction has ended, and Toxiproxy knows no half-closed connections), it drains the rest:
// Toxiproxy would leave three goroutines and the chunk behind for ever.
func (m *meter) send(stub *toxics.ToxicStub, l *link, c *stream.StreamChunk) bool {
	select {
	case stub.Output <- c:
		return true
	case <-stub.Interrupt:
		l.pending = c
		return false
	case <-l.connection.ended[1-m.direction]:
	}
	timer := time.NewTimer(lingering)
	defer timer.Stop()
	select {
	case stub.Output <- c:
		return true
	case <-stub.Interrupt:
		l.pending = c
		return false
	case <-timer.C:
	}
	stub.Close()
	drain(stub.Input)
	m.end(l)
	return false
}

// writeMetrics writes the traffic in Prometheus' text format.
func writeMetrics(w io.Writer, traffic []Traffic) {
	fmt.Fprintf(w, "# HELP %s Connections open through the proxy of an edge.\n# TYPE %[1]s gauge\n", names.ProxyConnections)
	for _, t := range traffic {
		fmt.Fprintf(w, "%s{%s} %d\n", names.ProxyConnections, labels(t.Name), t.Open)
	}
	fmt.Fprintf(w, "# HELP %s Bytes that reached the proxy of an edge so far.\n# TYPE %[1]s gauge\n", names.ProxyBytes)
	for _, t := range traffic {
		fmt.Fprintf(w, "%s{%s,direction=%q} %d\n", names.ProxyBytes, labels(t.Name), chaos.Upstream, t.UpstreamBytes)
		fmt.Fprintf(w, "%s{%s,direction=%q} %d\n", names.ProxyBytes, labels(t.Name), chaos.Downstream, t.DownstreamBytes)
	}
}

func labels(name string) string {
	edge, replica, ok := ParseName(name)
	if !ok {
		edge.Callee = name
	}
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	return fmt.Sprintf(`%s="%s",%s="%s",%s="%d"`,
		names.Caller, escape.Replace(edge.Caller), names.Callee, escape.Replace(edge.Callee), names.Replica, replica)
}
