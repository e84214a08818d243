package report

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/faultline-lab/faultline/observability/telemetry"

	"github.com/faultline-lab/faultline/internal/figure"
	"github.com/faultline-lab/faultline/internal/record"
)

// browser returns a context with a browser, or skips the test where there is none.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "headless_shell"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no chromium and no google-chrome in PATH: the page was not opened in a browser")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path))
	if os.Geteuid() == 0 { // a browser's sandbox does not run as root
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return ctx
}

// tab is a page that is open, and what it said and asked for.
type tab struct {
	t        *testing.T
	ctx      context.Context
	mu       sync.Mutex
	said     []string
	requests []string
}

// open writes a page to a file and opens it, in a window so many pixels wide.
func open(t *testing.T, ctx context.Context, page Page, width int64, scheme string) *tab {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := writeFile(path, func(f *os.File) error { return renderPage(f, page) }); err != nil {
		t.Fatal(err)
	}
	b := &tab{t: t}
	ctx, cancel := chromedp.NewContext(ctx, chromedp.WithListener(b.hear))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	b.ctx, cancel = context.WithTimeout(ctx, 3*time.Minute) // a loaded machine is slow
	t.Cleanup(cancel)
	call(b, cdplog.Enable, cdp.Empty{})
	call(b, network.Enable, network.EnableParams{})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate("file://"+path)); err != nil {
		t.Fatal(err)
	}
	b.settle()
	return b
}

func call[P, R any](b *tab, command cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, command, params); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		b.said = append(b.said, fmt.Sprintf("console %s: %v", e.Type, len(e.Args)))
	case *runtime.EventExceptionThrown:
		b.said = append(b.said, "exception: "+e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	case *cdplog.EventEntryAdded:
		b.said = append(b.said, "log: "+e.Entry.Text)
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	}
}

// quiet checks that the page said nothing and asked for nothing but itself.
func (b *tab) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.said) > 0 {
		b.t.Errorf("the page said: %s", strings.Join(b.said, "\n"))
	}
	if len(b.requests) != 1 || !strings.HasPrefix(b.requests[0], "file://") {
		b.t.Errorf("the page asked for %v", b.requests)
	}
}

// settle waits until what depends on sizes is drawn.
func (b *tab) settle() {
	b.t.Helper()
	eval[bool](b, `new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`)
}

func eval[T any](b *tab, script string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return v
}

// textOf gives the texts of what a selector matches.
func (b *tab) texts(selector string) []string {
	b.t.Helper()
	return eval[[]string](b, fmt.Sprintf(`[...document.querySelectorAll(%q)].map(e => e.textContent.replace(/\s+/g, ' ').trim())`, selector))
}

// press clicks the button with a text, within what a selector matches.
func (b *tab) press(within, text string) {
	b.t.Helper()
	if !eval[bool](b, fmt.Sprintf(`(() => { const b = [...document.querySelectorAll(%q)].find(e => e.textContent.trim() === %q); if (b) b.click(); return Boolean(b); })()`, within+" button", text)) {
		b.t.Fatalf("no button %q in %s", text, within)
	}
	b.settle()
}

func fixturePage(t *testing.T) Page {
	t.Helper()
	return pages(t, newFixture("naive").judge(t), newFixture("contained").judge(t))
}

func TestPageInABrowser(t *testing.T) {
	ctx := browser(t)
	page := fixturePage(t)
	t.Run("sections", func(t *testing.T) { testSections(open(t, ctx, page, 1280, "light")) })
	t.Run("figures", func(t *testing.T) { testFigures(open(t, ctx, page, 1280, "light"), page) })
	t.Run("phases", func(t *testing.T) { testPhases(open(t, ctx, page, 1280, "light")) })
	t.Run("requests", func(t *testing.T) { testRequests(open(t, ctx, page, 1280, "dark")) })
	t.Run("theme", func(t *testing.T) { testTheme(open(t, ctx, page, 1280, "light")) })
	t.Run("keyboard", func(t *testing.T) { testKeyboard(open(t, ctx, page, 1280, "light")) })
	t.Run("violations", func(t *testing.T) { testViolations(open(t, ctx, broken(fixturePage(t)), 1280, "light")) })
	t.Run("shares", func(t *testing.T) { testShares(open(t, ctx, shared(fixturePage(t)), 1280, "light")) })
	t.Run("names", func(t *testing.T) { testNames(open(t, ctx, page, 1280, "light")) })
	t.Run("grafana", func(t *testing.T) {
		judged := newFixture("naive").judge(t)
		judged.Run.Meta.Grafana = "http://127.0.0.1:3000"
		for _, width := range []int64{1280, 320} {
			b := open(t, ctx, pages(t, judged), width, "dark")
			testGrafana(b)
			testWidth(b, width)
			testContrast(b)
		}
	})
	for _, width := range []int64{1280, 768, 360, 320} {
		t.Run(fmt.Sprintf("%d pixels", width), func(t *testing.T) { testWidth(open(t, ctx, page, width, "light"), width) })
	}
	for _, scheme := range []string{"light", "dark"} {
		t.Run("contrast "+scheme, func(t *testing.T) { testContrast(open(t, ctx, page, 1280, scheme)) })
	}
}

