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

// selection is what the visitor of a list asked for; it is the query of the page's URL.
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

// link is the query that selects this.
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

// With … returns the link to the same selection, but for one thing.
func (s selection) WithState(state string) string { s.State, s.Page = state, 1; return s.link() }
func (s selection) WithJob(job string) string     { s.Job, s.Page = job, 1; return s.link() }
func (s selection) WithPage(page int) string      { s.Page = page; return s.link() }

// Narrowed reports whether the visitor asked for less than everything.
func (s selection) Narrowed() bool { return s.State != "" || s.Job != "" || s.Search != "" }

// matcher finds a search text in the given texts, whatever the case.
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

// choice is one of the states that a list can be narrowed to.
type choice struct {
	Text    string
	Link    string
	Count   int
	Current bool
}

// pager says where in a list a page is.
type pager struct {
	Page, Pages     int
	From, To, Total int // From counts from 1
	Prev, Next      string
	First, Last     string
}

// paginate cuts the selected page out of all rows. A page past the end is the last one.
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

// group is a run of rows of one job.
type group[T any] struct {
	Job  string
	Rows []T
}

// byJob splits rows, which are sorted by job, into one group a job.
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

// jobSummary is a job's line above a list and on the overview.
type jobSummary struct {
	Job     string
	Tally   tally
	Dropped int
	Others  int      // scraped by other shards
	Hidden  int      // dropped ones that nobody kept for the pages: keep_dropped_targets
	Errors  []string // discovered, but no valid target, and why
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

// pools reads the pools, by job name.
func (s *Server) pools() []scrape.PoolStatus {
	pools := slices.Clone(s.src.Targets())
	slices.SortStableFunc(pools, func(a, b scrape.PoolStatus) int { return strings.Compare(a.Job, b.Job) })
	return pools
}
