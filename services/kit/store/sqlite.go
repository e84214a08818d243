package store

import (
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"

	sqlite "modernc.org/sqlite"
)

// openSQLite opens one writing connection and several reading ones. With a
// write-ahead log readers and the writer do not wait for one another, and a
// single writer spares the upgrades from read to write lock that deadlock.
func openSQLite(cfg Config, speed *pace) (*DB, error) {
	path, temp := cfg.Path, ""
	switch path {
	case "":
		return nil, errors.New("neither a path nor a URL is given")
	case ":memory:":
		dir, err := os.MkdirTemp("", "store-")
		if err != nil {
			return nil, err
		}
		path, temp = filepath.Join(dir, "memory.db"), dir
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	write := sqlitePool(path, speed, 1, url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(2000)", "journal_mode(WAL)", "synchronous(NORMAL)", "cache_size(-1024)", "foreign_keys(1)"},
	})
	readers := cfg.Readers
	if readers <= 0 {
		readers = 4
	}
	read := sqlitePool(path, speed, readers, url.Values{"_pragma": {"busy_timeout(2000)", "cache_size(-1024)", "query_only(1)"}})
	return &DB{write: write, read: read, dialect: sqliteDialect{}, temp: temp}, nil
}

// sqlitePool opens connections lazily and keeps them: opening one costs more than most statements.
func sqlitePool(path string, speed *pace, size int, options url.Values) *sql.DB {
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: options.Encode()}
	pool := sql.OpenDB(paced{Connector: byName{driver: &sqlite.Driver{}, name: name.String()}, pace: speed})
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	return pool
}
