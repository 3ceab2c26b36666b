package web

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// targetsPage lists the running targets.
type targetsPage struct {
	frame
	List   listView[*targetRow]
	Jobs   []jobSummary
	Others int // number of targets of the selected jobs that other shards scrape
}

// targetRow is a target without credentials.
type targetRow struct {
	scrape.TargetStatus
	ID    string // anchor of the row; only rows of the page have it, Steps and Read
	Steps string // link to the page that explains its labels
	Read  string // how its page is read; empty: whole, and nothing could be left out

	public labels.Labels // with credentials
	Sums   []groupLink   // groups in which its series are summed; see addSums
}

// groupLink is a group in which series of a target are summed.
type groupLink struct {
	ID     string `json:"group"` // asks for it
	Series int    `json:"series"`
}

// addSums sets Sums.
func (s *Server) addSums(rows []*targetRow) {
	targets := make([]labels.Labels, len(rows))
	for i, row := range rows {
		targets[i] = row.public
	}
	for i, groups := range s.sumsOf(targets) {
		for _, g := range groups {
			rows[i].Sums = append(rows[i].Sums, groupLink{groupID(g.Group), g.Series})
		}
	}
}

// targetList describes the list of the targets: the failed ones first.
func targetList() list[*targetRow] {
	health := []string{string(scrape.HealthDown), string(scrape.HealthUnknown), string(scrape.HealthUp)}
	byState := func(a, b *targetRow) int { return order(health, string(a.Health), string(b.Health)) }
	byJob := func(a, b *targetRow) int { return strings.Compare(a.Job, b.Job) }
	byURL := func(a, b *targetRow) int { return strings.Compare(a.URL, b.URL) }
	return list[*targetRow]{
		Noun: "targets", Hint: "address, error, label=value",
		Facets: []facet[*targetRow]{
			{Key: "state", Text: "State", Values: health, Value: func(t *targetRow) string { return string(t.Health) }},
			{Key: "job", Text: "Job", Value: func(t *targetRow) string { return t.Job }},
			{Key: "namespace", Text: "Namespace", Value: func(t *targetRow) string {
				return t.Labels.Get("namespace")
			}},
		},
		Columns: []column[*targetRow]{
			{Text: "State", Key: "state", Compare: byState},
			{Text: "Target", Key: "target", Compare: byURL},
			{Text: "Last scrape", Key: "last", Number: true, Compare: func(a, b *targetRow) int {
				return b.LastScrape.Compare(a.LastScrape) // sorted by age
			}},
			{Text: "Took", Key: "took", Number: true, Compare: func(a, b *targetRow) int {
				return cmp.Compare(a.Duration, b.Duration)
			}},
			{Text: "Samples", Key: "samples", Number: true, Compare: func(a, b *targetRow) int {
				return cmp.Compare(a.Samples, b.Samples)
			}},
			{Text: "Job", Key: "job", Compare: byJob},
			{Text: "Labels"},
		},
		Order: func(a, b *targetRow) int { return cmp.Or(byState(a, b), byJob(a, b), byURL(a, b)) },
		Search: func(t *targetRow) searchable {
			return searchable{Texts: []string{t.URL, t.Err}, Labels: []labels.Labels{t.Labels}}
		},
	}
}

func (s *Server) targets(w http.ResponseWriter, r *http.Request) {
	format, ok := s.format(w, r)
	if !ok {
		return
	}
	described, pools := targetList(), s.pools()
	view, found := described.show(targetRows(pools), parseSelection(r, described.keys()...))
	switch format {
	case formatJSON:
		s.addSums(found)
		writeJSON(s, w, view, found, targetJSON)
		return
	case formatText:
		writeText(s, w, view, found, targetHeading, s.targetLine)
		return
	}
	page := targetsPage{frame: s.frame(r, "Targets", "targets"), List: view, Jobs: summarize(pools)}
	for _, j := range page.Jobs {
		if job := view.Sel.Chosen["job"]; job == "" || job == j.Job {
			page.Others += j.Others
		}
	}
	s.addSums(view.Rows)
	for _, row := range view.Rows { // only for the rows of the page: Discovered computes the labels
		found := row.Discovered()
		row.ID, row.Steps = "target-"+strconv.FormatUint(found.Hash(), 16), stepsLink(row.Job, found)
		row.Read = readWords(&row.TargetStatus)
	}
	s.render(w, "targets.html", page)
}

