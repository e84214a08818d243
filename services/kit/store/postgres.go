package store

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// openPostgres opens a pool of connections. Nothing is dialled before its first use.
func openPostgres(cfg Config, speed *pace) (*DB, error) {
	conn, err := pgx.ParseConfig(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err) // pgx leaves the password out of its message
	}
	pool := sql.OpenDB(paced{Connector: stdlib.GetConnector(*conn), pace: speed})
	connections := cfg.Readers
	if connections <= 0 {
		connections = 16
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	pool.SetConnMaxIdleTime(time.Minute)
	var both *sql.DB = pool
	return &DB{write: both, read: both, dialect: postgresDialect{}}, nil
}
