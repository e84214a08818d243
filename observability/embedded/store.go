package embedded

import (
	"bytes"
	"compress/gzip"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

//go:embed schema.sql
var schema string

// schemaVersion is kept in the database's user_version.
const schemaVersion = 1

// The signals of OTLP that the store keeps.
const (
	signalTraces = "traces"
	signalLogs   = "logs"
)

// batch is one received message on its way into the database.
type batch struct {
	signal   string
	received int64 // Unix nanoseconds
	spans    []spanRow
	logs     []logRow
	body     []byte // the message, gzipped
}

// size is about what a waiting batch holds in memory.
func (b *batch) size() int64 {
	size := int64(len(b.body)) + 256
	for i := range b.spans {
		s := &b.spans[i]
		size += int64(len(s.name)+len(s.message)+len(s.attributes)+len(s.events)+len(s.links)) + 256
	}
	for i := range b.logs {
		size += int64(len(b.logs[i].body)+len(b.logs[i].attributes)) + 192
	}
	return size
}

// tally counts one signal.
type tally struct {
	received atomic.Int64 // all that senders sent
	accepted atomic.Int64 // that had room
	dropped  atomic.Int64 // received but not in the database
}

// store writes traces and logs to SQLite. One goroutine writes; whoever
// receives hands over without waiting or is told that there is no room.
type store struct {
	db     *sql.DB
	insert statements
	limits Limits
	log    *slog.Logger

	spans, logs tally

	queue   chan *batch
	waiting atomic.Int64 // bytes in queue
	full    atomic.Bool  // the database has reached its bound
	done    chan struct{}

	resources map[resource]int64 // the writer's own
}

type statements struct{ span, log, otlp, resource *sql.Stmt }

// maxResources bounds the writer's cache of resource ids.
const maxResources = 4096

func openStore(ctx context.Context, path string, limits Limits, log *slog.Logger) (*store, error) {
	if _, err := os.Stat(path); err == nil {
		return nil, fmt.Errorf("%s: already there; each run needs a directory of its own", path)
	}
	// Without syncing, a loss of power can cost the run; a killed process cannot.
	db, err := sql.Open("sqlite", dsn(path, "journal_mode(WAL)", "synchronous(OFF)", "cache_size(-4000)", "temp_store(MEMORY)"))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	s := &store{
		db: db, limits: limits, log: log,
		queue: make(chan *batch, 1024), done: make(chan struct{}),
		resources: make(map[resource]int64),
	}
	if err := s.prepare(ctx); err != nil {
		return nil, fmt.Errorf("preparing %s: %w", path, errors.Join(err, db.Close()))
	}
	go s.run()
	return s, nil
}

// dsn names a database file with its settings. The path is escaped: a run may
// be called anything.
func dsn(path string, pragmas ...string) string {
	query := url.Values{"_pragma": append(pragmas, "busy_timeout(5000)")}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}).String()
}

func (s *store) prepare(ctx context.Context) error {
	if _, err := s.db.ExecContext(ctx, fmt.Sprintf("BEGIN; %s; PRAGMA user_version = %d; COMMIT", schema, schemaVersion)); err != nil {
		return fmt.Errorf("making tables: %w", err)
	}
	for _, p := range []struct {
		into **sql.Stmt
		text string
	}{
		{&s.insert.span, `INSERT INTO span VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`},
		{&s.insert.log, `INSERT INTO log VALUES (?,?,?,?,?,?,?)`},
		{&s.insert.otlp, `INSERT INTO otlp (received, signal, records, body) VALUES (?,?,?,?)`},
		{&s.insert.resource, `INSERT INTO resource (service, instance, attributes) VALUES (?,?,?)
			ON CONFLICT DO UPDATE SET service = excluded.service RETURNING id`},
	} {
		stmt, err := s.db.PrepareContext(ctx, p.text)
		if err != nil {
			return fmt.Errorf("preparing %q: %w", p.text, err)
		}
		*p.into = stmt
	}
	return nil
}

// offer takes a batch unless the queue or the database is full. It never waits.
func (s *store) offer(b *batch) bool {
	if s.full.Load() || s.spans.accepted.Load() >= s.limits.Spans && len(b.spans) > 0 ||
		s.logs.accepted.Load() >= s.limits.Logs && len(b.logs) > 0 {
		return false
	}
	size := b.size()
	if s.waiting.Add(size) > s.limits.QueueBytes {
		s.waiting.Add(-size)
		return false
	}
	select {
	case s.queue <- b:
		s.spans.accepted.Add(int64(len(b.spans)))
		s.logs.accepted.Add(int64(len(b.logs)))
		return true
	default:
		s.waiting.Add(-size)
		return false
	}
}

