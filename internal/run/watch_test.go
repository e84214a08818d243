package run

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// auditor answers one line after the other, and the last for ever. A line that
// is a number is a status; "hang" gives no answer.
func auditor(t *testing.T, lines ...string) string {
	t.Helper()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line := lines[min(int(asked.Add(1)), len(lines))-1]
		var status int
		switch _, err := fmt.Sscanf(line, "%d", &status); {
		case line == "hang":
			<-r.Context().Done()
		case err == nil:
			w.WriteHeader(status)
		default:
			_, _ = w.Write([]byte(line))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/audit"
}

func TestSettled(t *testing.T) {
	const settledAnswer, busy = `{"violations":[],"settled":true}`, `{"violations":["a"],"settled":false}`
	for _, test := range []struct {
		name  string
		lines []string
		last  string // the answer, as JSON
		text  string // how it begins
	}{
		{"at once", []string{settledAnswer}, settledAnswer, "settled"},
		{"after a while", []string{busy, busy, settledAnswer}, settledAnswer, "settled"},
		{"after trouble", []string{"503", "not JSON", busy, settledAnswer}, settledAnswer, "settled"},
		{"never", []string{busy}, busy, "not settled"},
		{"not to the end", []string{busy, "hang"}, busy, "not settled"},
		{"only trouble", []string{"500"}, "null", "no answer: http://127.0.0.1:"},
		{"trouble in the end", []string{busy, "500"}, busy, "no answer: http://127.0.0.1:"},
		{"no JSON", []string{"hello"}, "null", "no answer: reading the answer of http://127.0.0.1:"},
		{"no object", []string{"[1]"}, "null", "no answer: reading the answer of http://127.0.0.1:"},
		{"nothing at all", []string{"hang"}, "null", "no answer: Get "},
		{"settled is no truth value", []string{`{"settled":"yes"}`}, `{"settled":"yes"}`, "not settled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			last, text := settled(ctx, http.DefaultClient, auditor(t, test.lines...), 10*time.Millisecond)
			got, err := json.Marshal(last)
			if err != nil {
				t.Fatal(err)
			}
			var want any
			if err := json.Unmarshal([]byte(test.last), &want); err != nil {
				t.Fatal(err)
			}
			if wanted, _ := json.Marshal(want); string(got) != string(wanted) || !strings.HasPrefix(text, test.text) {
				t.Errorf("got %s, %q; want %s, %q", got, text, wanted, test.text)
			}
		})
	}
}

func TestAddAnswer(t *testing.T) {
	for _, test := range []struct {
		name, answer, more, want string
		done                     bool
	}{
		{"sound", `{"violations":[],"checked":{"orders":2},"settled":true}`, `{"violations":[],"checked":{"told":3},"settled":true}`,
			`{"violations":[],"checked":{"orders":2,"mail told":3},"settled":true}`, true},
		{"both found some", `{"violations":["a"],"settled":true}`, `{"violations":["b"],"settled":true}`, `{"violations":["a","b"],"checked":{},"settled":true}`, true},
		{"the other is not settled", `{"violations":["a"],"settled":true}`, `{"violations":["b"],"settled":false}`, `{"violations":["a","b"],"checked":{},"settled":false}`, false},
		{"the other did not answer", `{"violations":[],"settled":true}`, `null`, `{"violations":[],"checked":{},"settled":false}`, false},
		{"the first is not settled", `{"violations":[],"settled":false}`, `{"violations":[],"settled":true}`, `{"violations":[],"checked":{},"settled":false}`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var answer, more, want map[string]any
			for text, into := range map[string]*map[string]any{test.answer: &answer, test.more: &more, test.want: &want} {
				if err := json.Unmarshal([]byte(text), into); err != nil {
					t.Fatal(err)
				}
			}
			if done := addAnswer(answer, "mail", more); done != test.done || !reflect.DeepEqual(answer, want) {
				t.Errorf("got %v, %v; want %v, %v", answer, done, want, test.done)
			}
		})
	}
}

func TestSettledOfNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	if last, text := settled(ctx, http.DefaultClient, server.URL, 10*time.Millisecond); last != nil || !strings.Contains(text, "connection refused") {
		t.Errorf("got %v, %q", last, text)
	}
}
