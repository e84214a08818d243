package hop

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/faultline-lab/faultline/chaos"
)

// serveGRPC forwards gRPC as what it is on the wire: HTTP/2 requests with trailers.
// ReverseProxy would flush the headers of an answer that is trailers only (a bare
// error), and gRPC clients take what follows for a broken stream.
func (h *Hop) serveGRPC(w http.ResponseWriter, r *http.Request) {
	var v verdict
	if len(*h.rules.list.Load()) > 0 {
		v = h.judge(r.Context(), h.asked(r))
		defer v.end()
	}
	if v.refused != nil {
		status(w, codeOf(v.refused), v.refused.message())
		return
	}
	answer, err := h.transport.RoundTrip(h.outgoing(r))
	if err != nil {
		noAnswer(w, r, err)
		return
	}
	defer answer.Body.Close()
	if v.lost != nil {
		_, _ = io.Copy(io.Discard, answer.Body) // the work is done when the answer has come
		status(w, codeOf(v.lost), v.lost.message())
		return
	}
	h.pass(w, r, answer)
}

// outgoing is the request as it goes to the callee. Its body is read while it comes.
func (h *Hop) outgoing(r *http.Request) *http.Request {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host = "http", h.upstream()
	out.RequestURI = ""
	out.GetBody = nil
	return out
}

// noAnswer ends a call whose callee did not answer.
func noAnswer(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the caller has gone
	}
	status(w, codeOfLoss(r, err), "the callee gave no answer: "+err.Error())
}

// codeOfLoss is the status of a call that ended without one. A callee cancels a stream when the deadline that the
// caller sent is over, which may be an instant before the caller finds out: it is no callee that is gone.
func codeOfLoss(r *http.Request, err error) codes.Code {
	var reset http2.StreamError
	switch {
	case !errors.As(err, &reset) || reset.Code != http2.ErrCodeCancel:
		return codes.Unavailable
	case r.Header.Get("Grpc-Timeout") != "":
		return codes.DeadlineExceeded
	default:
		return codes.Canceled
	}
}

// pass passes an answer on, message by message as they come.
func (h *Hop) pass(w http.ResponseWriter, r *http.Request, answer *http.Response) {
	header := w.Header()
	for name, values := range answer.Header {
		header[name] = values
	}
	if answer.Header.Get(statusHeader) != "" { // trailers only: they are the headers, and the stream ends with them
		w.WriteHeader(answer.StatusCode)
		return
	}
	w.WriteHeader(answer.StatusCode)
	flusher := http.NewResponseController(w)
	_ = flusher.Flush() // it fails when the caller has gone, which copying notices
	err := h.copyFlushing(w, flusher, answer.Body)
	for name, values := range answer.Trailer {
		header[http.TrailerPrefix+name] = values
	}
	switch {
	case err == nil && answer.Trailer.Get(statusHeader) != "":
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler)
	default: // it broke off: gRPC's own clients call that UNAVAILABLE
		header.Set(http.TrailerPrefix+statusHeader, strconv.Itoa(int(codes.Unavailable)))
		header.Set(http.TrailerPrefix+messageHeader, encode(fmt.Sprintf("the callee's answer broke off: %v", err)))
	}
}

func (h *Hop) copyFlushing(w io.Writer, flusher *http.ResponseController, from io.Reader) error {
	buffer := h.buffers.Get()
	defer h.buffers.Put(buffer)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, failed := w.Write(buffer[:n]); failed != nil {
				return failed
			}
			if failed := flusher.Flush(); failed != nil {
				return failed
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// The headers in which gRPC says how a call ended.
const (
	statusHeader  = "Grpc-Status"
	messageHeader = "Grpc-Message"
)

// status answers a call with a bare status.
func status(w http.ResponseWriter, code codes.Code, message string) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set(statusHeader, strconv.Itoa(int(code)))
	w.Header().Set(messageHeader, encode(message))
	w.WriteHeader(http.StatusOK)
}

// encode writes a message as gRPC wants it in a header: all but printable ASCII
// percent-encoded, and the percent sign.
func encode(message string) string {
	var out strings.Builder
	for i := range len(message) {
		if c := message[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

// codeOf is the code with which a fault answers.
func codeOf(by *rule) codes.Code {
	if at := slices.Index(chaos.GRPCCodes(), by.fault.Params.Text("code")); at >= 0 {
		return codes.Code(at + 1)
	}
	return codes.Unavailable
}