func testSections(b *tab) {
	if got, want := b.texts("h2"), []string{"Verdict", "How the failure spread", "Load", "Topology", "Requests", "Events", "The lab itself"}; !reflect.DeepEqual(got, want) {
		b.t.Errorf("got %v, want %v", got, want)
	}
	if n := eval[int](b, `[...document.querySelectorAll('nav a')].filter(a => document.querySelector(a.getAttribute('href'))).length`); n != 7 {
		b.t.Errorf("%d links lead to a section", n)
	}
	if got := strings.Join(b.texts(".caption"), " "); got != "After slow began, services filled up: orders +1s, gateway +3s. No service filled up after slow began: the busiest, orders, had at most 37.5% of its workers busy." {
		b.t.Errorf("got %q", got)
	}
	if got := b.texts(".faults li"); len(got) != 1 || got[0] != "⚡\ufe0e slow: latency on orders → bank (delay 3s, jitter 0s), 6s to 10s" {
		b.t.Errorf("got %q: what both runs broke is told once", got)
	}
	b.quiet()
}

// testFigures checks that the page writes numbers as package figure does.
func testFigures(b *tab, page Page) {
	got := b.texts("#load ~ .load:first-of-type article:first-of-type tbody tr")
	var want []string
	for _, p := range page.Runs[0].Loads[0].Phases {
		want = append(want, p.Name+figure.Count.Text(float64(p.Offered))+figure.Ratio.Text(*p.Goodput)+figure.Ratio.Text(*p.Success)+
			figure.Seconds.Text(*p.P50/1000)+figure.Seconds.Text(*p.P99/1000)+figure.Seconds.Text(*p.Max/1000))
	}
	if !reflect.DeepEqual(got, want) {
		b.t.Errorf("got %q, want %q", got, want)
	}
	if got := b.texts(".overview tbody tr:nth-child(1) td"); !reflect.DeepEqual(got, []string{"100%p99 20ms", "37.5%p99 900ms", "100%p99 20ms", "0s"}) {
		b.t.Errorf("got %q", got)
	}
	b.quiet()
}

func testPhases(b *tab) {
	first := func() string { return b.texts(".edges tbody tr")[0] }
	if got, want := first(), "load → gateway20/s10%0%20ms3s1x"; got != want {
		b.t.Errorf("in fault: got %q, want %q", got, want)
	}
	if got := b.texts(".edge-label"); !slices.Contains(got, "⚡\ufe0e slow37.5% errors") {
		b.t.Errorf("labels: %q", got)
	}
	places := eval[string](b, `[...document.querySelectorAll('.node')].map(n => n.getAttribute('transform')).join()`)
	b.press(".tools", "baseline")
	if got, want := first(), "load → gateway20/s0%0%20ms40ms1x"; got != want {
		b.t.Errorf("in baseline: got %q, want %q", got, want)
	}
	if got := b.texts(".edge-label"); len(got) != 0 {
		b.t.Errorf("labels of a healthy phase: %q", got)
	}
	if pressed := b.texts(`.tools button[aria-pressed=true]`); pressed[0] != "baseline" {
		b.t.Errorf("pressed: %v", pressed)
	}
	if now := eval[string](b, `[...document.querySelectorAll('.node')].map(n => n.getAttribute('transform')).join()`); now != places {
		b.t.Error("the nodes moved")
	}
	b.quiet()
}

