package show

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
)

// The sizes of a page of rows, and the longest text that is searched for.
const (
	FewRows   = 100
	ManyRows  = 500
	maxSearch = 256 // bytes; the rest is ignored
)

// Columns by which rows can be sorted. Rows without a number come last.
const (
	ByLast    = "last"    // time since the last scrape
	ByTook    = "took"    // its duration
	ByBytes   = "bytes"   // of the page
	BySamples = "samples" // on the page
)

// Query chooses rows of a report. It comes from the parameters of a URL, and an empty field chooses everything.
type Query struct {
	Search    string // part of namespace/pod, node, IP or workload; case does not matter
	Namespace string
	Node      string
	Job       string
	Verdict   string
	Cause     string
	Sort      string // a column; empty: worst first
	Ascending bool   // smallest number first
	Rows      int    // FewRows or ManyRows; 0: not chosen
	Page      int    // from 1
	Pod       string // namespace/pod whose evidence is asked for
}

// ParseQuery reads the parameters of a URL. Values that make no sense count as empty.
func ParseQuery(q url.Values) Query {
	s := Query{
		Search: strings.TrimSpace(q.Get("search")), Namespace: q.Get("namespace"), Node: q.Get("node"),
		Job: q.Get("job"), Verdict: q.Get("verdict"), Cause: q.Get("cause"), Sort: q.Get("sort"),
		Ascending: q.Get("order") == "asc", Page: 1, Pod: q.Get("pod"),
	}
	if len(s.Search) > maxSearch {
		s.Search = strings.ToValidUTF8(s.Search[:maxSearch], "")
	}
	if column(s.Sort) == nil {
		s.Sort, s.Ascending = "", false
	}
	if n, err := strconv.Atoi(q.Get("rows")); err == nil && (n == FewRows || n == ManyRows) {
		s.Rows = n
	}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 1 {
		s.Page = n
	}
	return s
}

// Link returns the query as a relative URL: ?job=envoy-stats&verdict=DOWN.
func (s Query) Link() string {
	q := url.Values{}
	for _, p := range []struct{ key, value string }{
		{"search", s.Search}, {"namespace", s.Namespace}, {"node", s.Node}, {"job", s.Job}, {"verdict", s.Verdict},
		{"cause", s.Cause}, {"sort", s.Sort}, {"pod", s.Pod},
	} {
		if p.value != "" {
			q.Set(p.key, p.value)
		}
	}
	if s.Ascending {
		q.Set("order", "asc")
	}
	if s.Rows != 0 {
		q.Set("rows", strconv.Itoa(s.Rows))
	}
	if s.Page > 1 {
		q.Set("page", strconv.Itoa(s.Page))
	}
	return "?" + q.Encode()
}

// These return the query with one field changed, at the first page of rows.
func (s Query) WithVerdict(v string) Query { s.Verdict, s.Page, s.Pod = v, 1, ""; return s }
func (s Query) WithCause(c string) Query   { s.Cause, s.Page, s.Pod = c, 1, ""; return s }
func (s Query) WithPage(page int) Query    { s.Page = page; return s }
func (s Query) WithPod(name string) Query  { s.Pod = name; return s }

// WithSort returns the query sorted by a column: the largest number first, or last if that is how it is sorted already.
func (s Query) WithSort(name string) Query {
	s.Ascending = s.Sort == name && !s.Ascending
	s.Sort, s.Page = name, 1
	return s
}

// Narrowed reports whether the query chooses less than everything.
func (s Query) Narrowed() bool {
	return s.Search != "" || s.Namespace != "" || s.Node != "" || s.Job != "" || s.Verdict != "" || s.Cause != ""
}

// Selected is what a query chooses of a report.
type Selected struct {
	Rows []*diagnose.Row // sorted; of all pages

	// How many rows each value of a field would choose, if the query had that value there.
	Namespaces, Nodes, Jobs, Verdicts map[string]int
}

// Select returns the rows that the query chooses.
func (s Query) Select(report *diagnose.Report) Selected {
	out := Selected{Namespaces: map[string]int{}, Nodes: map[string]int{}, Jobs: map[string]int{},
		Verdicts: map[string]int{}}
	search := strings.ToLower(s.Search)
	for i := range report.Rows {
		r := &report.Rows[i]
		if search != "" && !contains(r, search) || s.Cause != "" && r.Reason.Cause != s.Cause {
			continue
		}
		jobs := jobsOf(r)
		namespace, node := s.Namespace == "" || s.Namespace == r.Namespace, s.Node == "" || s.Node == r.Node
		job := s.Job == "" || slices.Contains(jobs, s.Job)
		verdict := s.Verdict == "" || s.Verdict == string(r.Verdict)
		if node && job && verdict {
			out.Namespaces[r.Namespace]++
		}
		if namespace && job && verdict && r.Node != "" {
			out.Nodes[r.Node]++
		}
		if namespace && node && verdict {
			for _, j := range jobs {
				out.Jobs[j]++
			}
		}
		if namespace && node && job {
			out.Verdicts[string(r.Verdict)]++
		}
		if namespace && node && job && verdict {
			out.Rows = append(out.Rows, r)
		}
	}
	s.sort(out.Rows)
	return out
}

func contains(r *diagnose.Row, search string) bool {
	return strings.Contains(strings.ToLower(r.Namespace+"/"+r.Pod), search) ||
		strings.Contains(strings.ToLower(r.Node), search) || strings.Contains(strings.ToLower(r.IP), search) ||
		strings.Contains(strings.ToLower(r.Workload), search)
}

// jobsOf returns the jobs that a row speaks of.
func jobsOf(r *diagnose.Row) []string {
	jobs := make([]string, 0, 2)
	if r.Reason.Job != "" {
		jobs = append(jobs, r.Reason.Job)
	}
	if r.Target != nil && !slices.Contains(jobs, r.Target.Job) {
		jobs = append(jobs, r.Target.Job)
	}
	return jobs
}

// column returns the number in a column of a row, and whether there is one. It returns nil for an unknown column.
func column(name string) func(*diagnose.Row) (int64, bool) {
	number := func(of func(*diagnose.Target) int64) func(*diagnose.Row) (int64, bool) {
		return func(r *diagnose.Row) (int64, bool) {
			if r.Target == nil || r.Target.LastScrape.IsZero() {
				return 0, false
			}
			return of(r.Target), true
		}
	}
	switch name {
	case ByLast: // the larger the number, the longer ago
		return number(func(t *diagnose.Target) int64 { return -t.LastScrape.UnixNano() })
	case ByTook:
		return number(func(t *diagnose.Target) int64 { return int64(t.Duration) })
	case ByBytes:
		return number(func(t *diagnose.Target) int64 { return t.PageBytes })
	case BySamples:
		return number(func(t *diagnose.Target) int64 { return int64(t.Samples) })
	}
	return nil
}

func (s Query) sort(rows []*diagnose.Row) {
	of := column(s.Sort)
	if of == nil {
		return
	}
	slices.SortStableFunc(rows, func(a, b *diagnose.Row) int {
		x, hasX := of(a)
		y, hasY := of(b)
		switch {
		case !hasX || !hasY:
			return cmp.Compare(rank(hasX), rank(hasY))
		case s.Ascending:
			return cmp.Compare(x, y)
		default:
			return cmp.Compare(y, x)
		}
	})
}

// rank puts rows that have a number before those that have none.
func rank(has bool) int {
	if has {
		return 0
	}
	return 1
}
