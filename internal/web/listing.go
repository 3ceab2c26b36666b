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
	for key, value := range s.Chosen {
		q.Set(key, value)
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

// WithPage, WithRows and WithSort return the link to a selection that differs only in that.
func (s selection) WithPage(page int) string    { s.Page = page; return s.Link() }
func (s selection) WithRows(rows int) string    { s.Rows, s.Page = rows, 1; return s.Link() }
func (s selection) WithSort(sort string) string { s.Sort, s.Page = sort, 1; return s.Link() }

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

// paginate returns the rows of the selected page. If the list has fewer pages, that is the last one.
func paginate[T any](rows []T, sel selection) ([]T, pager) {
	size := max(sel.Rows, pageSize)
	p := pager{Total: len(rows), Pages: max(1, (len(rows)+size-1)/size)}
	p.Page = min(max(1, sel.Page), p.Pages)
	from := (p.Page - 1) * size
	to := min(from+size, len(rows))
	p.From, p.To = from+1, to
	if p.Page > 1 {
		p.First, p.Prev = sel.WithPage(1), sel.WithPage(p.Page-1)
	}
	if p.Page < p.Pages {
		p.Next, p.Last = sel.WithPage(p.Page+1), sel.WithPage(p.Pages)
	}
	if len(rows) > pageSize {
		for _, n := range []int{pageSize, largePage} {
			p.Sizes = append(p.Sizes, choice{Text: strconv.Itoa(n), Link: sel.WithRows(n), Current: n == size})
		}
	}
	return rows[from:to], p
}
