package console

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/faultline-lab/faultline/internal/bench"
)

// keyboard is somebody without a pointer: only real key events reach the page.
type keyboard struct{ *browser }

// mostStops bounds how many stops of the tab key lie between any two things that one wants.
const mostStops = 60

// to goes on with the tab key until what is wanted has the focus. Each stop on the way has to show that it has it.
func (k keyboard) to(selector string) {
	k.t.Helper()
	k.walk(selector)
}

// back goes the other way.
func (k keyboard) back(selector string) {
	k.t.Helper()
	k.walk(selector, chromedp.KeyModifiers(chromedp.ModifierShift))
}

const seen = `(e => {
	if (e === document.body) return true;
	const style = getComputedStyle(e), box = e.getBoundingClientRect();
	return e.matches(':focus-visible') && (style.outlineStyle !== 'none' || e.matches('.node')) && box.bottom > 0 && box.top < innerHeight && box.width > 0;
})(document.activeElement)`

func (k keyboard) walk(selector string, how ...chromedp.KeyOption) {
	k.t.Helper()
	for range mostStops {
		k.do(chromedp.KeyEvent(kb.Tab, how...))
		if !k.is(seen) {
			html, _ := chromedp.Run(k.ctx, chromedp.Evaluate[string]("document.activeElement.outerHTML.slice(0, 200)"))
			k.t.Errorf("on the way to %s the focus cannot be seen: %s", selector, html)
		}
		if k.is(fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			return
		}
	}
	k.t.Fatalf("%d stops do not lead to %s", mostStops, selector)
}

func (k keyboard) press(keys string) {
	k.t.Helper()
	k.do(chromedp.KeyEvent(keys))
}

// TestByKeyboardAlone does with keys alone what TestThePage does with a pointer, and what follows a run.
func TestByKeyboardAlone(t *testing.T) {
	b := newBrowser(t)
	k := keyboard{b}
	w := newWorld(t)
	b.do(chromedp.Navigate(w.page.URL()))
	w.attached(t)
	b.wait("the page is whole", "document.querySelector('.logs')")
	k.breaksAndMends()
	k.readsARequest()
	k.changesAndSaves()
	k.ends(w)
	k.looksBack(w)
}

func (k keyboard) breaksAndMends() {
	k.t.Helper()
	k.to("a.skip[href='#h-inject']")
	k.press(kb.Enter)
	k.to("#kind")
	k.to("select[name=edge]")
	k.press("front")
	k.to("input[name=delay]")
	k.press("much" + kb.Enter)
	k.wait("the field says what is wrong with it", "document.querySelector('#wrong-delay').textContent && document.activeElement.matches('input[name=delay][aria-invalid=true]')")
	k.shot("keys-refused", 1280, "light")
	k.press("\b\b\b\b300ms" + kb.Enter)
	k.wait("the fault acts", findFault+" && document.querySelector('svg.topology .link.faulted[data-from=front]')")
	k.back("select[name=edge]")
	k.press("load")
	k.to("input[name=delay]")
	k.press(kb.Enter)
	k.wait("two act", "document.querySelectorAll('[data-fault]').length === 2")
	k.back("button[aria-label='clear latency-2']")
	k.shot("keys-clear", 1280, "dark")
	k.press(kb.Enter)
	k.wait("one is gone, and the focus is not lost", "document.querySelectorAll('[data-fault]').length === 1 && document.activeElement !== document.body")
	k.to("input[name=delay]")
	k.press(kb.Enter)
	k.wait("two act again", "document.querySelectorAll('[data-fault]').length === 2")
	k.wait("all can be cleared", "[...document.querySelectorAll('.acting button')].some(b => b.textContent === 'clear all' && !b.disabled)")
	k.back(".acting > button")
	k.press(kb.Enter)
	k.wait("none acts", "!document.querySelector('[data-fault]')")
}