func testRequests(b *tab) {
	kinds := b.texts(".kind h4")
	if want := []string{"8 status 503 browse 9.2s to 9.9s", "10 status 503 buy · pay 6.2s to 9.8s", "10 status 504 buy · pay 6.0s to 9.6s"}; !reflect.DeepEqual(kinds, want) {
		b.t.Errorf("got %q, want %q", kinds, want)
	}
	eval[bool](b, `(() => { [...document.querySelectorAll('.kind')].pop().querySelector('summary').click(); return true; })()`)
	b.settle()
	if got := b.texts(".request[open] .span .what"); len(got) != 2 || !strings.Contains(got[1], "✗ orders") {
		b.t.Errorf("spans: %q", got)
	}
	if got := b.texts(".request[open] .log"); len(got) != 1 || !strings.Contains(got[0], "something to say order=o-1") {
		b.t.Errorf("logs: %q", got)
	}
	eval[bool](b, `(() => { document.querySelectorAll('.request[open] .span')[1].click(); return true; })()`)
	if got := b.texts(".request[open] .attrs:not([hidden])"); len(got) != 1 || !strings.Contains(got[0], "policy=timeout") {
		b.t.Errorf("attributes: %q", got)
	}
	b.press(".tools", "slowest of buy")
	if got := b.texts(".request .cause")[0]; got != "pay: 64% on the way orders → bank, 34% waiting for a worker of orders ⚡\ufe0e slow" {
		b.t.Errorf("got %q", got)
	}
	eval[bool](b, `(() => { document.querySelector('.request summary').click(); return true; })()`)
	b.settle()
	if got := b.texts(".request[open] .spent"); !strings.HasPrefix(got[0], "2.98s: 64% on the way orders → bank") {
		b.t.Errorf("got %q", got)
	}
	if n := eval[int](b, `document.querySelectorAll('.request[open] .hurt').length`); n != 1 {
		b.t.Errorf("%d spans are marked with the fault", n)
	}
	if got := b.texts(".request[open] summary"); !slices.Contains(got, "after the answer: 1 span, from +6.02s to +6.05s") {
		b.t.Errorf("got %q", got)
	}
	b.quiet()
}

// testGrafana: each stretch of the run and each trace leads to the Grafana that has it.
func testGrafana(b *tab) {
	rows := b.texts(".grafana li")
	if len(rows) != 5 || rows[0] != "the whole run: lab · services · edges · logs" || !strings.HasSuffix(rows[3], "fault: lab · services · edges · logs") {
		b.t.Errorf("got %q", rows)
	}
	eval[bool](b, `(() => { document.querySelector('.kind summary').click(); return true; })()`)
	b.settle()
	const link = `document.querySelector('.request[open] .trace a')`
	if got := b.texts(".request[open] .trace a"); !reflect.DeepEqual(got, []string{"open in Grafana"}) {
		b.t.Fatalf("got %q", got)
	}
	id := eval[string](b, `document.querySelector('.request[open] .trace > p:last-child .mono').textContent`)
	if address := eval[string](b, link+".href"); id == "" || !strings.HasPrefix(address, "http://127.0.0.1:3000/explore?panes=") || !strings.Contains(address, url.QueryEscape(`"query":"`+id+`"`)) {
		b.t.Errorf("the trace %s is at %s", id, address)
	}
	if rel := eval[string](b, link+".rel"); rel != "noopener noreferrer" {
		b.t.Errorf("rel is %q", rel)
	}
	b.quiet()
}

// broken has seven broken invariants of one kind and one of another, of nine that the verdict names.
func broken(page Page) Page {
	run := &page.Runs[0]
	run.Broken, run.Settings = 9, "BUG=double-charge"
	for i := range 8 {
		invariant := map[bool]string{true: "charged-once", false: "order-kept"}[i < 7]
		run.Violations = append(run.Violations, PageViolation{
			Invariant: invariant, Detail: "it was captured 2 times", Keys: []string{fmt.Sprintf("o-%d", i)}, Clients: []string{}, Traces: []string{}, Requests: run.Failures[0].Requests[:1],
		})
	}
	return page
}

