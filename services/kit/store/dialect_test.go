package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestNumberPlaceholders(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"none", "SELECT 1", "SELECT 1"},
		{"several", "INSERT INTO t VALUES (?,?, ?)", "INSERT INTO t VALUES ($1,$2, $3)"},
		{"more than nine", strings.Repeat("?", 11), "$1$2$3$4$5$6$7$8$9$10$11"},
		{"in a string", "SELECT '?' || ?", "SELECT '?' || $1"},
		{"after an escaped quote", "SELECT 'it''s ?', ?", "SELECT 'it''s ?', $1"},
		{"in a name", `SELECT "a?" FROM t WHERE b = ?`, `SELECT "a?" FROM t WHERE b = $1`},
		{"in a line comment", "SELECT 1 -- really?\nWHERE a = ?", "SELECT 1 -- really?\nWHERE a = $1"},
		{"in a block comment", "SELECT /* ? '*/ ?", "SELECT /* ? '*/ $1"},
		{"in a dollar quote", "SELECT $x1$ ? $$ ? $x1$, ?", "SELECT $x1$ ? $$ ? $x1$, $1"},
		{"a dollar that quotes nothing", "SELECT $1 + ?, '$'", "SELECT $1 + $1, '$'"},
		{"never closed", "SELECT 'a ?", "SELECT 'a ?"},
		{"minus is no comment", "SELECT ? - ?", "SELECT $1 - $2"},
		{"not only ASCII", "SELECT 'ä?', ?", "SELECT 'ä?', $1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := numberPlaceholders(test.in); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func FuzzNumberPlaceholders(f *testing.F) {
	for _, seed := range []string{"SELECT ?", "'?", "$a$?$a$", "--?\n?", "/*?*/", `"?"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := numberPlaceholders(text)
		if len(got) < len(text) {
			t.Fatalf("%q became shorter: %q", text, got)
		}
		if !strings.Contains(text, "?") && got != text {
			t.Fatalf("%q changed to %q", text, got)
		}
	})
}

func TestIsSelect(t *testing.T) {
	for query, want := range map[string]bool{
		"SELECT 1": true, "\n\t select n from t": true, "(SELECT 1)": true,
		"INSERT INTO t SELECT 1": false, "WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a": false, "": false, "SEL": false,
	} {
		if isSelect(query) != want {
			t.Errorf("isSelect(%q) is %t", query, !want)
		}
	}
}

func TestPostgresDialect(t *testing.T) {
	d := postgresDialect{}
	if got := d.schema("CREATE TABLE blobs (a blob, b BLOB NOT NULL)"); got != schemaTurn+"CREATE TABLE blobs (a BYTEA, b BYTEA NOT NULL)" {
		t.Error(got)
	}
	tests := []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("committing: %w", &pgconn.PgError{Code: "40001"}), true},
		{&pgconn.PgError{Code: "40P01"}, true},
		{&pgconn.PgError{Code: "23505"}, false}, // unique violation: running it again does not help
		{errors.New("40001"), false},
	}
	for _, test := range tests {
		if d.conflict(test.err) != test.want {
			t.Errorf("conflict(%v) is %t", test.err, !test.want)
		}
	}
}
