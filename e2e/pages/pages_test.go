package pages

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/browser"
)

// page is a page that must have every quality.
type page struct {
	name string
	path string
	key  string // opens it after g; empty: it is not in the menu
	list bool   // has a list: search, facets, order, pages, other formats
	rows bool   // has rows that can be sorted and searched, and that keys walk through
}

// menu are the pages of the menu. A new page gets a line here.
var menu = []page{
	{name: "overview", path: "./", key: "o"},
	{name: "pods", path: "pods", key: "p", list: true, rows: true},
	{name: "targets", path: "targets", key: "t", list: true, rows: true},
	{name: "service-discovery", path: "service-discovery", key: "d", list: true, rows: true},
	{name: "aggregates", path: "aggregates", key: "a", rows: true},
	{name: "cost", path: "cost", key: "c", rows: true}, // testCost is about what it has of a list
	{name: "config", path: "config", key: "f"},
}

// pages are all pages for people: those of the menu, and those behind a row.
func (w *world) pages() []page {
	return append(slices.Clone(menu),
		page{name: "evidence", path: "pods?pod=" + url.QueryEscape(w.pod)},
		page{name: "steps", path: w.steps},
		page{name: "group", path: w.group},
		page{name: "aggregate", path: w.sum},
		page{name: "what-if", path: "cost?drop_family=istio_requests_total&drop_label=response_code&aggregate=.*"})
}

// TestPages checks each quality on each page. The parts are in the order of docs/pages.md.
func TestPages(t *testing.T) {
	w := newWorld(t)
	all := func(page) bool { return true }
	lists := func(p page) bool { return p.list }
	withRows := func(p page) bool { return p.rows }
	for _, part := range []struct {
		name string
		test func(t *testing.T, w *world, p page)
		of   func(page) bool
	}{
		{"Clean", testClean, all},
		{"Structure", testStructure, all},
		{"Address", testAddress, lists},
		{"Search", testSearch, lists},
		{"Facets", testFacets, lists},
		{"Sorting", testSorting, func(p page) bool { return p.rows || p.path == "./" }},
		{"Bounds", testBounds, lists},
		{"Refresh", testRefresh, all},
		{"Themes", testThemes, all},
		{"Contrast", testContrast, all},
		{"States", testStates, all},
		{"Keys", testKeys, all},
		{"Rows", testRows, withRows},
		{"Tab", testTab, all},
		{"Narrow", testNarrow, all},
		{"Zoom", testZoom, all},
		{"WithoutScript", testWithoutScript, lists},
		{"Prefix", testPrefix, all},
		{"Twins", testTwins, lists},
		{"Secrets", testSecrets, all},
	} {
		t.Run(part.name, func(t *testing.T) {
			for _, p := range w.pages() {
				if part.of(p) {
					t.Run(p.name, func(t *testing.T) {
						t.Parallel() // each has a tab of its own
						part.test(t, w, p)
					})
				}
			}
		})
	}
	t.Run("Cost", w.testCost)
	t.Run("Steps", w.testSteps)
	t.Run("LastHour", w.testLastHour)
}

// texts returns the texts of all elements that a selector finds, without what only looks.
func texts(p *browser.Page, selector string) []string {
	return browser.Eval[[]string](p, fmt.Sprintf(`[...document.querySelectorAll(%q)].map(e => e.textContent.trim())`,
		selector))
}

// rows returns the names of the rows.
func rows(p *browser.Page) []string {
	return texts(p, "table.rows > tbody > tr > th[scope=row] > :first-child")
}

func location(p *browser.Page) string { return browser.Eval[string](p, "location.href") }

func has(p *browser.Page, selector string) bool {
	return browser.Eval[bool](p, fmt.Sprintf("document.querySelector(%q) !== null", selector))
}