// testViolations checks that broken invariants stand by kind, that there are not too many at once, and that each leads to its request.
func testViolations(b *tab) {
	if got := b.texts(".violations summary"); len(got) < 3 || got[0] != "9 broken invariants, 8 of them here" || !slices.Contains(got, "2 more of charged-once") {
		b.t.Errorf("got %q", got)
	}
	if got := b.texts(".violations h4"); !reflect.DeepEqual(got, []string{"charged-once · 7", "order-kept · 1"}) {
		b.t.Errorf("got %q", got)
	}
	if n := eval[int](b, `[...document.querySelectorAll('.violations li')].filter(e => e.checkVisibility()).length`); n != 6 {
		b.t.Errorf("%d are in sight", n)
	}
	if got := b.texts(".violations li")[0]; !strings.HasPrefix(got, "it was captured 2 timeso-0") {
		b.t.Errorf("got %q", got)
	}
	eval[bool](b, `(() => { document.querySelector('.violations .request summary').click(); return true; })()`)
	b.settle()
	if n := eval[int](b, `document.querySelectorAll('.violations .request[open] .fall .span').length`); n == 0 {
		b.t.Error("a violation does not lead to its trace")
	}
	if got := b.texts(".settings"); len(got) != 1 || got[0] != "Run with BUG=double-charge" {
		b.t.Errorf("got %q", got)
	}
	b.quiet()
}

func shared(page Page) Page {
	page.Runs[0].Shares = []PageShares{{
		Load: "browse", Phase: "fault", Experiment: PageShare{Goodput: "50%", P99: "187ms", Due: 1092}, Control: PageShare{Goodput: "99.53%", P99: "242ms", Due: 1093},
		Difference: "-50.0 points", Interval: "95 %: -60.0 to -39.2",
	}}
	return page
}

// testShares checks that an experiment stands beside its control, all of it in sight.
func testShares(b *tab) {
	const table = `[aria-label="experiment beside control of naive"]`
	if got := b.texts(table + " tr > *"); !reflect.DeepEqual(got, []string{"phase", "experiment", "control", "difference", "fault", "50%p99 187ms, of 1,092", "99.53%p99 242ms, of 1,093", "-50.0 points95 %: -60.0 to -39.2"}) {
		b.t.Errorf("got %q", got)
	}
	if eval[bool](b, `(e => e.scrollWidth > e.clientWidth)(document.querySelector('`+table+`'))`) {
		b.t.Error("the table is cut")
	}
	b.quiet()
}

func testTheme(b *tab) {
	background := func() string { return eval[string](b, `getComputedStyle(document.body).backgroundColor`) }
	light := background()
	eval[bool](b, `(() => { document.getElementById('theme').click(); return true; })()`)
	dark := background()
	eval[bool](b, `(() => { document.getElementById('theme').click(); return true; })()`)
	if again := background(); light == dark || light != again {
		b.t.Errorf("%s, %s, %s", light, dark, again)
	}
	b.quiet()
}

func testKeyboard(b *tab) {
	// A chart reads its values with the arrow keys, and says them.
	said := eval[[]string](b, `(() => {
		const chart = document.querySelectorAll('.chart')[0], out = [];
		chart.focus();
		for (const key of ['ArrowRight', 'PageDown', 'ArrowLeft']) { chart.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true })); out.push(document.querySelector('.tip').textContent); }
		chart.blur();
		out.push(String(document.querySelector('.tip').hidden));
		return out;
	})()`)
	if want := []string{"0.0s warmup\n10 due: 10 good, 0 slow, 0 failed", "10.0s recovery\n10 due: 10 good, 0 slow, 0 failed\nfiring: DoorSaturated", "9.0s fault\n10 due: 0 good, 2 slow, 8 failed\nfiring: DoorSaturated", "true"}; !reflect.DeepEqual(said, want) {
		b.t.Errorf("got %q, want %q", said, want)
	}
	// Nodes of the topology can be reached, and stand out with their edges.
	near := eval[int](b, `(() => { const n = document.querySelector('.node[data-name=orders]'); n.focus(); return document.querySelectorAll('.topology.focused .near').length; })()`)
	if near != 5 { // gateway, orders, bank, and two edges
		b.t.Errorf("%d are near orders", near)
	}
	// They are one stop of the tab key: arrow keys lead from one to the next, on the side that they point to.
	walked := eval[string](b, `(() => {
		const svg = document.querySelector('.topology'), out = [];
		svg.querySelector('.node[data-name=load]').focus();
		for (const key of ['ArrowRight', 'ArrowRight', 'ArrowUp', 'ArrowLeft']) {
			document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
			out.push(document.activeElement.dataset.name + ' ' + svg.querySelectorAll('.node[tabindex="0"]').length);
		}
		return out.join();
	})()`)
	if walked != "gateway 1,orders 1,orders 1,gateway 1" {
		b.t.Errorf("the arrow keys lead to %s", walked)
	}
	// Whatever scrolls can be scrolled without a pointer.
	if n := eval[int](b, `[...document.querySelectorAll('.scroll')].filter(e => e.tabIndex !== 0 || !e.getAttribute('aria-label')).length`); n != 0 {
		b.t.Errorf("%d parts scroll for pointers only", n)
	}
	b.quiet()
}