// readsARequest opens a request of those that the fault made slow: its trace, and a profile.
func (k keyboard) readsARequest() {
	k.t.Helper()
	k.back(".requests summary")
	k.press(kb.ArrowDown + kb.ArrowDown + kb.ArrowUp)
	k.wait("the arrow keys lead from one to the next", "document.activeElement === document.querySelectorAll('.requests .request > summary')[1]")
	k.press(kb.Enter)
	k.wait("its trace is shown", "document.querySelector('.requests details[open] .fall .span')")
	k.to(".span")
	k.press(kb.Enter)
	k.wait("a span says more", "document.activeElement.getAttribute('aria-expanded') === 'true'")
	k.to(".profile-link")
	k.press(kb.Enter)
	k.wait("the profile is shown, or why there is none", "document.activeElement.parentElement.querySelector('.profile-view, div > p')")
	k.shot("keys-trace", 1280, "light")
	k.back(".requests .request > summary")
	k.press(kb.Enter)
	k.wait("it is closed", "!document.querySelector('.requests details[open]')")
}

func (k keyboard) changesAndSaves() {
	k.t.Helper()
	k.to("input[name=rate-work]")
	k.press("35" + kb.Enter)
	k.wait("the rate is 35", "document.querySelector('form[aria-label=\"rate of work\"]').textContent.includes('now 35/s')")
	k.to("input[name=scenario-name]")
	k.press("by-keys" + kb.Enter)
	k.wait("it is saved", "document.querySelector('pre.file')")
	k.to("input[name=log-text]")
	k.press("no such line")
	k.wait("no line fits", "document.querySelector('.logs .empty')")
	k.to(".logs")
}

func (k keyboard) ends(w *world) {
	k.t.Helper()
	k.do(chromedp.Navigate(w.page.URL()))
	k.wait("the page is whole", "document.querySelector('.logs')")
	k.to("#abort")
	k.press(kb.Enter)
	k.wait("it asks again", "document.activeElement.textContent.includes('really')")
	k.press(kb.Enter)
	<-w.ended
	if w.err != nil {
		k.t.Fatal(w.err)
	}
}

// looksBack compares two runs and opens a campaign, from the index of runs.
func (k keyboard) looksBack(w *world) {
	k.t.Helper()
	if err := os.CopyFS(w.dir+"-again", os.DirFS(w.dir)); err != nil {
		k.t.Fatal(err)
	}
	campaign := filepath.Join(w.runs, "20260102-000000-x-bench")
	for name, text := range map[string]string{bench.CampaignFile: fmt.Sprintf(`{"format": %d, "scenario": "x"}`, bench.FormatVersion), bench.PageFile: "<h1>campaign</h1>"} {
		if err := os.MkdirAll(campaign, 0o755); err != nil {
			k.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(campaign, name), []byte(text), 0o644); err != nil {
			k.t.Fatal(err)
		}
	}
	k.to("nav a[href='/runs']")
	k.press(kb.Enter)
	k.wait("runs and campaigns are listed", "document.querySelectorAll('input[type=checkbox]').length === 2 && document.querySelector('a[href^=\"/sets/\"]')")
	k.to("input[type=checkbox]")
	k.press(" ")
	k.to("input[type=checkbox]:not(:checked)")
	k.press(" ")
	k.wait("two are chosen", "[...document.querySelectorAll('button.act')].some(b => b.textContent === '2 side by side' && !b.disabled)")
	k.back("button.act")
	k.press(kb.Enter)
	k.wait("they stand side by side", "location.pathname !== '/runs' && document.querySelectorAll('svg.topology').length === 2")
	k.do(chromedp.Navigate(w.page.URL() + "runs"))
	k.wait("the campaign is listed", "document.querySelector('a[href^=\"/sets/\"]')")
	k.to("a[href^='/sets/']")
	k.press(kb.Enter)
	k.wait("the campaign is shown", "document.querySelector('h1') && document.querySelector('h1').textContent === 'campaign'")
}
