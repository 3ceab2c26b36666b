package web

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// maxCounted is how many dropped targets of a job are counted by rule. Running the rules takes about 20 µs for each.
const maxCounted = 2000

const (
	stateKept    = "kept"
	stateDropped = "dropped"
)

// discoveryPage lists the discovered targets, kept or dropped, and the rule that dropped them.
type discoveryPage struct {
	frame
	List      listView[*foundRow]
	Providers []discovery.ProviderStatus
	Jobs      []jobSummary
	DroppedBy *droppedBy
	Steps     *stepsView
}

// droppedBy counts the dropped targets of a job by the rule that dropped them.
type droppedBy struct {
	Job     string
	Counted int // how many of Of were counted
	Of      int // dropped targets
	Rules   []droppingRule
}

type droppingRule struct {
	Rule  int // from 1
	Words string
	Count int
}

// foundRow is a discovered target, kept or dropped. fill sets what is expensive.
type foundRow struct {
	Job   string
	Kept  bool
	After labels.Labels // if kept

	before func() labels.Labels

	// Set by fill.
	Name     string // see nameOf
	Before   labels.Labels
	Rule     int // the rule that dropped it, from 1; 0: kept, or no current rule drops it
	RuleText string
	Link     string // to the page that shows each step
}

func (f *foundRow) state() string {
	if f.Kept {
		return stateKept
	}
	return stateDropped
}

// foundList describes the list of the discovered targets: what was dropped first.
func foundList() list[*foundRow] {
	states := []string{stateDropped, stateKept}
	byState := func(a, b *foundRow) int { return order(states, a.state(), b.state()) }
	byJob := func(a, b *foundRow) int { return strings.Compare(a.Job, b.Job) }
	return list[*foundRow]{
		Noun: "discovered targets", Hint: "pod, node, address, label=value",
		Facets: []facet[*foundRow]{
			{Key: "state", Text: "Outcome", Values: states, Value: (*foundRow).state},
			{Key: "job", Text: "Job", Value: func(f *foundRow) string { return f.Job }},
		},
		Columns: []column[*foundRow]{
			{Text: "Outcome", Key: "state", Compare: byState},
			{Text: "Discovered"},
			{Text: "The rule that dropped it, or the labels"},
			{Text: "Job", Key: "job", Compare: byJob},
		},
		Order: func(a, b *foundRow) int { return cmp.Or(byState(a, b), byJob(a, b)) },
		Search: func(f *foundRow) searchable {
			before := maskLabels(f.before())
			return searchable{Texts: []string{nameOf(before)}, Labels: []labels.Labels{maskLabels(f.After), before}}
		},
	}
}

func (s *Server) serviceDiscovery(w http.ResponseWriter, r *http.Request) {
	format, ok := s.format(w, r)
	if !ok {
		return
	}
	described, pools := foundList(), s.pools()
	view, found := described.show(foundRows(pools), parseSelection(r, described.keys()...))
	switch format {
	case formatJSON:
		writeJSON(s, w, view, found, s.foundJSON)
		return
	case formatText:
		writeText(s, w, view, found, foundHeading, s.foundLine)
		return
	}
	for _, row := range view.Rows {
		s.fill(row)
	}
	s.render(w, "discovery.html", discoveryPage{
		frame:     s.frame(r, "Service discovery", "service-discovery"),
		List:      view,
		Providers: s.src.Providers(),
		Jobs:      summarize(pools),
		DroppedBy: s.droppedBy(pools, view.Sel.Chosen["job"]),
		Steps:     s.chosen(pools, r.URL.Query()),
	})
}

// foundRows returns the discovered targets of all jobs.
func foundRows(pools []scrape.PoolStatus) []*foundRow {
	var rows []*foundRow
	for _, p := range pools {
		for _, t := range p.Targets {
			rows = append(rows, &foundRow{Job: p.Job, Kept: true, After: t.Labels, before: t.Discovered})
		}
		for _, d := range p.Dropped {
			rows = append(rows, &foundRow{Job: p.Job, before: d.Discovered})
		}
	}
	return rows
}

// fill sets the fields of a row that foundRows left empty.
func (s *Server) fill(row *foundRow) {
	row.Before = row.before()
	row.Name = nameOf(row.Before)
	row.Link = stepsLink(row.Job, row.Before)
	if row.Kept {
		return
	}
	if step, ok := relabel.Dropped(s.src.Explain(row.Before, s.src.Rules(row.Job))); ok {
		row.Rule, row.RuleText = step.Index+1, step.String()
	}
}

// foundFields is a discovered target in JSON.
type foundFields struct {
	Job        string         `json:"job"`
	Name       string         `json:"name"`
	State      string         `json:"state"`
	Rule       int            `json:"rule,omitempty"`
	RuleText   string         `json:"ruleText,omitempty"`
	Discovered labels.Labels  `json:"discoveredLabels"`
	Labels     *labels.Labels `json:"labels,omitempty"`
}

func (s *Server) foundJSON(f *foundRow) any {
	s.fill(f)
	fields := foundFields{Job: f.Job, Name: maskURLs(f.Name), State: f.state(), Rule: f.Rule,
		RuleText: maskURLs(f.RuleText), Discovered: maskLabels(f.Before)}
	if f.Kept {
		after := maskLabels(f.After)
		fields.Labels = &after
	}
	return fields
}

const foundHeading = "OUTCOME  JOB, DISCOVERED, RULE"

func (s *Server) foundLine(f *foundRow) string {
	s.fill(f)
	line := fmt.Sprintf("%-7s  %s  %s", f.state(), f.Job, maskURLs(f.Name))
	if f.Rule > 0 {
		line += fmt.Sprintf("  rule %d: %s", f.Rule, maskURLs(f.RuleText))
	}
	return line
}

// droppedBy counts for the selected job, or for the only job. It returns nil if there are several jobs, or if nothing
// was dropped.
func (s *Server) droppedBy(pools []scrape.PoolStatus, job string) *droppedBy {
	if job != "" {
		pools = named(pools, job)
	}
	if len(pools) != 1 || len(pools[0].Dropped) == 0 {
		return nil
	}
	pool := pools[0]
	rules := s.src.Rules(pool.Job)
	counts := make([]int, len(rules))
	c := &droppedBy{Job: pool.Job, Of: pool.DroppedCount, Counted: min(len(pool.Dropped), maxCounted)}
	for _, d := range pool.Dropped[:c.Counted] {
		if step, ok := relabel.Dropped(s.src.Explain(d.Discovered(), rules)); ok {
			counts[step.Index]++
		}
	}
	for i, n := range counts {
		if n > 0 {
			c.Rules = append(c.Rules, droppingRule{i + 1, relabel.Words(rules[i]), n})
		}
	}
	return c
}

// nameOf names a discovered target by its pod, container and port: shop/cart-0 app:9080. Without a pod it returns the
// address.
func nameOf(l labels.Labels) string {
	const prefix = model.MetaLabelPrefix + "kubernetes_"
	address := l.Get(model.AddressLabel)
	name := ""
	for _, kind := range []string{"pod_name", "service_name", "endpointslice_name", "endpoints_name", "ingress_name",
		"node_name"} {
		if name = l.Get(prefix + kind); name != "" {
			break
		}
	}
	if name == "" {
		return address
	}
	if namespace := l.Get(prefix + "namespace"); namespace != "" {
		name = namespace + "/" + name
	}
	if container := l.Get(prefix + "pod_container_name"); container != "" {
		name += " " + container
		if port := l.Get(prefix + "pod_container_port_number"); port != "" {
			name += ":" + port
		}
	}
	return name
}
