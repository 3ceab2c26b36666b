package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
)

// maxChoices is how many values of a facet a page offers, the most frequent ones.
const maxChoices = 200

// list describes a list of rows of type T: how it is searched, narrowed and sorted. Every list page has one, so that
// all of them have the same fields, links and keys. The templates are in list.html.
type list[T any] struct {
	Noun    string // what the rows are: targets
	Hint    string // what may be searched: address, error, label=value
	Facets  []facet[T]
	Columns []column[T]
	Order   func(a, b T) int   // the order if no column is chosen: the worst first
	Search  func(T) searchable // called only for a page that is searched; nil: the list has no search
}

// facet is a property by which a list can be narrowed, such as the state of a target.
type facet[T any] struct {
	Key   string // in the query of the URL
	Text  string // on the page
	Value func(T) string
	// Values are all values, in the order in which a page shows them as links. Without them, the page has a menu of the
	// values that occur, the most frequent first.
	Values []string
}

// column is a column of the table.
type column[T any] struct {
	Text    string
	Key     string           // in the query of the URL; empty: the list cannot be sorted by it
	Compare func(a, b T) int // ascending
	Number  bool             // is aligned to the right, and sorted with the largest first
}

// listView is the page of a list, for the templates.
type listView[T any] struct {
	Sel     selection
	Noun    string
	Hint    string
	Rows    []T // of the page
	Found   int // how many rows are selected, on all pages
	Total   int // how many there are
	Filters []string
	Facets  []facetView
	Columns []columnView
	Pager   pager
	Problem string // what is wrong with the search
}

type facetView struct {
	Key, Text string
	Links     bool // shown as links, not as a menu
	All       choice
	Choices   []choice
	Value     string // the chosen one; empty: all
}

type columnView struct {
	Text   string
	Number bool
	Link   string // sorts by it; empty: the list cannot be sorted by it
	Sorted string // ascending, descending; empty: not sorted by it
}

// keys returns the keys of the facets, for parseSelection.
func (l list[T]) keys() []string {
	keys := make([]string, len(l.Facets))
	for i, f := range l.Facets {
		keys[i] = f.Key
	}
	return keys
}

// show returns the page of a list, and all selected rows in the chosen order.
func (l list[T]) show(rows []T, sel selection) (listView[T], []T) {
	v := listView[T]{Sel: sel, Noun: l.Noun, Hint: l.Hint, Total: len(rows), Filters: l.filters(sel)}
	find, err := parseSearch(sel.Search)
	if err != nil {
		v.Problem, rows = err.Error(), nil
	}
	found, counts := l.narrow(rows, sel, find)
	slices.SortStableFunc(found, l.compare(sel.Sort))
	v.Found = len(found)
	v.Pager = newPager(len(found), sel.Page, sel.Rows, sel.at)
	v.Rows = found[v.Pager.From-1 : v.Pager.To]
	for i, f := range l.Facets {
		v.Facets = append(v.Facets, f.view(sel, counts[i]))
	}
	for _, c := range l.Columns {
		v.Columns = append(v.Columns, c.view(sel))
	}
	return v, found
}

// narrow returns the selected rows. counts has, for each facet, how many rows of each value the search and the other
// facets leave: what a page would show if that value were chosen.
func (l list[T]) narrow(rows []T, sel selection, find search) (found []T, counts []map[string]int) {
	for range l.Facets {
		counts = append(counts, map[string]int{})
	}
	values := make([]string, len(l.Facets))
	for _, row := range rows {
		if len(find) > 0 && l.Search != nil && !find.matches(l.Search(row)) {
			continue
		}
		misses, missed := 0, 0
		for i, f := range l.Facets {
			values[i] = f.Value(row)
			if want, ok := sel.Chosen[f.Key]; ok && values[i] != want {
				misses, missed = misses+1, i
			}
		}
		if misses == 0 {
			found = append(found, row)
		}
		for i, value := range values {
			if misses == 0 || misses == 1 && missed == i {
				counts[i][value]++
			}
		}
	}
	return found, counts
}

