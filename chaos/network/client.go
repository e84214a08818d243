package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/faultline-lab/faultline/chaos/proxy"
)

// client calls the API of the proxy process, each call with a deadline. (Toxiproxy's own
// client takes no context, and does not escape the # in the name of a replica.)
type client struct {
	base   string
	within time.Duration
	http   *http.Client
}

// apiError is an answer that is not a success.
type apiError struct {
	Message string `json:"error"`
	Status  int    `json:"status"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("the proxy answered %d: %s", e.Status, e.Message)
}

// missing tells whether what was asked for is not there.
func missing(err error) bool {
	var api *apiError
	return errors.As(err, &api) && api.Status == http.StatusNotFound
}

// call sends in as JSON, unless it is nil, and decodes the answer into out, unless that is nil.
func (c *client) call(ctx context.Context, method, path string, in, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, c.within)
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("calling the proxy: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("calling the proxy: %w", err)
	}
	if answer.StatusCode >= 300 {
		failure := &apiError{Message: string(text), Status: answer.StatusCode}
		_ = json.Unmarshal(text, failure) // the text itself otherwise
		return nil, failure
	}
	if out == nil {
		return answer.Header, nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return nil, fmt.Errorf("reading the proxy's answer: %w", err)
	}
	return answer.Header, nil
}

// state is a proxy as the API shows it.
type state struct {
	Listen   string `json:"listen"`
	Upstream string `json:"upstream"`
	Enabled  bool   `json:"enabled"`
	Toxics   []struct {
		Name string `json:"name"`
	} `json:"toxics"`
}

func proxyPath(name string) string { return "/proxies/" + url.PathEscape(name) }

func (c *client) create(ctx context.Context, name, listen, upstream string) (state, error) {
	var created state
	_, err := c.call(ctx, http.MethodPost, "/proxies", map[string]string{"name": name, "listen": listen, "upstream": upstream}, &created)
	return created, err
}

func (c *client) show(ctx context.Context, name string) (state, error) {
	var now state
	_, err := c.call(ctx, http.MethodGet, proxyPath(name), nil, &now)
	return now, err
}

func (c *client) enable(ctx context.Context, name string, enabled bool) error {
	_, err := c.call(ctx, http.MethodPatch, proxyPath(name), map[string]bool{"enabled": enabled}, nil)
	return err
}

func (c *client) add(ctx context.Context, name string, t toxic) error {
	_, err := c.call(ctx, http.MethodPost, proxyPath(name)+"/toxics", t, nil)
	return err
}

// remove removes a toxic and returns how many connections had to be cut for
// it, and why. A toxic that is not there is removed.
func (c *client) remove(ctx context.Context, name, toxic string) (cut int64, why string, err error) {
	header, err := c.call(ctx, http.MethodDelete, proxyPath(name)+"/toxics/"+url.PathEscape(toxic), nil, nil)
	if missing(err) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	cut, why = proxy.ConnectionsCut(header)
	return cut, why, nil
}

func (c *client) traffic(ctx context.Context) ([]proxy.Traffic, error) {
	var traffic []proxy.Traffic
	_, err := c.call(ctx, http.MethodGet, "/faultline/traffic", nil, &traffic)
	return traffic, err
}

// renew renews the lease and returns how often it has lapsed so far.
func (c *client) renew(ctx context.Context, ttl time.Duration) (lapsed int, err error) {
	var lease proxy.Lease
	_, err = c.call(ctx, http.MethodPost, "/lease", map[string]string{"ttl": ttl.String()}, &lease)
	return lease.Lapsed, err
}
