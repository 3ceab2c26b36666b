package cost

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
)

const (
	defaultRows = 100
	maxRows     = 10_000
	maxPage     = 100_000 // times maxRows is an int of 32 bits
	maxSearch   = 256     // bytes of a search text; the rest is ignored
	maxName     = 1024
	maxWithout  = 100 // labels
)

// Query says what a report shows. ParseQuery(nil) is the table of families, the largest first.
type Query struct {
	By        By     `json:"by"`
	Sort      string `json:"sort"` // a column, see Columns
	Ascending bool   `json:"ascending"`
	Search    string `json:"search"` // part of the name; case does not matter
	Page      int    `json:"page"`   // from 1
	Rows      int    `json:"rows"`   // of a page

	DropFamily string `json:"drop_family"` // what if this family were not there?
	DropLabel  string `json:"drop_label"`  // what if this label were not there?
	// Aggregate is a regular expression of names, or the name of a preset: what if such series were summed?
	Aggregate string `json:"aggregate"`
	Without   string `json:"aggregate_without"` // labels that are summed away: a,b; empty: those of the preset
	Used      *Usage `json:"-"`                 // what if only this were kept? nil: not asked
}

// Column is a column of a table.
type Column struct {
	Key  string // in Query.Sort
	Text string
	less func(a, b *Row) int
}

// Columns returns the columns of a table. The first is the name.
func Columns(by By) []Column {
	numbers := func(key, text string, of func(r *Row) float64) Column {
		return Column{key, text, func(a, b *Row) int { return cmp.Compare(of(a), of(b)) }}
	}
	all := []Column{
		{"name", title(by), func(a, b *Row) int { return cmp.Compare(a.Name, b.Name) }},
		numbers("series", "Series", func(r *Row) float64 { return float64(r.Series) }),
		numbers("share", "Share", func(r *Row) float64 { return r.Share }),
		numbers("samples", "Samples/s", func(r *Row) float64 { return r.SamplesPerSecond }),
		numbers("bytes", "On the pages", func(r *Row) float64 { return float64(r.PageBytes) }),
		numbers("pods", "Pods", func(r *Row) float64 { return float64(r.Pods) }),
	}
	zero := numbers("zero", "Always zero", func(r *Row) float64 { return orZero(r.Zero) / float64(max(r.Series, 1)) })
	change := numbers("change", "Change", func(r *Row) float64 { return orZero(r.Change) })
	summed := numbers("summed", "Summed", func(r *Row) float64 { return orZero(r.Summed) / float64(max(r.Series, 1)) })
	buckets := numbers("buckets", "Buckets", func(r *Row) float64 { return share(r.Buckets, r.Series) })
	switch by {
	case ByLabel:
		return append(all, numbers("values", "Values", func(r *Row) float64 { return float64(r.Values) }), change)
	case ByDropped:
		all[1].Text = "Samples"
		return append(all, change)
	case ByFamily:
		return append(all, buckets, zero, summed, change)
	default:
		took := numbers("took", "Scrape s/s", func(r *Row) float64 { return r.ScrapeSeconds })
		return append(all, took, buckets, zero, summed, change)
	}
}

func orZero(n *int) float64 {
	if n == nil {
		return 0
	}
	return float64(*n)
}

// title is the head of the first column.
func title(by By) string {
	if by == ByDropped {
		return "Family"
	}
	return strings.ToUpper(string(by[:1])) + string(by[1:])
}

// ParseQuery reads a query from the parameters of a URL or a form, and fills in what is missing. The error names the
// parameter, its value and what it may be.
func ParseQuery(v url.Values) (Query, error) {
	q := Query{
		By: By(v.Get("by")), Sort: v.Get("sort"), Search: strings.TrimSpace(v.Get("search")),
		Page: 1, Rows: defaultRows,
		DropFamily: strings.TrimSpace(v.Get("drop_family")), DropLabel: strings.TrimSpace(v.Get("drop_label")),
	}
	if q.By == "" {
		q.By = ByFamily
	}
	if !slices.Contains(Tables(), q.By) {
		return q, fmt.Errorf("by=%.40q: there is no such table; give one of %s", q.By, words(Tables()))
	}
	keys := make([]string, 0, 10)
	for _, c := range Columns(q.By) {
		keys = append(keys, c.Key)
	}
	if q.Sort == "" {
		q.Sort = "series"
	}
	if !slices.Contains(keys, q.Sort) {
		return q, fmt.Errorf("sort=%.40q: the table by %s has no such column; give one of %s", q.Sort, q.By,
			words(keys))
	}
	switch order := v.Get("order"); order {
	case "":
		q.Ascending = q.Sort == "name"
	case "asc", "desc":
		q.Ascending = order == "asc"
	default:
		return q, fmt.Errorf("order=%.40q: give asc or desc", order)
	}
	if len(q.Search) > maxSearch {
		q.Search = strings.ToValidUTF8(q.Search[:maxSearch], "")
	}
	if len(q.DropFamily) > maxName || len(q.DropLabel) > maxName {
		return q, fmt.Errorf("drop_family, drop_label: a name may have %d bytes at most", maxName)
	}
	if n, err := strconv.Atoi(v.Get("page")); err == nil && n > 1 {
		q.Page = min(n, maxPage)
	}
	if text := v.Get("rows"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxRows {
			return q, fmt.Errorf("rows=%.40q: give a number from 1 to %d", text, maxRows)
		}
		q.Rows = n
	}
	if err := q.parseAggregate(v); err != nil {
		return q, err
	}
	var err error
	q.Used, err = usageOf(v)
	return q, err
}

