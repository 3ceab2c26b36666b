package web

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// maxOptions is how many values of a field a select on the page offers: those of most pods.
const maxOptions = 200

// podsPage lists the pods that have an Envoy or should have one, and says why they are not scraped.
type podsPage struct {
	frame
	Query    show.Query
	Of       int // pods of the report
	Verdicts []choice
	Facets   []facet
	Causes   []causeView
	Funnels  []funnelView
	Columns  []columnView
	Rows     []podView
	Pager    pager
	Notes    []string
}

// podView is a row of the list.
type podView struct {
	show.Pod
	Look verdictLook
	Link string // to the evidence
}

// facet is a select of the form: the values of a field, with the number of pods of each.
type facet struct {
	Name, Label string
	Options     []option
	Hidden      int // values that are not offered
}

type option struct {
	Value   string
	Count   int
	Current bool
}

type causeView struct {
	show.Cause
	Look    verdictLook
	Link    string // to the pods with this cause
	Example string // link to the evidence of the example
	Current bool
}

type funnelView struct {
	Job   string
	Steps []funnelStepView
}

// funnelStepView has links to pods. They are empty where the list has no such pods.
type funnelStepView struct {
	show.FunnelStep
	OutLink, LeftLink string
}

// columnView is the head of a column that can be sorted.
type columnView struct {
	Text string
	Sort string // value of aria-sort: ascending, descending, none
	Link string // sorts by this column
}

// verdictLook is how a verdict looks: a class of style.css and a symbol, so that its colour is not all there is.
type verdictLook struct{ Class, Symbol string }

func lookOf(v diagnose.Verdict) verdictLook {
	switch v {
	case diagnose.Scraped:
		return verdictLook{"up", "✓"}
	case diagnose.Down:
		return verdictLook{"down", "✗"}
	case diagnose.Cut:
		return verdictLook{"down", "✂"}
	case diagnose.NotATarget:
		return verdictLook{"down", "⊘"}
	case diagnose.NotSeen:
		return verdictLook{"down", "?"}
	case diagnose.NoSidecar:
		return verdictLook{"", "○"}
	case diagnose.NotReady:
		return verdictLook{"", "…"}
	case diagnose.Duplicate:
		return verdictLook{"", "≡"}
	case diagnose.Elsewhere:
		return verdictLook{"", "→"}
	default:
		return verdictLook{"", "■"}
	}
}

// report returns the report on pods. It is empty if there is none.
func (s *Server) report() diagnose.Report {
	if s.src.Pods.Report == nil {
		return diagnose.Report{At: s.now()}
	}
	return s.src.Pods.Report()
}

// hide removes credentials from a text of a report.
func hide(text string) string {
	if !strings.Contains(text, "://") && !strings.Contains(text, "oauth2: ") {
		return text
	}
	return maskURLs(scrape.WithoutTokens(text))
}

// podsPage serves /pods as a page for browsers, or as text or JSON if the request asks for that.
func (s *Server) podsPage(w http.ResponseWriter, r *http.Request) {
	q := show.ParseQuery(r.URL.Query())
	switch format := formatOf(r); {
	case format == "text":
		s.podsText(w, r, q)
	case format == "json":
		s.apiPods(w, r)
	case q.Pod != "":
		s.podPage(w, r, q)
	default:
		s.render(w, "pods.html", s.listPods(q))
	}
}

// formatOf returns html, text or json: the parameter format, or the first type of the Accept header that is one of them.
func formatOf(r *http.Request) string {
	switch f := r.URL.Query().Get("format"); f {
	case "text", "json":
		return f
	}
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		mediaType, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		switch mediaType {
		case "text/html":
			return "html"
		case "text/plain":
			return "text"
		case "application/json":
			return "json"
		}
	}
	return "html"
}

func (s *Server) listPods(q show.Query) podsPage {
	report := s.report()
	if q.Rows == 0 {
		q.Rows = show.FewRows
	}
	selected := q.Select(&report)
	p := podsPage{
		frame: s.frame("Pods", "pods"), Query: q, Of: len(report.Rows),
		Verdicts: verdictChoices(q, selected.Verdicts),
		Facets: []facet{
			newFacet("namespace", "Namespace", q.Namespace, selected.Namespaces),
			newFacet("node", "Node", q.Node, selected.Nodes),
			newFacet("job", "Job", q.Job, selected.Jobs),
		},
		Columns: columns(q),
	}
	beside := show.NewAnswer(&report, hide)
	p.Notes = beside.Notes
	for _, c := range beside.Causes {
		p.Causes = append(p.Causes, causeView{Cause: c, Look: lookOf(c.Verdict), Current: c.Key == q.Cause,
			Link: show.Query{Cause: c.Key, Verdict: string(c.Verdict)}.Link(), Example: show.Query{Pod: c.Example}.Link()})
	}
	p.Funnels = funnels(&report, beside.Funnels)
	rows, where := pageOf(selected.Rows, q)
	p.Pager = where
	for _, row := range rows {
		v := podView{Pod: show.NewPod(row, hide), Look: lookOf(row.Verdict)}
		v.Link = q.WithPod(v.FullName()).Link()
		p.Rows = append(p.Rows, v)
	}
	return p
}

// pageOf returns the rows of the query's page. If the list has fewer pages, that is the last one.
func pageOf(rows []*diagnose.Row, q show.Query) ([]*diagnose.Row, pager) {
	p := pager{Total: len(rows), Pages: max(1, (len(rows)+q.Rows-1)/q.Rows)}
	p.Page = min(q.Page, p.Pages)
	from := (p.Page - 1) * q.Rows
	to := min(from+q.Rows, len(rows))
	p.From, p.To = from+1, to
	if p.Page > 1 {
		p.First, p.Prev = q.WithPage(1).Link(), q.WithPage(p.Page-1).Link()
	}
	if p.Page < p.Pages {
		p.Next, p.Last = q.WithPage(p.Page+1).Link(), q.WithPage(p.Pages).Link()
	}
	return rows[from:to], p
}

