package kit

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	catalogv1 "github.com/faultline-lab/faultline/services/proto/shop/catalog/v1"
)

// A caller that goes while it is served leaves a server behind that does not
// notice, over both protocols; with the policy deadline the work ends with its caller.
func TestCallersWhoGo(t *testing.T) {
	type work = func(ctx context.Context)
	protocols := map[string]func(t *testing.T, env Env, do work) (r *running, call func(context.Context) error){
		"http": func(t *testing.T, env Env, do work) (*running, func(context.Context) error) {
			r := start(t, Service{Name: "s", Protocol: HTTP, Build: func(context.Context, *Runtime) (*Parts, error) {
				return &Parts{HTTP: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { do(r.Context()) })}, nil
			}}, env)
			return r, func(ctx context.Context) error {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.main+"/", nil)
				if err != nil {
					return err
				}
				resp, err := http.DefaultClient.Do(req)
				if err == nil {
					err = resp.Body.Close()
				}
				return err
			}
		},
		"grpc": func(t *testing.T, env Env, do work) (*running, func(context.Context) error) {
			svc := catalogService(func(ctx context.Context, _ string) (*catalogv1.Product, error) {
				do(ctx)
				return &catalogv1.Product{}, nil
			})
			svc.Name = "s"
			r := start(t, svc, env)
			client := catalogv1.NewCatalogClient(dial(t, r.main))
			return r, func(ctx context.Context) error {
				_, err := client.GetProduct(ctx, &catalogv1.GetProductRequest{})
				return err
			}
		},
	}
	for name, protocol := range protocols {
		for policies, notices := range map[string]bool{"": false, `{"s": [{"deadline": {}}]}`: true} {
			t.Run(name+" "+policies, func(t *testing.T) {
				entered, release := make(chan struct{}), make(chan struct{})
				r, call := protocol(t, Env{"RESILIENCE_POLICIES": policies}, func(ctx context.Context) {
					close(entered)
					select {
					case <-release:
						if notices {
							t.Error("the work did not end with its caller")
						}
					case <-ctx.Done():
						if !notices {
							t.Error("the work noticed that its caller had gone")
						}
					}
				})
				ctx, cancel := context.WithCancel(t.Context())
				var wait sync.WaitGroup
				wait.Go(func() {
					if call(ctx) == nil {
						t.Error("the call succeeded")
					}
				})
				<-entered
				cancel()
				wait.Wait()
				if !notices {
					// The server's side of the connection learns of it a little later.
					timer := time.NewTimer(50 * time.Millisecond)
					defer timer.Stop()
					<-timer.C
					close(release)
				}
				eventually(t, func() error {
					if n := r.metric(t, "door_requests_total", `outcome="abandoned"`); n != 1 {
						return status.Errorf(codes.NotFound, "%v abandoned", n)
					}
					return nil
				})
				if r.metric(t, "door_wasted_seconds_total") <= 0 {
					t.Error("nothing was wasted")
				}
				if notices {
					close(release)
				}
			})
		}
	}
}
