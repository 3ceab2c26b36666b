package pages

import (
	"fmt"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/browser"
)

var schemes = []string{"light", "dark"}

func background(p *browser.Page) string {
	return browser.Eval[string](p, "getComputedStyle(document.body).backgroundColor")
}

// testThemes: the colours follow the system until the reader chooses others, on every page.
func testThemes(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	system := map[string]string{}
	for _, scheme := range schemes {
		tab.Prefer(scheme)
		system[scheme] = background(tab)
	}
	if system["light"] == system["dark"] {
		t.Fatalf("light and dark are both %s", system["dark"])
	}
	for i, scheme := range schemes {
		tab.Prefer(schemes[1-i])
		tab.Click(fmt.Sprintf("nav.theme a:nth-child(%d)", i+2))
		if got := background(tab); got != system[scheme] || strings.Contains(location(tab), "theme") {
			t.Errorf("%s chosen: the background is %s, want %s; the address is %s", scheme, got, system[scheme],
				location(tab))
		}
		tab.Go(w.base + "targets") // it holds for the others, too
		if got := background(tab); got != system[scheme] {
			t.Errorf("%s chosen: the background of another page is %s, want %s", scheme, got, system[scheme])
		}
		tab.Go(w.base + p.path)
	}
	tab.Click("nav.theme a:first-child")
	if got := background(tab); got != system["light"] {
		t.Errorf("the system's colours chosen: the background is %s, want %s", got, system["light"])
	}
}

// lowContrast returns the texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3).
const lowContrast = `(() => {
	const parse = (c) => { const [r, g, b, a = 1] = c.match(/[\d.]+/g).map(Number); return [r, g, b, a]; };
	const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
	const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= .04045 ? v / 12.92
		: ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
	const ratio = (a, b) => {
		const [x, y] = [light(a), light(b)].sort((x, y) => y - x);
		return (x + .05) / (y + .05);
	};
	const behind = (e) => {
		if (!e) return [255, 255, 255, 1];
		const c = parse(getComputedStyle(e).backgroundColor);
		return c[3] === 1 ? c : over(c, behind(e.parentElement));
	};
	const low = [];
	let seen = 0;
	const check = (e, color, what) => {
		seen++;
		const back = behind(e);
		const r = ratio(over(parse(color), back), back);
		if (r < 4.5) low.push(r.toFixed(2) + ': ' + what.trim().slice(0, 60));
	};
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const e = walk.currentNode.parentElement;
		if (!walk.currentNode.data.trim() || !e.checkVisibility()) continue;
		check(e, getComputedStyle(e).color, walk.currentNode.data);
	}
	for (const e of document.querySelectorAll('input[placeholder]')) {
		check(e, getComputedStyle(e, '::placeholder').color, 'placeholder');
	}
	return seen > 20 ? low : ['only ' + seen + ' texts'];
})()`

// testContrast: every text can be read in both themes, also where folds are open and a row is chosen.
func testContrast(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	for _, scheme := range schemes {
		tab.Prefer(scheme)
		for _, state := range []string{`0`, `document.querySelectorAll('details').forEach(d => d.open = true)`,
			`document.querySelector('tbody tr')?.focus()`} {
			tab.Do(browser.Script(state))
			for _, low := range browser.Eval[[]string](tab, lowContrast) {
				t.Errorf("%s, %s", scheme, low)
			}
		}
	}
}

// testStates: a state is a word and a sign, never a colour alone.
func testStates(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	states := browser.Eval[[][3]string](tab, `[...document.querySelectorAll('.state')].map(e => [e.className,
		e.textContent.trim(), getComputedStyle(e, '::before').content])`)
	signs := map[string]string{}
	for _, s := range states {
		if s[1] == "" || s[2] == "none" || s[2] == `""` {
			t.Errorf("state %q has the word %q and the sign %s", s[0], s[1], s[2])
		}
		if other, ok := signs[s[2]]; ok && other != s[0] {
			t.Errorf("states %q and %q have one sign", s[0], other)
		}
		signs[s[2]] = s[0]
	}
	if len(states) == 0 && p.path != "config" && p.path != "cost" {
		t.Error("no state on the page")
	}
}

