// Package outbox owns the transactional outbox: a service writes its events
// into its own store, in the transaction that makes them true, and a publisher
// hands them to the broker later. An event is published if and only if the
// transaction was committed; at least once, since a crash can fall between the broker's
// answer and the note of it; and in order within an aggregate.
//
//	transaction            publisher                 broker
//	  state := confirmed
//	  Add(event)  ------>  oldest unpublished ---->  Publish(id, ...)
//	  commit               note published     <----  ack
//
// The id of an event is that of its row and never changes, so that the broker and consumers
// can tell a repetition. The package does not know what the events mean.
package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/propagation"

	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/services/kit/store"
)

// Schema makes the table of the outbox of this name, <name>_outbox. A service passes it to its store beside its own;
// the name is a word of small letters.
func Schema(name string) string {
	return strings.ReplaceAll(`
CREATE TABLE IF NOT EXISTS {name}_outbox (
	id           TEXT PRIMARY KEY,
	aggregate    TEXT NOT NULL,
	seq          BIGINT NOT NULL,
	subject      TEXT NOT NULL,
	data         TEXT NOT NULL,
	trace        TEXT NOT NULL,
	created_ns   BIGINT NOT NULL,
	published_ns BIGINT NOT NULL,
	UNIQUE (aggregate, seq)
);
CREATE INDEX IF NOT EXISTS {name}_outbox_pending ON {name}_outbox (created_ns, seq) WHERE published_ns = 0;`, "{name}", name)
}

const columns = `id, aggregate, seq, subject, data, trace, created_ns, published_ns`

// Publisher is the broker. Publish returns when the broker has stored the message, and
// treats a message whose id it has seen as stored.
type Publisher interface {
	Publish(ctx context.Context, subject, id string, data []byte) error
}

// Config says whose outbox it is. Name, Store and Publisher are needed.
type Config struct {
	// Name is that of the Schema. It begins the ids of the events, so that those of several services differ.
	Name      string
	Store     *store.DB
	Publisher Publisher
	// Prepare makes what the broker needs before the first message, such as a stream. It is tried until
	// it succeeds, and again after a failure to publish. Nil means nothing.
	Prepare func(context.Context) error
	// Registerer gets names.OutboxPending; nil means no metric.
	Registerer prometheus.Registerer
	// Propagator carries the trace of the transaction to the consumers; nil means that
	// publishing starts traces of its own.
	Propagator propagation.TextMapPropagator
	// Log is told of failures to publish, once for each outage; nil means slog.Default.
	Log *slog.Logger
	// Parallel is how many aggregates are published at once; 0 means 8.
	Parallel int
	// Poll is how long an event may lie unseen when nobody calls Wake; 0 means 1 s.
	Poll time.Duration
	// Backoff is the first pause after a failure, doubled for each further one up to BackoffMax; 0 means 100 ms and 3 s.
	Backoff, BackoffMax time.Duration
}

// Event is what happened to an aggregate.
type Event struct {
	Subject   string // where it is published
	Aggregate string // what it happened to; events of one aggregate keep their order
	Data      any    // written as JSON
}

// Row is an event in the store.
type Row struct {
	ID, Aggregate, Subject string
	Seq                    int64 // 1 for the first event of an aggregate
	Data                   string
	Created, Published     time.Time // Published is zero while it is pending
	trace                  string
}

// Outbox is the events of one service.
type Outbox struct {
	cfg     Config
	table   string
	wake    chan struct{}
	pending prometheus.Gauge
}

// New returns the outbox. Its table must be in the store already.
func New(cfg Config) *Outbox {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Propagator == nil {
		cfg.Propagator = propagation.NewCompositeTextMapPropagator()
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 8
	}
	setDefault(&cfg.Poll, time.Second)
	setDefault(&cfg.Backoff, 100*time.Millisecond)
	setDefault(&cfg.BackoffMax, 3*time.Second)
	o := &Outbox{cfg: cfg, table: cfg.Name + "_outbox", wake: make(chan struct{}, 1), pending: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: names.OutboxPending, Help: "Events committed and not yet published.",
	})}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(o.pending)
	}
	return o
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d <= 0 {
		*d = value
	}
}

// Add writes an event down in the caller's transaction. After the commit the caller should call Wake.
func (o *Outbox) Add(ctx context.Context, tx *store.Tx, e Event) error {
	data, err := json.Marshal(e.Data)
	if err != nil {
		return fmt.Errorf("adding to the outbox: %w", err)
	}
	var seq, created int64
	err = tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) + 1, COALESCE(MAX(created_ns), 0) + 1 FROM `+o.table+` WHERE aggregate = ?`,
		e.Aggregate).Scan(&seq, &created)
	if err != nil {
		return fmt.Errorf("adding to the outbox: %w", err)
	}
	id := fmt.Sprintf("%s/%s/%d", o.cfg.Name, e.Aggregate, seq)
	_, err = tx.ExecContext(ctx, `INSERT INTO `+o.table+` (`+columns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0)`, id, e.Aggregate, seq, e.Subject, string(data), WriteTrace(ctx, o.cfg.Propagator),
		max(created, time.Now().UnixNano())) // a clock that steps back must not change the order
	if err != nil {
		return fmt.Errorf("adding to the outbox: %w", err)
	}
	return nil
}

// Wake tells the publisher that there is something to publish. It never blocks.
func (o *Outbox) Wake() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Pending returns how many events are not published yet.
func (o *Outbox) Pending(ctx context.Context) (int, error) {
	var n int
	err := o.cfg.Store.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+o.table+` WHERE published_ns = 0`).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting the outbox: %w", err)
	}
	return n, nil
}

// Rows returns every event, published or not, by aggregate and order within it.
func (o *Outbox) Rows(ctx context.Context) ([]Row, error) {
	return o.rows(ctx, `SELECT `+columns+` FROM `+o.table+` ORDER BY aggregate, seq`)
}

func (o *Outbox) oldest(ctx context.Context, limit int) ([]Row, error) {
	return o.rows(ctx, `SELECT `+columns+` FROM `+o.table+`
		WHERE published_ns = 0 ORDER BY created_ns, seq LIMIT ?`, limit)
}

func (o *Outbox) rows(ctx context.Context, query string, args ...any) ([]Row, error) {
	rows, err := o.cfg.Store.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reading the outbox: %w", err)
	}
	defer rows.Close()
	var out []Row
	for rows.Next() {
		var r Row
		var created, published int64
		if err := rows.Scan(&r.ID, &r.Aggregate, &r.Seq, &r.Subject, &r.Data, &r.trace, &created, &published); err != nil {
			return nil, fmt.Errorf("reading the outbox: %w", err)
		}
		r.Created = time.Unix(0, created)
		if published != 0 {
			r.Published = time.Unix(0, published)
		}
		out = append(out, r)
	}
	return out, rows.Err()
}
