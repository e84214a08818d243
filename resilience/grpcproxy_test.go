package resilience

import (
	"net/http"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What proxies do to an edge with these is tested where there is a proxy: chaos/proxy/hop.
func TestFailuresOnTheWire(t *testing.T) {
	tests := []struct {
		name            string
		http            int
		header, trailer string // of the status
		message         string
		want            codes.Code
		says            string
	}{
		{"an answer", 200, "", "0", "", codes.OK, ""},
		{"a failure in the trailers", 200, "", "14", "at 100%25", codes.Unavailable, "at 100%"},
		{"a bare failure", 200, "9", "", "no", codes.FailedPrecondition, "no"},
		{"a message that is wrongly encoded", 200, "", "13", "100%", codes.Internal, "100%"},
		{"a code that nobody knows", 200, "", "77", "", codes.Code(77), ""},
		{"a status that is no number", 200, "", "fine", "", codes.Unknown, "HTTP status 200 without a gRPC status"},
		{"no status", 200, "", "", "", codes.Unknown, "HTTP status 200 without a gRPC status"},
		{"a proxy that is no gRPC server", 503, "", "", "", codes.Unavailable, "HTTP status 503 without a gRPC status"},
		{"a web server", 404, "", "", "", codes.Unknown, "HTTP status 404 without a gRPC status"},
	}
	for _, test := range tests {
		response := &http.Response{StatusCode: test.http, Header: http.Header{}, Trailer: http.Header{}}
		for where, text := range map[*http.Header]string{&response.Header: test.header, &response.Trailer: test.trailer} {
			if text != "" {
				where.Set("Grpc-Status", text)
				where.Set("Grpc-Message", test.message)
			}
		}
		err := failureOf(response)
		if got := status.Convert(err); status.Code(err) != test.want || got.Message() != test.says {
			t.Errorf("%s: got %v", test.name, err)
		}
		if want := classifyCode(test.want); test.want != codes.OK && classify(t.Context(), response, err) != want {
			t.Errorf("%s: classified as %v", test.name, classify(t.Context(), response, err))
		}
	}
}
