package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAlive(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" {
			http.Error(w, "no", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	for _, test := range []struct {
		name string
		args []string
		want string // in the error; "" is none
	}{
		{"all answer", []string{server.URL + "/ready", server.URL + "/ready"}, ""},
		{"one is not ready", []string{server.URL + "/ready", server.URL + "/other"}, "/other answered 503"},
		{"nobody listens", []string{"http://127.0.0.1:1/"}, "connect"},
		{"no url", nil, "usage: alive"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := run(t.Context(), test.args)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestWaits(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- run(ctx, []string{"-wait"}) }()
	select {
	case err := <-ended:
		t.Fatalf("it ended by itself: %v", err)
	default:
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