// testClean: the browser has nothing to complain about, and asks no other host, whatever the labels contain.
func testClean(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	tab.Until("the script ran", `!document.querySelector('#keys').hidden`)
	for _, problem := range tab.Problems() {
		t.Error(problem)
	}
	requests := tab.Requests()
	for _, r := range requests {
		if !strings.HasPrefix(r, w.base) {
			t.Errorf("a request to another host: %s", r)
		}
	}
	if len(requests) < 3 {
		t.Errorf("requests %v, want the page, its style sheet and its script", requests)
	}
	policy, _ := w.get(t, p.path)
	for _, want := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';"} {
		if got := policy.Header.Get("Content-Security-Policy"); !strings.Contains(got, want) {
			t.Errorf("policy %q, want %s", got, want)
		}
	}
	// The policy is in force: what a label could contain if it were not escaped would not run.
	tab.Do(browser.Script(`{const s = document.createElement('script'); s.textContent = 'window.ran = true';
		document.body.append(s)}`))
	if browser.Eval[bool](tab, "window.ran === true") {
		t.Error("an inline script ran")
	}
	if problems := tab.Problems(); len(problems) != 1 || !strings.Contains(problems[0], "Content Security Policy") {
		t.Errorf("the browser reports %q, want the violation of the policy", problems)
	}
}

// testStructure: a page can be read by what its elements mean.
func testStructure(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	for what, wrong := range map[string]string{
		"a page without one h1":    `document.querySelectorAll('h1').length === 1 ? [] : ['h1']`,
		"a language":               `document.documentElement.lang === 'en' ? [] : ['html']`,
		"tables without a caption": missing("table", "e.caption && e.caption.textContent"),
		"head cells without scope": missing("th", "e.scope"),
		"tables without head cells": missing("table", "e.tHead && e.tHead.rows[0].cells.length === "+
			"e.tBodies[0].rows[0].cells.length"),
		"rows without a name":        missing("tbody > tr", "e.querySelector('th[scope=row]')"),
		"fields without a label":     missing("input:not([type=hidden]), select", "e.labels.length === 1"),
		"pictures without a text":    missing("svg, img", "e.getAttribute('aria-label')"),
		"navigations without a name": missing("nav", "e.getAttribute('aria-label')"),
		"links without a text":       missing("a", "e.textContent.trim() && e.getAttribute('href')"),
		"styles inside the page":     missing("[style], style", "false"),
		"scripts inside the page":    missing("script", "e.src && !e.textContent"),
		"absolute links of our own": missing("a, link, script, form", "!(e.getAttribute('href') ?? "+
			"e.getAttribute('src') ?? e.getAttribute('action') ?? '').startsWith('/')"),
		"identifiers that occur twice": missing("[id]", "document.querySelectorAll('#' + "+
			"CSS.escape(e.id)).length === 1"),
		"headings that leave out a level": `(() => {
			const headings = [...document.querySelectorAll('h1, h2, h3')];
			const level = (i) => i < 0 ? 0 : Number(headings[i].tagName[1]);
			return headings.filter((_, i) => level(i) > level(i - 1) + 1).map((h) => h.textContent);
		})()`,
		"a refresh that nobody asked for": missing("meta[http-equiv=refresh]", "false"),
	} {
		if got := browser.Eval[[]string](tab, wrong); len(got) > 0 {
			t.Errorf("%s: %q", what, got)
		}
	}
}

