package embedded

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // lets senders compress
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// receiver takes OTLP in and hands it to the store. Traces and logs are its
// own; metrics it passes to Prometheus' translator.
type receiver struct {
	store   *store
	metrics http.Handler
	limit   int64 // bytes of one message, unpacked
	pack    compressor
}

// errMalformed says that a message is not OTLP.
var errMalformed = errors.New("malformed message")

// traces takes one ExportTraceServiceRequest. The message must not be changed
// afterwards.
func (r *receiver) traces(message []byte) (*coltracepb.ExportTraceServiceResponse, error) {
	var request coltracepb.ExportTraceServiceRequest
	if err := proto.Unmarshal(message, &request); err != nil {
		r.store.spans.received.Add(1) // how many it held is unknown
		r.store.spans.dropped.Add(1)
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	rows, invalid := spanRows(request.GetResourceSpans())
	r.store.spans.received.Add(int64(len(rows) + invalid))
	lost, why := invalid, "spans without valid ids or times"
	if len(rows) > 0 {
		ok, err := r.keep(&batch{signal: signalTraces, spans: rows}, message)
		if err != nil {
			return nil, err
		}
		if !ok {
			lost, why = lost+len(rows), "the store is full"
		}
	}
	response := &coltracepb.ExportTraceServiceResponse{}
	if lost > 0 {
		r.store.spans.dropped.Add(int64(lost))
		response.PartialSuccess = &coltracepb.ExportTracePartialSuccess{RejectedSpans: int64(lost), ErrorMessage: why}
	}
	return response, nil
}

// logs takes one ExportLogsServiceRequest.
func (r *receiver) logs(message []byte) (*collogspb.ExportLogsServiceResponse, error) {
	var request collogspb.ExportLogsServiceRequest
	if err := proto.Unmarshal(message, &request); err != nil {
		r.store.logs.received.Add(1)
		r.store.logs.dropped.Add(1)
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	rows := logRows(request.GetResourceLogs(), time.Now().UnixNano())
	r.store.logs.received.Add(int64(len(rows)))
	response := &collogspb.ExportLogsServiceResponse{}
	if len(rows) == 0 {
		return response, nil
	}
	ok, err := r.keep(&batch{signal: signalLogs, logs: rows}, message)
	if err != nil {
		return nil, err
	}
	if !ok {
		r.store.logs.dropped.Add(int64(len(rows)))
		response.PartialSuccess = &collogspb.ExportLogsPartialSuccess{RejectedLogRecords: int64(len(rows)), ErrorMessage: "the store is full"}
	}
	return response, nil
}

func (r *receiver) keep(b *batch, message []byte) (bool, error) {
	body, err := r.pack.gzip(message)
	if err != nil {
		return false, err
	}
	b.received, b.body = time.Now().UnixNano(), body
	return r.store.offer(b), nil
}

// rawCodec gives handlers the message as it came, so that it is stored
// without being encoded again.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	message, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	data, err := proto.Marshal(message)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	message, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("cannot receive into a %T", v)
	}
	*message = data.Materialize()
	return nil
}

// grpcServer serves the three collector services.
func (r *receiver) grpcServer() *grpc.Server {
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.MaxRecvMsgSize(int(r.limit)), grpc.MaxConcurrentStreams(8),
		grpc.ReadBufferSize(16<<10), grpc.WriteBufferSize(4<<10))
	for name, export := range map[string]func([]byte) (proto.Message, error){
		"opentelemetry.proto.collector.trace.v1.TraceService":     func(m []byte) (proto.Message, error) { return r.traces(m) },
		"opentelemetry.proto.collector.logs.v1.LogsService":       func(m []byte) (proto.Message, error) { return r.logs(m) },
		"opentelemetry.proto.collector.metrics.v1.MetricsService": r.grpcMetrics,
	} {
		server.RegisterService(&grpc.ServiceDesc{
			ServiceName: name, HandlerType: (*any)(nil),
			Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: rawHandler(export)}},
		}, struct{}{})
	}
	return server
}

func rawHandler(export func([]byte) (proto.Message, error)) grpc.MethodHandler {
	return func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var message []byte
		if err := decode(&message); err != nil {
			return nil, err
		}
		response, err := export(message)
		if errors.Is(err, errMalformed) {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		if err != nil {
			return nil, status.Error(codes.Internal, err.Error())
		}
		return response, nil
	}
}

