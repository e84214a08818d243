package accounts

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/faultline-lab/faultline/services/kit/store"
	"github.com/faultline-lab/faultline/services/kit/store/storetest"
	accountsv1 "github.com/faultline-lab/faultline/services/proto/shop/accounts/v1"
	"github.com/faultline-lab/faultline/services/token"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openRegister(t *testing.T, path string) *register {
	t.Helper()
	db, err := store.Open(t.Context(), storetest.Config(t, path, schema))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r := &register{db: db}
	if err := r.seed(t.Context(), seedAccounts(), seedPassword); err != nil {
		t.Fatal(err)
	}
	return r
}

// serve answers over a connection in memory and returns a client.
func serve(t *testing.T, r *register) accountsv1.AccountsClient {
	t.Helper()
	srv, err := newServer(t.Context(), r, time.Hour, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	listener := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	accountsv1.RegisterAccountsServer(s, srv)
	go s.Serve(listener)
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///accounts", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return accountsv1.NewAccountsClient(conn)
}

func TestLogInGivesATokenThatThePublicKeyChecks(t *testing.T) {
	client := serve(t, openRegister(t, filepath.Join(t.TempDir(), "accounts.db")))
	for _, email := range []string{"customer-1@example.com", "customer-1000@example.com", " Customer-7@Example.COM "} {
		session, err := client.LogIn(t.Context(), &accountsv1.LogInRequest{Email: email, Password: "correct horse"})
		if err != nil {
			t.Fatalf("%s: %v", email, err)
		}
		if want := noon.Add(time.Hour).Unix(); session.GetExpiresUnix() != want {
			t.Errorf("expires %d, want %d", session.GetExpiresUnix(), want)
		}
		key, err := client.PublicKey(t.Context(), &accountsv1.PublicKeyRequest{})
		if err != nil {
			t.Fatal(err)
		}
		account, err := token.Verify(session.GetToken(), key.GetEd25519(), noon, token.Leeway)
		if err != nil || account != session.GetAccountId() {
			t.Errorf("the token is of %q, %v; want %q", account, err, session.GetAccountId())
		}
		owner, err := client.GetAccount(t.Context(), &accountsv1.GetAccountRequest{Id: account})
		if err != nil || owner.GetEmail() != strings.ToLower(strings.TrimSpace(email)) || owner.GetName() == "" || owner.GetAddress() == "" {
			t.Errorf("the token's account is %v, %v; want %s", owner, err, email)
		}
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	client := serve(t, openRegister(t, filepath.Join(t.TempDir(), "accounts.db")))
	logIn := func(email, password string) error {
		_, err := client.LogIn(t.Context(), &accountsv1.LogInRequest{Email: email, Password: password})
		return err
	}
	get := func(id string) error {
		_, err := client.GetAccount(t.Context(), &accountsv1.GetAccountRequest{Id: id})
		return err
	}
	cases := []struct {
		name string
		err  error
		want codes.Code
	}{
		{"wrong password", logIn("customer-1@example.com", "battery staple"), codes.Unauthenticated},
		{"unknown address", logIn("nobody@example.com", "correct horse"), codes.Unauthenticated},
		{"no address", logIn(" ", "correct horse"), codes.InvalidArgument},
		{"long address", logIn(strings.Repeat("x", maxText+1), "correct horse"), codes.InvalidArgument},
		{"no password", logIn("customer-1@example.com", ""), codes.InvalidArgument},
		{"long password", logIn("customer-1@example.com", strings.Repeat("x", maxLetters+1)), codes.InvalidArgument},
		{"unknown account", get("customer-1001"), codes.NotFound},
		{"no id", get(""), codes.InvalidArgument},
		{"long id", get(strings.Repeat("x", maxText+1)), codes.InvalidArgument},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := status.Code(c.err); got != c.want {
				t.Errorf("code %s, want %s (%v)", got, c.want, c.err)
			}
		})
	}
	unknown, wrong := status.Convert(cases[1].err).Message(), status.Convert(cases[0].err).Message()
	if unknown != wrong {
		t.Errorf("the answers tell which addresses exist: %q and %q", unknown, wrong)
	}
}

func TestSigningKeyOutlivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.db")
	first, err := openRegister(t, path).signingKey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := openRegister(t, path).signingKey(t.Context())
	if err != nil || !first.Equal(second) {
		t.Errorf("another key after the restart (%v)", err)
	}
	other, err := openRegister(t, filepath.Join(t.TempDir(), "accounts.db")).signingKey(t.Context())
	if err != nil || first.Equal(other) {
		t.Errorf("two stores have the same key (%v)", err)
	}
}