// parseAggregate reads what is to be summed.
func (q *Query) parseAggregate(v url.Values) error {
	q.Aggregate = strings.TrimSpace(v.Get("aggregate"))
	if len(q.Aggregate) > maxName {
		return fmt.Errorf("aggregate: an expression may have %d bytes at most", maxName)
	}
	if _, err := compile(q.Aggregate); err != nil {
		return fmt.Errorf("aggregate=%.80q: give a regular expression of names, such as istio_.*: %w", q.Aggregate, err)
	}
	var names []string
	for _, name := range strings.FieldsFunc(v.Get("aggregate_without"), func(r rune) bool {
		return r == ',' || unicode.IsSpace(r)
	}) {
		switch {
		case name == model.MetricNameLabel || name == model.BucketLabel:
			return fmt.Errorf("aggregate_without: %s: a sum over it has no meaning; leave it out", name)
		case len(name) > maxName || len(names) == maxWithout:
			return fmt.Errorf("aggregate_without: at most %d labels of %d bytes", maxWithout, maxName)
		case !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	if len(names) > 0 && q.Aggregate == "" {
		return errors.New("aggregate_without: give aggregate, too: the names of the series, such as istio_.*")
	}
	q.Without = strings.Join(names, ",")
	return nil
}

// without returns the labels that are summed away.
func (q *Query) without() []string {
	if q.Without != "" {
		return strings.Split(q.Without, ",")
	}
	if p, ok := aggregate.PresetOf(q.Aggregate); ok {
		return p.Without
	}
	return aggregate.DefaultWithout()
}

// From returns the index of the first row of the page.
func (q Query) From() int { return (q.Page - 1) * q.Rows }

// Values returns the parameters of a URL that ask for the query again, without defaults. Used is not among them.
func (q Query) Values() url.Values {
	v := url.Values{}
	set := func(key, value, byDefault string) {
		if value != byDefault {
			v.Set(key, value)
		}
	}
	set("by", string(q.By), string(ByFamily))
	set("sort", q.Sort, "series")
	if q.Ascending != (q.Sort == "name") {
		v.Set("order", map[bool]string{true: "asc", false: "desc"}[q.Ascending])
	}
	set("search", q.Search, "")
	set("page", strconv.Itoa(q.Page), "1")
	set("rows", strconv.Itoa(q.Rows), strconv.Itoa(defaultRows))
	set("drop_family", q.DropFamily, "")
	set("drop_label", q.DropLabel, "")
	set("aggregate", q.Aggregate, "")
	set("aggregate_without", q.Without, "")
	return v
}

// choose returns the rows of the query's page, and how many rows match the search. If the table has fewer pages, it
// chooses the last one.
func (q *Query) choose(rows []Row) (page []Row, found int) {
	want := strings.ToLower(q.Search)
	chosen := make([]Row, 0, len(rows))
	for _, r := range rows {
		if want == "" || strings.Contains(strings.ToLower(r.Name), want) {
			chosen = append(chosen, r)
		}
	}
	for _, c := range Columns(q.By) {
		if c.Key != q.Sort {
			continue
		}
		slices.SortFunc(chosen, func(a, b Row) int {
			order := c.less(&a, &b)
			if !q.Ascending {
				order = -order
			}
			return cmp.Or(order, cmp.Compare(a.Name, b.Name))
		})
	}
	q.Rows = min(max(q.Rows, 1), maxRows)
	q.Page = min(max(q.Page, 1), max(1, (len(chosen)+q.Rows-1)/q.Rows))
	return chosen[q.From():min(q.From()+q.Rows, len(chosen))], len(chosen)
}

func words[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, t := range list {
		texts[i] = string(t)
	}
	return strings.Join(texts, ", ")
}
