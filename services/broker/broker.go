// Package broker owns the shop's message broker: a NATS server with JetStream in
// this process, with an admin port as the other services have one, which also publishes
// (POST /messages/<subject>, the body is the message). How services
// speak to it is package kit/broker's business.
//
// Environment: PORT (for NATS clients), HOST (127.0.0.1 by default), ADMIN_PORT, ADMIN_HOST,
// DATA_DIR (where streams are kept; without it they are gone at the end), and
// the telemetry's variables.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/faultline-lab/faultline/observability"
)

const (
	defaultHost = "127.0.0.1"
	// startWithin bounds the server's start, recovery of its streams included.
	startWithin = 20 * time.Second
	startStep   = 50 * time.Millisecond

	maxMemory = 64 << 20 // bytes of streams in memory; the shop's are in files
	maxStore  = 2 << 30  // bytes of streams in files
	maxMemMsg = 1 << 20  // bytes of one message
)

// Run serves until ctx ends.
func Run(ctx context.Context, env map[string]string) error {
	telemetry, err := observability.Setup(ctx, telemetryConfig(env))
	if err != nil {
		return fmt.Errorf("running broker: %w", err)
	}
	if err = run(ctx, env, telemetry); err != nil {
		err = fmt.Errorf("running broker: %w", err)
	}
	// Lost telemetry is counted where it is lost; it is no failure of the broker.
	if e := telemetry.Shutdown(context.WithoutCancel(ctx)); e != nil {
		telemetry.Log.Info("telemetry not fully sent", "error", e)
	}
	return err
}

func telemetryConfig(env map[string]string) observability.Config {
	cfg := observability.ConfigFromEnv(func(name string) string { return env[name] })
	if cfg.Service == "" {
		cfg.Service = "broker"
	}
	return cfg
}

func run(ctx context.Context, env map[string]string, telemetry *observability.Telemetry) (err error) {
	dir, remove, err := dataDir(env["DATA_DIR"])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	nats, err := start(ctx, env["HOST"], env["PORT"], dir, telemetry.Log)
	if err != nil {
		return err
	}
	defer func() {
		nats.Shutdown()
		nats.WaitForShutdown()
	}()
	if err := telemetry.Registry.Register(newCollector(nats)); err != nil {
		return fmt.Errorf("registering broker metrics: %w", err)
	}
	return serveAdmin(ctx, env, newAdmin(nats, telemetry.MetricsHandler()))
}

// dataDir returns the folder of the streams, and what removes it when it is a passing one.
func dataDir(given string) (dir string, remove func() error, err error) {
	if given != "" && given != ":memory:" {
		return filepath.Join(given, "jetstream"), func() error { return nil }, nil
	}
	dir, err = os.MkdirTemp("", "shop-broker-")
	if err != nil {
		return "", nil, fmt.Errorf("making data folder: %w", err)
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

// start brings the server up and waits until it takes clients.
func start(ctx context.Context, host, port, dir string, log *slog.Logger) (*server.Server, error) {
	opts, err := options(host, port, dir)
	if err != nil {
		return nil, err
	}
	if err := free(ctx, opts.Host, opts.Port); err != nil {
		return nil, err
	}
	nats, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("making nats server: %w", err)
	}
	fatal := make(chan error, 1)
	nats.SetLoggerV2(natsLog{log: log, fatal: fatal}, false, false, false)
	nats.Start()
	if err := awaitReady(ctx, nats, fatal); err != nil {
		nats.Shutdown()
		return nil, fmt.Errorf("starting nats server: %w", err)
	}
	return nats, nil
}

// awaitReady waits until the server takes clients or says that it never will.
func awaitReady(ctx context.Context, nats *server.Server, fatal <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		select {
		case err := <-fatal:
			return err
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		default:
		}
		if nats.ReadyForConnections(startStep) {
			return nil
		}
	}
}

func options(host, port, dir string) (*server.Options, error) {
	if host == "" {
		host = defaultHost
	}
	number, err := strconv.Atoi(port)
	if err != nil || number < 0 || number > 65535 {
		return nil, fmt.Errorf("reading PORT: %q is not a port", port)
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	return &server.Options{
		ServerName:         "shop-broker",
		Host:               host,
		Port:               number,
		JetStream:          true,
		StoreDir:           dir,
		JetStreamMaxMemory: maxMemory,
		JetStreamMaxStore:  maxStore,
		MaxPayload:         maxMemMsg,
		NoSigs:             true,
		// Clients come through proxies, whose addresses the server does not know; if
		// it told them its own, they would reconnect around the proxy.
		Cluster:                server.ClusterOpts{NoAdvertise: true},
		DisableJetStreamBanner: true,
	}, nil
}

// free tells early and clearly that a port is taken; the server itself would
// only log it and try on.
func free(ctx context.Context, host string, port int) error {
	if port == server.RANDOM_PORT {
		return nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("listening for nats clients: %w", err)
	}
	return listener.Close()
}

// natsLog passes the server's log on. What is fatal does not end the process, as
// it would in a server of its own, but fails the start.
type natsLog struct {
	log   *slog.Logger
	fatal chan<- error
}

func (l natsLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l natsLog) Errorf(format string, v ...any)  { l.log.Error(fmt.Sprintf(format, v...)) }
func (l natsLog) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l natsLog) Tracef(string, ...any)           {}

func (l natsLog) Fatalf(format string, v ...any) {
	err := fmt.Errorf(format, v...)
	select {
	case l.fatal <- err:
	default: // the start has failed already, or is over
		l.log.Error("nats server", "error", err)
	}
}