// missing is an expression: the elements that a selector finds and that do not meet a condition on e.
func missing(selector, condition string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(%q)].filter(e => !(%s)).map(e => e.outerHTML.slice(0, 200))`,
		selector, condition)
}

// narrowed is an address that has everything in it: search, facet, order.
func (p page) narrowed() string {
	state, search := "up", "10"
	if p.path == "service-discovery" {
		state, search = "kept", "bookinfo"
	}
	if p.path == "targets" {
		search = "namespace=bookinfo"
	}
	if p.path == "pods" {
		return "pods?sort=-pod&verdict=SCRAPED&search=bookinfo"
	}
	switch p.path {
	case "cost":
		return "cost?sort=name&search=istio"
	case "aggregates":
		return "aggregates?sort=-group&search=envoy-stats"
	}
	return p.path + "?sort=-job&state=" + state + "&search=" + url.QueryEscape(search)
}

// testAddress: the address that somebody has clicked together shows a colleague the same rows.
func testAddress(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	tab.Click(".choices a:nth-child(2)")
	tab.Do(browser.Set("input[type=search]", "1"))
	tab.Click("form.filter button")
	tab.Click("thead th a")
	address, want := location(tab), rows(tab)
	first := "state="
	if p.path == "pods" {
		first = "verdict="
	}
	for _, part := range []string{first, "search=1", "sort="} {
		if !strings.Contains(address, part) {
			t.Errorf("address %s, want %s in it", address, part)
		}
	}
	if strings.Contains(address, "job=") {
		t.Errorf("address %s has parameters that choose nothing", address)
	}
	colleague := w.browser.Open(t)
	colleague.Go(address)
	if got := rows(colleague); len(want) == 0 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("a colleague sees %v, want %v", got, want)
	}
	// Each row has an address of its own.
	if p.path == "targets" || p.path == "pods" {
		id := browser.Eval[string](colleague, "document.querySelector('table.rows tbody tr').id")
		colleague.Go(address + "#" + id)
		if !has(colleague, "tbody tr:target") {
			t.Errorf("no row has the address #%s", id)
		}
	}
}

// testSearch: the page says how many rows the search hides, and what is wrong with it.
func testSearch(t *testing.T, w *world, p page) {
	tab := w.open(t, p.narrowed())
	all := len(rows(tab))
	if shown := texts(tab, ".shown")[0]; !strings.HasPrefix(shown, fmt.Sprintf("Showing %d of ", all)) ||
		!strings.Contains(shown, "filtered by") || all == 0 {
		t.Errorf("%d rows and the words %q", all, shown)
	}
	tab.Click(".shown a")
	if got := len(rows(tab)); got <= all || has(tab, ".shown a") {
		t.Errorf("show all: got %d rows, want more than %d", got, all)
	}
	tab.Go(w.base + p.path + "?search=" + url.QueryEscape("pod_name=~("))
	if got := texts(tab, "[role=alert]"); len(got) != 1 || !strings.Contains(got[0], "is no regular expression") {
		t.Errorf("a search that is no expression: got %q", got)
	}
}

// testFacets: the number beside a choice is the number of rows that it leads to.
func testFacets(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path+"?job=envoy-stats")
	for i := range len(texts(tab, ".choices a")) {
		selector := fmt.Sprintf(".choices a:nth-child(%d)", i+1)
		want := texts(tab, selector+" .num")[0]
		tab.Click(selector)
		got := fmt.Sprint(len(rows(tab)))
		if got != want || !has(tab, selector+"[aria-current]") {
			t.Errorf("%s promised %s rows, got %s", selector, want, got)
		}
	}
	options := texts(tab, "select[name=job] option")
	if len(options) < 2 || !strings.HasPrefix(options[0], "all (") {
		t.Errorf("jobs %q, want a choice with numbers", options)
	}
}

// testSorting: the head of each column that can be compared sorts on the server, both ways.
func testSorting(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	columns := texts(tab, "table.rows thead th a")
	if len(columns) == 0 || p.path == "targets" && len(columns) < 6 {
		t.Errorf("columns that sort: %q", columns)
	}
	for i, name := range columns {
		nth := fmt.Sprintf(`[...document.querySelectorAll('table.rows thead th a')][%d].click()`, i)
		var seen []string
		for range 2 {
			tab.Follow(browser.Script(nth))
			sorted := browser.Eval[string](tab, `(() => { const th = document.querySelectorAll('[aria-sort]');
				return th.length === 1 ? th[0].textContent.trim() + ' ' + th[0].ariaSort : th.length + ' columns' })()`)
			seen = append(seen, sorted)
		}
		if seen[0] == seen[1] || !strings.HasPrefix(seen[0], name+" ") || !strings.HasPrefix(seen[1], name+" ") {
			t.Errorf("column %s: sorted by %q", name, seen)
		}
	}
	if p.path != "targets" {
		return
	}
	for sort, want := range map[string]string{"samples": "ascending", "-samples": "descending"} {
		tab.Go(w.base + "targets?job=envoy-stats&sort=" + sort)
		falls := browser.Eval[bool](tab, fmt.Sprintf(`(() => {
			const values = [...document.querySelectorAll('table.rows tbody tr')].map(
				r => Number(r.cells[4].textContent.replaceAll(',', '')));
			return values.length === %d && values.every((v, i) => i === 0 || (%v ? v <= values[i-1] : v >= values[i-1]))
		})()`, w.sidecars, want == "descending"))
		if !falls {
			t.Errorf("sort=%s: the values are %q", sort, texts(tab, "table.rows tbody td:nth-child(5)"))
		}
	}
}

// testBounds: a page has at most as many rows as the reader chose, and links to the next ones.
func testBounds(t *testing.T, w *world, p page) {
	tab := w.open(t, p.path)
	first := rows(tab)
	if len(first) != 100 || texts(tab, ".pager a[aria-current]")[0] != "100" {
		t.Errorf("got %d rows, want 100", len(first))
	}
	tab.Click("a[rel=next]")
	if second := rows(tab); len(second) == 0 || second[0] == first[0] || !has(tab, "a[rel=prev]") {
		t.Errorf("the next page begins with %v", second)
	}
	tab.Click("a[rel=prev]")
	if again := rows(tab); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Error("the previous page is not the first one")
	}
	tab.Follow(browser.Script(`[...document.querySelectorAll('.pager a')].find(a => a.textContent === '500').click()`))
	if got := len(rows(tab)); got <= absent || !strings.Contains(location(tab), "rows=500") {
		t.Errorf("got %d rows with 500 chosen", got)
	}
	if _, body := w.get(t, p.path+"?rows=500"); len(body) > 1<<20 {
		t.Errorf("got %d bytes, want less than 1 MiB", len(body))
	}
}

// testTwins: programs get the rows that the page shows.
func testTwins(t *testing.T, w *world, p page) {
	address := p.narrowed() + "&rows=500"
	tab := w.open(t, address)
	want := rows(tab)
	resp, body := w.get(t, address, "Accept", "application/json")
	var answer struct {
		Status string
		List   struct{ Found, Total int }
		Data   []struct{ URL, Name string } // of a target, of a discovered target
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" || answer.Status != "success" ||
		answer.List.Found != len(want) || answer.List.Total <= len(want) || len(answer.Data) != len(want) {
		t.Errorf("JSON: %s, %+v, want %d rows", got, answer.List, len(want))
	}
	for i, row := range answer.Data {
		if got := row.URL + row.Name; i < len(want) && got != want[i] {
			t.Errorf("JSON: row %d is %s, want %s", i, got, want[i])
		}
	}
	resp, body = w.get(t, address, "Accept", "text/plain")
	lines := strings.Split(strings.TrimSpace(body), "\n")
	if got := resp.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" || len(lines) != len(want)+2 {
		t.Errorf("text: %s, %d lines, want %d rows", got, len(lines), len(want))
	}
	for i, name := range want {
		if i+2 < len(lines) && !strings.Contains(lines[i+2], name) {
			t.Errorf("text: line %q, want %s in it", lines[i+2], name)
		}
	}
	// The page has links to both.
	links := browser.Eval[[]string](tab, `[...document.querySelectorAll('a[href*="format="]')].map(a => a.href)`)
	if len(links) != 2 || !strings.Contains(links[0], "format=json") || !strings.Contains(links[1], "format=text") {
		t.Errorf("links %q", links)
	}
}

// testSecrets: nothing that is secret is on a page or in another format, nor can it be searched for.
func testSecrets(t *testing.T, w *world, p page) {
	addresses := []string{p.path}
	if p.rows {
		addresses = append(addresses, p.path+"?format=json", p.path+"?format=text", p.path+"?rows=500")
	}
	for _, address := range addresses {
		if _, body := w.get(t, address); strings.Contains(body, canary) || !strings.Contains(body, "envoy") {
			t.Errorf("%s shows a secret", address)
		}
	}
	if p.list {
		for _, word := range []string{canary, "__param_token=~c.*"} {
			_, body := w.get(t, p.path+"?format=text&search="+url.QueryEscape(word))
			if !strings.HasPrefix(body, "# Showing 0 of") {
				t.Errorf("a search for %s finds something", word)
			}
		}
	}
}

// testCost: what the page of costs has of a list, with and without a script.
func (w *world) testCost(t *testing.T) {
	plain := w.browser.Open(t)
	plain.WithoutScript()
	for name, tab := range map[string]*browser.Page{"a script": w.browser.Open(t), "no script": plain} {
		tab.Go(w.base + "cost")
		tab.Click(".choices a:nth-child(3)") // by pod
		tab.Click("thead th:first-child a")
		tab.Do(browser.Set("#search", "bookinfo"))
		tab.Click("form[role=search] button")
		address, want := location(tab), rows(tab)
		for _, part := range []string{"by=pod", "sort=name", "search=bookinfo"} {
			if !strings.Contains(address, part) {
				t.Errorf("%s: address %s, want %s in it", name, address, part)
			}
		}
		if len(want) == 0 || !slices.IsSorted(want) || !strings.HasPrefix(texts(tab, ".shown")[0],
			fmt.Sprintf("Showing %d of ", len(want))) {
			t.Errorf("%s: rows %q and the words %q", name, want, texts(tab, ".shown"))
		}
		colleague := w.browser.Open(t)
		colleague.Go(address)
		if got := rows(colleague); !slices.Equal(got, want) {
			t.Errorf("%s: a colleague sees %q, want %q", name, got, want)
		}
		w.compareTwins(t, strings.TrimPrefix(address, w.base), want)
		tab.Click("a.open") // the evidence of the pod
		if got := texts(tab, "h1"); len(got) != 1 || got[0] != "Pod "+want[0] {
			t.Errorf("%s: the first row leads to %q, want the pod %s", name, got, want[0])
		}

		tab.Go(w.base + "cost?rows=2")
		first := rows(tab)
		tab.Click("a[rel=next]")
		if second := rows(tab); len(first) != 2 || len(second) != 2 || first[0] == second[0] {
			t.Errorf("%s: rows %q, then %q", name, first, second)
		}
		tab.Do(browser.Type("#drop_label", "response_code"))
		tab.Follow(browser.Type("#drop_label", "\r"))
		if got := texts(tab, ".steps h2"); len(got) != 1 || got[0] != "drop the label response_code" {
			t.Errorf("%s: the answer is %q", name, got)
		}
		tab.Click("a.close")
		if has(tab, ".steps") {
			t.Errorf("%s: the answer stays", name)
		}
	}
}

// compareTwins compares the rows of the page of costs with those in its other formats.
func (w *world) compareTwins(t *testing.T, address string, want []string) {
	t.Helper()
	_, body := w.get(t, address, "Accept", "application/json")
	var answer struct {
		Data struct{ Rows []struct{ Name string } }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	_, text := w.get(t, address, "Accept", "text/plain")
	for i, row := range answer.Data.Rows {
		if i >= len(want) || row.Name != want[i] || !strings.Contains(text, "  "+row.Name+"\n") {
			t.Errorf("row %d is %s in JSON, want it in %q, and in\n%s", i, row.Name, want, text)
		}
	}
	if len(answer.Data.Rows) != len(want) {
		t.Errorf("%d rows in JSON, want %d", len(answer.Data.Rows), len(want))
	}
}

// testSteps: each step of relabeling has an address of its own.
func (w *world) testSteps(t *testing.T) {
	tab := w.open(t, "targets?job=envoy-stats")
	tab.Click("a.open")
	if got := texts(tab, "#steps h2"); len(got) != 1 || !strings.Contains(got[0], "istio-proxy") {
		t.Errorf("steps of %q", got)
	}
	address := browser.Eval[string](tab, "document.querySelector('#step-2 a.anchor').href")
	colleague := w.browser.Open(t)
	colleague.Go(address)
	if !has(colleague, "#step-2:target") {
		t.Errorf("%s leads to no step", address)
	}
	colleague.Follow(browser.Keys("\u001b"))
	if has(colleague, "#steps") {
		t.Error("Esc did not close the steps")
	}
}

// testLastHour: the overview draws the numbers that move, and says them in words.
func (w *world) testLastHour(t *testing.T) {
	tab := w.browser.Open(t)
	tab.Go(w.base + "?refresh=5")
	tab.Until("lines", `document.querySelectorAll('.spark svg .line').length === 6`)
	for _, label := range browser.Eval[[]string](tab,
		`[...document.querySelectorAll('.spark svg')].map(e => e.getAttribute('aria-label'))`) {
		if !strings.Contains(label, "the last hour: now ") || !strings.Contains(label, "most ") {
			t.Errorf("a line without words: %q", label)
		}
	}
	figures := texts(tab, ".spark .now")
	for i, zero := range []bool{false, false, false, true, false, false} {
		// A receiver that accepts everything has next to no backlog, but samples may be under way.
		if got := figures[i]; !zero && strings.HasPrefix(got, "0") && got != "0.00" {
			t.Errorf("figure %d is %s: %q", i, got, texts(tab, ".spark"))
		}
	}
}