// testKeys: a page can be used without a mouse.
func testKeys(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	for _, other := range menu {
		tab.Follow(browser.Keys("g" + other.key))
		got := browser.Eval[string](tab,
			"document.querySelector('header nav [aria-current=page]').getAttribute('href')")
		if got != other.path {
			t.Errorf("g %s leads to %s, want %s", other.key, got, other.path)
		}
	}
	tab.Go(w.base + p.path)
	tab.Press("?")
	if !has(tab, "#keys[open]") {
		t.Error("? does not show the keys")
	}
	tab.Press("\u001b")
	if has(tab, "#keys[open]") {
		t.Error("Esc does not close them")
	}
	if !p.rows {
		return
	}
	tab.Press("/")
	if !has(tab, "input[type=search]:focus") {
		t.Fatal("/ does not lead to the search")
	}
	tab.Press("gt") // in a field, keys are text
	if got := browser.Eval[string](tab, "document.activeElement.value"); got != "gt" {
		t.Errorf("the search has %q, want what was typed", got)
	}
	tab.Press("\u001b")
	if has(tab, "input:focus") {
		t.Error("Esc does not leave the field")
	}
}

// testRows: j and k walk through the rows, Enter opens one.
func testRows(t *testing.T, w *world, p page) {
	tab := w.open(t, p.narrowed())
	at := func() int {
		return browser.Eval[int](tab,
			`[...document.querySelectorAll('table.rows tbody tr')].indexOf(document.activeElement)`)
	}
	for i, step := range []struct {
		key  string
		want int
	}{{"j", 0}, {"j", 1}, {"j", 2}, {"k", 1}, {"k", 0}, {"k", 0}, {"\u001b", -1}, {"k", len(rows(tab)) - 1}} {
		tab.Press(step.key)
		if got := at(); got != step.want {
			t.Errorf("after key %d, %q: row %d, want %d", i, step.key, got, step.want)
		}
	}
	want := browser.Eval[string](tab, "document.activeElement.querySelector('a.open').href")
	tab.Follow(browser.Keys("\r"))
	if got := location(tab); got != want {
		t.Errorf("Enter opens %s, want %s", got, want)
	}
}

// testTab: Tab reaches everything that can be used, the skip link first, and shows where it is.
func testTab(t *testing.T, w *world, p page) {
	address := p.path
	if p.list {
		address = p.narrowed() // fewer rows
	}
	tab := w.open(t, address)
	const usable = `[...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary, '
		+ '[tabindex="0"]')].filter(e => e.checkVisibility())`
	all := browser.Eval[int](tab, usable+".length")
	reached := map[int]bool{}
	for i := range all + 10 { // some stops are for what scrolls
		tab.Press("\t")
		state := browser.Eval[struct {
			At      int  `json:"at"`
			Skip    bool `json:"skip"`
			Visible bool `json:"visible"`
		}](tab, `(() => {
			const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
			const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
			const inside = box.right > 0 && box.bottom > 0 && box.left < innerWidth;
			return {at: `+usable+`.indexOf(e), skip: e.matches('.skip'), visible: outlined && inside};
		})()`)
		if state.At < 0 {
			continue
		}
		if !state.Visible {
			t.Errorf("the focus is not visible at %s", browser.Eval[string](tab, "document.activeElement.outerHTML"))
		}
		if i == 0 && !state.Skip {
			t.Error("the first stop is not the skip link")
		}
		reached[state.At] = true
	}
	if len(reached) != all {
		t.Errorf("Tab reached %d of %d", len(reached), all)
	}
	tab.Go(w.base + address)
	tab.Press("\t")
	tab.Press("\r")
	tab.Until("the content has the focus", `document.activeElement.id === 'main'`)
}

