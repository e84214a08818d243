package kit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
)

var errBroken = status.Error(codes.Unavailable, "broken")

// threeReplicas is a callee whose second replica can be broken, over one protocol.
type threeReplicas struct {
	broken atomic.Bool
	addrs  []string
}

// answer is what a replica answers.
func (c *threeReplicas) answer(replica int) (string, error) {
	if replica == 2 && c.broken.Load() {
		return "", errBroken
	}
	return fmt.Sprint(replica), nil
}

func (c *threeReplicas) start(t *testing.T, protocol Protocol) {
	t.Helper()
	for replica := 1; replica <= 3; replica++ {
		svc := catalogService(func(context.Context, string) (*catalogv1.Product, error) {
			name, err := c.answer(replica)
			return &catalogv1.Product{Name: name}, err
		})
		if protocol == HTTP {
			svc = Service{Name: "catalog", Protocol: HTTP, Build: func(context.Context, *Runtime) (*Parts, error) {
				return &Parts{HTTP: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					name, err := c.answer(replica)
					if err != nil {
						w.WriteHeader(http.StatusServiceUnavailable)
					}
					_, _ = io.WriteString(w, name)
				})}, nil
			}}
		}
		c.addrs = append(c.addrs, start(t, svc, nil).main)
	}
}

// asking returns the function that asks a replica and tells which it was.
func asking(t *testing.T, rt *Runtime, protocol Protocol) func() (string, error) {
	t.Helper()
	if protocol == GRPC {
		conn, err := rt.GRPC("catalog")
		if err != nil {
			t.Fatal(err)
		}
		client := catalogv1.NewCatalogClient(conn)
		return func() (string, error) {
			p, err := client.GetProduct(t.Context(), &catalogv1.GetProductRequest{})
			return p.GetName(), err
		}
	}
	client, err := rt.HTTP("catalog")
	if err != nil {
		t.Fatal(err)
	}
	return func() (string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://catalog/", nil)
		if err != nil {
			return "", err
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		return string(body), err
	}
}

// A policy that cannot act on the protocol is refused where it would be ignored.
func TestPolicyOfAnotherProtocol(t *testing.T) {
	rt, _ := caller(t, Env{"CATALOG_ADDR": "127.0.0.1:1", "RESILIENCE_POLICIES": `{"gateway->catalog": [{"grpc_retry": 3}]}`})
	if _, err := rt.HTTP("catalog"); err == nil || err.Error() != "policies of gateway->catalog: grpc_retry acts on grpc only, and this speaks http" {
		t.Errorf("got %v", err)
	}
	if _, err := rt.GRPC("catalog"); err != nil {
		t.Error(err)
	}
}

// A replica that fails is left out after a while, and asked again when it is well, over real connections.
func TestEjection(t *testing.T) {
	for _, protocol := range []Protocol{HTTP, GRPC} {
		for _, balancing := range []string{"round_robin", "least_request"} {
			t.Run(fmt.Sprint(protocol, balancing), func(t *testing.T) {
				callee := &threeReplicas{}
				callee.start(t, protocol)
				rt, r := caller(t, Env{
					"CATALOG_ADDR": strings.Join(callee.addrs, ","),
					"RESILIENCE_POLICIES": `{"gateway->catalog": [{"balancing": "` + balancing + `"},
						{"outlier_ejection": {"consecutive": 3, "base_ejection": "1s", "slow_factor": 0}}]}`,
				})
				ask := asking(t, rt, protocol)
				all := func() error { // until each has answered
					seen := map[string]bool{}
					for range 30 {
						name, _ := ask()
						seen[name] = true
					}
					if !seen["1"] || !seen["2"] || !seen["3"] {
						return fmt.Errorf("only %v answer", seen)
					}
					return nil
				}
				eventually(t, all)
				callee.broken.Store(true)
				out := func() bool {
					return r.metric(t, "policy_state", `on="gateway->catalog"`, `policy="outlier_ejection"`) == 1
				}
				eventually(t, func() error {
					if _, err := ask(); out() {
						return nil
					} else {
						return fmt.Errorf("not ejected; the last error was %v", err)
					}
				})
				failed := 0
				for range 30 {
					if _, err := ask(); err != nil && out() {
						failed++
					}
				}
				if failed > 3 { // grpc-go takes a moment to take a list in
					t.Errorf("%d of 30 failed in spite of the ejection", failed)
				}
				callee.broken.Store(false)
				eventually(t, all)
			})
		}
	}
}
