package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// tiny is a service that knows nothing of the lab: it does what its flags say.
// It serves /healthz and /work, which asks the service at BACK_ADDR, if there is one, for
// the same; and /audit on its admin port.
func tiny() {
	delay := flag.Duration("delay", 0, "time that work takes")
	dies := flag.Bool("dies", false, "end at start, with a message")
	deaf := flag.Bool("deaf", false, "never be ready")
	stubborn := flag.Bool("stubborn", false, "ignore SIGTERM")
	exitAfter := flag.Int64("exit-after", -1, "end by itself after so many requests for work")
	port := flag.String("port", os.Getenv("PORT"), "port to serve on")
	flag.Parse()
	*dies = *dies || os.Getenv("TINY_DIES") != ""
	fmt.Println("tiny: starting")
	if *dies {
		fmt.Fprintln(os.Stderr, "tiny: cannot open the store: no such luck")
		os.Exit(3)
	}
	if *stubborn {
		signal.Ignore(syscall.SIGTERM)
	}
	var served atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if *deaf {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/work", func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1) == *exitAfter {
			fmt.Fprintln(os.Stderr, "tiny: out of memory")
			os.Exit(9)
		}
		fmt.Println("tiny: asked")
		if err := work(r.Context(), *delay, os.Getenv("BACK_ADDR")); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	admin := http.NewServeMux()
	admin.HandleFunc("/audit", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"violations": []any{}, "settled": true, "checked": map[string]any{"requests": served.Load()}})
	})
	failed := make(chan error, 2)
	go func() { failed <- serve(os.Getenv("ADMIN_PORT"), admin) }()
	go func() { failed <- serve(*port, mux) }()
	fmt.Fprintln(os.Stderr, "tiny:", <-failed)
	os.Exit(1)
}

func serve(port string, handler http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	fmt.Println("tiny: serving", listener.Addr())
	return http.Serve(listener, handler)
}

// work takes its time and then asks back, if there is one.
func work(ctx context.Context, delay time.Duration, back string) error {
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	if back == "" {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+back+"/work", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("back answered %s", response.Status)
	}
	return nil
}
