package loadgen

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
)

// The kinds of failure that a Result's Error names, besides "status 503" (HTTP),
// "status Unavailable" (gRPC) and "extraction failed: name".
const (
	ErrorNotSent   = "not sent: too many in flight"
	ErrorCutOff    = "cut off at the end"
	ErrorTimeout   = "timeout"
	ErrorRefused   = "connection refused"
	ErrorReset     = "connection reset"
	ErrorClosed    = "connection closed" // without a whole answer
	ErrorName      = "name not resolved"
	ErrorFiles     = "too many open files" // of the generator
	ErrorPorts     = "out of local ports"  // of the generator
	ErrorBadAnswer = "bad answer"          // not the protocol that was expected
	ErrorRequest   = "request not valid"   // as rendered from its template
	ErrorOther     = "request failed"
)

// errCutOff is the cause with which requests end that outlast the run.
var errCutOff = errors.New(ErrorCutOff)

// Errors that mark a request that could not be built and an answer that
// could not be read.
var (
	errRequest   = errors.New(ErrorRequest)
	errBadAnswer = errors.New(ErrorBadAnswer)
)

// failure names why a step got no whole answer. The context's end explains
// whatever error came with it.
func failure(ctx context.Context, err error) string {
	switch cause := context.Cause(ctx); {
	case cause == errCutOff:
		return ErrorCutOff
	case cause != nil:
		return ErrorTimeout
	case errors.Is(err, errRequest):
		return ErrorRequest
	case errors.Is(err, errBadAnswer):
		return ErrorBadAnswer
	case errors.Is(err, syscall.ECONNREFUSED):
		return ErrorRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return ErrorReset
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return ErrorFiles
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return ErrorPorts
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return ErrorClosed
	}
	var name *net.DNSError
	if errors.As(err, &name) {
		return ErrorName
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || isTimeout(err) {
		return ErrorTimeout
	}
	return failureByText(err.Error())
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// failureTexts are for errors that keep their cause only as text, as those of
// gRPC and some of net/http do. The first that is contained decides.
var failureTexts = []struct{ text, kind string }{
	{"connection refused", ErrorRefused},
	{"connection reset", ErrorReset},
	{"broken pipe", ErrorReset},
	{"too many open files", ErrorFiles},
	{"cannot assign requested address", ErrorPorts},
	{"no such host", ErrorName},
	{"malformed HTTP", ErrorBadAnswer},
	{"EOF", ErrorClosed},
	{"server closed", ErrorClosed},
	{"connection broken", ErrorClosed},
	{"transport is closing", ErrorClosed},
	{"draining", ErrorClosed},
	{"i/o timeout", ErrorTimeout},
	{"error reading server preface", ErrorBadAnswer},
}

func failureByText(text string) string {
	for _, f := range failureTexts {
		if strings.Contains(text, f.text) {
			return f.kind
		}
	}
	return ErrorOther
}

// badStatus names an answer that does not count as success.
func badStatus(protocol string, status int) string {
	if protocol == protocolGRPC {
		return "status " + codes.Code(status).String()
	}
	return "status " + strconv.Itoa(status)
}
