package main

import (
	"github.com/spf13/cobra"

	"github.com/faultline-lab/faultline/chaos/proxy"
	"github.com/faultline-lab/faultline/internal/system/local"
	"github.com/faultline-lab/faultline/loadgen"
)

// The lab's own processes. Users do not call them; a run does.

func proxyCommand() *cobra.Command {
	var cfg proxy.Config
	cmd := &cobra.Command{
		Use: "proxy", Short: "Hold the proxies of a run (a run starts this)", Hidden: true, Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			endWithTheLab()
			if err := proxy.Main(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cfg); err != nil {
				return broken(err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&cfg.Listen, "listen", "127.0.0.1:0", "address of the Toxiproxy API")
	cmd.Flags().StringVar(&cfg.Proxies, "proxies", "", "a file of proxies to begin with, in Toxiproxy's format")
	cmd.Flags().BoolVar(&cfg.Tunnel, "tunnel", false, "let the API's clients connect to whatever this process reaches (CONNECT)")
	return cmd
}

func loadCommand() *cobra.Command {
	return &cobra.Command{
		Use: "load", Short: "Send a plan's load (a run starts this)", Hidden: true, Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			endWithTheLab()
			if err := loadgen.Main(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout()); err != nil {
				return broken(err)
			}
			return nil
		},
	}
}

func guardCommand() *cobra.Command {
	return &cobra.Command{
		Use: "guard", Short: "End the services when the lab is gone (a run starts this)", Hidden: true, Args: between(0, 0),
		Run: func(cmd *cobra.Command, _ []string) {
			endWithTheLab()
			local.Guard(cmd.InOrStdin())
		},
	}
}
