// Package store owns how a service of the shop reaches its database: SQLite by
// default, PostgreSQL by URL, with one SQL text for both. It owns connections,
// placeholders, transactions and their repetition; it knows no table.
//
// # The SQL that both understand
//
// Placeholders are ?, rewritten to $1, $2 … for PostgreSQL. Use TEXT, BIGINT
// (INTEGER is 32 bits wide in PostgreSQL) and BLOB (becomes BYTEA); INSERT …
// ON CONFLICT … DO UPDATE, RETURNING and CREATE TABLE IF NOT EXISTS work on
// both. Keep times as BIGINT (Unix milliseconds) and make identifiers in the
// program, not by AUTOINCREMENT.
//
// # Isolation
//
// Transactions are serializable on both: SQLite has a single writer, and
// PostgreSQL is asked for it. What fails only because of another transaction
// (SQLITE_BUSY, serialization failure, deadlock) is run again, so the function
// given to InTx must have no other effect than on its Tx.
//
// # Slowness
//
// A database can be made slow (Config.Delay, SetDelay): each statement, and each commit, then needs so much of
// the store's time before it runs, and holds its connection meanwhile. There is one store: of n statements at once each
// takes n times as long, as with one disk or one processor, and whoever finds no connection free waits. So latency rises with load,
// and throughput ends at 1/delay, as those of a database do. SQLite and PostgreSQL are the same in that.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says which database to open.
type Config struct {
	// Path is the file of the SQLite database, or ":memory:" for one that is
	// gone when it is closed (kept in a temporary folder: SQLite's own databases
	// in memory let a reader block the writer). Ignored when URL is set.
	Path string
	// URL is a PostgreSQL address, postgres://user:password@host:port/database.
	URL string
	// Schema is executed on opening, in order; it must be repeatable (CREATE
	// TABLE IF NOT EXISTS).
	Schema []string
	// Readers is how many connections may read at once beside the writer of
	// SQLite, or how many connections PostgreSQL gets in all; 0 means 4 and 16.
	Readers int
	// Delay is what SetDelay is called with at first.
	Delay time.Duration
	// Registerer takes the metrics; nil means that there are none.
	Registerer prometheus.Registerer
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	write   *sql.DB
	read    *sql.DB // the same as write with PostgreSQL
	dialect dialect
	pace    *pace
	temp    string // a folder to remove on closing, "" for none
}

// Tx is a transaction under way. It belongs to the function that got it.
type Tx struct {
	tx      *sql.Tx
	dialect dialect
}

// Querier is what DB and Tx have in common.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

var (
	_ Querier = (*DB)(nil)
	_ Querier = (*Tx)(nil)
)

// Open opens the database, making it if need be, and brings in the schema.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	open := openSQLite
	if cfg.URL != "" {
		open = openPostgres
	}
	timed := newTimed()
	speed := &pace{timed: timed}
	db, err := open(cfg, speed)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	db.pace = speed
	err = db.migrate(ctx, cfg.Schema)
	if err == nil {
		err = db.SetDelay(cfg.Delay)
	}
	if err == nil && cfg.Registerer != nil {
		err = db.register(cfg.Registerer, timed)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening store: %w", err), db.Close())
	}
	return db, nil
}

func (db *DB) migrate(ctx context.Context, schema []string) error {
	if err := db.write.PingContext(ctx); err != nil {
		return err
	}
	for _, statement := range schema {
		err := db.retry(ctx, func() error {
			_, err := db.write.ExecContext(ctx, db.dialect.schema(statement))
			return err
		})
		if err != nil {
			return fmt.Errorf("schema %.40q: %w", statement, err)
		}
	}
	return nil
}

// ExecContext runs a statement that returns no rows.
func (db *DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	var result sql.Result
	query = db.dialect.query(query)
	err := db.retry(ctx, func() (err error) {
		result, err = db.write.ExecContext(ctx, query, args...)
		return err
	})
	return result, err
}

// QueryContext runs a statement that returns rows. What begins with SELECT is
// read beside the writer; anything else, such as INSERT … RETURNING, waits its turn
// with it.
func (db *DB) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	var rows *sql.Rows
	pool := db.pool(query)
	query = db.dialect.query(query)
	err := db.retry(ctx, func() (err error) {
		rows, err = pool.QueryContext(ctx, query, args...)
		return err
	})
	return rows, err
}

// QueryRowContext is QueryContext for at most one row. Its errors come from Scan and
// are not run again.
func (db *DB) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return db.pool(query).QueryRowContext(ctx, db.dialect.query(query), args...)
}

func (db *DB) pool(query string) *sql.DB {
	if isSelect(query) {
		return db.read
	}
	return db.write
}

// InTx runs fn in a transaction, commits when it returns nil and rolls back
// otherwise. fn may run several times (see the package's doc), each time on a new Tx.
func (db *DB) InTx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	return db.retry(ctx, func() error { return db.inTx(ctx, fn) })
}

func (db *DB) inTx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) (err error) {
	tx, err := db.write.BeginTx(ctx, &sql.TxOptions{Isolation: db.dialect.isolation()})
	if err != nil {
		return fmt.Errorf("beginning transaction: %w", err)
	}
	committed := false
	defer func() {
		if committed {
			return
		}
		// Also on a panic; a transaction that its context ended is rolled back already.
		if e := tx.Rollback(); e != nil && !errors.Is(e, sql.ErrTxDone) {
			err = errors.Join(err, fmt.Errorf("rolling back: %w", e))
		}
	}()
	if err := fn(ctx, &Tx{tx: tx, dialect: db.dialect}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	committed = true
	return nil
}

// How long a conflict is tried again, which is longer than any transaction of a
// service should take, and the pauses between.
const (
	patience     = 4 * time.Second
	firstPause   = 2 * time.Millisecond
	longestPause = 250 * time.Millisecond
)

func (db *DB) retry(ctx context.Context, do func() error) error {
	began, pause := time.Now(), firstPause
	for {
		err := do()
		if err == nil || !db.dialect.conflict(err) || time.Since(began) > patience {
			return err
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(err, ctx.Err())
		}
		pause = min(2*pause, longestPause)
	}
}

// Ping tells whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.write.PingContext(ctx) }

// Close closes the database after the statements under way.
func (db *DB) Close() error {
	err := db.write.Close()
	if db.read != db.write {
		err = errors.Join(err, db.read.Close())
	}
	if db.temp != "" {
		err = errors.Join(err, os.RemoveAll(db.temp))
	}
	return err
}

// ExecContext runs a statement that returns no rows.
func (tx *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return tx.tx.ExecContext(ctx, tx.dialect.query(query), args...)
}

// QueryContext runs a statement that returns rows. Close them before the next statement.
func (tx *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return tx.tx.QueryContext(ctx, tx.dialect.query(query), args...)
}

// QueryRowContext is QueryContext for at most one row.
func (tx *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return tx.tx.QueryRowContext(ctx, tx.dialect.query(query), args...)
}
