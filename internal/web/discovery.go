package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v2"

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
	Sel       selection
	Providers []discovery.ProviderStatus
	Jobs      []jobSummary
	States    []choice
	Groups    []group[foundRow]
	Pager     pager
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

// foundRow is a discovered target, kept or dropped.
type foundRow struct {
	Job      string
	Kept     bool
	Name     string // see nameOf
	Before   labels.Labels
	After    labels.Labels // if kept
	Rule     int           // the rule that dropped it, from 1; 0: kept, or no current rule drops it
	RuleText string
	Link     string // to the page that shows each step

	before func() labels.Labels
}

func (s *Server) serviceDiscovery(w http.ResponseWriter, r *http.Request) {
	sel := parseSelection(r, stateKept, stateDropped)
	pools := s.pools()
	rows, kept, dropped := selectFound(pools, sel)
	rows, where := paginate(rows, sel)
	for i := range rows {
		s.fill(&rows[i])
	}
	s.render(w, "discovery.html", discoveryPage{
		frame:     s.frame("Service discovery", "service-discovery"),
		Sel:       sel,
		Providers: s.src.Providers(),
		Jobs:      summarize(pools, sel),
		States: []choice{
			{"All", sel.WithState(""), kept + dropped, sel.State == ""},
			{"Kept", sel.WithState(stateKept), kept, sel.State == stateKept},
			{"Dropped", sel.WithState(stateDropped), dropped, sel.State == stateDropped},
		},
		Groups:    byJob(rows, func(f foundRow) string { return f.Job }),
		Pager:     where,
		DroppedBy: s.droppedBy(pools, sel.Job),
		Steps:     s.chosen(pools, r.URL.Query()),
	})
}

// selectFound returns the rows of the selection, without the fields that are expensive: fill adds them to the rows of a
// page.
func selectFound(pools []scrape.PoolStatus, sel selection) (rows []foundRow, kept, dropped int) {
	match := sel.matcher()
	for _, p := range pools {
		if sel.Job != "" && sel.Job != p.Job {
			continue
		}
		for _, t := range p.Targets {
			if sel.Search != "" && !match(t.URL, t.Discovered().String()) {
				continue
			}
			kept++
			if sel.State != stateDropped {
				rows = append(rows, foundRow{Job: p.Job, Kept: true, After: t.Labels, before: t.Discovered})
			}
		}
		for _, d := range p.Dropped {
			if sel.Search != "" && !match(d.Discovered().String()) {
				continue
			}
			dropped++
			if sel.State != stateKept {
				rows = append(rows, foundRow{Job: p.Job, before: d.Discovered})
			}
		}
	}
	return rows, kept, dropped
}

// fill sets the fields of a row that selectFound left empty.
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

// stepsView shows what each rule did to a discovered target.
type stepsView struct {
	Job    string
	Name   string // empty: discovery no longer finds it
	Kept   bool
	Before labels.Labels
	After  labels.Labels
	Steps  []stepRow
	Unused int // number of rules after the one that dropped it
}

type stepRow struct {
	Words   string
	YAML    string
	Chooses bool // the action keeps or drops, and changes no label
	Kept    bool
	Diff    []change
}

// change is the change of a label by a rule.
type change struct {
	Kind string // added, changed, removed
	Name string
	Old  string
	New  string
}

func stepsLink(job string, l labels.Labels) string {
	q := url.Values{"job": {job}, "explain": {strconv.FormatUint(l.Hash(), 16)}}
	return "service-discovery?" + q.Encode() + "#steps"
}

// chosen returns the steps of the target that the query names by the hash of its discovered labels, or nil if it names
// none.
func (s *Server) chosen(pools []scrape.PoolStatus, q url.Values) *stepsView {
	job := q.Get("job")
	hash, err := strconv.ParseUint(q.Get("explain"), 16, 64)
	if err != nil {
		return nil
	}
	view := &stepsView{Job: job, Kept: true}
	rows, _, _ := selectFound(pools, selection{Job: job})
	for _, row := range rows {
		l := row.before()
		if l.Hash() != hash {
			continue
		}
		return s.steps(job, l)
	}
	return view
}

// steps returns what the rules of a job do to the labels of a discovered target.
func (s *Server) steps(job string, l labels.Labels) *stepsView {
	view := &stepsView{Job: job, Kept: true, Name: nameOf(l), Before: l, After: l}
	rules := s.src.Rules(job)
	steps := s.src.Explain(l, rules)
	view.Unused = len(rules) - len(steps)
	for _, step := range steps {
		view.Kept, view.After = step.Kept, step.After
		view.Steps = append(view.Steps, describe(step))
	}
	return view
}

func describe(step relabel.Step) stepRow {
	text, err := yaml.Marshal(step.Rule)
	if err != nil {
		text = fmt.Appendf(nil, "# %v", err)
	}
	return stepRow{
		Words:   step.String(),
		YAML:    string(text),
		Chooses: chooses(step.Rule.Action),
		Kept:    step.Kept,
		Diff:    diff(maskLabels(step.Before), maskLabels(step.After)),
	}
}

func chooses(a promrelabel.Action) bool {
	switch a {
	case promrelabel.Keep, promrelabel.Drop, promrelabel.KeepEqual, promrelabel.DropEqual:
		return true
	default:
		return false
	}
}

// diff returns the changed labels, sorted by name.
func diff(before, after labels.Labels) []change {
	var out []change
	names := labels.NewBuilder(before)
	after.Range(func(l labels.Label) { names.Set(l.Name, l.Value) })
	names.Labels().Range(func(l labels.Label) {
		old, now := before.Get(l.Name), after.Get(l.Name)
		c := change{Name: cut(l.Name), Old: cut(old), New: cut(now)}
		switch {
		case old == now:
			return
		case !before.Has(l.Name):
			c.Kind = "added"
		case !after.Has(l.Name):
			c.Kind = "removed"
		default:
			c.Kind = "changed"
		}
		out = append(out, c)
	})
	return out
}
