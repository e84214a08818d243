package loadgen

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestStallCountsEverySlowRequest has a server that answers nothing for 500 ms. Every request due in
// that time was kept waiting for what was left of it, and has to say so.
func TestStallCountsEverySlowRequest(t *testing.T) {
	const length, stall, rate = 1500 * time.Millisecond, 500 * time.Millisecond, 500
	var once1 sync.Once
	var from time.Time
	over := make(chan struct{})
	var seen atomic.Int64
	addr := serve(t, func(http.ResponseWriter, *http.Request) {
		if seen.Add(1) < 200 {
			return
		}
		once1.Do(func() {
			from = time.Now()
			time.AfterFunc(stall, func() { close(over) })
		})
		<-over
	})
	rows := collect(t, t.Context(), once("http", addr, Step{Path: "/"}).at(length, rate))
	if len(rows) != 750 {
		t.Fatalf("%d rows", len(rows))
	}
	slow := 0
	for _, row := range rows {
		if !row.OK {
			t.Fatalf("row %+v", row)
		}
		left := from.Add(stall).Sub(row.Due)
		if row.Due.After(from) && left > 0 && row.Latency() < left {
			t.Errorf("due with %v of the stall left, latency %v", left, row.Latency())
		}
		if row.Latency() > 100*time.Millisecond {
			slow++
		}
	}
	if slow < 195 { // 400 ms of 500/s
		t.Errorf("%d slow requests counted, at least 195 expected", slow)
	}
}

// TestLatencyCountsFromDue begins in the past, as a generator that was held up would.
func TestLatencyCountsFromDue(t *testing.T) {
	share := once("http", serve(t, func(http.ResponseWriter, *http.Request) {}), Step{Path: "/"}).at(500*time.Millisecond, 100)
	share.Start = time.Now().Add(-300 * time.Millisecond)
	rows := collect(t, t.Context(), share)
	if len(rows) != 50 {
		t.Fatalf("%d rows", len(rows))
	}
	late := 0
	for _, row := range rows {
		if want := share.Start.Add(time.Duration(row.Seq) * 10 * time.Millisecond).Round(0); !row.Due.Round(0).Equal(want) {
			t.Fatalf("arrival %d is due %v, want %v", row.Seq, row.Due, want)
		}
		if row.Latency() < row.Lag() {
			t.Errorf("row %+v", row)
		}
		if row.Lag() > 20*time.Millisecond {
			late++
		}
	}
	if late < 25 {
		t.Errorf("%d arrivals are late, at least 25 expected", late)
	}
}

func TestStartIsAwaited(t *testing.T) {
	share := once("http", serve(t, func(http.ResponseWriter, *http.Request) {}), Step{Path: "/"})
	share.Start = time.Now().Add(150 * time.Millisecond)
	if row := one(t, share); row.Sent.Before(share.Start) || !row.Due.Round(0).Equal(share.Start.Round(0)) {
		t.Errorf("start %v, row %+v", share.Start, row)
	}
}

// shop is a small shop that notes what it was asked.
type shop struct {
	mu    sync.Mutex
	asked map[string][]string // by number of the journey
	trace map[string]bool
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	journey := baggageOf(r.Header.Get("Baggage"))["faultline.journey"]
	s.mu.Lock()
	s.asked[journey] = append(s.asked[journey], fmt.Sprintf("%s %s %s %s", r.Method, r.URL, r.Header.Get("Idempotency-Key"), body))
	s.trace[r.Header.Get("Traceparent")[3:35]] = true
	s.mu.Unlock()
	switch {
	case r.URL.Path == "/sessions":
		fmt.Fprintf(w, `{"token": "t \"%s\""}`, journey)
	case strings.HasPrefix(r.URL.Path, "/products/"):
		fmt.Fprintf(w, `{"product": {"id": %q}}`, strings.TrimPrefix(r.URL.Path, "/products/"))
	case r.Header.Get("Authorization") != fmt.Sprintf(`Bearer t "%s"`, journey):
		w.WriteHeader(http.StatusUnauthorized)
	case !json.Valid(body):
		w.WriteHeader(http.StatusBadRequest)
	case journey == "3":
		w.WriteHeader(http.StatusConflict)
	default:
		fmt.Fprint(w, `{"id": "o-1"}`)
	}
}

var checkout = []Step{
	{Name: "login", Method: "POST", Path: "/sessions", Body: `{"email": "customer-{{rand 1 1000}}@example.com"}`, Extract: map[string]string{"token": "token"}},
	{Name: "look", Path: "/products/p-{{rand 1 500}}", Extract: map[string]string{"product": "product.id"}},
	{
		Name: "buy", Method: "POST", Path: "/orders", Body: `{"product": "{{.product}}", "token": "{{.token}}"}`,
		Headers: map[string]string{"Authorization": "Bearer {{.token}}", "Idempotency-Key": "{{uuid}}"},
		Extract: map[string]string{"order": "id"},
	},
}

