package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/faultline-lab/faultline/chaos/proxy/hop"
)

// dial connects to an address.
type dial = func(ctx context.Context, network, addr string) (net.Conn, error)

// prober asks one address. It keeps its connection from one question to the
// next, so that what is timed is the question and not the connecting.
type prober struct {
	spec    Probe
	through dial
	addr    string
	sent    *atomic.Int64 // counts the bytes it sends; may be nil

	http *http.Client
	grpc *grpc.ClientConn
}

func newProber(spec Probe, through dial, addr string, sent *atomic.Int64) (*prober, error) {
	p := &prober{spec: spec, through: through, addr: addr, sent: sent}
	switch spec.Protocol {
	case "http":
		p.http = &http.Client{
			Transport:     &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) }},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	case "grpc":
		conn, err := grpc.NewClient("passthrough:///"+addr,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.dial(ctx) }),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 250 * time.Millisecond}, MinConnectTimeout: time.Minute}))
		if err != nil {
			return nil, fmt.Errorf("probing %s: %w", addr, err)
		}
		p.grpc = conn
	}
	return p, nil
}

func (p *prober) close() {
	if p.http != nil {
		p.http.CloseIdleConnections()
	}
	if p.grpc != nil {
		_ = p.grpc.Close() // it is closed either way
	}
}

func (p *prober) dial(ctx context.Context) (net.Conn, error) {
	conn, err := p.through(ctx, "tcp", p.addr)
	if err != nil {
		return nil, err
	}
	return &counting{Conn: conn, sent: p.sent}, nil
}

// counting counts what a probe sends, so that it is not taken for traffic of others.
type counting struct {
	net.Conn
	sent *atomic.Int64
}

func (c *counting) Write(b []byte) (int, error) {
	if c.sent != nil {
		c.sent.Add(int64(len(b))) // before, so that the proxy never counts what is not counted here
	}
	return c.Conn.Write(b)
}

// ask asks one question and returns how long the answer took.
func (p *prober) ask(ctx context.Context) (time.Duration, error) {
	switch {
	case p.http != nil:
		return p.askHTTP(ctx)
	case p.grpc != nil:
		return p.askGRPC(ctx)
	default:
		return p.open(ctx)
	}
}

func (p *prober) path() string {
	if p.spec.Path == "" {
		return "/"
	}
	return p.spec.Path
}

func (p *prober) askHTTP(ctx context.Context) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+p.path(), nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("User-Agent", hop.ProbeAgent) // no traffic of the system
	start := time.Now()
	answer, err := p.http.Do(request)
	if err != nil {
		return time.Since(start), err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
	return time.Since(start), err
}

// askGRPC calls the standard health service. That it is not there, or not
// serving, is an answer too. What is timed is the call alone: connecting takes
// round trips of its own, and a fault would count several times.
func (p *prober) askGRPC(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	if err := p.connect(ctx); err != nil {
		return time.Since(start), err
	}
	start = time.Now()
	_, err := grpc_health_v1.NewHealthClient(p.grpc).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if code := status.Code(err); code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Canceled {
		return time.Since(start), err
	}
	return time.Since(start), nil
}

var errConnecting = errors.New("connecting failed")

// connect waits until the gRPC connection stands, for one try.
func (p *prober) connect(ctx context.Context) error {
	p.grpc.ResetConnectBackoff()
	tried := false
	for {
		state := p.grpc.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.Connecting:
			tried = true
		default:
			if tried && state == connectivity.TransientFailure {
				return errConnecting
			}
			p.grpc.Connect()
		}
		if !p.grpc.WaitForStateChange(ctx, state) {
			return fmt.Errorf("connecting: %w", ctx.Err())
		}
	}
}

// open opens a connection of its own, and waits for the first byte.
func (p *prober) open(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	conn, err := p.dial(ctx)
	if err != nil {
		return time.Since(start), err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if p.spec.Send != "" {
		if _, err := conn.Write([]byte(p.spec.Send)); err != nil {
			return time.Since(start), err
		}
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return time.Since(start), err
}

// What became of a connection.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() || status.Code(err) == codes.DeadlineExceeded
}
