package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/faultline-lab/faultline/internal/bench"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/report"
)

// The scripts of a page share one scope, where the second of two functions with one name silently wins.
func TestScriptsDeclareEachNameOnce(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^(?:(?:async )?function|const|let) (\w+)`)
	for _, page := range []string{"live", "runs"} {
		text, err := together(scriptsOf(page))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, found := range declared.FindAllSubmatch(text, -1) {
			if name := string(found[1]); seen[name] {
				t.Errorf("%s.js declares %s twice", page, name)
			} else {
				seen[name] = true
			}
		}
		if len(seen) < 30 {
			t.Errorf("%s.js: only %d names were found", page, len(seen))
		}
	}
}

// crowd is a run of 50 services and 200 edges, two of which fail under a fault, with a load, log lines and requests.
func crowd() state {
	shape := &runShape{
		ID: "crowd", Scenario: "crowd", Variant: "default", Bench: true, Entry: "service-00", Buckets: buckets(), Phases: []report.PagePhase{},
		Policies: []policyShape{}, Loads: []loadShape{{Name: "work", About: "GET /work", SLO: 500, Open: true}}, Edges: []edgeShape{{Caller: "load", Callee: "service-00"}},
	}
	now := &tick{
		T: 120, Services: map[string]serviceTick{}, Edges: map[string]edgeTick{}, Policies: []policyTick{}, Loads: map[string]loadTick{},
		Faults: []faultTick{}, Requests: []report.PageRequest{}, Events: []report.PageEvent{}, Logs: []logLine{},
	}
	for i := range 50 {
		name := fmt.Sprintf("service-%02d", i)
		busy, up := float64(i)/50, 1.0
		shape.Services = append(shape.Services, serviceShape{Name: name, Protocol: "grpc", Replicas: 1, Workers: 16})
		now.Services[name] = serviceTick{Busy: &busy, Up: &up}
	}
	layers := []int{0, 1, 5, 13, 25, 38, 50}
	add := func(from, to int, failing float64) {
		edge := edgeShape{Caller: fmt.Sprintf("service-%02d", from), Callee: fmt.Sprintf("service-%02d", to)}
		rate, p99, one := float64(from+to), 12.5, 1.0
		shape.Edges = append(shape.Edges, edge)
		now.Edges[edge.Caller+"->"+edge.Callee] = edgeTick{Rate: &rate, P99: &p99, Errors: &failing, Amplification: &one}
	}
	for k := range layers[:len(layers)-2] {
		callers, first, callees := layers[k+1]-layers[k], layers[k+1], layers[k+2]-layers[k+1]
		for i := range callees * 5 {
			if from, to := layers[k]+i%callers, first+(i*3+i/callees)%callees; len(shape.Edges) < 201 && now.Edges[fmt.Sprintf("service-%02d->service-%02d", from, to)].Rate == nil {
				add(from, to, map[bool]float64{true: 0.25}[i%40 == 7])
			}
		}
	}
	for from := 0; len(shape.Edges) < 201; from++ { // the rest skips a layer
		if to := 25 + from*7%25; from < 13 && now.Edges[fmt.Sprintf("service-%02d->service-%02d", from, to)].Rate == nil {
			add(from, to, 0)
		} else if from >= 13 {
			add(13+from%12, 38+from%12, 0)
		}
	}
	now.Faults = append(now.Faults, faultTick{PageFault: report.PageFault{ID: "slow", Kind: "latency", Target: "service-05->service-13", Edges: []string{"service-05->service-13"}, Services: []string{}, Start: 100, End: 200}, Active: true, State: "felt"})
	bins := []bin{}
	for i := range 120 {
		p50, p99 := 20.0, 200.0
		heat := make([]int, len(shape.Buckets)+1)
		heat[i%8+2] = 20
		bins = append(bins, bin{PageBin: report.PageBin{T: float64(i), Offered: 30, Good: 25, Slow: 3, Failed: 2, P50: &p50, P99: &p99}, Heat: heat})
		now.Requests = append(now.Requests, report.PageRequest{Load: "work", Due: float64(i), MS: 700, Error: hostile})
		now.Logs = append(now.Logs, logLine{T: float64(i), Severity: "WARN", Service: "service-07", Body: hostile})
	}
	now.Loads["work"] = loadTick{Rate: 30, Bins: bins}
	return state{Run: shape, Tick: now}
}

// crowded serves the page of the crowd: its own page and stream, everything else as ever. What is put into the
// channel goes to the page.
func crowded(t *testing.T) (string, chan<- []byte) {
	t.Helper()
	s := serve(t, Config{Version: "test"})
	whole, messages := crowd(), make(chan []byte)
	mux := http.NewServeMux()
	mux.Handle("/", s.routes())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		var page httptest.ResponseRecorder
		page.Body = &bytes.Buffer{}
		s.page("live")(&page, r)
		text, err := json.Marshal(given{State: whole, Catalog: catalog()})
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(regexp.MustCompile(`(?s)id="state">.*?</script>`).ReplaceAllLiteral(page.Body.Bytes(), append(append([]byte(`id="state">`), text...), "</script>"...)))
	})
	mux.HandleFunc("GET /api/live", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write(message("state", whole))
		for {
			_ = http.NewResponseController(w).Flush()
			select {
			case text := <-messages:
				_, _ = w.Write(text)
			case <-r.Context().Done():
				return
			}
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.CloseClientConnections)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	return server.URL + "/", messages
}

// illegible counts what cannot be read in the topology.
const illegible = `(() => {
	const svg = document.querySelector('.topology'), overlap = (a, b) => a.x < b.x + b.width - .5 && b.x < a.x + a.width - .5 && a.y < b.y + b.height - .5 && b.y < a.y + a.height - .5;
	const nodes = [...svg.querySelectorAll('.node')].map(g => { const [x, y] = g.getAttribute('transform').match(/[\d.-]+/g).map(Number), box = g.querySelector('.box').getBBox(); return { g, x, y, width: box.width, height: box.height }; });
	const labels = [...svg.querySelectorAll('.edge-label')].map(e => e.getBBox()), out = { nodes: nodes.length, edges: svg.querySelectorAll('.link').length, faulted: svg.querySelectorAll('.faulted').length, hit: svg.querySelectorAll('.hit').length, labels: labels.length, overlapping: 0, covered: 0, cut: 0, outside: 0 };
	const size = svg.viewBox.baseVal;
	nodes.forEach((a, i) => {
		if (a.x < 0 || a.y < 0 || a.x + a.width > size.width + .5 || a.y + a.height > size.height + .5) out.outside++;
		for (const b of nodes.slice(i + 1)) if (overlap(a, b)) out.overlapping++;
		for (const l of labels) if (overlap(a, l)) out.covered++;
		for (const text of a.g.querySelectorAll('text')) if (text.textContent.includes('…') || text.getBBox().x + text.getBBox().width > a.width) out.cut++;
	});
	labels.forEach((a, i) => { for (const b of labels.slice(i + 1)) if (overlap(a, b)) out.covered++; });
	return JSON.stringify(out);
})()`

// TestCrowd holds the live page of 50 services and 200 edges to being legible, at every width, and to not building
// everything anew when the same run comes again.
func TestCrowd(t *testing.T) {
	b := newBrowser(t)
	url, _ := crowded(t)
	b.do(chromedp.Navigate(url))
	b.wait("it is drawn", "document.querySelector('svg.topology .faulted') && document.querySelectorAll('.logline').length > 100")
	for _, width := range []int64{1280, 360, 3840} {
		b.do(chromedp.EmulateViewport(width, 900))
		b.wait("it is drawn for this width", fmt.Sprintf("Math.abs(document.querySelector('svg.topology').closest('.drawn').clientWidth - Math.min(%d, 2600)) < 500", width))
		text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](illegible))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]int
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if got["nodes"] != 51 || got["edges"] != 201 || got["faulted"] != 1 || got["hit"] < 2 || got["labels"] < 3 || got["overlapping"]+got["covered"]+got["cut"]+got["outside"] > 0 {
			t.Errorf("%d pixels: %v", width, got)
		}
		if b.is("document.documentElement.scrollWidth > innerWidth") {
			t.Errorf("at %d px the page is wider than the screen", width)
		}
	}
	if b.is("window.hacked") {
		t.Error("text of the system became part of the page")
	}
	for name, width := range map[string]int64{"crowd-1280": 1280, "crowd-360": 360, "crowd-3840": 3840} {
		b.shot(name+"-light", width, "light")
	}
	b.shot("crowd-1280-dark", 1280, "dark")
}

// TestCrowdInTime says how long the page of 50 services and 200 edges takes to draw, at first and at each of three
// ticks (go test -v). It judges nothing: what a frame takes is the machine's matter as well.
func TestCrowdInTime(t *testing.T) {
	b := newBrowser(t)
	url, messages := crowded(t)
	b.do(chromedp.Navigate(url))
	b.wait("it is drawn", "document.querySelectorAll('.logline').length > 100 && document.querySelectorAll('.requests details').length === 120")
	b.is("(window.tasks = [], new PerformanceObserver(l => tasks.push(...l.getEntries().map(e => Math.round(e.startTime) + ': ' + e.duration))).observe({ type: 'longtask', buffered: true }))")
	for i := range 3 {
		next := crowd()
		next.Tick.T, next.Tick.Requests, next.Tick.Logs = 121+float64(i), []report.PageRequest{{Load: "work", Due: 120 + float64(i), MS: 900}}, next.Tick.Logs[:60]
		for name, edge := range next.Tick.Edges {
			rate := *edge.Rate * float64(i+2)
			edge.Rate = &rate
			next.Tick.Edges[name] = edge
		}
		messages <- message("tick", next.Tick)
		b.wait("the tick is drawn", fmt.Sprintf("document.querySelectorAll('.requests details').length === %d && document.querySelector('.logs').lastElementChild.textContent", 121+i))
	}
	said, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("'first paint after ' + Math.round(performance.getEntriesByType('paint')[0].startTime) + ' ms; tasks of 50 ms or more (ms after the start: ms): ' + (tasks.join(', ') || 'none')"))
	if err != nil {
		t.Fatal(err)
	}
	t.Log(said)
}

// TestATickKeepsWhatStands holds a tick to adding what is new: what a page has drawn, and what somebody opened, stays.
func TestATickKeepsWhatStands(t *testing.T) {
	b := newBrowser(t)
	url, messages := crowded(t)
	b.do(chromedp.Navigate(url))
	b.wait("requests are listed", "document.querySelectorAll('.requests details').length === 120")
	b.is("[...document.querySelectorAll('.requests details, svg.topology .node, svg.topology .link')].forEach(e => { e.stood = true; })")
	stand := "[...document.querySelectorAll('.requests details, svg.topology .node, svg.topology .link')].filter(e => e.stood).length"
	before := 120 + 51 + 201
	next := crowd()
	next.Tick.T, next.Tick.Requests = 121, []report.PageRequest{{Load: "work", Due: 120.5, MS: 900, Error: "the newest"}}
	messages <- message("tick", next.Tick)
	b.wait("the newest stands on top", "document.querySelector('.requests details').textContent.includes('the newest') && document.querySelectorAll('.requests details').length === 121")
	if !b.is(fmt.Sprintf("%s === %d", stand, before)) {
		t.Error("a tick drew anew what stood there")
	}
	again := crowd() // as after a lost connection
	again.Tick.Requests = append(again.Tick.Requests, next.Tick.Requests...)
	again.Tick.T, again.Tick.Requests = 122, append(again.Tick.Requests, report.PageRequest{Load: "work", Due: 121.5, MS: 900, Error: "newer still"})
	messages <- message("state", again)
	b.wait("only what is new is added", "document.querySelector('.requests details').textContent.includes('newer still') && document.querySelectorAll('.requests details').length === 122")
	if !b.is(fmt.Sprintf("%s === %d", stand, before)) {
		t.Error("the same run drew anew what stood there")
	}
}

// TestNamesForScreenReaders holds every part of both pages to having a name.
func TestNamesForScreenReaders(t *testing.T) {
	b := newBrowser(t)
	url, _ := crowded(t)
	for _, page := range []string{"", "runs"} {
		b.do(chromedp.Navigate(url + page))
		b.wait("it is drawn", "document.querySelector('h1')")
		for what, wrong := range map[string]string{
			"pictures":   `[...document.querySelectorAll('svg')].filter(e => !e.getAttribute('aria-label'))`,
			"fields":     `[...document.querySelectorAll('input, select, textarea')].filter(e => !e.labels.length && !e.getAttribute('aria-label'))`,
			"buttons":    `[...document.querySelectorAll('button, [role=button]')].filter(e => !e.textContent.trim() && !e.getAttribute('aria-label'))`,
			"sections":   `[...document.querySelectorAll('section')].filter(e => !document.getElementById(e.getAttribute('aria-labelledby')))`,
			"ids twice":  `[...document.querySelectorAll('[id]')].filter(e => document.querySelectorAll('#' + CSS.escape(e.id)).length > 1)`,
			"no heading": `[...document.querySelectorAll('h1')].slice(1)`,
			"scrolled":   `[...document.querySelectorAll('.logs, .requests, ol.events, .scroll')].filter(e => e.tabIndex !== 0 || !e.getAttribute('aria-label'))`,
		} {
			if b.is(wrong + ".length") {
				t.Errorf("/%s: %s without a name", page, what)
			}
		}
	}
}

// TestCollections lists what is no run: campaigns, and reports of several variants; and nothing else.
func TestCollections(t *testing.T) {
	s := serve(t, Config{})
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(s.cfg.Runs, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("20260101-000000-x-bench/"+bench.CampaignFile, "{")
	write("20260102-000000-x-bench/"+bench.CampaignFile, fmt.Sprintf(`{"format": %d, "scenario": "x"}`, bench.FormatVersion))
	write("20260102-000000-x-bench/"+bench.PageFile, "<p>campaign</p>")
	write("20260103-000000-cascade.html", "<p>variants</p>")
	write("secret.html", "no")
	write("20260104-000000-x/other.txt", "no")
	ask := func(path string) (int, http.Header, string) {
		t.Helper()
		answer := httptest.NewRecorder()
		s.routes().ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
		return answer.Code, answer.Header(), answer.Body.String()
	}
	_, _, text := ask("/api/collections")
	var got []collected
	if err := json.Unmarshal([]byte(text), &got); err != nil || len(got) != 3 {
		t.Fatalf("got %s, %v", text, err)
	}
	if got[0].Scenario != "cascade" || got[0].Campaign || got[1].Scenario != "x" || got[1].URL == "" || got[2].Why == "" || got[2].URL != "" {
		t.Errorf("got %+v", got)
	}
	for path, want := range map[string]string{"/sets/20260102-000000-x-bench": "campaign", "/sets/20260103-000000-cascade.html": "variants"} {
		code, header, body := ask(path)
		if code != 200 || !strings.Contains(body, want) || !strings.HasPrefix(header.Get("Content-Security-Policy"), "sandbox ") {
			t.Errorf("%s: %d %s %s", path, code, header, body)
		}
	}
	for _, path := range []string{"/sets/secret.html", "/sets/20260101-000000-x-bench", "/sets/..%2fx.html", "/sets/20260104-000000-x"} {
		if code, _, _ := ask(path); code != 404 {
			t.Errorf("%s: %d", path, code)
		}
	}
}

// trended holds the trends to showing a run that was judged.
func (w *world) trended(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, record.VerdictFile), []byte(`{"outcome": "inconclusive"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(w.page.URL() + "api/trends")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got []trend
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil || len(got) != 1 || len(got[0].Runs) != 1 || len(got[0].Runs[0].Loads) != 1 || got[0].Runs[0].Loads[0].Goodput == nil {
		t.Errorf("got %+v, %v", got, err)
	}
}
