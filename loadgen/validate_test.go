package loadgen

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		change func(*Share)
		want   string
	}{
		"nothing wrong":       {func(*Share) {}, ""},
		"no loads":            {func(s *Share) { s.Loads = nil }, "there is no load"},
		"worker too high":     {func(s *Share) { s.Worker, s.Workers = 2, 2 }, "worker 2 of 2: workers count from 0"},
		"worker negative":     {func(s *Share) { s.Worker = -1 }, "worker -1 of 1: workers count from 0"},
		"negative drain":      {func(s *Share) { s.Drain = -1 }, "max_in_flight, drain and spin cannot be negative"},
		"long spin":           {func(s *Share) { s.Spin = time.Second }, "spin 1s: at most 2ms"},
		"same name":           {func(s *Share) { s.Loads = append(s.Loads, s.Loads[0]) }, `load "browse": there are two of that name`},
		"no name":             {func(s *Share) { s.Loads[0].Name = "" }, `load "": there is no name`},
		"unknown service":     {func(s *Share) { s.Loads[0].Service = "x" }, `load "browse": service "x" is not among the targets`},
		"unknown protocol":    {func(s *Share) { s.Targets["shop"] = Target{"tcp", []string{"a:1"}} }, `load "browse": target "shop": protocol "tcp": permitted: http, grpc`},
		"no address":          {func(s *Share) { s.Targets["shop"] = Target{"http", nil} }, `load "browse": target "shop": there is no address`},
		"a URL for address":   {func(s *Share) { s.Targets["shop"] = Target{"http", []string{"http://a"}} }, `load "browse": target "shop": address "http://a" is not host:port`},
		"no port":             {func(s *Share) { s.Targets["shop"] = Target{"http", []string{"a:"}} }, `load "browse": target "shop": address "a:" is not host:port`},
		"unknown arrivals":    {func(s *Share) { s.Loads[0].Arrivals = "uniform" }, `load "browse": arrivals "uniform": permitted: poisson, constant`},
		"negative slo":        {func(s *Share) { s.Loads[0].SLO = -1 }, `load "browse": slo, timeout and users cannot be negative`},
		"no stages":           {func(s *Share) { s.Loads[0].Stages = nil }, `load "browse": there are no stages`},
		"a stage of nothing":  {func(s *Share) { s.at(0, 1) }, `load "browse": stage 1: lasts 0s; it must last longer than nothing`},
		"a negative rate":     {func(s *Share) { s.at(1, -1) }, `load "browse": stage 1: from -1/s to -1/s; a rate is a number from 0`},
		"a rate of no number": {func(s *Share) { s.at(1, math.NaN()) }, `load "browse": stage 1: from NaN/s to NaN/s; a rate is a number from 0`},
		"an endless rate":     {func(s *Share) { s.at(1, math.Inf(1)) }, `load "browse": stage 1: from +Inf/s to +Inf/s; a rate is a number from 0`},
		"too many arrivals":   {func(s *Share) { s.at(time.Hour, 10_000) }, `load "browse": 36000000 arrivals are more than the 20000000 that one load may have`},
		"no steps":            {func(s *Share) { s.Loads[0].Steps = nil }, `load "browse": there are no steps`},
		"step without name":   {steps(Step{Name: "a", Path: "/"}, Step{Path: "/"}), `load "browse": step 2: a step of a journey needs a name`},
		"steps of one name":   {steps(Step{Name: "a", Path: "/"}, Step{Name: "a", Path: "/"}), `load "browse": step "a": there are two of that name`},
		"rpc over HTTP":       {steps(Step{RPC: "a/b"}), `load "browse": step 1: the service speaks HTTP: give a method and a path, not rpc`},
		"an odd method":       {steps(Step{Method: "GET IT", Path: "/"}), `load "browse": step 1: "GET IT" cannot be an HTTP method`},
		"path without slash":  {steps(Step{Name: "a", Path: "products"}), `load "browse": step "a": path "products" does not begin with /`},
		"bad path template":   {steps(Step{Name: "a", Path: "/{{x"}), `load "browse": step "a": path: {{ without }} in "{{x"`},
		"bad body template":   {steps(Step{Path: "/", Body: "{{.x}}"}), `load "browse": step 1: body: {{.x}}: no earlier step extracts anything`},
		"bad header template": {steps(Step{Path: "/", Headers: map[string]string{"A": "{{rand}}"}}), `load "browse": step 1: header A: {{rand}}: takes two whole numbers, such as {{rand 1 500}}`},
		"bad header name":     {steps(Step{Path: "/", Headers: map[string]string{"A:": ""}}), `load "browse": step 1: "A:" cannot be the name of a header`},
		"bad extraction":      {steps(Step{Path: "/", Extract: map[string]string{"x": ""}}), `load "browse": step 1: extract: x: "" is not a dotted path, such as items.0.id`},
		"own extraction":      {steps(Step{Path: "/{{.x}}", Extract: map[string]string{"x": "y"}}), `load "browse": step 1: path: {{.x}}: no earlier step extracts anything`},
		"path over gRPC":      {grpcStep(Step{Path: "/"}), `load "browse": step 1: the service speaks gRPC: give rpc, not a method and a path`},
		"no rpc":              {grpcStep(Step{}), `load "browse": step 1: rpc "" is not package.Service/Method`},
		"rpc without method":  {grpcStep(Step{RPC: "a.B/"}), `load "browse": step 1: rpc "a.B/" is not package.Service/Method`},
		"a foreign baggage":   {func(s *Share) { s.Loads[0].Baggage = map[string]string{"priority": "critical"} }, ""},
		"the lab's baggage":   {func(s *Share) { s.Loads[0].Baggage = map[string]string{"faultline.load": "x"} }, `load "browse": baggage "faultline.load": names that begin with "faultline." are the lab's own`},
		"a bad baggage name":  {func(s *Share) { s.Loads[0].Baggage = map[string]string{"a b": "x"} }, `load "browse": baggage "a b": the name is no token, such as priority or tenant-id`},
		"all at once": {func(s *Share) { s.Drain = -1; s.Loads[0].Users = -1; s.at(0, 1) },
			"max_in_flight, drain and spin cannot be negative\n" +
				`load "browse": stage 1: lasts 0s; it must last longer than nothing` + "\n" + `slo, timeout and users cannot be negative`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			share := once("http", "127.0.0.1:80", Step{Path: "/"})
			test.change(&share)
			got := ""
			if err := share.Validate(); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if err := Run(t.Context(), share, func(Result) {}); test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), got)) {
				t.Errorf("running it: error %v", err)
			}
		})
	}
}

func steps(s ...Step) func(*Share) { return func(share *Share) { share.Loads[0].Steps = s } }

func grpcStep(s Step) func(*Share) {
	return func(share *Share) {
		share.Targets["shop"] = Target{"grpc", []string{"127.0.0.1:80"}}
		share.Loads[0].Steps = []Step{s}
	}
}

func TestDefaults(t *testing.T) {
	share := Share{Loads: []Load{{SLO: time.Second}, {SLO: 4 * time.Second}}}
	if share.workers() != 1 || share.maxInFlight() != 20_000 || share.drain() != 4*time.Second || share.Loads[0].timeout() != 30*time.Second {
		t.Errorf("workers %d, in flight %d, drain %v, timeout %v", share.workers(), share.maxInFlight(), share.drain(), share.Loads[0].timeout())
	}
	share.Loads[1].SLO = 0
	if share.drain() != 3*time.Second {
		t.Errorf("drain %v", share.drain())
	}
}
