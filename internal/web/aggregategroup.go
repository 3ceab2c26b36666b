package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
)

const (
	// mostAggregates is how many aggregates, or sources of one, an answer for programs has. The parameter page asks
	// for the next ones.
	mostAggregates = 10_000
	mostPages      = 1_000_000
)

// groupPage lists the aggregates of a group, or what one of them is made of.
type groupPage struct {
	frame
	Missing string    // what the request names is gone, in a sentence; empty: it is there
	Group   *groupRow // nil: it is gone

	List      listView[*aggregateRow]
	Aggregate *aggregateRow // nil: the page lists the group
	Sources   listView[*sourceRow]
}

// aggregateRow is an aggregate without credentials.
type aggregateRow struct {
	aggregate.AggregateOf
	ID   string        // in links
	Link string        // to what it is made of
	Own  labels.Labels // those that the group does not have
}

// Name returns the name of the aggregate.
func (a *aggregateRow) Name() string { return a.Series.Get(model.MetricNameLabel) }

// sourceRow is a series that an aggregate is made of, without credentials.
type sourceRow struct {
	aggregate.SourceOf
	Apart labels.Labels // of the series: the labels that the aggregate does not have
	Link  string        // to the target; empty: none
}

// The answers to requests for what is not there any more.
var (
	errGroupGone = errors.New("this group is gone: no target has its labels any more, or its entry has changed")
	errSumGone   = errors.New("this aggregate is gone: no target shows its series any more")
)

// oneGroup serves the aggregates of the group that the request names.
func (s *Server) oneGroup(w http.ResponseWriter, r *http.Request, status aggregate.Status, format string) {
	group, row := s.groupOf(status, r)
	if group == nil {
		s.gone(w, r, nil, errGroupGone, format)
		return
	}
	sel := pagedSelection(r, format)
	sel.Of = map[string]string{"group": row.ID}
	view := listView[*aggregateRow]{Sel: sel, Noun: "aggregates", Hint: "name, part of a label's value, label=value",
		Total: group.Series, Columns: []columnView{{Text: "Name"}, {Text: "Labels that the group does not have"},
			{Text: "Total", Number: true}, {Text: "Sources", Number: true}, {Text: "Written"}}}
	view.Filters = list[*aggregateRow]{}.filters(sel)
	find, err := parseSearch(sel.Search)
	if err != nil {
		view.Problem = err.Error()
	} else {
		var match func(labels.Labels) bool
		if len(find) > 0 {
			match = func(l labels.Labels) bool {
				return find.matches(searchable{Labels: []labels.Labels{maskLabels(l)}})
			}
		}
		view.Rows = s.aggregateRows(group.Labels, match, &view.Sel, &view.Found)
	}
	if len(find) == 0 {
		view.Total = view.Found // the status may be a moment older
	}
	view.Pager = newPager(view.Found, view.Sel.Page, view.Sel.Rows, view.Sel.at)
	switch format {
	case formatJSON:
		if view.Problem != "" {
			s.apiError(w, http.StatusBadRequest, "bad_data", fmt.Errorf("search: %s", view.Problem))
			return
		}
		s.streamJSON(w, []field{{"at", s.now().UTC()}, {"group", groupJSON(row)}, {"found", view.Found},
			{"page", view.Pager.Page}, {"pages", view.Pager.Pages}}, "series", len(view.Rows),
			func(i int) any { return aggregateJSON(view.Rows[i]) })
	case formatText:
		writeText(s, w, view, view.Rows, aggregateHeading, aggregateLine)
	default:
		s.render(w, "group.html", &groupPage{frame: s.frame(r, "Aggregates of a group", "aggregates"), Group: row,
			List: view})
	}
}

