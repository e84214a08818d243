package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/faultline-lab/faultline/internal/system/compose"
	"github.com/faultline-lab/faultline/observability/embedded"
)

func backendCommand() *cobra.Command {
	var cfg embedded.Config
	var name string
	cmd := &cobra.Command{
		Use: "backend", Short: "Receive the telemetry of a stack (compose.yaml starts this)", Hidden: true, Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Log = labLog(cmd.ErrOrStderr())
			if err := serveBackend(cmd.Context(), cfg, name); err != nil {
				return broken(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&cfg.Listen, "listen", "127.0.0.1:4317", "address for OTLP, profiles and Prometheus' HTTP API")
	cmd.Flags().StringVar(&cfg.Dir, "dir", "telemetry", "folder of what is received; what an earlier backend left there is removed")
	cmd.Flags().StringVar(&name, "system", "shop", "the system whose containers are scraped")
	return cmd
}

// serveBackend receives until ctx ends.
func serveBackend(ctx context.Context, cfg embedded.Config, name string) error {
	sys, err := openSystem(name, ".")
	if err != nil {
		return err
	}
	// The folder itself may be where something is mounted, so it stays.
	cfg.Dir = filepath.Join(cfg.Dir, "backend")
	if err := os.RemoveAll(cfg.Dir); err != nil {
		return fmt.Errorf("removing what an earlier backend left: %w", err)
	}
	cfg.RemoteWrite = true
	backend, err := embedded.Start(ctx, cfg)
	if err != nil {
		return err
	}
	if err := backend.SetTargets(compose.Targets(sys)); err != nil {
		return err
	}
	<-ctx.Done()
	_, err = backend.Close(context.WithoutCancel(ctx))
	return err
}
