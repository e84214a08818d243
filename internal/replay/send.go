package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// sender talks to the other programs.
type sender struct {
	cfg    Config
	client *http.Client
}

// answer is what was said to a message.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) ok() bool { return a.status/100 == 2 }

// text is what was said, on one line and not too long.
func (a answer) text() string {
	const most = 300
	body := a.body
	switch a.header.Get("Content-Type") {
	case "application/x-protobuf", "application/octet-stream": // the latter is what Loki says
		body = statusMessage(body)
	}
	text := strings.Join(strings.Fields(string(body)), " ")
	if len(text) > most {
		text = text[:most] + "..."
	}
	if text == "" {
		text = http.StatusText(a.status)
	}
	return fmt.Sprintf("%d: %s", a.status, text)
}

// statusMessage is the text of a google.rpc.Status, its field 2, with which receivers of OTLP refuse.
func statusMessage(body []byte) []byte {
	for rest := body; len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		if n < 0 {
			break
		}
		rest = rest[n:]
		if number == 2 && kind == protowire.BytesType {
			text, n := protowire.ConsumeBytes(rest)
			if n < 0 {
				break
			}
			return text
		}
		if n = protowire.ConsumeFieldValue(number, kind, rest); n < 0 {
			break
		}
		rest = rest[n:]
	}
	return nil // the status says it
}

// ErrNowhere says that no address was given.
var ErrNowhere = errors.New("nowhere to send the run to")

// reach finds out, before anything is sent, whether somebody is there at every address.
func (s *sender) reach(ctx context.Context) error {
	var errs []error
	given := false
	for _, to := range [][2]string{{"otlp", s.cfg.OTLP}, {"prometheus", s.cfg.Prometheus}, {"loki", s.cfg.Loki}, {"pyroscope", s.cfg.Pyroscope}} {
		flag, address := to[0], to[1]
		if address == "" {
			continue
		}
		given = true
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			errs = append(errs, fmt.Errorf("--%s %q: must be a base address, such as http://127.0.0.1:9090", flag, address))
			continue
		}
		if _, err := s.ask(ctx, http.MethodGet, address, nil, nil); err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", flag, err))
		}
	}
	if !given {
		return ErrNowhere
	}
	return errors.Join(errs...)
}

// attempts is how often a message is sent whose answer says to come again.
const attempts = 5

// post sends a message, again where the other side is only busy. The answer may say
// that it was refused; an error is one of the way there.
func (s *sender) post(ctx context.Context, address string, header map[string]string, body []byte) (answer, error) {
	for attempt := 1; ; attempt++ {
		got, err := s.ask(ctx, http.MethodPost, address, header, body)
		if err != nil || !busy(got.status) || attempt == attempts {
			return got, err
		}
		if err := s.wait(ctx, time.Duration(attempt)*200*time.Millisecond); err != nil {
			return got, err
		}
	}
}

func busy(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func (s *sender) wait(ctx context.Context, d time.Duration) error {
	if s.cfg.pause != nil {
		s.cfg.pause(d)
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answerWithin bounds one message.
const answerWithin = 30 * time.Second

func (s *sender) ask(ctx context.Context, method, address string, header map[string]string, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for key, value := range header {
		request.Header.Set(key, value)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return answer{}, unreachable(address, err)
	}
	defer response.Body.Close()
	const most = 1 << 20
	text, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return answer{}, unreachable(address, err)
	}
	return answer{response.StatusCode, response.Header, text}, nil
}

// unreachable words why nothing came back from an address.
func unreachable(address string, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody listens at %s: is the stack up? (make up)", address)
	case errors.As(err, &dns):
		return fmt.Errorf("%s: there is no host of that name", address)
	case strings.Contains(err.Error(), "malformed HTTP"):
		return fmt.Errorf("%s does not speak HTTP: a port for gRPC (4317)? OTLP over HTTP usually has 4318", address)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s gave no answer within %v", address, answerWithin)
	}
	return fmt.Errorf("%s: %w", address, err)
}

// under is a path below a base address.
func under(base, path string) string { return strings.TrimSuffix(base, "/") + path }