// readWords says whether the page of a target is read with a filter. Without one it says why, if rules drop a part of
// the page.
func readWords(t *scrape.TargetStatus) string {
	part, known := t.LeftOut()
	switch {
	case known:
		return fmt.Sprintf("Asked with a filter: %d %% of the page left out", int(100*part))
	case t.Filter != "" && t.Whole == (scrape.PageSize{}):
		return "Asked with a filter after the first page"
	case t.Filter != "" && t.Health == scrape.HealthUp:
		return "Asked with a filter; the last page was whole, to compare"
	case t.Filter != "":
		return "Asked with a filter"
	case t.WhyWhole != "" && t.Kept < t.Samples:
		return "Whole pages: " + t.WhyWhole
	default:
		return ""
	}
}

// targetRows returns all targets without credentials.
func targetRows(pools []scrape.PoolStatus) []*targetRow {
	n := 0
	for _, p := range pools {
		n += len(p.Targets)
	}
	all, rows := make([]targetRow, 0, n), make([]*targetRow, 0, n)
	for _, p := range pools {
		for _, t := range p.Targets {
			public := t.Labels
			t.Job, t.URL, t.Err, t.Labels = p.Job, maskURLs(t.URL), maskURLs(t.Err), maskLabels(t.Labels)
			all = append(all, targetRow{TargetStatus: t, public: public})
			rows = append(rows, &all[len(all)-1])
		}
	}
	return rows
}

// targetFields is a target in JSON.
type targetFields struct {
	Job             string        `json:"job"`
	URL             string        `json:"url"`
	State           scrape.Health `json:"state"`
	Error           string        `json:"error"`
	LastScrape      *time.Time    `json:"lastScrape,omitempty"`
	DurationSeconds float64       `json:"durationSeconds"`
	Samples         int           `json:"samples"`
	Kept            int           `json:"kept"`
	PageBytes       int64         `json:"pageBytes,omitempty"`
	Filter          string        `json:"filter,omitempty"`
	WhyWhole        string        `json:"whyWhole,omitempty"`  // why there is no filter
	WholePage       *wholePage    `json:"wholePage,omitempty"` // the last one
	Labels          labels.Labels `json:"labels"`
	EverySeconds    float64       `json:"everySeconds"`          // between two scrapes
	SlowedSince     *time.Time    `json:"slowedSince,omitempty"` // absent: that is its interval
	Summed          []groupLink   `json:"summed,omitempty"`
}

// wholePage is the size of a page in JSON.
type wholePage struct {
	Bytes   int64 `json:"bytes"` // uncompressed
	Samples int   `json:"samples"`
}

func targetJSON(t *targetRow) any {
	f := targetFields{Job: t.Job, URL: t.URL, State: t.Health, Error: t.Err, LastScrape: ever(t.LastScrape),
		DurationSeconds: t.Duration.Seconds(), Samples: t.Samples, Kept: t.Kept, PageBytes: t.PageBytes,
		Filter: t.Filter, WhyWhole: t.WhyWhole, Labels: t.Labels,
		EverySeconds: t.Every().Seconds(), SlowedSince: ever(t.SlowedSince),
		Summed: t.Sums}
	if t.Whole != (scrape.PageSize{}) {
		f.WholePage = &wholePage{t.Whole.Bytes, t.Whole.Samples}
	}
	return f
}

const targetHeading = "STATE    LAST          TOOK     SAMPLES  JOB, TARGET, ERROR"

func (s *Server) targetLine(t *targetRow) string {
	line := fmt.Sprintf("%-8s %-13s %-8s %7d  %s  %s", t.Health, ago(t.LastScrape, s.now()), show.Brief(t.Duration),
		t.Samples, t.Job, t.URL)
	if t.Err != "" {
		line += "  " + t.Err
	}
	if !t.SlowedSince.IsZero() {
		line += fmt.Sprintf("  since %s asked only every %s, because it is slow to answer", ago(t.SlowedSince, s.now()),
			show.Brief(t.Every()))
	}
	return line
}
