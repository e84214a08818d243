package local

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// checkWithin bounds one health check.
const checkWithin = time.Second

// check asks once whether the instance is healthy, at its own address and not through a proxy.
func (i *instance) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	addr := i.addr
	if i.svc.Health.Port == "admin" {
		addr = i.adminAddr
	}
	var dialer net.Dialer
	return CheckHealth(ctx, dialer.DialContext, i.svc.Health.Check, addr, i.svc.Health.Path)
}

// Dial connects to an address.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// CheckHealth asks once: check is http (2xx at path), grpc (health says SERVING)
// or tcp (a connection is accepted).
func CheckHealth(ctx context.Context, dial Dial, check, addr, path string) error {
	switch check {
	case "http":
		return checkHTTP(ctx, dial, "http://"+addr+path)
	case "grpc":
		return checkGRPC(ctx, dial, addr)
	default:
		conn, err := dial(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

func checkHTTP(ctx context.Context, dial Dial, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// A kept connection would outlive the process that it was made to.
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s", url, response.Status)
	}
	return nil
}

func checkGRPC(ctx context.Context, dial Dial, addr string) error {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, "tcp", addr) }))
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("grpc health of %s is %s", addr, answer.GetStatus())
	}
	return nil
}
