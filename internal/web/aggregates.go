package web

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
)

// Aggregates is what pages read of the sums: aggregate.Aggregates. Its methods return copies, so no lock is held while
// a page is rendered.
type Aggregates interface {
	Status() aggregate.Status
	Series(
		group labels.Labels, match func(labels.Labels) bool, offset, limit int,
	) (of []aggregate.AggregateOf, found int)
	Sources(group, series labels.Labels, offset, limit int) (of []aggregate.SourceOf, found int, ok bool)
	Of(targets []labels.Labels) [][]aggregate.InGroup
}

// The states of a group, the worst first.
const (
	groupLate    = "late"    // no tick for more than two intervals
	groupWaiting = "waiting" // no tick yet
	groupIdle    = "idle"    // no target left
	groupSummed  = "summed"
)

// lateSlack is how much later than two intervals a group may be written, so that a busy moment is not called late.
const lateSlack = 5 * time.Second

// aggregatesPage lists the groups of aggregates.
type aggregatesPage struct {
	frame
	Blocks []string // as a configuration has them
	Totals aggregateTotals
	List   listView[*groupRow]
}

// aggregateTotals are the sums over all groups.
type aggregateTotals struct {
	Groups  int     `json:"groups"`
	Targets int     `json:"targets"`      // a target that is in two groups counts twice
	Sources int     `json:"sourceSeries"` // series of pages that are summed
	Series  int     `json:"series"`       // aggregates
	Ratio   float64 `json:"ratio"`        // aggregates per source series
}

// groupRow is a group without credentials.
type groupRow struct {
	aggregate.GroupStatus
	ID    string // in links
	State string
}

// Class returns the class of the group's state in style.css, which has a sign and a colour for it.
func (g *groupRow) Class() string {
	return map[string]string{groupLate: "down", groupWaiting: "unknown", groupIdle: "off", groupSummed: "up"}[g.State]
}

// Ratio returns aggregates per source series as text; "–" without a source.
func (g *groupRow) Ratio() string { return ratioText(g.Series, g.Sources) }

func ratioText(series, sources int) string {
	if sources == 0 {
		return "–"
	}
	return strconv.FormatFloat(ratioOf(series, sources), 'f', 3, 64)
}

// ratioOf returns 0 without a source.
func ratioOf(series, sources int) float64 {
	if sources == 0 {
		return 0
	}
	return float64(series) / float64(sources)
}

// groupID names a group, or an aggregate, in links: by a hash of its labels.
func groupID(l labels.Labels) string { return strconv.FormatUint(l.Hash(), 16) }

// groupList describes the list of the groups: the worst first.
func groupList() list[*groupRow] {
	states := []string{groupLate, groupWaiting, groupIdle, groupSummed}
	byState := func(a, b *groupRow) int { return order(states, a.State, b.State) }
	byLabels := func(a, b *groupRow) int { return labels.Compare(a.Labels, b.Labels) }
	number := func(text, key string, of func(*groupRow) float64) column[*groupRow] {
		return column[*groupRow]{Text: text, Key: key, Number: true,
			Compare: func(a, b *groupRow) int { return cmp.Compare(of(a), of(b)) }}
	}
	return list[*groupRow]{
		Noun: "groups", Hint: "part of a label's value, label=value",
		Facets: []facet[*groupRow]{
			{Key: "state", Text: "State", Values: states, Value: func(g *groupRow) string { return g.State }},
			{Key: "job", Text: "Job", Value: func(g *groupRow) string { return g.Labels.Get(model.JobLabel) }},
			{Key: "interval", Text: "Interval", Value: func(g *groupRow) string { return show.Brief(g.Interval) }},
		},
		Columns: []column[*groupRow]{
			{Text: "State", Key: "state", Compare: byState},
			{Text: "Group", Key: "group", Compare: byLabels},
			number("Targets", "targets", func(g *groupRow) float64 { return float64(g.Targets) }),
			number("Source series", "sources", func(g *groupRow) float64 { return float64(g.Sources) }),
			number("Aggregates", "series", func(g *groupRow) float64 { return float64(g.Series) }),
			number("Ratio", "ratio", func(g *groupRow) float64 { return ratioOf(g.Series, g.Sources) }),
			// The larger the number, the longer ago.
			number("Last tick", "tick", func(g *groupRow) float64 { return -float64(g.Tick.UnixMilli()) }),
			number("Interval", "every", func(g *groupRow) float64 { return g.Interval.Seconds() }),
		},
		Order: func(a, b *groupRow) int { return cmp.Or(byState(a, b), byLabels(a, b)) },
		Search: func(g *groupRow) searchable {
			return searchable{Labels: []labels.Labels{g.Labels}}
		},
	}
}