// run writes until the queue is closed: whatever waits goes into one
// transaction, so that a busy store commits seldom and an idle one at once.
func (s *store) run() {
	defer close(s.done)
	for first := range s.queue {
		batches := []*batch{first}
		for rows := len(first.spans) + len(first.logs); rows < 4096; {
			next, ok := s.next()
			if !ok {
				break
			}
			batches = append(batches, next)
			rows += len(next.spans) + len(next.logs)
		}
		s.commit(batches)
	}
}

// next gives a batch that waits already.
func (s *store) next() (*batch, bool) {
	select {
	case b, ok := <-s.queue:
		return b, ok
	default:
		return nil, false
	}
}

// commit writes batches in one transaction. When it fails they are lost, and counted.
func (s *store) commit(batches []*batch) {
	err := s.write(batches)
	for _, b := range batches {
		s.waiting.Add(-b.size())
		if err != nil {
			s.spans.dropped.Add(int64(len(b.spans)))
			s.logs.dropped.Add(int64(len(b.logs)))
		}
	}
	if err != nil {
		clear(s.resources) // what the transaction inserted is gone
		s.log.Warn("traces and logs are being lost", "error", err)
	}
}

func (s *store) write(batches []*batch) (err error) {
	if _, err := s.db.Exec("BEGIN"); err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	defer func() {
		if err != nil {
			_, _ = s.db.Exec("ROLLBACK") // fails only where the error has rolled back already
		}
	}()
	for _, b := range batches {
		if err := s.writeBatch(b); err != nil {
			return err
		}
	}
	if _, err := s.db.Exec("COMMIT"); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return s.checkSize()
}

func (s *store) writeBatch(b *batch) error {
	for i := range b.spans {
		r := &b.spans[i]
		id, err := s.resource(r.resource)
		if err != nil {
			return err
		}
		if _, err := s.insert.span.Exec(r.traceID, r.spanID, null(r.parentID), id, r.name, r.kind, r.start, r.end, r.failed,
			text(r.message), text(r.attributes), text(r.events), text(r.links)); err != nil {
			return fmt.Errorf("writing a span: %w", err)
		}
	}
	for i := range b.logs {
		r := &b.logs[i]
		id, err := s.resource(r.resource)
		if err != nil {
			return err
		}
		if _, err := s.insert.log.Exec(r.time, r.severity, r.body, id, null(r.traceID), null(r.spanID), text(r.attributes)); err != nil {
			return fmt.Errorf("writing a log record: %w", err)
		}
	}
	if _, err := s.insert.otlp.Exec(b.received, b.signal, len(b.spans)+len(b.logs), b.body); err != nil {
		return fmt.Errorf("writing a message: %w", err)
	}
	return nil
}

// resource gives a resource's id and makes it where it is new.
func (s *store) resource(r *resource) (int64, error) {
	if id, ok := s.resources[*r]; ok {
		return id, nil
	}
	var id int64
	if err := s.insert.resource.QueryRow(r.service, r.instance, r.attributes).Scan(&id); err != nil {
		return 0, fmt.Errorf("writing a resource: %w", err)
	}
	if len(s.resources) >= maxResources {
		clear(s.resources)
	}
	s.resources[*r] = id
	return id, nil
}

func (s *store) checkSize() error {
	var pages, size int64
	if err := s.db.QueryRow("SELECT page_count, page_size FROM pragma_page_count, pragma_page_size").Scan(&pages, &size); err != nil {
		return fmt.Errorf("reading the database's size: %w", err)
	}
	if pages*size >= s.limits.DatabaseBytes && !s.full.Swap(true) {
		s.log.Warn("telemetry.db has reached its bound, further traces and logs are dropped", "bytes", pages*size)
	}
	return nil
}

// close writes what waits and leaves one file that needs no recovery. No offer
// may come after it.
func (s *store) close() error {
	close(s.queue)
	<-s.done
	_, err := s.db.Exec("PRAGMA journal_mode = DELETE")
	if err != nil {
		err = fmt.Errorf("closing the journal: %w", err)
	}
	return errors.Join(err, s.db.Close())
}

// null makes an empty id a null.
func null(id []byte) any {
	if id == nil {
		return nil
	}
	return id
}

// text makes an empty text a null.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// compressor gzips messages with writers that are used again.
type compressor struct{ pool sync.Pool }

func (c *compressor) gzip(message []byte) ([]byte, error) {
	w, _ := c.pool.Get().(*gzip.Writer)
	var out bytes.Buffer
	out.Grow(len(message)/6 + 64)
	if w == nil {
		var err error
		if w, err = gzip.NewWriterLevel(&out, gzip.BestSpeed); err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
	} else {
		w.Reset(&out)
	}
	defer c.pool.Put(w)
	if _, err := w.Write(message); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return out.Bytes(), nil
}