// aggregateRows returns the aggregates of a page of a group, and how many there are on all pages. If the group has
// fewer pages, it returns the last one.
func (s *Server) aggregateRows(
	group labels.Labels, match func(labels.Labels) bool, sel *selection, found *int,
) []*aggregateRow {
	var of []aggregate.AggregateOf
	onPage(sel, func(offset int) int {
		of, *found = s.src.Aggregates.Series(group, match, offset, sel.Rows)
		return *found
	})
	rows := make([]*aggregateRow, len(of))
	for i, a := range of {
		rows[i] = newAggregateRow(a, group)
	}
	return rows
}

func newAggregateRow(a aggregate.AggregateOf, group labels.Labels) *aggregateRow {
	row := &aggregateRow{AggregateOf: a, ID: groupID(a.Series)}
	row.Link = "?" + url.Values{"group": {groupID(group)}, "series": {row.ID}}.Encode()
	row.Series = maskLabels(a.Series)
	row.Own = maskLabels(lacking(a.Series, group))
	return row
}

// lacking returns the labels of l that other does not have, without the name.
func lacking(l, other labels.Labels) labels.Labels {
	b := labels.NewScratchBuilder(l.Len())
	l.Range(func(l labels.Label) {
		if l.Name != model.MetricNameLabel && other.Get(l.Name) != l.Value {
			b.Add(l.Name, l.Value)
		}
	})
	return b.Labels()
}

// onPage calls get with the offset of the page of a selection. get returns how many rows there are. If the page is
// beyond them, onPage calls it once more for the last page.
func onPage(sel *selection, get func(offset int) (found int)) {
	found := get((sel.Page - 1) * sel.Rows)
	if pages := max(1, (found+sel.Rows-1)/sel.Rows); sel.Page > pages {
		sel.Page = pages
		get((sel.Page - 1) * sel.Rows)
	}
}

// pagedSelection returns the selection of a request for a list of which only one page is computed. For programs a page
// has mostAggregates rows, unless they ask for fewer.
func pagedSelection(r *http.Request, format string) selection {
	sel := parseSelection(r)
	sel.Sort = "" // such a list has one order
	sel.Page = min(sel.Page, mostPages)
	if n, err := strconv.Atoi(r.URL.Query().Get("rows")); format != formatHTML {
		if sel.Rows = mostAggregates; err == nil && n > 0 && n < mostAggregates {
			sel.Rows = n
		}
	}
	return sel
}

// oneAggregate serves what the aggregate that the request names is made of.
func (s *Server) oneAggregate(w http.ResponseWriter, r *http.Request, status aggregate.Status, format string) {
	group, row := s.groupOf(status, r)
	if group == nil {
		s.gone(w, r, nil, errGroupGone, format)
		return
	}
	id := r.URL.Query().Get("series")
	of, _ := s.src.Aggregates.Series(group.Labels, func(l labels.Labels) bool { return groupID(l) == id }, 0, 1)
	if len(of) == 0 {
		s.gone(w, r, row, errSumGone, format)
		return
	}
	one := newAggregateRow(of[0], group.Labels)
	sel := pagedSelection(r, format)
	sel.Search, sel.Of = "", map[string]string{"group": row.ID, "series": id}
	view := listView[*sourceRow]{Sel: sel, Noun: "source series", Columns: []columnView{
		{Text: "Labels that the aggregate does not have"}, {Text: "Last value", Number: true}, {Text: "Target"}}}
	var sources []aggregate.SourceOf
	there := true
	onPage(&view.Sel, func(offset int) int {
		sources, view.Found, there = s.src.Aggregates.Sources(group.Labels, of[0].Series, offset, view.Sel.Rows)
		return view.Found
	})
	if !there {
		s.gone(w, r, row, errSumGone, format)
		return
	}
	view.Total = view.Found
	view.Pager = newPager(view.Found, view.Sel.Page, view.Sel.Rows, view.Sel.at)
	for _, source := range sources {
		view.Rows = append(view.Rows, newSourceRow(source, one.Series))
	}
	switch format {
	case formatJSON:
		s.streamJSON(w, []field{{"at", s.now().UTC()}, {"group", groupJSON(row)}, {"aggregate", aggregateJSON(one)},
			{"found", view.Found}, {"page", view.Pager.Page}, {"pages", view.Pager.Pages}}, "sources", len(view.Rows),
			func(i int) any { return sourceJSON(view.Rows[i]) })
	case formatText:
		writeText(s, w, view, view.Rows, "LAST VALUE  SERIES", sourceLine)
	default:
		s.render(w, "group.html", &groupPage{frame: s.frame(r, "What an aggregate is made of", "aggregates"),
			Group: row, Aggregate: one, Sources: view})
	}
}