func TestJourney(t *testing.T) {
	s := &shop{asked: map[string][]string{}, trace: map[string]bool{}}
	addr := serve(t, s.ServeHTTP)
	share := once("http", addr, checkout...).at(100*time.Millisecond, 100)
	rows := collect(t, t.Context(), share)
	if len(rows) != 40 || len(s.trace) != 30 {
		t.Fatalf("%d rows, %d traces", len(rows), len(s.trace))
	}
	for rest := rows; len(rest) > 0; rest = rest[4:] {
		checkJourney(t, rest[:4], s.trace)
	}
	asked := s.asked
	s.asked = map[string][]string{}
	collect(t, t.Context(), share)
	if !reflect.DeepEqual(asked, s.asked) {
		t.Errorf("the same seed asked\n%v\nthen\n%v", asked, s.asked)
	}
	s.asked = map[string][]string{}
	share.Loads[0].Seed++
	collect(t, t.Context(), share)
	if reflect.DeepEqual(asked, s.asked) {
		t.Error("another seed asked the same")
	}
}

// checkJourney holds the rows of one checkout against each other.
func checkJourney(t *testing.T, rows []Result, traces map[string]bool) {
	t.Helper()
	whole := rows[3]
	decisive := slices.MaxFunc(rows[:3], func(a, b Result) int { return int(a.Latency() - b.Latency()) })
	if whole.Seq == 3 {
		decisive = rows[2]
	}
	for i, row := range rows[:3] {
		if row.Step != checkout[i].Name || row.Seq != whole.Seq || !traces[row.TraceID] {
			t.Errorf("row %+v", row)
		}
		if i > 0 && !row.Due.Equal(rows[i-1].Done) {
			t.Errorf("%s is due %v, %s was done %v", row.Step, row.Due, rows[i-1].Step, rows[i-1].Done)
		}
	}
	if whole.Step != "" || whole.TraceID != decisive.TraceID || whole.Status != decisive.Status || whole.Error != decisive.Error ||
		whole.OK != (whole.Seq != 3) || whole.Bytes != rows[0].Bytes+rows[1].Bytes+rows[2].Bytes ||
		!whole.Due.Equal(rows[0].Due) || !whole.Sent.Equal(rows[0].Sent) || !whole.Done.Equal(rows[2].Done) {
		t.Errorf("journey %+v, decided by %+v", whole, decisive)
	}
	if whole.Seq == 3 && whole.Error != "status 409" {
		t.Errorf("journey 3: error %q", whole.Error)
	}
}