// wide returns what makes a page wider than the window.
const wide = `(() => {
	const width = document.documentElement.scrollWidth;
	if (width <= innerWidth) return [];
	return [...document.querySelectorAll('main *, header *')]
		.filter((e) => !e.closest('.scroll, pre') && e.getBoundingClientRect().right > innerWidth + 1)
		.map((e) => e.outerHTML.slice(0, 120)).concat(width + ' px');
})()`

// testNarrow: on a telephone, the page itself does not scroll to the side, and what matters most is visible.
func testNarrow(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	tab.Do(browser.Viewport(360, 740, 1))
	if got := browser.Eval[[]string](tab, wide); len(got) > 0 {
		t.Errorf("wider than 360 px: %q", got)
	}
	if !p.list {
		return
	}
	hidden := browser.Eval[[]string](tab, `[...document.querySelectorAll('table.rows tbody tr')].flatMap(
		r => [r.querySelector('.state'), r.querySelector('th'), ...r.querySelectorAll('.error')]).filter(
		e => e.getBoundingClientRect().right > innerWidth).map(e => e.textContent)`)
	if len(hidden) > 0 {
		t.Errorf("not visible on 360 px: %d of the states, names and errors, such as %q", len(hidden), hidden[0])
	}
}

// testZoom: at 200 %, of the page or of the text alone, nothing is cut off.
func testZoom(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	tab.Do(browser.Viewport(640, 400, 2)) // 1280 x 800 at 200 %
	if got := browser.Eval[[]string](tab, wide); len(got) > 0 {
		t.Errorf("at 200 %%: %q", got)
	}
	tab.Do(browser.Viewport(1280, 800, 1))
	const height = "document.querySelector('h1').getBoundingClientRect().height"
	before := browser.Eval[float64](tab, height)
	tab.Do(browser.Script(`document.documentElement.style.fontSize = '200%'`))
	if after := browser.Eval[float64](tab, height); after < 1.9*before {
		t.Errorf("text of 200 %%: the heading grew from %v to %v", before, after)
	}
	if got := browser.Eval[[]string](tab, wide); len(got) > 0 {
		t.Errorf("with text of 200 %%: %q", got)
	}
}

// testWithoutScript: everything but the keys and the refresh that waits works without a script.
func testWithoutScript(t *testing.T, w *world, p page) {
	tab := w.browser.Open(t)
	tab.WithoutScript()
	tab.Go(w.base + p.path)
	if has(tab, "#keys:not([hidden])") {
		t.Fatal("the script ran")
	}
	all := rows(tab)
	tab.Do(browser.Type("input[type=search]", "bookinfo"))
	tab.Follow(browser.Type("input[type=search]", "\r"))
	found := rows(tab)
	if len(found) == 0 || len(found) >= len(all) {
		t.Errorf("search: %d rows of %d", len(found), len(all))
	}
	tab.Go(w.base + p.path)
	tab.Do(browser.Set("select[name=job]", "absent"))
	tab.Click("form.filter button")
	if got := texts(tab, ".shown")[0]; !strings.HasPrefix(got, fmt.Sprintf("Showing %d of", absent)) {
		t.Errorf("job: %q", got)
	}
	tab.Click("a[rel=next]")
	if got := len(rows(tab)); got != absent-100 {
		t.Errorf("the next page has %d rows, want %d", got, absent-100)
	}
	tab.Click("thead th a")
	if !has(tab, "[aria-sort]") {
		t.Error("sort: no column is sorted")
	}
	tab.Click("nav.theme a:nth-child(3)")
	if !has(tab, "html[data-theme=dark]") || !strings.Contains(location(tab), "job=absent") {
		t.Errorf("theme: the address is %s", location(tab))
	}
	tab.Click("nav.refresh a:nth-of-type(2)")
	if !has(tab, "noscript meta[http-equiv=refresh]") {
		t.Error("refresh: no refresh that works without a script")
	}
}

