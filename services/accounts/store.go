package accounts

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/faultline-lab/faultline/services/kit/store"
)

// schema of the accounts' own database. The key is text in base64, which
// SQLite and PostgreSQL spell alike, unlike bytes.
const schema = `CREATE TABLE IF NOT EXISTS accounts (
	id            TEXT PRIMARY KEY,
	email         TEXT NOT NULL UNIQUE,
	name          TEXT NOT NULL,
	address       TEXT NOT NULL,
	password_hash TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS signing_keys (
	name TEXT PRIMARY KEY,
	seed TEXT NOT NULL
);`

// currentKey is the row of the key that signs.
const currentKey = "current"

// errUnknown says that there is no such account.
var errUnknown = errors.New("no such account")

// register is the accounts' tables.
type register struct {
	db *store.DB
}

// seed fills an empty table. Replicas that share one database may do it at
// the same time.
func (r *register) seed(ctx context.Context, accounts []account, password string) error {
	var have int
	if err := r.db.QueryRowContext(ctx, "SELECT count(*) FROM accounts").Scan(&have); err != nil {
		return fmt.Errorf("counting accounts: %w", err)
	}
	if have >= len(accounts) {
		return nil
	}
	const batch = 100 // 500 parameters, of which every SQLite takes at least 999
	return r.db.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		for start := 0; start < len(accounts); start += batch {
			if err := insert(ctx, tx, accounts[start:min(start+batch, len(accounts))], password); err != nil {
				return fmt.Errorf("seeding accounts: %w", err)
			}
		}
		return nil
	})
}

func insert(ctx context.Context, tx *store.Tx, accounts []account, password string) error {
	values := strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?), ", len(accounts)), ", ")
	args := make([]any, 0, 5*len(accounts))
	for _, a := range accounts {
		hash, err := hashPassword(password)
		if err != nil {
			return err
		}
		args = append(args, a.id, a.email, a.name, a.address, hash)
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO accounts (id, email, name, address, password_hash) VALUES "+
		values+" ON CONFLICT DO NOTHING", args...)
	return err
}

// byID reads one account; the error is errUnknown when there is none.
func (r *register) byID(ctx context.Context, id string) (account, error) {
	var a account
	err := r.db.QueryRowContext(ctx, "SELECT id, email, name, address FROM accounts WHERE id = ?", id).
		Scan(&a.id, &a.email, &a.name, &a.address)
	if errors.Is(err, sql.ErrNoRows) {
		return account{}, errUnknown
	}
	if err != nil {
		return account{}, fmt.Errorf("reading account %s: %w", id, err)
	}
	return a, nil
}

// credentials reads the id and the password's stored form of an address; the
// error is errUnknown when there is no such account.
func (r *register) credentials(ctx context.Context, email string) (id, hash string, err error) {
	err = r.db.QueryRowContext(ctx, "SELECT id, password_hash FROM accounts WHERE email = ?", email).Scan(&id, &hash)
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", errUnknown
	}
	if err != nil {
		return "", "", fmt.Errorf("reading credentials: %w", err)
	}
	return id, hash, nil
}

// signingKey returns the key that signs tokens, made when the store was new.
// It outlives restarts, so that tokens do; replicas that share a database share it.
func (r *register) signingKey(ctx context.Context) (ed25519.PrivateKey, error) {
	fresh := make([]byte, ed25519.SeedSize)
	rand.Read(fresh) // never fails, by its documentation
	_, err := r.db.ExecContext(ctx, "INSERT INTO signing_keys (name, seed) VALUES (?, ?) ON CONFLICT DO NOTHING",
		currentKey, base64.StdEncoding.EncodeToString(fresh))
	if err != nil {
		return nil, fmt.Errorf("keeping signing key: %w", err)
	}
	var kept string
	if err := r.db.QueryRowContext(ctx, "SELECT seed FROM signing_keys WHERE name = ?", currentKey).Scan(&kept); err != nil {
		return nil, fmt.Errorf("reading signing key: %w", err)
	}
	seed, err := base64.StdEncoding.DecodeString(kept)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("reading signing key: %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
