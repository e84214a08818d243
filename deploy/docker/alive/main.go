// Command alive asks whether HTTP endpoints answer well, for the health checks
// of containers that hold nothing else that could ask:
//
//	alive http://127.0.0.1:8081/readyz ...
//
// It exits with 0 when every URL answered 2xx within two seconds, and with 1 otherwise, saying which
// did not. With -wait first it asks nothing and waits until it is stopped: the
// main process of a container that only asks after others.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// within bounds all questions together.
const within = 2 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		return errors.New("usage: alive [-wait] URL [more URLs]")
	case args[0] == "-wait":
		<-ctx.Done()
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	failures := make([]error, len(args))
	var asking sync.WaitGroup
	for i, url := range args {
		asking.Go(func() { failures[i] = ask(ctx, url) })
	}
	asking.Wait()
	return errors.Join(failures...)
}

func ask(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // its status is the answer
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s answered %s", url, answer.Status)
	}
	return nil
}