func TestJourneyEndsWithTheFirstFailure(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"no": "token"}`) })
	rows := collect(t, t.Context(), once("http", addr, checkout...))
	if len(rows) != 2 || rows[0].Step != "login" || rows[0].Error != "extraction failed: token" || rows[1].Error != rows[0].Error || rows[1].TraceID != rows[0].TraceID {
		t.Errorf("rows %+v", rows)
	}
}

func TestMaxInFlight(t *testing.T) {
	release := make(chan struct{})
	addr := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	share := once("http", addr, Step{Path: "/"}).at(300*time.Millisecond, 100)
	share.MaxInFlight = 10
	var rows []Result
	err := Run(t.Context(), share, func(r Result) {
		rows = append(rows, r)
		if r.Seq == 29 {
			close(release)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	notSent := 0
	for _, row := range rows {
		if row.Error == ErrorNotSent {
			notSent++
			if row.OK || row.Status != 0 || row.Sent.Before(row.Due) || row.Latency() > time.Second {
				t.Errorf("row %+v", row)
			}
		} else if !row.OK {
			t.Errorf("row %+v", row)
		}
	}
	if len(rows) != 30 || notSent != 20 {
		t.Errorf("%d rows, %d not sent", len(rows), notSent)
	}
}

func TestClosedLoop(t *testing.T) {
	var now, most atomic.Int64
	addr := serve(t, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-time.After(20 * time.Millisecond)
		now.Add(-1)
	})
	share := once("http", addr, Step{Path: "/"}).at(400*time.Millisecond, 0)
	share.Loads[0].Users = 5
	share.Start = time.Now().Add(20 * time.Millisecond)
	rows := collect(t, t.Context(), share)
	if most.Load() != 5 || len(rows) < 20 || len(rows) > 105 {
		t.Errorf("%d users at once, %d rows", most.Load(), len(rows))
	}
	seen := map[uint64]bool{}
	for _, row := range rows {
		if !row.OK || row.Lag() > row.Latency() || seen[row.Seq] || row.Due.Before(share.Start) {
			t.Errorf("row %+v", row)
		}
		seen[row.Seq] = true
	}
}

func TestClosedLoopShared(t *testing.T) {
	addr := serve(t, func(http.ResponseWriter, *http.Request) { <-time.After(10 * time.Millisecond) })
	seen := map[uint64]bool{}
	for worker := range 3 {
		share := once("http", addr, Step{Path: "/"}).at(100*time.Millisecond, 0)
		share.Loads[0].Users, share.Worker, share.Workers = 2, worker, 3
		rows := collect(t, t.Context(), share)
		if worker == 2 && len(rows) != 0 {
			t.Errorf("a worker without users made %d rows", len(rows))
		}
		for _, row := range rows {
			if seen[row.Seq] || row.Seq%3 != uint64(worker) {
				t.Errorf("worker %d: number %d", worker, row.Seq)
			}
			seen[row.Seq] = true
		}
	}
}

// TestClosedLoopIsNoBusyLoop has users whom nobody answers.
func TestClosedLoopIsNoBusyLoop(t *testing.T) {
	share := once("http", unusedAddr(t), Step{Path: "/"}).at(200*time.Millisecond, 0)
	share.Loads[0].Users = 2
	rows := collect(t, t.Context(), share)
	if len(rows) == 0 || len(rows) > 42 {
		t.Errorf("%d rows in 200 ms of two users who wait 10 ms", len(rows))
	}
}

func TestCancel(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	for name, change := range map[string]func(*Share){
		"open loop":          func(*Share) {},
		"between arrivals":   func(s *Share) { s.Loads[0].Stages = stages(steady(time.Second, 1), steady(time.Minute, 0)) },
		"closed loop":        func(s *Share) { s.Loads[0].Users = 3 },
		"before it begins":   func(s *Share) { s.Start = time.Now().Add(time.Hour) },
		"requests under way": func(s *Share) { s.Loads[0].Steps[0].Path = "/slow" },
		"users under way":    func(s *Share) { s.Loads[0].Steps[0].Path, s.Loads[0].Users = "/slow", 3 },
	} {
		t.Run(name, func(t *testing.T) {
			server := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					<-r.Context().Done()
				}
			})
			share := once("http", serve(t, server), Step{Path: "/"}).at(time.Minute, 100)
			share.Drain = 10 * time.Second
			change(&share)
			slow := share.Loads[0].Steps[0].Path == "/slow"
			if slow {
				share.Drain = 50 * time.Millisecond
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer time.AfterFunc(150*time.Millisecond, cancel).Stop()
			began := time.Now()
			rows := collect(t, ctx, share)
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("ended after %v", took)
			}
			if slow && len(rows) == 0 {
				t.Error("no rows")
			}
			for _, row := range rows {
				if slow != (row.Error == ErrorCutOff) || slow == row.OK {
					t.Errorf("row %+v", row)
				}
			}
		})
	}
	if err := goleak.Find(leaks); err != nil {
		t.Error(err)
	}
}

// TestDrain has requests that are answered after the schedule is over, and one that is not.
func TestDrain(t *testing.T) {
	addr := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/0" {
			<-r.Context().Done()
		}
		<-time.After(100 * time.Millisecond)
	})
	share := once("http", addr, Step{Path: "/{{seq}}"}).at(50*time.Millisecond, 100)
	share.Drain = 2 * time.Second
	rows := collect(t, t.Context(), share)
	if len(rows) != 5 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows {
		if cut := row.Seq == 0; cut == row.OK || cut != (row.Error == ErrorCutOff) || cut && row.Latency() < 2*time.Second {
			t.Errorf("row %+v", row)
		}
	}
}

func TestSeveralLoads(t *testing.T) {
	share := once("http", serve(t, func(http.ResponseWriter, *http.Request) {}), Step{Path: "/"}).at(200*time.Millisecond, 100)
	share.Targets["other"] = Target{"grpc", []string{serveGRPC(t, &testService{}, true)}}
	share.Loads = append(share.Loads, Load{
		Name: "rpc", Service: "other", Steps: []Step{{RPC: unaryCall}}, Arrivals: Constant, Stages: stages(steady(200*time.Millisecond, 50)),
	})
	count := map[string]int{}
	for _, row := range collect(t, t.Context(), share) {
		if !row.OK {
			t.Errorf("row %+v", row)
		}
		count[row.Load]++
	}
	if count["browse"] != 20 || count["rpc"] != 10 {
		t.Errorf("rows %v", count)
	}
}

func TestBadBaggage(t *testing.T) {
	share := once("http", "127.0.0.1:80", Step{Path: "/"})
	share.Baggage = map[string]string{"": "x"}
	if err := Run(t.Context(), share, nil); err == nil || !strings.HasPrefix(err.Error(), `load "browse": service "shop": baggage: `) {
		t.Errorf("got error %v", err)
	}
}
