package web

import (
	"net/http"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// targetsPage lists the running targets.
type targetsPage struct {
	frame
	Sel    selection
	Jobs   []jobSummary
	States []choice
	Groups []group[targetRow]
	Others int // number of targets of the selected jobs that other shards scrape
	Pager  pager
}

type targetRow struct {
	scrape.TargetStatus
	Before labels.Labels
	Steps  string // link to the page that explains its labels
}

func (s *Server) targets(w http.ResponseWriter, r *http.Request) {
	sel := parseSelection(r, string(scrape.HealthUp), string(scrape.HealthDown), string(scrape.HealthUnknown))
	pools := s.pools()
	rows, found := selectTargets(pools, sel)
	rows, where := paginate(rows, sel)
	jobs, others := summarize(pools, sel), 0
	for _, j := range jobs {
		if sel.Job == "" || j.Current {
			others += j.Others
		}
	}
	for i := range rows { // only for the rows of the page: Discovered computes the labels
		rows[i].Before = rows[i].Discovered()
		rows[i].Steps = stepsLink(rows[i].Job, rows[i].Before)
	}
	s.render(w, "targets.html", targetsPage{
		frame: s.frame("Targets", "targets"),
		Sel:   sel,
		Jobs:  jobs,
		States: []choice{
			{"All", sel.WithState(""), found.Total(), sel.State == ""},
			{"Down", sel.WithState("down"), found.Down, sel.State == "down"},
			{"Unknown", sel.WithState("unknown"), found.Unknown, sel.State == "unknown"},
			{"Up", sel.WithState("up"), found.Up, sel.State == "up"},
		},
		Groups: byJob(rows, func(t targetRow) string { return t.Job }),
		Others: others,
		Pager:  where,
	})
}

// selectTargets returns the selected targets. found counts the targets of every state, not only of the selected one.
func selectTargets(pools []scrape.PoolStatus, sel selection) (rows []targetRow, found tally) {
	match := sel.matcher()
	for _, p := range pools {
		if sel.Job != "" && sel.Job != p.Job {
			continue
		}
		for _, t := range p.Targets {
			if sel.Search != "" && !match(t.URL, t.Err, t.Labels.String()) {
				continue
			}
			found.add(t.Health)
			if sel.State == "" || sel.State == string(t.Health) {
				t.Job = p.Job
				rows = append(rows, targetRow{TargetStatus: t})
			}
		}
	}
	return rows, found
}
