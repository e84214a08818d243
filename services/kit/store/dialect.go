package store

import (
	"database/sql"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	sqlite "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is what differs between the databases.
type dialect interface {
	query(text string) string
	schema(text string) string
	isolation() sql.IsolationLevel
	// conflict tells whether running the same again may succeed.
	conflict(err error) bool
}

type sqliteDialect struct{}

func (sqliteDialect) query(text string) string      { return text }
func (sqliteDialect) schema(text string) string     { return text }
func (sqliteDialect) isolation() sql.IsolationLevel { return sql.LevelDefault }

func (sqliteDialect) conflict(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff { // the low byte is the primary code; extended codes refine it
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return true
	}
	return false
}

type postgresDialect struct{}

func (postgresDialect) query(text string) string      { return numberPlaceholders(text) }
func (postgresDialect) isolation() sql.IsolationLevel { return sql.LevelSerializable }

var blob = regexp.MustCompile(`(?i)\bBLOB\b`)

// schemaTurn lets one program after the other bring in its schema. PostgreSQL's IF NOT EXISTS looks before it
// makes, so of replicas that start at once on an empty database one would fail. What is sent without arguments is one
// transaction, at whose end the lock goes. The number is this program's own.
const schemaTurn = "SELECT pg_advisory_xact_lock(7206110527); "

func (postgresDialect) schema(text string) string {
	return schemaTurn + blob.ReplaceAllString(text, "BYTEA")
}

// The SQLSTATE codes of what another transaction caused.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
)

func (postgresDialect) conflict(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == serializationFailure || e.Code == deadlockDetected)
}

// numberPlaceholders turns each ? that is not in a string, a quoted name, a
// comment or a dollar-quoted text into $1, $2 and so on.
func numberPlaceholders(text string) string {
	if !strings.Contains(text, "?") {
		return text
	}
	var out strings.Builder
	out.Grow(len(text) + 8)
	n := 0
	for i := 0; i < len(text); {
		if end := skipQuoted(text, i); end > i {
			out.WriteString(text[i:end])
			i = end
			continue
		}
		if text[i] == '?' {
			n++
			out.WriteByte('$')
			out.WriteString(strconv.Itoa(n))
		} else {
			out.WriteByte(text[i])
		}
		i++
	}
	return out.String()
}

// skipQuoted returns the end of the quoted text or comment that begins at i,
// or i when none begins there. What is never closed reaches to the end.
func skipQuoted(text string, i int) int {
	rest := text[i:]
	switch {
	case rest[0] == '\'' || rest[0] == '"':
		return i + 1 + past(rest[1:], rest[:1])
	case strings.HasPrefix(rest, "--"):
		return i + past(rest, "\n")
	case strings.HasPrefix(rest, "/*"):
		return i + 2 + past(rest[2:], "*/")
	case rest[0] == '$':
		if tag := dollarTag(rest); tag != "" {
			return i + len(tag) + past(rest[len(tag):], tag)
		}
	}
	return i
}

// past returns the offset behind the first mark, or the length without one. A
// doubled quote inside of a string needs no care: it ends one string and begins the next.
func past(text, mark string) int {
	if at := strings.Index(text, mark); at >= 0 {
		return at + len(mark)
	}
	return len(text)
}

// dollarTag returns the opening $tag$ of a dollar-quoted text, or "".
func dollarTag(text string) string {
	for i := 1; i < len(text); i++ {
		c := text[i]
		letter := c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || i > 1 && c >= '0' && c <= '9'
		if c == '$' {
			return text[:i+1]
		}
		if !letter {
			return ""
		}
	}
	return ""
}

// isSelect tells whether the statement only reads. WITH may introduce a
// write, so it counts as one.
func isSelect(query string) bool {
	query = strings.TrimLeft(query, " \t\r\n(")
	return len(query) >= 6 && strings.EqualFold(query[:6], "SELECT")
}