// verdictChoices returns the links to the pods of one verdict. Verdicts that no pod has are left out.
func verdictChoices(q show.Query, counts map[string]int) []choice {
	all := 0
	for _, n := range counts {
		all += n
	}
	choices := []choice{{"All", q.WithVerdict("").Link(), all, q.Verdict == ""}}
	for _, v := range diagnose.Verdicts() {
		if n, current := counts[string(v)], q.Verdict == string(v); n > 0 || current {
			text := lookOf(v).Symbol + " " + string(v)
			choices = append(choices, choice{text, q.WithVerdict(string(v)).Link(), n, current})
		}
	}
	return choices
}

func newFacet(name, label, current string, counts map[string]int) facet {
	f := facet{Name: name, Label: label}
	values := slices.Collect(maps.Keys(counts))
	if counts[current] == 0 && current != "" {
		values = append(values, current)
	}
	slices.SortFunc(values, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	if len(values) > maxOptions {
		f.Hidden = len(values) - maxOptions
		rest := values[maxOptions:]
		if values = values[:maxOptions]; slices.Contains(rest, current) {
			values = append(values, current)
		}
	}
	slices.Sort(values)
	for _, v := range values {
		f.Options = append(f.Options, option{v, counts[v], v == current})
	}
	return f
}

func columns(q show.Query) []columnView {
	all := []columnView{}
	for _, c := range []struct{ name, text string }{
		{show.ByLast, "Last scrape"}, {show.ByTook, "Took"}, {show.ByBytes, "Bytes"}, {show.BySamples, "Samples"},
	} {
		v := columnView{Text: c.text, Sort: "none", Link: q.WithSort(c.name).Link()}
		if q.Sort == c.name {
			if v.Sort = "descending"; q.Ascending {
				v.Sort = "ascending"
			}
		}
		all = append(all, v)
	}
	return all
}

// funnels adds links to the numbers of funnels: to the pods that a step leaves out, to all pods of the job at the first
// step, and to those that are scraped at the last one.
func funnels(report *diagnose.Report, all []show.Funnel) []funnelView {
	known := map[string]bool{} // causes that rows have
	for i := range report.Rows {
		known[report.Rows[i].Reason.Cause] = true
	}
	var views []funnelView
	for _, f := range all {
		v := funnelView{Job: f.Job}
		for i, step := range f.Steps {
			sv := funnelStepView{FunnelStep: step}
			if step.Cause != "" && known[step.Cause] {
				sv.OutLink = show.Query{Cause: step.Cause}.Link()
			}
			switch {
			case step.Left == 0:
			case i == len(f.Steps)-1:
				sv.LeftLink = show.Query{Job: f.Job, Verdict: string(diagnose.Scraped)}.Link()
			case i == 0:
				sv.LeftLink = show.Query{Job: f.Job}.Link()
			}
			v.Steps = append(v.Steps, sv)
		}
		views = append(views, v)
	}
	return views
}

// podsText serves the list, or the evidence of a pod, as plain text. The list is complete unless the query has rows.
func (s *Server) podsText(w http.ResponseWriter, r *http.Request, q show.Query) {
	a, err := s.Pods(r.Context(), q, !isCrossSite(r))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	var b bytes.Buffer
	if a.Evidence != nil {
		err = show.WritePod(&b, &a.Pods[0], a.Evidence, s.now())
	} else {
		err = show.WriteTable(&b, &a, s.now())
	}
	if err != nil {
		s.log.Error("write pods as text", zap.Error(err))
		http.Error(w, "the pods could not be written; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write(b.Bytes())
}

// apiPods serves the list, or one pod with its evidence, as JSON. It writes one pod at a time.
func (s *Server) apiPods(w http.ResponseWriter, r *http.Request) {
	a, err := s.Pods(r.Context(), show.ParseQuery(r.URL.Query()), !isCrossSite(r))
	if err != nil {
		s.apiError(w, http.StatusNotFound, "not_found", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := &jsonWriter{w: bufio.NewWriter(w)}
	out.raw(`{"status":"success","data":{"at":`)
	out.element(a.At)
	for _, field := range []struct {
		name  string
		value any
	}{{"total", a.Total}, {"causes", a.Causes}, {"funnels", a.Funnels}, {"notes", a.Notes}} {
		out.raw(fmt.Sprintf(`,%q:`, field.name))
		out.element(field.value)
	}
	if a.Evidence != nil {
		out.raw(`,"evidence":`)
		out.element(a.Evidence)
	}
	out.raw(`,"pods":[`)
	for i := range a.Pods {
		out.element(&a.Pods[i])
	}
	out.raw(`]}}`)
	if err := out.close(); err != nil {
		s.log.Debug("write the pods", zap.Error(err))
	}
}

// podCounts are the numbers of pods on the overview.
type podCounts struct {
	Scraped, Not int
	Others       int // finished, or of other instances
}

// countPods returns nil if there is no report.
func (s *Server) countPods() *podCounts {
	if s.src.Pods.Report == nil {
		return nil
	}
	c := &podCounts{}
	report := s.src.Pods.Report()
	for i := range report.Rows {
		switch v := report.Rows[i].Verdict; {
		case v == diagnose.Scraped:
			c.Scraped++
		case show.IsOthers(v):
			c.Others++
		default:
			c.Not++
		}
	}
	return c
}