// testNames checks that what is drawn or pressed has a name, and that ids are unique.
func testNames(b *tab) {
	for what, script := range map[string]string{
		"pictures without a name": `[...document.querySelectorAll('svg')].filter(e => !e.getAttribute('aria-label')).length`,
		"images without a name":   `[...document.querySelectorAll('[role=img]')].filter(e => !e.getAttribute('aria-label')).length`,
		"buttons without a name":  `[...document.querySelectorAll('button')].filter(e => !e.textContent.trim() && !e.getAttribute('aria-label')).length`,
		"ids used twice":          `(() => { const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.length - new Set(ids).size; })()`,
		"sections without a name": `[...document.querySelectorAll('section')].filter(e => !document.getElementById(e.getAttribute('aria-labelledby'))).length`,
		"headings that leap":      `(() => { let last = 1, n = 0; for (const e of document.querySelectorAll('h1, h2, h3, h4')) { const l = Number(e.tagName[1]); if (l > last + 1) n++; last = l; } return n; })()`,
		"pages without a title":   `document.title ? 0 : 1`,
	} {
		if n := eval[int](b, script); n != 0 {
			b.t.Errorf("%d %s", n, what)
		}
	}
}

func testWidth(b *tab, width int64) {
	eval[bool](b, `(() => { for (const e of document.querySelectorAll('details')) e.open = true; return true; })()`)
	b.settle()
	if got := eval[int64](b, `document.documentElement.scrollWidth`); got > width {
		wide := eval[[]string](b, fmt.Sprintf(`[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > %d + 1 && !e.closest('.scroll') && !e.closest('svg')).slice(0, 5).map(e => e.tagName + '.' + e.className)`, width))
		b.t.Errorf("the page is %d pixels wide: %v", got, wide)
	}
	b.quiet()
}

// testContrast checks texts against what is behind them: at least 4.5 to 1.
func testContrast(b *tab) {
	got := eval[map[string]float64](b, `(() => {
		const style = getComputedStyle(document.documentElement), probe = document.body.appendChild(document.createElement('i'));
		const light = name => { probe.style.color = style.getPropertyValue(name); const c = getComputedStyle(probe).color.match(/[\d.]+/g).slice(0, 3).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : Math.pow((v + .055) / 1.055, 2.4); }); return .2126 * c[0] + .7152 * c[1] + .0722 * c[2]; };
		const out = {};
		for (const [text, behind] of [['--ink', '--bg'], ['--ink', '--card'], ['--soft', '--bg'], ['--soft', '--card'], ['--good-ink', '--card'], ['--slow-ink', '--card'], ['--bad-ink', '--card'], ['--badge-ink', '--good-ink'], ['--badge-ink', '--bad-ink'], ['--badge-ink', '--badge-slow'], ['--card', '--ink']]) {
			const [a, b] = [light(text), light(behind)].sort((x, y) => y - x);
			out[text + ' on ' + behind] = (a + .05) / (b + .05);
		}
		return out;
	})()`)
	for pair, ratio := range got {
		if ratio < 4.5 {
			b.t.Errorf("%s: %.2f to 1", pair, ratio)
		}
	}
}