func newSourceRow(source aggregate.SourceOf, sum labels.Labels) *sourceRow {
	row := &sourceRow{SourceOf: source}
	row.Target, row.Series = maskLabels(source.Target), maskLabels(source.Series)
	row.Apart = lacking(row.Series, sum)
	if instance := row.Target.Get(model.InstanceLabel); instance != "" {
		q := url.Values{"search": {model.InstanceLabel + "=" + instance}}
		if job := row.Target.Get(model.JobLabel); job != "" {
			q.Set("job", job)
		}
		row.Link = "targets?" + q.Encode()
	}
	return row
}

// groupOf returns the group that a request names, as it is and without credentials; nil: it is gone.
func (s *Server) groupOf(status aggregate.Status, r *http.Request) (*aggregate.GroupStatus, *groupRow) {
	id := r.URL.Query().Get("group")
	for i := range status.Groups {
		if g := &status.Groups[i]; groupID(g.Labels) == id {
			row := newGroupRow(*g, s.now())
			return g, &row
		}
	}
	return nil, nil
}

// gone answers a request for what is not there any more.
func (s *Server) gone(w http.ResponseWriter, r *http.Request, group *groupRow, why error, format string) {
	switch format {
	case formatJSON:
		s.apiError(w, http.StatusNotFound, "not_found", why)
	case formatText:
		http.Error(w, why.Error(), http.StatusNotFound)
	default:
		w.WriteHeader(http.StatusNotFound)
		s.render(w, "group.html", &groupPage{frame: s.frame(r, "Aggregates", "aggregates"), Group: group,
			Missing: why.Error()})
	}
}

// aggregateFields is an aggregate in JSON. The value is a text, as in Prometheus' API, since JSON has no infinity.
type aggregateFields struct {
	ID     string        `json:"id"` // asks for what it is made of
	Series labels.Labels `json:"series"`
	// Gauges is sum, max or min if the aggregate is one of gauges.
	Gauges  aggregate.Gauges `json:"gauges,omitempty"`
	Total   string           `json:"total"` // what the next tick writes; of gauges what the last one has computed
	Written bool             `json:"written"`
	Sources int              `json:"sources"`
}

func aggregateJSON(a *aggregateRow) aggregateFields {
	return aggregateFields{ID: a.ID, Series: a.Series, Gauges: a.Of, Total: valueText(a.Total), Written: a.Written,
		Sources: a.Sources}
}

// sourceFields is a source of an aggregate in JSON.
type sourceFields struct {
	Target labels.Labels `json:"target"`
	Series labels.Labels `json:"series"`
	Last   string        `json:"last"` // the value on its last good page
}

func sourceJSON(r *sourceRow) sourceFields {
	return sourceFields{Target: r.Target, Series: r.Series, Last: valueText(r.Last)}
}

const aggregateHeading = "TOTAL            SOURCES  WRITTEN  SERIES"

func aggregateLine(a *aggregateRow) string {
	written := "no"
	if a.Written {
		written = "yes"
	}
	return fmt.Sprintf("%-16s %7d  %-7s  %s", valueText(a.Total), a.Sources, written, labelText(a.Series))
}

func sourceLine(r *sourceRow) string {
	return fmt.Sprintf("%-10s  %s", valueText(r.Last), labelText(r.Series))
}

// valueText writes a value as Prometheus' API does.
func valueText(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
