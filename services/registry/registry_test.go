package registry

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestZone(t *testing.T) {
	records, err := parse("backend=3,1, 2; other=1")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{records: records}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /services/{name}", z.get)
	mux.HandleFunc("PUT /services/{name}", z.put)
	for _, step := range []struct {
		method, path string
		status       int
		answer       string
	}{
		{"GET", "/services/backend", 200, `{"replicas":[1,2,3]}`},
		{"GET", "/services/nobody", 404, "no such service"},
		{"PUT", "/services/backend?replicas=", 200, "backend has the replicas []"},
		{"GET", "/services/backend", 200, `{"replicas":[]}`},
		{"PUT", "/services/backend", 400, "replicas must be given"},
		{"PUT", "/services/backend?replicas=0", 400, `"0" is not a replica`},
		{"PUT", "/services/nobody?replicas=1", 404, "no such service"},
		{"PUT", "/services/backend?replicas=2,2", 200, "backend has the replicas [2]"},
		{"GET", "/services/backend", 200, `{"replicas":[2]}`},
		{"GET", "/services/other", 200, `{"replicas":[1]}`},
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(step.method, step.path, nil))
		if w.Code != step.status || !strings.Contains(w.Body.String(), step.answer) {
			t.Errorf("%s %s: %d %q, want %d %q", step.method, step.path, w.Code, w.Body, step.status, step.answer)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"backend", "=1", "backend=one", "backend=1001"} {
		if got, err := parse(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