func TestSigningKeyThatIsSpoilt(t *testing.T) {
	r := openRegister(t, filepath.Join(t.TempDir(), "accounts.db"))
	if _, err := r.db.ExecContext(t.Context(), "INSERT INTO signing_keys (name, seed) VALUES (?, ?)", currentKey, "c2hvcnQ="); err != nil {
		t.Fatal(err)
	}
	if _, err := newServer(t.Context(), r, time.Hour, time.Now); err == nil || !strings.Contains(err.Error(), "reading signing key: 5 bytes, want 32") {
		t.Errorf("new server = %v", err)
	}
}

func TestSeedingIsDoneOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.db")
	first := openRegister(t, path)
	if _, err := first.db.ExecContext(t.Context(), "UPDATE accounts SET name = 'New Name' WHERE id = 'customer-1'"); err != nil {
		t.Fatal(err)
	}
	a, err := openRegister(t, path).byID(t.Context(), "customer-1")
	if err != nil || a.name != "New Name" {
		t.Errorf("the name that was changed is %q, %v", a.name, err)
	}
}

func TestAStoreThatFailsIsInternal(t *testing.T) {
	r := openRegister(t, filepath.Join(t.TempDir(), "accounts.db"))
	client := serve(t, r)
	r.db.Close()
	if _, err := client.LogIn(t.Context(), &accountsv1.LogInRequest{Email: "a", Password: "b"}); status.Code(err) != codes.Internal {
		t.Errorf("log in: %v", err)
	}
	if _, err := client.GetAccount(t.Context(), &accountsv1.GetAccountRequest{Id: "a"}); status.Code(err) != codes.Internal {
		t.Errorf("get: %v", err)
	}
}

func TestSeedAccounts(t *testing.T) {
	names, addresses := map[string]bool{}, map[string]bool{}
	for _, a := range seedAccounts() {
		names[a.name], addresses[a.address] = true, true
		if a.email != a.id+"@example.com" {
			t.Errorf("%s has the address %s", a.id, a.email)
		}
	}
	if len(names) != seeded || len(addresses) < seeded*9/10 {
		t.Errorf("%d names and %d addresses for %d accounts", len(names), len(addresses), seeded)
	}
}

func TestPasswords(t *testing.T) {
	stored, err := hashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	again, err := hashPassword("correct horse")
	if err != nil || again == stored {
		t.Errorf("two hashes of one password are the same, so there is no salt (%v)", err)
	}
	for password, want := range map[string]bool{"correct horse": true, "correct Horse": false, "": false} {
		if got, err := passwordMatches(stored, password); err != nil || got != want {
			t.Errorf("%q matches: %v, %v; want %v", password, got, err, want)
		}
	}
	// Another count of rounds is another hash: the stored one says how it was made.
	if got, err := passwordMatches(strings.Replace(stored, "$64$", "$65$", 1), "correct horse"); err != nil || got {
		t.Errorf("with another count of rounds it matches: %v, %v", got, err)
	}
}

// The test vector of RFC 7914, section 11, shows that this is PBKDF2 and nothing of our own.
func TestPasswordsAreStandard(t *testing.T) {
	const stored = "pbkdf2-sha256$1$c2FsdA$VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLw"
	if got, err := passwordMatches(stored, "passwd"); err != nil || !got {
		t.Errorf("matches: %v, %v", got, err)
	}
}

func TestPasswordFormsThatCannotBeRead(t *testing.T) {
	for _, stored := range []string{
		"", "plain", "md5$1$c2FsdA$aaaa", "pbkdf2-sha256$0$c2FsdA$aaaa", "pbkdf2-sha256$99999999$c2FsdA$aaaa",
		"pbkdf2-sha256$1$!$aaaa", "pbkdf2-sha256$1$c2FsdA$aaaa", "pbkdf2-sha256$1$c2FsdA$!",
	} {
		if got, err := passwordMatches(stored, "correct horse"); err == nil || got {
			t.Errorf("%q: %v, %v", stored, got, err)
		}
	}
}

func TestTokenTTL(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"", defaultTTL, true}, {"5m", 5 * time.Minute, true}, {"0s", 0, false}, {"-1h", 0, false}, {"an hour", 0, false},
	} {
		got, err := tokenTTL(c.text)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("TOKEN_TTL=%s: %s, %v", c.text, got, err)
		}
	}
}

func BenchmarkSeed(b *testing.B) {
	for b.Loop() {
		db, err := store.Open(b.Context(), store.Config{Path: filepath.Join(b.TempDir(), "accounts.db"), Schema: []string{schema}})
		if err != nil {
			b.Fatal(err)
		}
		if err := (&register{db: db}).seed(b.Context(), seedAccounts(), seedPassword); err != nil {
			b.Fatal(err)
		}
		db.Close()
	}
}

func BenchmarkPassword(b *testing.B) {
	stored, err := hashPassword(seedPassword)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, err := passwordMatches(stored, seedPassword); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
