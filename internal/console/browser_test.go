package console

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/faultline-lab/faultline/internal/plan"
	"github.com/faultline-lab/faultline/internal/record"
	"github.com/faultline-lab/faultline/internal/scenario"
)

// browser is a tab of a headless Chromium.
type browser struct {
	ctx context.Context
	t   *testing.T
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	found := false
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if _, err := exec.LookPath(name); err == nil {
			found = true
		}
	}
	if !found {
		t.Skip("no browser here: install chromium to test the page")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox)
	allocated, endBrowser := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(endBrowser)
	tab, endTab := chromedp.NewContext(allocated)
	t.Cleanup(endTab)
	ctx, cancel := context.WithTimeout(tab, 3*time.Minute)
	t.Cleanup(cancel)
	b := &browser{ctx: ctx, t: t}
	b.do(chromedp.EmulateViewport(1280, 900))
	b.media("light")
	err := chromedp.Listen(ctx, func(event any) {
		if e, is := event.(*runtime.EventExceptionThrown); is {
			t.Errorf("the page's script failed: %s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// is asks the page for a truth.
func (b *browser) is(expression string) bool {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// wait waits for a truth of the page.
func (b *browser) wait(what, expression string) {
	b.t.Helper()
	until(b.t, 45*time.Second, what, func() bool { return b.is(expression) })
}

// set gives a field a value as choosing or typing it does.
func (b *browser) set(selector, value string) {
	b.t.Helper()
	if !b.is(fmt.Sprintf("(f => { f.value = %q; f.dispatchEvent(new Event('change')); return f.value === %q; })(document.querySelector(%q))", value, value, selector)) {
		b.t.Fatalf("%s does not take %s", selector, value)
	}
}

// click clicks an element as soon as it can be hit. It is found and clicked in one go: between
// two requests the page may have drawn it anew.
func (b *browser) click(selector string) {
	b.t.Helper()
	b.wait(selector+" can be clicked", fmt.Sprintf(`(e => {
		if (!e || e.disabled) return false;
		e.scrollIntoView({block: 'center', behavior: 'instant'});
		const box = e.getBoundingClientRect(), hit = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
		if (!hit || !e.contains(hit)) return false;
		e.click();
		return true;
	})(document.querySelector(%q))`, selector))
}

// keys types into a field.
func (b *browser) keys(selector, text string) {
	b.t.Helper()
	b.wait(selector+" takes keys", fmt.Sprintf("(e => { if (!e) return false; e.focus(); return document.activeElement === e; })(document.querySelector(%q))", selector))
	b.do(chromedp.KeyEvent(text))
}

// connectedTo is the page that is connected, once one is.
func connectedTo(t *testing.T, s *Server) (sub *subscriber) {
	t.Helper()
	until(t, 30*time.Second, "a page connects", func() bool { sub = connected(s); return sub != nil })
	return sub
}

func (b *browser) text() string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

// media sets light or dark, and asks for no motion: a click in the midst of smooth scrolling hits
// what happens to pass by.
func (b *browser) media(scheme string) {
	b.t.Helper()
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, media); err != nil {
		b.t.Fatal(err)
	}
}

// shot keeps a picture where FAULTLINE_SCREENSHOTS says, to be looked at.
func (b *browser) shot(name string, width int64, scheme string) {
	b.t.Helper()
	folder := os.Getenv("FAULTLINE_SCREENSHOTS")
	if folder == "" {
		return
	}
	b.media(scheme)
	b.do(chromedp.EmulateViewport(width, 900))
	b.wait("it is drawn", "document.querySelector('svg.topology, .trend')")
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

const findFault = "document.querySelector('[data-fault=latency-1]')"

// openUntilHurt opens one failed request after the other until a span is marked: the first
// may be of a trace whose spans have not all come yet.
const openUntilHurt = `(() => {
	if (document.querySelector('.requests details[open] .fall .span.hurt')) return true;
	const next = [...document.querySelectorAll('.requests details.request:not([open])')].find(d => d.querySelector('summary .bad'));
	if (next) next.querySelector('summary').click();
	return false;
})()`

// openProfile asks for the profile of a span's service until one has come: services send theirs every few seconds.
const openProfile = `(() => {
	if (document.querySelector('.profile-view .flame .frame, .profile-view table') || /used no processor time/.test(document.querySelector('.requests').textContent)) return true;
	const link = document.querySelector('.profile-link');
	if (!link) { const span = document.querySelector('.requests details[open] .span[aria-expanded=false]'); if (span) span.click(); }
	else if (link.getAttribute('aria-expanded') === 'false' || /no CPU profile/.test(link.parentElement.textContent)) link.click();
	return false;
})()`

// TestThePage walks the page as a person does: watch, break, look at why, mend, save, abort.
func TestThePage(t *testing.T) {
	b := newBrowser(t)
	w := newWorld(t)
	b.do(chromedp.Navigate(w.page.URL()))
	w.attached(t)
	b.wait("the run appears by itself", "document.querySelector('svg.topology') && document.querySelector('h1').textContent === 'two-bench'")
	b.wait("goodput is drawn", "document.querySelector('.bar-good')")
	b.wait("the edge has figures", "[...document.querySelectorAll('table tr')].some(r => /front → back.*[0-9]\\/s/.test(r.textContent))")

	b.set("#kind", "latency")
	b.set("select[name=edge]", "front->back")
	b.click("form[aria-label='inject a fault'] button")
	b.wait("the form says what is missing", "document.querySelector('#wrong-delay').textContent.includes('required')")
	b.keys("input[name=delay]", "2s")
	b.click("form[aria-label='inject a fault'] button")
	b.wait("the fault acts", findFault)
	b.wait("the topology shows it", "document.querySelector('svg.topology .link.faulted[data-from=front][data-to=back]')")
	b.wait("it is felt", findFault+".textContent.includes('felt')")
	b.wait("requests fail", "document.querySelector('.requests details.request .bad')")

	b.click(".requests details.request summary")
	b.wait("the trace is shown", "document.querySelector('.requests details[open] .fall .span')")
	b.wait("the fault marks a span", openUntilHurt)
	b.wait("a service's profile is shown", openProfile)
	b.shot("live-1280-light", 1280, "light")
	b.shot("live-1280-dark", 1280, "dark")
	b.shot("live-360-light", 360, "light")
	b.shot("live-3840-light", 3840, "light")
	b.do(chromedp.EmulateViewport(360, 800))
	if b.is("document.documentElement.scrollWidth > innerWidth") {
		t.Error("at 360 px the page is wider than the screen")
	}
	b.do(chromedp.EmulateViewport(1280, 900))

	b.click("button[aria-label='clear latency-1']")
	b.wait("the fault is gone", "!"+findFault)
	w.comesBack(b)
	w.requestsFailByHand(b)
	b.set("input[name=rate-work]", "40")
	b.click("form[aria-label='rate of work'] button")
	b.wait("the rate is 40", "document.querySelector('form[aria-label=\"rate of work\"]').textContent.includes('now 40/s')")
	b.wait("hostile log lines are shown as text", "document.querySelector('.logs').textContent.includes('<img src=x onerror')")
	if b.is("window.hacked || document.querySelector('main img') || document.querySelector('main script')") {
		t.Error("text of the system under test became part of the page")
	}
	w.savedByHand(b)
	w.abortedByHand(b)
}

// comesBack breaks the connection: the page says so, comes back, and keeps what was being typed.
func (w *world) comesBack(b *browser) {
	b.t.Helper()
	b.keys("input[name=log-text]", "half")
	before := connectedTo(b.t, w.page)
	before.leave()
	until(b.t, 30*time.Second, "the page connects again", func() bool { sub := connected(w.page); return sub != nil && sub != before })
	b.wait("it is live again", "document.querySelector('.state.on') && document.querySelector('input[name=log-text]').value === 'half'")
	b.keys("input[name=log-text]", "\b\b\b\b")
}

// requestsFailByHand breaks single requests on an edge for which no scenario planned it.
func (w *world) requestsFailByHand(b *browser) {
	b.t.Helper()
	b.set("#kind", "error")
	b.set("select[name=edge]", "front->back")
	b.keys("input[name=ratio]", "50%")
	b.keys("input[name=status]", "503")
	b.click("form[aria-label='inject a fault'] button")
	b.wait("the form answers", "document.querySelector('[data-fault=error-1]') || document.querySelector('form[aria-label=\"inject a fault\"] .wrong:not(:empty)')")
	if !b.is("document.querySelector('[data-fault=error-1]')") {
		text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.querySelector('form[aria-label=\"inject a fault\"]').innerText"))
		b.t.Fatalf("it is refused: %s, %v", text, err)
	}
	b.wait("it is felt", "[...document.querySelectorAll('[data-fault=error-1]')].some(e => e.textContent.includes('felt'))")
	b.click("button[aria-label='clear error-1']")
	b.wait("it is gone", "!document.querySelector('[data-fault=error-1]')")
}

// savedByHand saves what was done, and checks that it would do the same again.
func (w *world) savedByHand(b *browser) {
	b.t.Helper()
	b.keys("input[name=scenario-name]", "my-failure")
	b.click("form[aria-label='save as scenario'] button[type=submit]")
	b.wait("it says where", "document.querySelector('pre.file')")
	file := filepath.Join(w.scenarios, "my-failure.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	sc, err := scenario.Load(file, text)
	if err != nil {
		b.t.Fatalf("%v\n%s", err, text)
	}
	p, err := plan.Compile(sc, w.system, scenario.DefaultVariant, plan.Options{})
	if err != nil {
		b.t.Fatalf("%v\n%s", err, text)
	}
	stages := p.Loads[0].Stages
	if len(p.Faults) != 2 || p.Faults[1].Kind != "error" || p.Faults[0].Target() != "front->back" || p.Faults[0].Params.Duration("delay") != 2*time.Second || stages[len(stages)-1].To != 40 {
		b.t.Errorf("it would do something else:\n%s", text)
	}
	b.click("form[aria-label='save as scenario'] button[type=submit]")
	b.wait("it writes over no file", "document.querySelector('form[aria-label=\"save as scenario\"]').textContent.includes('is there already')")
}

// abortedByHand ends the run, and looks at its record in the index.
func (w *world) abortedByHand(b *browser) {
	b.t.Helper()
	const press = "(b => { if (b && b.offsetWidth > 0 && !b.disabled) b.click(); return b && b.textContent; })(document.querySelector('#abort'))"
	b.wait("it asks again", press+".includes('really')")
	b.is(press)
	until(b.t, time.Minute, "the run ends", func() bool {
		select {
		case <-w.ended:
			return true
		default:
			return false
		}
	})
	if w.err != nil {
		b.t.Fatal(w.err)
	}
	kept, err := record.Open(w.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	if kept.Meta.Outcome != record.Aborted || len(kept.Plan.Faults) != 2 || len(kept.Results) == 0 {
		b.t.Errorf("the record says %s (%s), faults %+v", kept.Meta.Outcome, kept.Meta.Reason, kept.Plan.Faults)
	}
	b.do(chromedp.Navigate(w.page.URL() + "runs"))
	b.wait("the run is listed", "document.querySelector('table') && document.body.textContent.includes('two-bench')")
	if text := b.text(); !strings.Contains(text, "aborted") {
		b.t.Errorf("the index says\n%s", text)
	}
	w.trended(b.t)
	b.do(chromedp.Navigate(w.page.URL() + "runs"))
	b.wait("the trend is drawn", "document.querySelector('.trend svg circle')")
	b.shot("runs-1280-light", 1280, "light")
	b.shot("runs-360-dark", 360, "dark")
	w.comparedWithItself(b)
}

// comparedWithItself puts a record beside itself: the report is made, shown, and kept apart from the page.
func (w *world) comparedWithItself(b *browser) {
	b.t.Helper()
	id := filepath.Base(w.dir)
	answer := w.post(b.t, "api/compare", fmt.Sprintf(`{"runs": [%q, %q]}`, id, id))
	var made struct{ URL string }
	if err := json.NewDecoder(answer.Body).Decode(&made); err != nil || made.URL == "" {
		b.t.Fatalf("%s: %+v, %v", answer.Status, made, err)
	}
	b.do(chromedp.Navigate(strings.TrimSuffix(w.page.URL(), "/") + made.URL))
	b.wait("the report is drawn", "document.querySelector('h1') && document.querySelectorAll('svg').length > 1")
	if b.is("window.hacked") {
		b.t.Error("text of the record was run")
	}
	if !b.is("(() => { try { localStorage.length; return false; } catch { return true; } })()") {
		b.t.Error("the report has this page's origin")
	}
}

// TestThePageSaysThatItIsOver holds what a page shows when the lab ends, and when it is cut off.
func TestThePageSaysThatItIsOver(t *testing.T) {
	b := newBrowser(t)
	s, err := Start(t.Context(), Config{Runs: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Navigate(s.URL()))
	b.wait("it waits for a run", "document.body.innerText.includes('Nothing runs yet')")
	before := connectedTo(t, s)
	before.leave() // as a connection breaks
	until(t, 30*time.Second, "the page connects again", func() bool { sub := connected(s); return sub != nil && sub != before })
	b.wait("it says so", "document.querySelector('.state.on')")
	if err := s.Close(context.Background(), "it is over: "+hostile); err != nil {
		t.Fatal(err)
	}
	b.wait("it says that it is over", "document.body.innerText.includes('it is over: <img')")
	if b.is("window.hacked") {
		t.Error("the last words were run")
	}
}

// TestThePageFollowsALabThatIsStartedAgain kills the lab and starts another at its address: the page says that it is cut
// off, and then is the new one's page, with its token.
func TestThePageFollowsALabThatIsStartedAgain(t *testing.T) {
	b := newBrowser(t)
	first, err := Start(t.Context(), Config{Runs: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.Navigate(first.URL()))
	connectedTo(t, first)
	b.wait("it is live", "document.querySelector('.state.on')")
	if err := first.http.Close(); err != nil { // without a word, as kill -9 does
		t.Fatal(err)
	}
	b.wait("it says that the connection is lost", "document.querySelector('.state.lost') && document.body.innerText.includes('trying again')")
	if err := first.Close(context.Background(), ""); err != nil {
		t.Fatal(err)
	}
	second, err := Start(t.Context(), Config{Runs: t.TempDir(), Listen: first.listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := second.Close(context.Background(), "the test has ended"); err != nil {
			t.Error(err)
		}
	})
	b.wait("it is the page of the new one", fmt.Sprintf("document.querySelector('.state.on') && document.querySelector('meta[name=faultline-token]').content === %q", second.token))
}

// connected is the page that is connected, if there is one.
func connected(s *Server) *subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subscribers {
		return sub
	}
	return nil
}