// compare returns the order that the key of a column asks for. Equal rows keep the list's own order.
func (l list[T]) compare(key string) func(a, b T) int {
	for _, c := range l.Columns {
		if c.Key != "" && c.Key == strings.TrimPrefix(key, "-") {
			sign := 1
			if strings.HasPrefix(key, "-") {
				sign = -1
			}
			return func(a, b T) int { return cmp.Or(sign*c.Compare(a, b), l.Order(a, b)) }
		}
	}
	return l.Order
}

// filters says in words by what the list is narrowed.
func (l list[T]) filters(sel selection) (words []string) {
	for _, f := range l.Facets {
		if value, ok := sel.Chosen[f.Key]; ok {
			words = append(words, fmt.Sprintf("%s %s", strings.ToLower(f.Text), cut(value)))
		}
	}
	if sel.Search != "" {
		words = append(words, fmt.Sprintf("search “%s”", sel.Search))
	}
	return words
}

func (f facet[T]) view(sel selection, counts map[string]int) facetView {
	v := facetView{Key: f.Key, Text: f.Text, Links: f.Values != nil, Value: sel.Chosen[f.Key]}
	v.All = choice{Text: "All", Link: sel.With(f.Key, ""), Current: v.Value == ""}
	for _, n := range counts {
		v.All.Count += n
	}
	values := f.Values
	if values == nil {
		delete(counts, "") // rows without the property, of which a page does not speak
		values = slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
			return cmp.Or(counts[b]-counts[a], strings.Compare(a, b))
		})
		values = values[:min(len(values), maxChoices)]
	}
	if v.Value != "" && !slices.Contains(values, v.Value) {
		values = append(slices.Clone(values), v.Value)
	}
	for _, value := range values {
		c := choice{Text: cut(value), Value: value, Count: counts[value], Current: value == v.Value}
		if v.Links {
			c.Link = sel.With(f.Key, value)
		}
		v.Choices = append(v.Choices, c)
	}
	return v
}

// Useful reports whether there is something to choose.
func (v facetView) Useful() bool { return v.Links || v.Value != "" || len(v.Choices) > 1 }

// view returns a column with the link that sorts by it. Where the list is sorted by it already, the link reverses it.
func (c column[T]) view(sel selection) columnView {
	v := columnView{Text: c.Text, Number: c.Number}
	if c.Key == "" {
		return v
	}
	up, down := c.Key, "-"+c.Key
	next := up
	if c.Number {
		next = down
	}
	switch sel.Sort {
	case up:
		v.Sorted, next = "ascending", down
	case down:
		v.Sorted, next = "descending", up
	}
	v.Link = sel.WithSort(next)
	return v
}

// Describe says how many rows are selected: "Showing 11 of 412 targets, filtered by state down and job app".
func (v listView[T]) Describe() string {
	if len(v.Filters) == 0 {
		return fmt.Sprintf("%s %s", show.Count(v.Total), v.noun())
	}
	words := v.Filters[len(v.Filters)-1]
	if rest := v.Filters[:len(v.Filters)-1]; len(rest) > 0 {
		words = strings.Join(rest, ", ") + " and " + words
	}
	return fmt.Sprintf("Showing %s of %s %s, filtered by %s", show.Count(v.Found), show.Count(v.Total), v.noun(), words)
}

// noun returns what the rows are: 1 group, 2 groups.
func (v listView[T]) noun() string {
	if v.Total == 1 && !strings.HasSuffix(v.Noun, "series") {
		return strings.TrimSuffix(v.Noun, "s")
	}
	return v.Noun
}

// Hidden returns the fields that the search form needs beside those that it shows, so that it keeps the rest.
func (v listView[T]) Hidden() []pair {
	q := v.Sel.query()
	q.Del("search")
	q.Del("page")
	for _, f := range v.Facets {
		if !f.Links {
			q.Del(f.Key)
		}
	}
	var fields []pair
	for _, key := range slices.Sorted(maps.Keys(q)) {
		fields = append(fields, pair{key, q.Get(key)})
	}
	return fields
}

// Twin returns the link to the selected rows in another format, on one page.
func (v listView[T]) Twin(format string) string {
	s := v.Sel
	s.Rows, s.Page, s.Refresh = 0, 1, 0
	q := s.query()
	q.Set("format", format)
	return "?" + q.Encode()
}

// order compares by the places of two values in a list; a value that is not in it comes first.
func order(values []string, a, b string) int {
	return slices.Index(values, a) - slices.Index(values, b)
}
