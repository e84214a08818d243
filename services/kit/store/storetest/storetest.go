// Package storetest owns which database a service's tests run on: SQLite, or with TEST_DATABASE_URL set
// PostgreSQL at that address, so that the same tests hold both. `make test-postgres` runs them on a server of
// its own.
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/faultline-lab/faultline/services/kit/store"
)

// Variable names the environment variable with the address of a PostgreSQL database. Tests make schemas in it, and
// drop them.
const Variable = "TEST_DATABASE_URL"

// Config is what a test opens its store with. On PostgreSQL each path is a schema of its own, which is dropped when
// the test that first named it has ended; as with a file, who names the path again finds what was stored.
func Config(t testing.TB, path string, schema ...string) store.Config {
	t.Helper()
	base := os.Getenv(Variable)
	if base == "" {
		return store.Config{Path: path, Schema: schema}
	}
	name := schemaOf(path)
	admin, err := store.Open(t.Context(), store.Config{URL: base, Readers: 1})
	if err != nil {
		t.Fatalf("%s: %v", Variable, err)
	}
	defer admin.Close()
	if _, err := admin.ExecContext(t.Context(), "CREATE SCHEMA IF NOT EXISTS "+name); err != nil {
		t.Fatal(err)
	}
	once(t, base, name)
	return At(path, schema...)
}

// At is what Config gives, for a process that a test has started: the test has to have named the path before.
func At(path string, schema ...string) store.Config {
	base := os.Getenv(Variable)
	if base == "" {
		return store.Config{Path: path, Schema: schema}
	}
	separator := "?"
	if strings.Contains(base, "?") {
		separator = "&"
	}
	return store.Config{URL: base + separator + "search_path=" + schemaOf(path), Schema: schema, Readers: 8}
}

func schemaOf(path string) string {
	sum := sha256.Sum256([]byte(path))
	return "t_" + hex.EncodeToString(sum[:8])
}

// named are the schemas that will be dropped, by name. A test's folder, and so its path, is its own.
var named sync.Map

func once(t testing.TB, base, name string) {
	if _, known := named.LoadOrStore(name, true); known {
		return
	}
	t.Cleanup(func() {
		named.Delete(name)
		ctx := context.WithoutCancel(t.Context())
		admin, err := store.Open(ctx, store.Config{URL: base, Readers: 1})
		if err != nil {
			t.Errorf("dropping %s: %v", name, err)
			return
		}
		defer admin.Close()
		if _, err := admin.ExecContext(ctx, "DROP SCHEMA IF EXISTS "+name+" CASCADE"); err != nil {
			t.Errorf("dropping %s: %v", name, err)
		}
	})
}
