package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const counters = `CREATE TABLE IF NOT EXISTS store_test_counters (name TEXT PRIMARY KEY, n BIGINT NOT NULL, blob_ BLOB)`

// databases opens a database of each kind that this machine offers.
func databases(t *testing.T) map[string]*DB {
	t.Helper()
	configs := map[string]Config{
		"file":   {Path: filepath.Join(t.TempDir(), "sub dir", "a?b#c%20.db")},
		"memory": {Path: ":memory:"},
	}
	if url := os.Getenv("TEST_DATABASE_URL"); url != "" {
		configs["postgres"] = Config{URL: url}
	} else {
		t.Log("TEST_DATABASE_URL is not set: PostgreSQL is left out")
	}
	out := map[string]*DB{}
	for name, cfg := range configs {
		cfg.Schema = []string{counters}
		db, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() {
			if cfg.URL != "" {
				_, _ = db.ExecContext(context.WithoutCancel(t.Context()), `DROP TABLE store_test_counters`)
			}
			if err := db.Close(); err != nil {
				t.Errorf("%s: closing: %v", name, err)
			}
		})
		out[name] = db
	}
	return out
}

// Replicas that share a database are started at once, each with the schema.
func TestSchemaFromSeveralAtOnce(t *testing.T) {
	configs := map[string]Config{"file": {Path: filepath.Join(t.TempDir(), "shared.db")}}
	if url := os.Getenv("TEST_DATABASE_URL"); url != "" {
		configs["postgres"] = Config{URL: url, Readers: 1}
	}
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			schema := []string{`CREATE TABLE IF NOT EXISTS store_test_shared (name TEXT PRIMARY KEY, n BIGINT);
				CREATE INDEX IF NOT EXISTS store_test_shared_n ON store_test_shared (n)`}
			var replicas []*DB
			for range 8 {
				db, err := Open(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = db.Close() })
				replicas = append(replicas, db)
			}
			for range 5 { // one round alone may pass by luck
				var done sync.WaitGroup
				for _, db := range replicas {
					done.Go(func() {
						if err := db.migrate(t.Context(), schema); err != nil {
							t.Error(err)
						}
					})
				}
				done.Wait()
				if _, err := replicas[0].ExecContext(t.Context(), "DROP TABLE store_test_shared"); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func forEach(t *testing.T, test func(t *testing.T, db *DB)) {
	for name, db := range databases(t) {
		t.Run(name, func(t *testing.T) { test(t, db) })
	}
}

func read(t *testing.T, q Querier, name string) int {
	t.Helper()
	var n int
	if err := q.QueryRowContext(t.Context(), `SELECT n FROM store_test_counters WHERE name = ?`, name).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStatements(t *testing.T) {
	forEach(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		if err := db.Ping(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(ctx, `INSERT INTO store_test_counters (name, n, blob_) VALUES (?, ?, ?), ('is it?', 2, ?)`, "a", 1, []byte{0, 1}, []byte(nil)); err != nil {
			t.Fatal(err)
		}
		var n int
		err := db.QueryRowContext(ctx, `INSERT INTO store_test_counters (name, n) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET n = store_test_counters.n + excluded.n RETURNING n`, "a", 40).Scan(&n)
		if err != nil || n != 41 {
			t.Fatalf("upsert returned %d, %v", n, err)
		}
		rows, err := db.QueryContext(ctx, `SELECT name FROM store_test_counters WHERE n > ? ORDER BY name`, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		var got []string
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
			// A write while rows are open must not wait for itself.
			if _, err := db.ExecContext(ctx, `UPDATE store_test_counters SET n = n + 1 WHERE name = ?`, "nobody"); err != nil {
				t.Fatal(err)
			}
		}
		if err := rows.Err(); err != nil || fmt.Sprint(got) != "[a is it?]" {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

func TestReadersDoNotWrite(t *testing.T) {
	db, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "x.db"), Schema: []string{counters}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.read.ExecContext(t.Context(), `DELETE FROM store_test_counters`); err == nil {
		t.Fatal("a reading connection wrote")
	}
	var mode string
	if err := db.write.QueryRowContext(t.Context(), `PRAGMA journal_mode`).Scan(&mode); err != nil || mode != "wal" {
		t.Fatalf("journal mode %q, %v", mode, err)
	}
}

func TestInTx(t *testing.T) {
	broken := errors.New("broken")
	forEach(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		set := func(tx *Tx, n int) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO store_test_counters (name, n) VALUES ('x', ?) ON CONFLICT (name) DO UPDATE SET n = excluded.n`, n)
			return err
		}
		if err := db.InTx(ctx, func(ctx context.Context, tx *Tx) error { return set(tx, 7) }); err != nil {
			t.Fatal(err)
		}
		err := db.InTx(ctx, func(ctx context.Context, tx *Tx) error { return errors.Join(set(tx, 8), broken) })
		if !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = db.InTx(ctx, func(ctx context.Context, tx *Tx) error { _ = set(tx, 9); panic("in a transaction") })
		}()
		if n := read(t, db, "x"); n != 7 {
			t.Fatalf("x is %d after two transactions that failed", n)
		}
	})
}

func TestInTxAddsUpUnderContention(t *testing.T) {
	forEach(t, func(t *testing.T, db *DB) {
		ctx := t.Context()
		if _, err := db.ExecContext(ctx, `INSERT INTO store_test_counters (name, n) VALUES ('sum', 0)`); err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		var runs atomic.Int32
		for range 8 {
			wait.Go(func() {
				for range 25 {
					err := db.InTx(ctx, func(ctx context.Context, tx *Tx) error {
						runs.Add(1)
						n := 0
						if err := tx.QueryRowContext(ctx, `SELECT n FROM store_test_counters WHERE name = ?`, "sum").Scan(&n); err != nil {
							return err
						}
						_, err := tx.ExecContext(ctx, `UPDATE store_test_counters SET n = ? WHERE name = ?`, n+1, "sum")
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wait.Wait()
		if n := read(t, db, "sum"); n != 200 {
			t.Fatalf("200 increments made %d in %d runs", n, runs.Load())
		}
	})
}

// Two handles on one file stand for two processes: the lock is SQLite's then.
func TestConflictBetweenProcessesIsRunAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	var handles [2]*DB
	for i := range handles {
		db, err := Open(t.Context(), Config{Path: path, Schema: []string{counters}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		// Without the driver's own waiting every conflict reaches InTx.
		if _, err := db.write.ExecContext(t.Context(), `PRAGMA busy_timeout = 0`); err != nil {
			t.Fatal(err)
		}
		handles[i] = db
	}
	held, release := make(chan struct{}), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		err := handles[0].InTx(t.Context(), func(ctx context.Context, tx *Tx) error {
			close(held)
			<-release
			_, err := tx.ExecContext(ctx, `INSERT INTO store_test_counters (name, n) VALUES ('first', 1)`)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-held
	if _, err := handles[1].write.ExecContext(t.Context(), `INSERT INTO store_test_counters (name, n) VALUES ('second', 2)`); !(sqliteDialect{}).conflict(err) {
		t.Fatalf("the lock was not held: %v", err)
	}
	wait.Go(func() {
		if _, err := handles[1].ExecContext(t.Context(), `INSERT INTO store_test_counters (name, n) VALUES ('second', 2)`); err != nil {
			t.Error(err)
		}
	})
	close(release)
	wait.Wait()
	if read(t, handles[0], "second") != 2 || read(t, handles[1], "first") != 1 {
		t.Fatal("a write is missing")
	}
}

func TestRetryEndsWithItsContext(t *testing.T) {
	db := &DB{dialect: always{}}
	ctx, cancel := context.WithCancel(t.Context())
	runs := 0
	err := db.retry(ctx, func() error {
		if runs++; runs == 3 {
			cancel()
		}
		return sql.ErrConnDone
	})
	if runs != 3 || !errors.Is(err, context.Canceled) || !errors.Is(err, sql.ErrConnDone) {
		t.Fatalf("%d runs, %v", runs, err)
	}
}

// always takes every error for a conflict.
type always struct{ sqliteDialect }

func (always) conflict(error) bool { return true }

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("this is no database, and long enough to be seen as none"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"nothing", Config{}, "opening store: neither a path nor a URL is given"},
		{"no database", Config{Path: file}, "opening store: file is not a database (26)"},
		{"a folder that is a file", Config{Path: filepath.Join(file, "x.db")}, "opening store: mkdir " + file + ": not a directory"},
		{"bad schema", Config{Path: ":memory:", Schema: []string{"CREATE TABEL x"}}, `opening store: schema "CREATE TABEL x": SQL logic error: near "TABEL": syntax error (1)`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			db, err := Open(t.Context(), test.cfg)
			if err == nil {
				_ = db.Close()
				t.Fatal("opened")
			}
			if err.Error() != test.want {
				t.Fatalf("got  %s\nwant %s", err, test.want)
			}
		})
	}
	if _, err := Open(t.Context(), Config{URL: "postgres://a:sesame@[::1"}); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Fatalf("got %v", err)
	}
}