// What the system under test says is shown, not run.
func TestHostileTextsInABrowser(t *testing.T) {
	const evil = `</script><script>window.owned=1</script><img src=x onerror="window.owned=1">'"&amp;` + "`${1}` \x1b[31m\u2028"
	f := newFixture("naive")
	f.plan.Scenario, f.plan.Story, f.plan.About = evil, evil, evil
	f.plan.Faults[0].ID, f.plan.Phases[2].Name = evil, evil
	f.plan.Loads[0].Name = evil
	f.system.Services[1].About = evil
	f.events = append(f.events, record.Event{Time: second(5), Kind: record.EventNote, Name: evil, Text: evil, Data: map[string]any{evil: evil}},
		record.Event{Time: second(5), Kind: record.EventAlert, Name: evil, Text: "firing", Data: map[string]any{"instance": evil}})
	for i := range f.results {
		if f.results[i].Load == "browse" {
			f.results[i].Load = evil
		}
		if f.results[i].Error != "" {
			f.results[i].Error = evil
		}
	}
	for id, trace := range f.telemetry.traces {
		for i := range trace.Spans {
			s := &trace.Spans[i]
			s.Name, s.Message, s.Attributes = evil, evil, map[string]any{evil: evil}
			s.Events = []telemetry.SpanEvent{{Name: evil, Time: s.Start, Attributes: map[string]any{evil: evil}}}
		}
		f.telemetry.traces[id] = trace
	}
	for i := range f.telemetry.logs {
		f.telemetry.logs[i].Body, f.telemetry.logs[i].Service = evil, evil
	}
	page := pages(t, f.judge(t))
	b := open(t, browser(t), page, 1280, "light")
	eval[bool](b, `(() => { for (const e of document.querySelectorAll('details')) e.open = true; return true; })()`)
	b.settle()
	eval[bool](b, `(() => { for (const e of document.querySelectorAll('.span, .log')) e.click(); return true; })()`)
	b.settle()
	if eval[bool](b, `Boolean(window.owned || document.querySelector('img') || document.scripts.length !== 2)`) {
		t.Error("a text became code")
	}
	for _, selector := range []string{"h1", ".story", ".attrs", ".log .body", ".kind h4", ".events td"} {
		if !slices.ContainsFunc(b.texts(selector), func(s string) bool { return strings.Contains(s, `<img src=x onerror="window.owned=1">`) }) {
			t.Errorf("the text is not in %s", selector)
		}
	}
	b.quiet()
}

const tiers = 6

// crowd is a system of so many services in tiers, and edges, deterministic.
func crowd(services, edges int) Page {
	rng := rand.New(rand.NewPCG(1, 2))
	run := PageRun{
		Label: "crowd", Entry: "service-00", Phases: []PagePhase{{Name: "fault", End: 10, Fault: true}}, Spread: PageSpread{Steps: []PageSpreadStep{}},
	}
	value := func(v float64) *float64 { return &v }
	name := func(i int) string { return fmt.Sprintf("service-%02d", i) }
	have := map[string]bool{}
	add := func(from, to string) {
		if have[from+to] {
			return
		}
		have[from+to] = true
		errors := 0.0
		if len(run.Edges)%9 == 0 {
			errors = .25
		}
		figures := PageEdgeTime{Rate: value(rng.Float64() * 200), Errors: &errors, P50: value(3), P99: value(40), Amplification: value(1)}
		run.Edges = append(run.Edges, PageEdge{Caller: from, Callee: to, Faults: []string{}, Phases: map[string]PageEdgeTime{"fault": figures}})
	}
	add("load", name(0))
	for i := range services {
		run.Services = append(run.Services, PageService{
			Name: name(i), Protocol: "http", Replicas: 1, Workers: 8, Phases: map[string]*float64{"fault": value(rng.Float64())},
			Busy: [][2]float64{{0, rng.Float64()}}, Queue: [][2]float64{}, Shed: [][2]float64{},
		})
		if i > 0 {
			add(name((i-1)/tiers), name(i))
		}
	}
	tier := func(i int) int { return (i*tiers + services - 1) / services }
	for len(run.Edges) < edges {
		from, to := rng.IntN(services), rng.IntN(services)
		if tier(from) < tier(to) || from != to && rng.IntN(60) == 0 { // now and then one closes a cycle
			add(name(from), name(to))
		}
	}
	hit := run.Edges[5].Caller + "->" + run.Edges[5].Callee
	run.Faults = []PageFault{{ID: "slow", Kind: "latency", Target: "somewhere", Edges: []string{hit}, Services: []string{name(3)}, End: 10}}
	return Page{Scenario: "crowd", Outcome: "pass", Runs: []PageRun{run}}
}

