package console

import (
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
	"time"
)

// tokenHeader carries the token of a request that acts. A page of another origin can
// neither read the token nor send the header without being asked first.
const tokenHeader = "X-Faultline-Token"

// policy is what a browser may do with the page: run the page's own script and talk to
// this server. Styles of single elements are set by the script.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; connect-src 'self'; " +
	"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard lets through what may see the page, and of what acts only what comes from it:
//
//   - the host must be a name of this machine, or a foreign name that is made to resolve
//     to 127.0.0.1 would make the attacker's page one of the same origin;
//   - a browser must not say that another site or origin is asking;
//   - acting takes the page's token;
//   - beyond loopback, everything takes the token that was printed at the start.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		switch {
		case s.entry == "" && !s.ownHost(r.Host):
			http.Error(w, "this page is served to this machine only", http.StatusForbidden)
		case foreign(r):
			http.Error(w, "another site may not ask for this", http.StatusForbidden)
		case s.entry != "" && !s.admits(w, r):
			http.Error(w, "open the address that was printed at the start: it holds the token", http.StatusUnauthorized)
		case r.Method != http.MethodGet && r.Method != http.MethodHead && !same(r.Header.Get(tokenHeader), s.token):
			http.Error(w, "acting takes the page's token; reload the page", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ownHost tells whether a Host header is a name of the loopback address and our port.
func (s *Server) ownHost(host string) bool {
	name, port, err := net.SplitHostPort(host)
	if err != nil || port != portOf(s.listener.Addr()) {
		return false
	}
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

func portOf(addr net.Addr) string {
	_, port, _ := net.SplitHostPort(addr.String()) // a listener's address has one
	return port
}

// foreign tells whether a browser says that the request is another site's doing. To open the
// page from a link elsewhere is no harm.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		if r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate" {
			return true
		}
	}
	origin := r.Header.Get("Origin")
	return origin != "" && origin != "http://"+r.Host && origin != "https://"+r.Host
}

const entryCookie = "faultline"

// admits checks the token that lets in, and turns the one of the address into a cookie.
func (s *Server) admits(w http.ResponseWriter, r *http.Request) bool {
	if cookie, err := r.Cookie(entryCookie); err == nil && same(cookie.Value, s.entry) {
		return true
	}
	if !same(r.URL.Query().Get("token"), s.entry) {
		return false
	}
	http.SetCookie(w, &http.Cookie{
		Name: entryCookie, Value: s.entry, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Expires: time.Now().Add(24 * time.Hour),
	})
	return true
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
