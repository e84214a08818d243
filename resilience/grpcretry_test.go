package resilience

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/observability/names"
)

// failing answers calls with UNAVAILABLE where fails says so, asked with the number of the attempt from 1.
func failing(fails func(n int) bool) *grpcCallee {
	return &grpcCallee{answer: func(_ context.Context, n int) error {
		if fails(n) {
			return errDown
		}
		return nil
	}}
}

func TestGRPCRetriesOfItsOwn(t *testing.T) {
	tests := []struct {
		name           string
		params         any
		fails          int // so many attempts, then they succeed
		code           codes.Code
		want           codes.Code
		attempts       int
		least, longest time.Duration // of the pauses together, a fifth less and more than what is written
	}{
		{"nothing to retry", nil, 0, codes.Unavailable, codes.OK, 1, 0, 0},
		{"once", nil, 1, codes.Unavailable, codes.OK, 2, 20 * time.Millisecond, 30 * time.Millisecond},
		{"in vain", nil, 9, codes.Unavailable, codes.Unavailable, 3, 60 * time.Millisecond, 90 * time.Millisecond},
		{"five times, the pauses bounded", params{"attempts": 5, "backoff": "100ms", "max_backoff": "150ms"}, 9, codes.Unavailable, codes.Unavailable, 5, 440 * time.Millisecond, 660 * time.Millisecond},
		{"another code", nil, 9, codes.ResourceExhausted, codes.ResourceExhausted, 1, 0, 0},
		{"a code that was asked for", params{"on": []any{"RESOURCE_EXHAUSTED"}}, 1, codes.ResourceExhausted, codes.OK, 2, 20 * time.Millisecond, 30 * time.Millisecond},
		{"no tokens", params{"max_tokens": 2, "token_ratio": 0.1}, 1, codes.Unavailable, codes.Unavailable, 1, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				callee := &grpcCallee{answer: func(_ context.Context, n int) error {
					if n <= test.fails {
						return status.Error(test.code, "no")
					}
					return nil
				}}
				client, e, spans := grpcEdge(t, callee, spec(t, "grpc_retry", test.params))
				began := time.Now()
				_, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
				if took := time.Since(began); status.Code(err) != test.want || took < test.least || took > test.longest {
					t.Errorf("after %s: %v", took, err)
				}
				ok := 0
				if test.want == codes.OK {
					ok = 1
				}
				if len(callee.requests) != test.attempts || e.count(t, names.EdgeAttempts, "ok") != ok || e.count(t, names.EdgeAttempts, "error") != test.attempts-ok {
					t.Errorf("%d requests, %d and %d attempts, want %d", len(callee.requests), e.count(t, names.EdgeAttempts, "ok"), e.count(t, names.EdgeAttempts, "error"), test.attempts)
				}
				if n := e.reg.value(t, names.PolicyRetries, names.On, "a->b"); int(n) != test.attempts-1 {
					t.Errorf("%v retries", n)
				}
				if e.count(t, names.EdgeCalls, "ok")+e.count(t, names.EdgeCalls, "error") != 1 || len(spans.spans) != 1 {
					t.Errorf("%d spans", len(spans.spans))
				}
			})
		})
	}
}

// retried calls so often and returns how many were retried among the last half.
func retried(t *testing.T, calls int, callee *grpcCallee, chain ...Spec) float64 {
	t.Helper()
	client, e, _ := grpcEdge(t, callee, chain...)
	before := 0.0
	for i := range calls {
		if i == calls/2 {
			before = e.reg.value(t, names.PolicyRetries, names.On, "a->b")
		}
		_, _ = client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	}
	return e.reg.value(t, names.PolicyRetries, names.On, "a->b") - before
}

// The trap of retryThrottling: it does not thin retries out but turns them off, at a steady
// share of failures above token_ratio / (1 + token_ratio). A token bucket by calls goes on within its bounds.
func TestGRPCThrottlingTurnsRetriesOff(t *testing.T) {
	third := func(n int) bool { return n%3 == 0 }
	eighth := func(n int) bool { return n%8 == 0 }
	tests := []struct {
		name        string
		fails       func(int) bool
		ratio       float64
		least, most float64 // retries of 150 calls
	}{
		{"33 % with 0.1", third, 0.1, 0, 0},
		{"33 % with 0.45, a little below the boundary of 0.5", third, 0.45, 0, 10},
		{"33 % with 0.6, above it", third, 0.6, 60, 80},
		{"12.5 % with 0.1, a little above its 9 %", eighth, 0.1, 0, 0},
		{"12.5 % with 0.2, whose boundary is 17 %", eighth, 0.2, 18, 23},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			within(t, func(t *testing.T) {
				n := retried(t, 300, failing(test.fails), spec(t, "grpc_retry", params{"max_tokens": 10, "token_ratio": test.ratio}))
				if n < test.least || n > test.most {
					t.Errorf("%v retries of 150 calls", n)
				}
			})
		})
	}
	within(t, func(t *testing.T) {
		if n := retried(t, 300, failing(third), spec(t, "retry", params{"budget": 0.1})); n < 13 || n > 17 {
			t.Errorf("with a budget of 10 %% %v retries of 150 calls", n)
		}
	})
}

// The attempts that grpc-go makes count for what watches attempts.
func TestGRPCRetriesAreSeenByEjection(t *testing.T) {
	within(t, func(t *testing.T) {
		client, e, _ := grpcEdge(t, failing(func(n int) bool { return n < 5 }), spec(t, "outlier_ejection", 5), spec(t, "grpc_retry", 5))
		if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
		if n := e.outliers.replicas[0].recent.sum(time.Now()); n.calls != 5 || n.good != 1 {
			t.Errorf("seen %+v", n)
		}
	})
}

// A timeout further out ends the pauses of grpc-go too.
func TestGRPCRetriesEndWithTheTimeout(t *testing.T) {
	within(t, func(t *testing.T) {
		client, _, _ := grpcEdge(t, failing(func(int) bool { return true }), spec(t, "timeout", "1s"), spec(t, "grpc_retry", params{"attempts": 5, "backoff": "10s", "max_backoff": "10s"}))
		began := time.Now()
		_, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if rejection(err) != "timeout timeout" || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestServiceConfig(t *testing.T) {
	const (
		balanced = `{"loadBalancingConfig":[{"round_robin":{}}]}`
		least    = `{"loadBalancingConfig":[{"least_request_experimental":{"choiceCount":2}}],` +
			`"methodConfig":[{"name":[{}],"retryPolicy":{"backoffMultiplier":2,"initialBackoff":"0.025000000s","maxAttempts":4,"maxBackoff":"1.000000000s","retryableStatusCodes":["UNAVAILABLE"]}}],` +
			`"retryThrottling":{"maxTokens":10,"tokenRatio":0.1}}`
	)
	if got := newTestEdge(t).ServiceConfig(); got != balanced {
		t.Errorf("got %s", got)
	}
	e := newTestEdge(t, spec(t, "balancing", LeastRequest), spec(t, "grpc_retry", params{"attempts": 4, "max_tokens": 10, "token_ratio": 0.1}))
	if got := e.ServiceConfig(); got != least {
		t.Errorf("got %s", got)
	}
}
