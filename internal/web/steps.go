package web

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// stepsView shows what each rule did to a discovered target.
type stepsView struct {
	Job    string
	Name   string // empty: discovery no longer finds it
	Kept   bool
	Note   string // where it is summed, or why rules keep it and it is not scraped from here; empty: neither
	Before labels.Labels
	After  labels.Labels
	Steps  []stepRow
	Unused int    // number of rules after the one that dropped it
	Anchor string // begins the anchors of the steps, where a page has several views
	Close  string // link to the page without the steps
}

type stepRow struct {
	Number  int // of the rule, from 1
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
	view := &stepsView{Job: job, Kept: true, Close: selection{}.With("job", job)}
	for _, row := range foundRows(named(pools, job)) {
		l := row.before()
		if l.Hash() != hash {
			continue
		}
		found := s.steps(job, l)
		found.Close = view.Close
		return found
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
		Number:  step.Index + 1,
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
