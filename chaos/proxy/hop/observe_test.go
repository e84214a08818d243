package hop

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/faultline-lab/faultline/chaos"
	"github.com/faultline-lab/faultline/observability"
	"github.com/faultline-lab/faultline/observability/names"
	"github.com/faultline-lab/faultline/parameter"
)

// traced is telemetry that keeps its spans.
func traced(t *testing.T) (*observability.Telemetry, *recording) {
	t.Helper()
	telemetry, err := observability.Setup(t.Context(), observability.Config{Service: "proxy"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = telemetry.Shutdown(context.Background()) })
	return telemetry, &recording{TracerProvider: telemetry.TracerProvider}
}

// observing puts a hop that measures before an address.
func observing(t *testing.T, protocol, upstream string) (*Hop, *recording, func() string) {
	t.Helper()
	telemetry, spans := traced(t)
	h := startSpec(t, Spec{Replica: 2, Protocol: protocol, Upstream: upstream, Observe: true}, Shared{TracerProvider: spans, Registerer: telemetry.Registry})
	return h, spans, func() string { return outcomes(t, telemetry) }
}

// outcomes lists the outcomes of calls that are not 0.
func outcomes(t *testing.T, telemetry *observability.Telemetry) string {
	t.Helper()
	families, err := telemetry.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if family.GetName() == names.EdgeCalls && label.GetName() == names.Outcome && metric.GetCounter().GetValue() > 0 {
					counts[label.GetValue()] += metric.GetCounter().GetValue()
				}
				if family.GetName() == names.EdgeAttemptDuration && label.GetName() == names.Replica {
					counts["replica "+label.GetValue()] += float64(metric.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprint(name, " ", counts[name]))
	}
	return strings.Join(parts, ", ")
}

func TestObservingGRPC(t *testing.T) {
	callee, rules := &echo{}, NewRules()
	behind := start(t, GRPC, callee.serve(t), Shared{Rules: rules})
	h, spans, counts := observing(t, GRPC, behind.Addr())
	conn := dial(t, h.Addr())
	const parent = "0123456789abcdef0123456789abcdef"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+parent+"-0123456789abcdef-01")
	_, _ = say(ctx, conn, "Say", "x")
	_, _ = say(ctx, conn, "Fail", "x") // an answer, if not a good one
	add(t, rules, fault("down", chaos.RequestError, parameter.Values{"code": "UNAVAILABLE"}))
	_, _ = say(ctx, conn, "Say", "x")
	rules.Clear()
	cancelled, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { _, err := say(cancelled, conn, "Hang", ""); done <- err }()
	until(t, func() bool { return callee.asked.Load() == 3 })
	cancel()
	<-done
	_, _ = say(ctx, conn, "Unknown", "") // the last, so that what was cancelled before is counted
	until(t, func() bool { return counts() == "cancelled 1, error 1, ok 3, replica 2 5" })
	want := []string{"test.Echo/Say", "test.Echo/Fail", "test.Echo/Say", "test.Echo/Hang", "test.Echo/Unknown"}
	for i, name := range want {
		want[i] = name + " in " + parent
	}
	if !slices.Equal(spans.names(), want) {
		t.Errorf("the spans are %q", spans.names())
	}
}

func TestObservingDoesNotHoldStreams(t *testing.T) {
	h, _, counts := observing(t, GRPC, (&echo{}).serve(t))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := dial(t, h.Addr()).NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Chat")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := stream.SendMsg(wrapperspb.String("x")); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&wrapperspb.StringValue{}); err != nil {
			t.Fatal(err)
		}
	}
	_ = stream.CloseSend()
	_ = stream.RecvMsg(&wrapperspb.StringValue{}) // ABORTED: an answer
	until(t, func() bool { return counts() == "ok 1, replica 2 1" })
}

func TestObservingHTTP(t *testing.T) {
	parents := make(chan string, 20)
	callee := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parents <- r.Header.Get("Traceparent")
		switch r.URL.Path {
		case "/cut":
			panic(http.ErrAbortHandler)
		case "/ok":
			_, _ = io.WriteString(w, "fine")
		default:
			var status int
			_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
			w.WriteHeader(status)
		}
	}))
	defer callee.Close()
	h, spans, counts := observing(t, HTTP, callee.Listener.Addr().String())
	client := newClient(t)
	for _, path := range []string{"/ok", "/404", "/500", "/503", "/429", "/504", "/cut"} {
		answer, err := client.Post("http://"+h.Addr()+path, "", io.MultiReader(strings.NewReader("x")))
		if err == nil {
			_ = answer.Body.Close()
		}
		if (err != nil) != (path == "/cut") {
			t.Errorf("%s: %v", path, err)
		}
	}
	until(t, func() bool { return counts() == "error 4, ok 2, replica 2 7, timeout 1" })
	if names := spans.names(); len(names) != 7 || !strings.HasPrefix(names[0], "POST /ok in ") {
		t.Errorf("the spans are %q", spans.names())
	}
	for _, name := range spans.names() { // the callee's spans are children of the hop's
		_, trace, _ := strings.Cut(name, " in ")
		if parent := <-parents; !strings.Contains(parent, trace) {
			t.Errorf("traceparent %q under %s", parent, name)
		}
	}
	probe, _ := http.NewRequest(http.MethodGet, "http://"+h.Addr()+"/ok", nil)
	probe.Header.Set("User-Agent", ProbeAgent)
	answer, err := client.Do(probe)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if len(spans.names()) != 7 {
		t.Error("the lab's own question was counted")
	}
}
