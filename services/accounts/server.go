package accounts

import (
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	accountsv1 "github.com/faultline-lab/faultline/services/proto/shop/accounts/v1"
	"github.com/faultline-lab/faultline/services/token"
)

// maxText bounds the bytes of an address or an id.
const maxText = 254

// server answers the gRPC methods.
type server struct {
	accountsv1.UnimplementedAccountsServer
	register *register
	signer   *token.Signer
	public   ed25519.PublicKey
	now      func() time.Time
	// decoy is the hash of a password that nobody has: a login for an unknown
	// address is checked against it, so that its time tells nothing.
	decoy string
}

func newServer(ctx context.Context, r *register, ttl time.Duration, now func() time.Time) (*server, error) {
	key, err := r.signingKey(ctx)
	if err != nil {
		return nil, err
	}
	decoy, err := hashPassword("nobody's password")
	if err != nil {
		return nil, err
	}
	return &server{
		register: r, signer: token.NewSigner(key, ttl), public: key.Public().(ed25519.PublicKey), now: now, decoy: decoy,
	}, nil
}

// LogIn checks the password and gives a signed token. Address unknown and
// password wrong are the same answer.
func (s *server) LogIn(ctx context.Context, req *accountsv1.LogInRequest) (*accountsv1.LogInResponse, error) {
	email := strings.ToLower(strings.TrimSpace(req.GetEmail()))
	switch {
	case email == "" || len(email) > maxText:
		return nil, status.Errorf(codes.InvalidArgument, "email must have 1 to %d bytes", maxText)
	case req.GetPassword() == "" || len(req.GetPassword()) > maxLetters:
		return nil, status.Errorf(codes.InvalidArgument, "password must have 1 to %d bytes", maxLetters)
	}
	id, hash, err := s.register.credentials(ctx, email)
	known := !errors.Is(err, errUnknown)
	if err != nil && known {
		return nil, failure(err)
	}
	if !known {
		hash = s.decoy
	}
	matches, err := passwordMatches(hash, req.GetPassword())
	if err != nil {
		return nil, failure(err)
	}
	if !known || !matches {
		return nil, status.Error(codes.Unauthenticated, "email and password do not match")
	}
	raw, expires, err := s.signer.Sign(id, s.now())
	if err != nil {
		return nil, failure(err)
	}
	return &accountsv1.LogInResponse{Token: raw, AccountId: id, ExpiresUnix: expires.Unix()}, nil
}

// GetAccount gives one account; NOT_FOUND when there is none.
func (s *server) GetAccount(ctx context.Context, req *accountsv1.GetAccountRequest) (*accountsv1.Account, error) {
	if req.GetId() == "" || len(req.GetId()) > maxText {
		return nil, status.Errorf(codes.InvalidArgument, "id must have 1 to %d bytes", maxText)
	}
	a, err := s.register.byID(ctx, req.GetId())
	if errors.Is(err, errUnknown) {
		return nil, status.Errorf(codes.NotFound, "no account %q", req.GetId())
	}
	if err != nil {
		return nil, failure(err)
	}
	return &accountsv1.Account{Id: a.id, Email: a.email, Name: a.name, Address: a.address}, nil
}

// PublicKey gives the key that checks this service's tokens.
func (s *server) PublicKey(context.Context, *accountsv1.PublicKeyRequest) (*accountsv1.PublicKeyResponse, error) {
	return &accountsv1.PublicKeyResponse{Ed25519: s.public}, nil
}

// failure keeps the codes of a context that ended; the rest is INTERNAL.
func failure(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Internal, err.Error())
}