// grpcMetrics passes metrics on as if they had come over HTTP.
func (r *receiver) grpcMetrics(message []byte) (proto.Message, error) {
	request, err := http.NewRequest(http.MethodPost, "/v1/metrics", bytes.NewReader(message))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	request.Header.Set("Content-Type", protobufType)
	answer := &statusRecorder{header: make(http.Header), status: http.StatusOK}
	r.metrics.ServeHTTP(answer, request)
	switch {
	case answer.status/100 == 2:
		return &colmetricspb.ExportMetricsServiceResponse{}, nil
	case answer.status/100 == 4:
		return nil, fmt.Errorf("%w: %s", errMalformed, answer.text.String())
	}
	return nil, fmt.Errorf("metrics: %s", answer.text.String())
}

// statusRecorder is an http.ResponseWriter that keeps the answer.
type statusRecorder struct {
	header http.Header
	status int
	text   bytes.Buffer
}

func (s *statusRecorder) Header() http.Header         { return s.header }
func (s *statusRecorder) WriteHeader(status int)      { s.status = status }
func (s *statusRecorder) Write(p []byte) (int, error) { return s.text.Write(p) }

// The content types of OTLP over HTTP.
const (
	protobufType = "application/x-protobuf"
	jsonType     = "application/json"
)

// register mounts OTLP over HTTP.
func (r *receiver) register(mux *http.ServeMux) {
	mux.Handle("POST /v1/traces", r.httpHandler(&coltracepb.ExportTraceServiceRequest{},
		func(m []byte) (proto.Message, error) { return r.traces(m) }))
	mux.Handle("POST /v1/logs", r.httpHandler(&collogspb.ExportLogsServiceRequest{},
		func(m []byte) (proto.Message, error) { return r.logs(m) }))
	mux.Handle("POST /v1/metrics", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.Body = http.MaxBytesReader(w, req.Body, r.limit)
		r.metrics.ServeHTTP(w, req)
	}))
}

// httpHandler serves one signal; empty is the type of its request.
func (r *receiver) httpHandler(empty proto.Message, export func([]byte) (proto.Message, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		kind, _, _ := mime.ParseMediaType(req.Header.Get("Content-Type"))
		if kind != protobufType && kind != jsonType {
			http.Error(w, fmt.Sprintf("content type %q: must be %s or %s", kind, protobufType, jsonType), http.StatusUnsupportedMediaType)
			return
		}
		message, err := r.body(w, req)
		if err == nil && kind == jsonType {
			message, err = fromJSON(message, proto.Clone(empty))
		}
		var response proto.Message
		if err == nil {
			response, err = export(message)
		}
		if err != nil {
			respond(w, kind, httpStatus(err), status.New(codes.InvalidArgument, err.Error()).Proto())
			return
		}
		respond(w, kind, http.StatusOK, response)
	}
}

// body reads a request's body, unpacked and within the limit.
func (r *receiver) body(w http.ResponseWriter, req *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, r.limit))
	if err != nil {
		var over *http.MaxBytesError
		if errors.As(err, &over) {
			return nil, errTooLarge
		}
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	switch encoding := req.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return body, nil
	case "gzip":
		body, err = gunzip(body, r.limit)
		if err != nil && !errors.Is(err, errTooLarge) {
			err = fmt.Errorf("%w: %w", errMalformed, err)
		}
		return body, err
	default:
		return nil, fmt.Errorf("%w: content encoding %q is not known", errMalformed, encoding)
	}
}

func httpStatus(err error) int {
	switch {
	case errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, errMalformed):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// respond answers in the format of the question. What fails from here on is
// the client's own connection.
func respond(w http.ResponseWriter, kind string, code int, message proto.Message) {
	var (
		body []byte
		err  error
	)
	if kind == jsonType {
		body, err = protojson.Marshal(message)
	} else {
		body, err = proto.Marshal(message)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// fromJSON turns a message in OTLP's JSON into the same in protobuf.
func fromJSON(text []byte, into proto.Message) ([]byte, error) {
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // 64-bit times do not fit in a float
	if err := decoder.Decode(&tree); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if err := base64IDs(tree); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	standard, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(standard, into); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	message, err := proto.Marshal(into)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return message, nil
}

// base64IDs rewrites trace and span ids in place: OTLP's JSON has them in hex
// where protobuf's own mapping wants base64.
func base64IDs(tree any) error {
	switch node := tree.(type) {
	case []any:
		for _, item := range node {
			if err := base64IDs(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, value := range node {
			if !isIDField(key) {
				if err := base64IDs(value); err != nil {
					return err
				}
				continue
			}
			text, ok := value.(string)
			if !ok {
				continue // null, or for protojson to refuse
			}
			id, err := hex.DecodeString(text)
			if err != nil {
				return fmt.Errorf("%s %q: must be hexadecimal", key, text)
			}
			node[key] = base64.StdEncoding.EncodeToString(id)
		}
	}
	return nil
}

func isIDField(key string) bool {
	switch strings.ReplaceAll(strings.ToLower(key), "_", "") {
	case "traceid", "spanid", "parentspanid":
		return true
	}
	return false
}
