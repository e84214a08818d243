package gateway

import (
	"net/http"
	"time"

	accountsv1 "github.com/faultline-lab/faultline/services/proto/shop/accounts/v1"
)

type sessionRequest struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

// logIn exchanges an address and a password for a token. Accounts checks
// both, also their lengths.
func (g *gateway) logIn(w http.ResponseWriter, r *http.Request) error {
	var req sessionRequest
	if err := decode(w, r, &req); err != nil {
		return err
	}
	session, err := g.accounts.LogIn(r.Context(), &accountsv1.LogInRequest{Email: req.Email, Password: req.Password})
	if err != nil {
		return upstream("accounts", err)
	}
	w.Header().Set("Cache-Control", "no-store")
	return encode(w, http.StatusOK, map[string]any{
		"token":      session.GetToken(),
		"account_id": session.GetAccountId(),
		"expires":    time.Unix(session.GetExpiresUnix(), 0).UTC(),
	})
}

func (g *gateway) getAccount(w http.ResponseWriter, r *http.Request, accountID string) error {
	account, err := g.accounts.GetAccount(r.Context(), &accountsv1.GetAccountRequest{Id: accountID})
	if err != nil {
		return upstream("accounts", err)
	}
	return encode(w, http.StatusOK, map[string]string{
		"id": account.GetId(), "email": account.GetEmail(), "name": account.GetName(), "address": account.GetAddress(),
	})
}