// groupRows returns all groups without credentials.
func groupRows(groups []aggregate.GroupStatus, now time.Time) ([]*groupRow, aggregateTotals) {
	all, rows := make([]groupRow, len(groups)), make([]*groupRow, len(groups))
	t := aggregateTotals{Groups: len(groups)}
	for i, g := range groups {
		all[i] = newGroupRow(g, now)
		rows[i] = &all[i]
		t.Targets += g.Targets
		t.Sources += g.Sources
		t.Series += g.Series
	}
	t.Ratio = ratioOf(t.Series, t.Sources)
	return rows, t
}

func newGroupRow(g aggregate.GroupStatus, now time.Time) groupRow {
	row := groupRow{GroupStatus: g, ID: groupID(g.Labels)}
	row.Labels = maskLabels(g.Labels)
	switch {
	case g.Tick.IsZero():
		row.State = groupWaiting
	case now.Sub(g.Tick) > 2*g.Interval+lateSlack:
		row.State = groupLate
	case g.Targets == 0:
		row.State = groupIdle
	default:
		row.State = groupSummed
	}
	return row
}

// aggregates serves /aggregates: the groups, or the group, or the aggregate, that the request names.
func (s *Server) aggregates(w http.ResponseWriter, r *http.Request) {
	format, ok := s.format(w, r)
	if !ok {
		return
	}
	status := s.src.Aggregates.Status()
	if s.namedAggregates(w, r, status, format) {
		return
	}
	view, found, totals := s.selectGroups(status, r)
	switch format {
	case formatJSON:
		writeJSON(s, w, view, found, func(g *groupRow) any { return groupJSON(g) })
		return
	case formatText:
		writeText(s, w, view, found, groupHeading, s.groupLine)
		return
	}
	page := aggregatesPage{frame: s.frame(r, "Aggregates", "aggregates"), List: view, Totals: totals}
	for i := range status.Blocks {
		page.Blocks = append(page.Blocks, maskURLs(aggregate.YAML(status.Blocks[i])))
	}
	s.render(w, "aggregates.html", &page)
}

// namedAggregates serves the group, or the aggregate, that the request names. It returns false if it names none.
func (s *Server) namedAggregates(w http.ResponseWriter, r *http.Request, status aggregate.Status, format string) bool {
	switch q := r.URL.Query(); {
	case q.Get("series") != "":
		s.oneAggregate(w, r, status, format)
	case q.Get("group") != "":
		s.oneGroup(w, r, status, format)
	default:
		return false
	}
	return true
}

// selectGroups returns the page of the list that a request asks for, the selected groups of all pages, and the sums
// over all groups.
func (s *Server) selectGroups(
	status aggregate.Status, r *http.Request,
) (listView[*groupRow], []*groupRow, aggregateTotals) {
	described := groupList()
	rows, totals := groupRows(status.Groups, s.now())
	view, found := described.show(rows, parseSelection(r, described.keys()...))
	return view, found, totals
}

// apiAggregates serves the same as JSON: the blocks with the groups, or the group, or the aggregate. The selected
// groups are complete unless the request asks for a page of them.
func (s *Server) apiAggregates(w http.ResponseWriter, r *http.Request) {
	status := s.src.Aggregates.Status()
	if s.namedAggregates(w, r, status, formatJSON) {
		return
	}
	view, found, totals := s.selectGroups(status, r)
	if view.Problem != "" {
		s.apiError(w, http.StatusBadRequest, "bad_data", fmt.Errorf("search: %s", view.Problem))
		return
	}
	blocks := []blockFields{}
	for i := range status.Blocks {
		blocks = append(blocks, blockJSON(&status.Blocks[i]))
	}
	if q := r.URL.Query(); q.Has("rows") || q.Has("page") {
		found = view.Rows
	}
	s.streamJSON(w, []field{{"at", s.now().UTC()}, {"blocks", blocks}, {"totals", totals}, {"found", view.Found}},
		"groups", len(found), func(i int) any { return groupJSON(found[i]) })
}

