package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

const (
	pageSize  = 200 // rows on a page
	maxSearch = 256 // bytes of a search text; the rest is ignored
)

// selection is the part of a list that a page shows. It comes from the query of the URL.
type selection struct {
	State  string // empty: all
	Job    string // empty: all
	Search string
	Page   int // from 1
}

func parseSelection(r *http.Request, states ...string) selection {
	q := r.URL.Query()
	sel := selection{State: q.Get("state"), Job: q.Get("job"), Search: strings.TrimSpace(q.Get("search")), Page: 1}
	if !slices.Contains(states, sel.State) {
		sel.State = ""
	}
	if len(sel.Search) > maxSearch {
		sel.Search = strings.ToValidUTF8(sel.Search[:maxSearch], "")
	}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 1 {
		sel.Page = n
	}
	return sel
}

// link returns the query of the selection: ?job=envoy-stats&state=down.
func (s selection) link() string {
	q := url.Values{}
	set := func(key, value string) {
		if value != "" {
			q.Set(key, value)
		}
	}
	set("state", s.State)
	set("job", s.Job)
	set("search", s.Search)
	if s.Page > 1 {
		q.Set("page", strconv.Itoa(s.Page))
	}
	return "?" + q.Encode()
}

// WithState, WithJob and WithPage return the link to a selection that differs only in the state, the job or the page.
func (s selection) WithState(state string) string { s.State, s.Page = state, 1; return s.link() }
func (s selection) WithJob(job string) string     { s.Job, s.Page = job, 1; return s.link() }
func (s selection) WithPage(page int) string      { s.Page = page; return s.link() }

// Narrowed reports whether the selection is less than everything.
func (s selection) Narrowed() bool { return s.State != "" || s.Job != "" || s.Search != "" }

// matcher returns a function that reports whether a text contains the search text. Case does not matter.
func (s selection) matcher() func(texts ...string) bool {
	want := strings.ToLower(s.Search)
	return func(texts ...string) bool {
		for _, t := range texts {
			if strings.Contains(strings.ToLower(t), want) {
				return true
			}
		}
		return want == ""
	}
}

// choice is a link to the targets of one state.
type choice struct {
	Text    string
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
}

// paginate returns the rows of the selected page. If the list has fewer pages, that is the last one.
func paginate[T any](rows []T, sel selection) ([]T, pager) {
	p := pager{Total: len(rows), Pages: max(1, (len(rows)+pageSize-1)/pageSize)}
	p.Page = min(sel.Page, p.Pages)
	from := (p.Page - 1) * pageSize
	to := min(from+pageSize, len(rows))
	p.From, p.To = from+1, to
	if p.Page > 1 {
		p.First, p.Prev = sel.WithPage(1), sel.WithPage(p.Page-1)
	}
	if p.Page < p.Pages {
		p.Next, p.Last = sel.WithPage(p.Page+1), sel.WithPage(p.Pages)
	}
	return rows[from:to], p
}

// group is the rows of a job on a page.
type group[T any] struct {
	Job  string
	Rows []T
}

// byJob splits rows, which are sorted by job, into one group per job.
func byJob[T any](rows []T, job func(T) string) []group[T] {
	var out []group[T]
	for _, row := range rows {
		if n := len(out); n == 0 || out[n-1].Job != job(row) {
			out = append(out, group[T]{Job: job(row)})
		}
		last := &out[len(out)-1]
		last.Rows = append(last.Rows, row)
	}
	return out
}

// jobSummary is a job's row above a list and on the overview.
type jobSummary struct {
	Job     string
	Tally   tally
	Dropped int
	Others  int      // scraped by other shards
	Hidden  int      // dropped targets beyond keep_dropped_targets, whose labels are not kept
	Errors  []string // why discovered targets are not valid
	Link    string
	Current bool
}

func summarize(pools []scrape.PoolStatus, sel selection) []jobSummary {
	out := make([]jobSummary, 0, len(pools))
	for _, p := range pools {
		j := jobSummary{Job: p.Job, Dropped: p.DroppedCount, Hidden: max(0, p.DroppedCount-len(p.Dropped)),
			Others: p.Others, Errors: p.Errors, Link: sel.WithJob(p.Job), Current: sel.Job == p.Job}
		for i := range p.Targets {
			j.Tally.add(p.Targets[i].Health)
		}
		out = append(out, j)
	}
	return out
}

// pools returns the status of the pools, sorted by job.
func (s *Server) pools() []scrape.PoolStatus {
	pools := slices.Clone(s.src.Targets())
	slices.SortStableFunc(pools, func(a, b scrape.PoolStatus) int { return strings.Compare(a.Job, b.Job) })
	return pools
}
