package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestFailure(t *testing.T) {
	cut, cancel := context.WithCancelCause(t.Context())
	cancel(errCutOff)
	late, cancelLate := context.WithTimeout(t.Context(), 0)
	defer cancelLate()
	dial := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	tests := map[string]struct {
		ctx  context.Context
		err  error
		want string
	}{
		"cut off":             {cut, context.Canceled, ErrorCutOff},
		"cut off while read":  {cut, io.ErrUnexpectedEOF, ErrorCutOff},
		"out of time":         {late, context.DeadlineExceeded, ErrorTimeout},
		"refused":             {nil, dial(syscall.ECONNREFUSED), ErrorRefused},
		"reset":               {nil, dial(syscall.ECONNRESET), ErrorReset},
		"broken pipe":         {nil, dial(syscall.EPIPE), ErrorReset},
		"no files left":       {nil, dial(syscall.EMFILE), ErrorFiles},
		"no ports left":       {nil, dial(syscall.EADDRNOTAVAIL), ErrorPorts},
		"TCP gave up":         {nil, dial(syscall.ETIMEDOUT), ErrorTimeout},
		"a deadline of TCP":   {nil, os.ErrDeadlineExceeded, ErrorTimeout},
		"closed":              {nil, fmt.Errorf("reading: %w", io.EOF), ErrorClosed},
		"closed under us":     {nil, net.ErrClosed, ErrorClosed},
		"no such host":        {nil, &net.DNSError{Err: "no such host", Name: "x"}, ErrorName},
		"idle closed":         {nil, errors.New("http: server closed idle connection"), ErrorClosed},
		"gRPC: refused":       {nil, errors.New(`connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`), ErrorRefused},
		"gRPC: reset":         {nil, errors.New(`error reading from server: read tcp 127.0.0.1:1: read: connection reset by peer`), ErrorReset},
		"gRPC: closed":        {nil, errors.New(`error reading from server: EOF`), ErrorClosed},
		"gRPC: not a server":  {nil, errors.New(`connection error: desc = "error reading server preface: http2: frame too large"`), ErrorBadAnswer},
		"anything else":       {nil, errors.New("who knows"), ErrorOther},
		"a request not built": {nil, fmt.Errorf("%w: path", errRequest), ErrorRequest},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.ctx == nil {
				test.ctx = t.Context()
			}
			if got := failure(test.ctx, test.err); got != test.want {
				t.Errorf("%v: got %q, want %q", test.err, got, test.want)
			}
		})
	}
}