// Ratio returns aggregates per source series, of all groups.
func (p *aggregatesPage) Ratio() string { return ratioText(p.Totals.Series, p.Totals.Sources) }

// blockFields is a block in JSON.
type blockFields struct {
	Jobs        []string      `json:"jobs"`
	Match       string        `json:"match"`
	Without     []string      `json:"without,omitempty"`
	By          *[]string     `json:"by,omitempty"`
	As          labels.Labels `json:"as"`
	Prefix      string        `json:"prefix"`
	Gauges      string        `json:"gauges"`
	KeepRaw     bool          `json:"keepRaw"`
	CountFirst  bool          `json:"countFirst"`
	IdleSeconds float64       `json:"idleSeconds"`
}

func blockJSON(b *aggregate.Block) blockFields {
	f := blockFields{Jobs: b.Jobs, Match: b.Pattern(), Without: b.Without, As: maskLabels(b.As), Prefix: b.Prefix,
		Gauges: string(b.Gauges), KeepRaw: b.KeepRaw, CountFirst: !b.SkipFirst, IdleSeconds: b.Idle.Seconds()}
	if b.By != nil {
		f.By = &b.By
	}
	return f
}

// groupFields is a group in JSON.
type groupFields struct {
	ID              string        `json:"id"` // asks for the group
	Labels          labels.Labels `json:"labels"`
	State           string        `json:"state"`
	Targets         int           `json:"targets"`
	Sources         int           `json:"sourceSeries"`
	Series          int           `json:"series"`
	Ratio           float64       `json:"ratio"`
	LastTick        *time.Time    `json:"lastTick,omitempty"` // absent: none yet
	IntervalSeconds float64       `json:"intervalSeconds"`
}

func groupJSON(g *groupRow) groupFields {
	return groupFields{ID: g.ID, Labels: g.Labels, State: g.State, Targets: g.Targets, Sources: g.Sources,
		Series: g.Series, Ratio: ratioOf(g.Series, g.Sources), LastTick: ever(g.Tick),
		IntervalSeconds: g.Interval.Seconds()}
}

const groupHeading = "STATE    TARGETS  SOURCES   SERIES  RATIO  TICK          INTERVAL  GROUP"

func (s *Server) groupLine(g *groupRow) string {
	return fmt.Sprintf("%-7s %8d %8d %8d  %-5s  %-13s %-8s  %s", g.State, g.Targets, g.Sources, g.Series, g.Ratio(),
		ago(g.Tick, s.now()), show.Brief(g.Interval), labelText(g.Labels))
}

// labelText writes labels as PromQL does, with the name before them: istio_requests_total{response_code="200"}.
func labelText(l labels.Labels) string {
	l = maskLabels(l)
	name, rest := l.Get(model.MetricNameLabel), lacking(l, labels.EmptyLabels())
	if rest.IsEmpty() && name != "" {
		return name
	}
	return name + rest.String()
}

// sumsOf returns, for each of some targets, in which groups their series are summed.
func (s *Server) sumsOf(targets []labels.Labels) [][]aggregate.InGroup {
	if s.src.Aggregates == nil { // a command that sends nothing
		return make([][]aggregate.InGroup, len(targets))
	}
	return s.src.Aggregates.Of(targets)
}

// sumsNote says of a target how many of its series are summed, and where; empty: none.
func (s *Server) sumsNote(target labels.Labels) string {
	note := ""
	for _, in := range s.sumsOf([]labels.Labels{target})[0] {
		if note != "" {
			note += " "
		}
		note += fmt.Sprintf("%s of its series are summed, in the group %s.", show.Count(in.Series),
			cut(maskLabels(in.Group).String()))
	}
	return note
}