// testPrefix: a proxy may serve the pages below any prefix.
func testPrefix(t *testing.T, w *world, p page) {
	base := w.behind(t, "/api/v1/namespaces/mesh/pods/envoy-scraper-0:9095/proxy/")
	tab := w.browser.Open(t)
	tab.Go(base + p.path)
	tab.Until("the script ran", `!document.querySelector('#keys').hidden`)
	for i := range menu {
		tab.Click(fmt.Sprintf("header nav a:nth-child(%d)", i+1))
	}
	tab.Go(base + p.path)
	tab.Click("nav.theme a:nth-child(3)")
	if !has(tab, "html[data-theme=dark]") {
		t.Error("the theme is lost")
	}
	if p.list {
		tab.Click("thead th a")
		tab.Click("a.open")
	}
	if !strings.HasPrefix(location(tab), base) {
		t.Errorf("the links lead to %s, outside of %s", location(tab), base)
	}
	for _, r := range tab.Requests() {
		if !strings.HasPrefix(r, base) {
			t.Errorf("a request outside of the prefix: %s", r)
		}
	}
	if problems := tab.Problems(); len(problems) > 0 {
		t.Error(problems)
	}
}

// late makes the page believe that the time of the next refresh has come.
const late = `{ const now = Date.now; Date.now = () => now() + 3600_000 }`

// asOf is the time of the data that the page shows, and a mark that a refresh removes.
const mark = `document.querySelector('h1').dataset.old = 'yes'`

const unchanged = `document.querySelector('h1').dataset.old === 'yes'`

// testRefresh: the page refreshes if the address says so, and never while somebody reads.
func testRefresh(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	if got := texts(tab, ".asof time"); len(got) != 1 || !strings.HasSuffix(got[0], " UTC") {
		t.Errorf("the time of the data: %q", got)
	}
	if !strings.HasPrefix(texts(tab, "nav.refresh a[aria-current]")[0], "off") {
		t.Error("the refresh is on, though nobody chose it")
	}
	tab.Click("nav.refresh a:nth-of-type(4)")
	if !strings.Contains(location(tab), "refresh=60") {
		t.Errorf("the address is %s, want the refresh in it", location(tab))
	}
	type pause struct{ name, begin, end, why string }
	pauses := []pause{{"text selected", `getSelection().selectAllChildren(document.querySelector('h1'))`,
		`getSelection().removeAllRanges()`, "text is selected"}}
	if p.list {
		pauses = append(pauses,
			pause{"a field", `document.querySelector('input[type=search]').focus()`, `document.activeElement.blur()`,
				"a field has the focus"},
			pause{"a row", `document.querySelector('a.open').focus()`, `document.activeElement.blur()`,
				"a row or link has the focus"})
	}
	if p.path == "./" {
		pauses = append(pauses, pause{"a fold", `document.querySelector('main details').open = true`,
			`document.querySelector('main details').open = false`, "a fold is open"})
	}
	if p.path == "pods" {
		pauses = append(pauses, pause{"a closed fold",
			`window.fold = document.querySelector('main details[open]'); fold.open = false`, `fold.open = true`,
			"a fold was closed"})
	}
	for _, c := range pauses {
		tab.Do(browser.Script(mark), browser.Script(c.begin), browser.Script(late))
		tab.Until(c.name+": the page says so", fmt.Sprintf(
			`document.querySelector('#refreshing').textContent === 'paused: %s'`, c.why))
		// Two turns of the script later it has not changed.
		if !browser.Eval[bool](tab, `new Promise(done => setTimeout(() => done(`+unchanged+`), 1200))`) {
			t.Errorf("%s: the page changed", c.name)
		}
		tab.Do(browser.Script(c.end))
		tab.Until(c.name+": refreshed afterwards", "!("+unchanged+")")
	}
	if problems := tab.Problems(); len(problems) > 0 {
		t.Error(problems)
	}
}
