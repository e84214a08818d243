package console

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func serve(t *testing.T, cfg Config) *Server {
	t.Helper()
	if cfg.Runs == "" {
		cfg.Runs = t.TempDir()
	}
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background(), "over"); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestGuard asks as a stranger would.
func TestGuard(t *testing.T) {
	s := serve(t, Config{})
	own := s.listener.Addr().String()
	port := portOf(s.listener.Addr())
	withToken := map[string]string{tokenHeader: s.token}
	for _, tt := range []struct {
		name, method, path, host string
		headers                  map[string]string
		want                     int
	}{
		{"the page", "GET", "/", own, nil, 200},
		{"the page by its other name", "GET", "/", "localhost:" + port, nil, 200},
		{"a name made to resolve to us", "GET", "/", "evil.example:" + port, nil, 403},
		{"our name on another port", "GET", "/", "127.0.0.1:1", nil, 403},
		{"no port", "GET", "/", "127.0.0.1", nil, 403},
		{"a script of another site reads", "GET", "/api/catalog", own, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}, 403},
		{"another port of this machine reads", "GET", "/api/live", own, map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403},
		{"another site frames the page", "GET", "/", own, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403},
		{"a link elsewhere opens the page", "GET", "/", own, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200},
		{"acting without the token", "POST", "/api/clear", own, nil, 403},
		{"acting with another token", "POST", "/api/clear", own, map[string]string{tokenHeader: strings.Repeat("0", 32)}, 403},
		{"acting from another origin", "POST", "/api/clear", own, map[string]string{tokenHeader: s.token, "Origin": "http://evil.example"}, 403},
		{"acting from no origin", "POST", "/api/clear", own, map[string]string{tokenHeader: s.token, "Origin": "null"}, 403},
		{"acting from another site", "POST", "/api/clear", own, map[string]string{tokenHeader: s.token, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403},
		{"acting from the page", "POST", "/api/clear", own, map[string]string{tokenHeader: s.token, "Origin": "http://" + own, "Sec-Fetch-Site": "same-origin"}, 409}, // nothing runs
		{"acting by GET", "GET", "/api/abort", own, withToken, 405},
		{"another method", "DELETE", "/api/abort", own, nil, 403},
		{"a file beside the runs", "GET", "/runs/..%2f..%2fetc/report", own, nil, 404},
	} {
		request := httptest.NewRequest(tt.method, "http://"+own+tt.path, strings.NewReader("{}"))
		request.Host = tt.host
		for name, value := range tt.headers {
			request.Header.Set(name, value)
		}
		ctx, cancel := context.WithCancel(t.Context())
		answer := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(answer, request.WithContext(ctx))
		cancel()
		if answer.Code != tt.want {
			t.Errorf("%s: got %d %s, want %d", tt.name, answer.Code, answer.Body, tt.want)
		}
		if got := answer.Header().Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") || strings.Contains(strings.ReplaceAll(got, "style-src-attr 'unsafe-inline'", ""), "unsafe") {
			t.Errorf("%s: the policy is %q", tt.name, got)
		}
	}
}

// TestBeyondLoopbackTakesTheToken serves on every address.
func TestBeyondLoopbackTakesTheToken(t *testing.T) {
	s := serve(t, Config{Listen: "0.0.0.0:0"})
	if !strings.Contains(s.URL(), "?token="+s.entry) || s.entry == s.token {
		t.Fatalf("the address is %s", s.URL())
	}
	ask := func(path string, cookie *http.Cookie) *http.Response {
		request := httptest.NewRequest("GET", "http://lab.example:1234"+path, nil)
		if cookie != nil {
			request.AddCookie(cookie)
		}
		answer := httptest.NewRecorder()
		s.http.Handler.ServeHTTP(answer, request)
		return answer.Result()
	}
	for _, path := range []string{"/", "/runs", "/api/runs", "/live.js", "/?token=", "/?token=" + s.token} {
		if got := ask(path, nil); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without the token: %s", path, got.Status)
		}
	}
	let := ask("/?token="+s.entry, nil)
	if let.StatusCode != http.StatusOK || len(let.Cookies()) != 1 || !let.Cookies()[0].HttpOnly || let.Cookies()[0].SameSite != http.SameSiteStrictMode {
		t.Fatalf("with the token: %s, %v", let.Status, let.Cookies())
	}
	if got := ask("/api/runs", let.Cookies()[0]); got.StatusCode != http.StatusOK {
		t.Errorf("with the cookie: %s", got.Status)
	}
}

func TestStartRefusesAnAddressThatIsTaken(t *testing.T) {
	s := serve(t, Config{})
	if _, err := Start(t.Context(), Config{Listen: s.listener.Addr().String()}); err == nil {
		t.Error("two pages on one address")
	}
}

// TestOwnFilesOnly holds the pages to files of the binary.
func TestOwnFilesOnly(t *testing.T) {
	s := serve(t, Config{Version: `"</script><script>alert(1)</script>`})
	for _, path := range []string{"", "runs", "live.js", "runs.js"} {
		response, err := http.Get(s.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		text := strings.ReplaceAll(string(body), "http://www.w3.org/2000/svg", "")
		if err != nil || response.StatusCode != 200 || len(body) < 500 {
			t.Errorf("/%s: %s, %d bytes, %v", path, response.Status, len(body), err)
		}
		for _, elsewhere := range []string{"http://", "https://", "innerHTML", "eval(", "alert(1)</script>"} {
			if strings.Contains(text, elsewhere) {
				t.Errorf("/%s has %q", path, elsewhere)
			}
		}
	}
}
