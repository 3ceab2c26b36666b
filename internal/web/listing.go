package web

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	pageSize  = 100 // rows on a page
	largePage = 500 // the other choice
)

// refreshes are the seconds between two refreshes of a page that may be chosen; 0: never.
var refreshes = []int{0, 5, 15, 60}

// selection is the part of a list that a page shows, and how. It comes from the query of the URL and goes into every
// link, so that an address shows the same rows to everybody.
type selection struct {
	Of      map[string]string // parameters that say what the list is of, such as a group; every link keeps them
	Chosen  map[string]string // the chosen value of each facet, by its key; not in it: all values
	Search  string
	Sort    string // the key of a column; with "-" before it, descending; empty: in the list's own order
	Rows    int    // on a page: pageSize or largePage
	Page    int    // from 1
	Refresh int    // one of refreshes
}

// parseSelection reads a selection. keys are the keys of the list's facets.
func parseSelection(r *http.Request, keys ...string) selection {
	q := r.URL.Query()
	sel := selection{Chosen: map[string]string{}, Search: strings.TrimSpace(q.Get("search")), Sort: q.Get("sort"),
		Rows: pageSize, Page: 1, Refresh: refreshOf(q)}
	for _, key := range keys {
		if value := q.Get(key); value != "" {
			sel.Chosen[key] = value
		}
	}
	if len(sel.Search) > maxSearch {
		sel.Search = strings.ToValidUTF8(sel.Search[:maxSearch], "")
	}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 1 {
		sel.Page = n
	}
	if q.Get("rows") == strconv.Itoa(largePage) {
		sel.Rows = largePage
	}
	return sel
}

// refreshOf returns the seconds between refreshes that a query asks for.
func refreshOf(q url.Values) int {
	n, err := strconv.Atoi(q.Get("refresh"))
	if err != nil || !slices.Contains(refreshes, n) {
		return 0
	}
	return n
}

// query returns the selection as it is written in a URL, without what is the default.
func (s selection) query() url.Values {
	q := url.Values{}
	for _, set := range []map[string]string{s.Of, s.Chosen} {
		for key, value := range set {
			q.Set(key, value)
		}
	}
	for key, value := range map[string]string{"search": s.Search, "sort": s.Sort} {
		if value != "" {
			q.Set(key, value)
		}
	}
	for key, n := range map[string]struct{ value, usual int }{
		"rows": {s.Rows, pageSize}, "page": {s.Page, 1}, "refresh": {s.Refresh, 0},
	} {
		if n.value > n.usual {
			q.Set(key, strconv.Itoa(n.value))
		}
	}
	return q
}

// Link returns the query of the selection: ?job=envoy-stats&state=down.
func (s selection) Link() string { return "?" + s.query().Encode() }

// With returns the link to a selection that differs only in the value of a facet; an empty value: all.
func (s selection) With(key, value string) string {
	s.Chosen = maps.Clone(s.Chosen)
	if s.Page = 1; value == "" {
		delete(s.Chosen, key)
	} else if s.Chosen == nil {
		s.Chosen = map[string]string{key: value}
	} else {
		s.Chosen[key] = value
	}
	return s.Link()
}

// WithSort returns the link to a selection that differs only in the order.
func (s selection) WithSort(sort string) string { s.Sort, s.Page = sort, 1; return s.Link() }

// at returns the link to a page, where each page has the given number of rows.
func (s selection) at(page, rows int) string { s.Page, s.Rows = page, rows; return s.Link() }

// All returns the link to the list without facets and search.
func (s selection) All() string {
	s.Chosen, s.Search, s.Page = nil, "", 1
	return s.Link()
}

// Narrowed reports whether the selection is less than everything.
func (s selection) Narrowed() bool { return len(s.Chosen) > 0 || s.Search != "" }

// choice is a link to the rows with one value of a facet.
type choice struct {
	Text    string
	Value   string
	Link    string
	Count   int
	Current bool
}

// pager is the position of a page in a list, and the links to other pages.
type pager struct {
	Page, Pages     int
	From, To, Total int // From counts from 1
	Prev, Next      string
	First, Last     string
	Sizes           []choice // how many rows a page may have; empty: all rows fit on the smallest page
}

// newPager describes a page of a list. If the list has fewer pages, it describes the last one. at returns the link to a
// page, where each page has the given number of rows.
func newPager(total, page, size int, at func(page, rows int) string) pager {
	p := pager{Total: total, Pages: max(1, (total+size-1)/size)}
	p.Page = min(max(1, page), p.Pages)
	p.From, p.To = (p.Page-1)*size+1, min(p.Page*size, total)
	if p.Page > 1 {
		p.First, p.Prev = at(1, size), at(p.Page-1, size)
	}
	if p.Page < p.Pages {
		p.Next, p.Last = at(p.Page+1, size), at(p.Pages, size)
	}
	if total > pageSize {
		for _, n := range []int{pageSize, largePage} {
			p.Sizes = append(p.Sizes, choice{Text: strconv.Itoa(n), Link: at(1, n), Current: n == size})
		}
	}
	return p
}