// Fifty services and two hundred edges stay legible: no node hides another, no label
// hides a node or a label, and no edge runs behind a node that it has nothing to do with.
func TestTopologyOfManyServices(t *testing.T) {
	ctx := browser(t)
	page := asJSON(t, crowd(50, 200))
	for _, width := range []int64{1280, 360} {
		b := open(t, ctx, page, width, "light")
		got := eval[map[string]int](b, `(() => {
			const svg = document.querySelector('.topology'), overlap = (a, b) => a.x < b.x + b.width - .5 && b.x < a.x + a.width - .5 && a.y < b.y + b.height - .5 && b.y < a.y + a.height - .5;
			const nodes = [...svg.querySelectorAll('.node')].map(g => { const [x, y] = g.getAttribute('transform').match(/[\d.-]+/g).map(Number), box = g.querySelector('.box').getBBox(); return { name: g.dataset.name, x, y, width: box.width, height: box.height }; });
			const labels = [...svg.querySelectorAll('.edge-label')].map(e => e.getBBox()), out = { nodes: nodes.length, edges: svg.querySelectorAll('.link').length, labels: labels.length, hidden: 0, covered: 0, behind: 0, outside: 0 };
			const size = svg.viewBox.baseVal;
			nodes.forEach((a, i) => {
				if (a.x < 0 || a.y < 0 || a.x + a.width > size.width || a.y + a.height > size.height) out.outside++;
				for (const b of nodes.slice(i + 1)) if (overlap(a, b)) out.hidden++;
				for (const l of labels) if (overlap(a, l)) out.covered++;
			});
			labels.forEach((a, i) => { for (const b of labels.slice(i + 1)) if (overlap(a, b)) out.covered++; });
			for (const g of svg.querySelectorAll('.link')) {
				const path = g.querySelector('.edge'), length = path.getTotalLength();
				for (let at = 0; at <= length; at += 8) {
					const p = path.getPointAtLength(at);
					if (nodes.some(n => n.name !== g.dataset.from && n.name !== g.dataset.to && p.x > n.x + 1 && p.x < n.x + n.width - 1 && p.y > n.y + 1 && p.y < n.y + n.height - 1)) { out.behind++; break; }
				}
			}
			return out;
		})()`)
		if got["nodes"] != 51 || got["edges"] != len(page.Runs[0].Edges) || got["labels"] < 5 || got["hidden"]+got["covered"]+got["behind"]+got["outside"] > 0 {
			t.Errorf("%d pixels: %v", width, got)
		}
		b.quiet()
	}
}

// asJSON takes a page through JSON, with lists where the builder makes them.
func asJSON(t *testing.T, page Page) Page {
	t.Helper()
	for i := range page.Runs {
		r := &page.Runs[i]
		r.Reasons, r.Findings, r.Policies, r.Loads, r.Breakers = orEmpty(r.Reasons), orEmpty(r.Findings), orEmpty(r.Policies), orEmpty(r.Loads), orEmpty(r.Breakers)
		r.Slow, r.Failures, r.Alerts, r.Events, r.Facts, r.Notes, r.Processes = orEmpty(r.Slow), orEmpty(r.Failures), orEmpty(r.Alerts), orEmpty(r.Events), orEmpty(r.Facts), orEmpty(r.Notes), orEmpty(r.Processes)
		r.Traces = map[string]PageTrace{}
	}
	page.Sources = orEmpty(page.Sources)
	if _, err := json.Marshal(page); err != nil {
		t.Fatal(err)
	}
	return page
}

// A run that never came to its load, and one that was cut short, have pages too.
func TestUnfinishedRunsInABrowser(t *testing.T) {
	ctx := browser(t)
	cut := newFixture("naive")
	cut.interrupt()
	empty := PageRun{Label: "broken", Outcome: "inconclusive", Says: "nothing", Spread: PageSpread{Steps: []PageSpreadStep{}}, Phases: []PagePhase{}, Faults: []PageFault{}, Services: []PageService{}, Edges: []PageEdge{}}
	for name, page := range map[string]Page{"cut short": pages(t, cut.judge(t)), "broken": asJSON(t, Page{Scenario: "x", Outcome: "inconclusive", Runs: []PageRun{empty}})} {
		t.Run(name, func(t *testing.T) {
			b := open(t, ctx, page, 768, "dark")
			if got := b.texts("h1"); len(got) != 1 || !strings.HasSuffix(got[0], "inconclusive") {
				t.Errorf("got %q", got)
			}
			if name == "cut short" && !slices.Contains(b.texts(".chart text"), "cut short") {
				t.Error("it does not say where it was cut short")
			}
			b.quiet()
		})
	}
}
