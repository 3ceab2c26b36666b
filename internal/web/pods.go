package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// podsPage lists the pods that have an Envoy or should have one, and says why they are not scraped.
type podsPage struct {
	frame
	List    listView[*podRow]
	Causes  []causeView
	Funnels []funnelView
	Notes   []string
}

// podRow is a row of the list. Only rows of the page have the fields that are not in the report.
type podRow struct {
	*diagnose.Row
	place int // in the report, where the worst come first
	rank  int // of the verdict; 0 is the worst
	Shown *show.Pod
	Link  string // to the evidence
}

func (r *podRow) show() {
	shown := show.NewPod(r.Row, hide)
	r.Shown = &shown
}

type causeView struct {
	show.Cause
	Link        string // to the pods with this cause
	ExampleLink string // to the evidence of the example
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

// verdictClass returns the class of a verdict in style.css, which has a sign and a colour for it.
func verdictClass(v diagnose.Verdict) string {
	switch v {
	case diagnose.Scraped:
		return "up"
	case diagnose.Down, diagnose.NotATarget, diagnose.NotSeen:
		return "down"
	case diagnose.Cut:
		return "warn"
	case diagnose.NotReady:
		return "unknown"
	default:
		return "off"
	}
}

// listOfPods describes the list of the pods: the worst first.
func listOfPods() list[*podRow] {
	var verdicts []string
	for _, v := range diagnose.Verdicts() {
		verdicts = append(verdicts, string(v))
	}
	byName := func(a, b *podRow) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Pod, b.Pod))
	}
	number := func(text, key string, of func(*diagnose.Target) int64) column[*podRow] {
		value := func(r *podRow) int64 {
			if r.Target == nil || r.Target.LastScrape.IsZero() {
				return -1 << 62
			}
			return of(r.Target)
		}
		return column[*podRow]{Text: text, Key: key, Number: true,
			Compare: func(a, b *podRow) int { return cmp.Compare(value(a), value(b)) }}
	}
	return list[*podRow]{
		Noun: "pods", Hint: "pod, namespace, node, IP, label=value",
		Facets: []facet[*podRow]{
			{Key: "verdict", Text: "Verdict", Values: verdicts,
				Value: func(r *podRow) string { return string(r.Verdict) }},
			{Key: "namespace", Text: "Namespace", Value: func(r *podRow) string { return r.Namespace }},
			{Key: "node", Text: "Node", Value: func(r *podRow) string { return r.Node }},
			{Key: "job", Text: "Job", Value: jobOf},
			{Key: "cause", Text: "Cause", Value: func(r *podRow) string { return r.Reason.Cause }},
		},
		Columns: []column[*podRow]{
			{Text: "Verdict", Key: "verdict", Compare: func(a, b *podRow) int { return cmp.Compare(a.rank, b.rank) }},
			{Text: "Pod", Key: "pod", Compare: byName},
			{Text: "Why"},
			// The larger the number, the longer ago.
			number("Last scrape", "last", func(t *diagnose.Target) int64 { return -t.LastScrape.UnixNano() }),
			number("Took", "took", func(t *diagnose.Target) int64 { return int64(t.Duration) }),
			number("Bytes", "bytes", func(t *diagnose.Target) int64 { return t.PageBytes }),
			number("Samples", "samples", func(t *diagnose.Target) int64 { return int64(t.Samples) }),
		},
		Order: func(a, b *podRow) int { return cmp.Compare(a.place, b.place) },
		Search: func(r *podRow) searchable {
			return searchable{
				Texts: []string{r.Namespace + "/" + r.Pod, r.Node, r.IP, r.Workload},
				Labels: []labels.Labels{labels.FromStrings("namespace", r.Namespace, "pod", r.Pod, "node", r.Node, "ip",
					r.IP, "workload", r.Workload, "job", jobOf(r))},
			}
		},
	}
}

// jobOf returns the job that a row speaks of; empty: none.
func jobOf(r *podRow) string {
	if r.Target != nil {
		return r.Target.Job
	}
	return r.Reason.Job
}

// hide removes credentials from a text of a report.
func hide(text string) string {
	if !strings.Contains(text, "://") && !strings.Contains(text, "oauth2: ") {
		return text
	}
	return maskURLs(scrape.WithoutTokens(text))
}

func rowsOf(report *diagnose.Report) []*podRow {
	rank := map[diagnose.Verdict]int{}
	for i, v := range diagnose.Verdicts() {
		rank[v] = i
	}
	all, rows := make([]podRow, len(report.Rows)), make([]*podRow, len(report.Rows))
	for i := range report.Rows {
		all[i] = podRow{Row: &report.Rows[i], place: i, rank: rank[report.Rows[i].Verdict]}
		rows[i] = &all[i]
	}
	return rows
}

// podsPage serves /pods: the list, or the evidence of the pod that the request names.
func (s *Server) podsPage(w http.ResponseWriter, r *http.Request) {
	format, ok := s.format(w, r)
	name := r.URL.Query().Get("pod")
	switch {
	case !ok:
	case name != "" && format == formatJSON:
		s.apiPods(w, r)
	case name != "" && format == formatText:
		s.podText(w, r, name)
	case name != "":
		s.podPage(w, r, name)
	default:
		s.podList(w, r, format)
	}
}

func (s *Server) podList(w http.ResponseWriter, r *http.Request, format string) {
	report := s.src.Pods.Report()
	view, found := selectPods(&report, r)
	switch format {
	case formatJSON:
		writeJSON(s, w, view, found, podJSON)
		return
	case formatText:
		writeText(s, w, view, found, podHeading, s.podLine)
		return
	}
	for _, row := range view.Rows {
		row.show()
		row.Link = podLink(view.Sel, row.Shown.FullName())
	}
	p := podsPage{frame: s.frame(r, "Pods", "pods"), List: view}
	beside := show.NewAnswer(&report, hide)
	p.Notes, p.Funnels = beside.Notes, funnels(beside.Funnels)
	for _, c := range beside.Causes {
		p.Causes = append(p.Causes, causeView{Cause: c,
			Link:        withValues("cause", c.Key, "verdict", string(c.Verdict)),
			ExampleLink: podLink(selection{}, c.Example)})
	}
	s.render(w, "pods.html", p)
}

// podJSON returns a row for JSON.
func podJSON(r *podRow) any {
	pod := show.NewPod(r.Row, hide)
	return struct {
		Name string `json:"name"` // namespace/pod
		show.Pod
	}{pod.FullName(), pod}
}

const podHeading = "VERDICT       LAST     TOOK         BYTES  SAMPLES  POD, WHY"

// podLine returns a row for text.
func (s *Server) podLine(r *podRow) string {
	pod := show.NewPod(r.Row, hide)
	n := show.NumbersOf(&pod, s.now())
	return fmt.Sprintf("%-13s %-8s %-8s %9s %8s  %s  %s", r.Verdict, n.Last, n.Took, n.Bytes, n.Samples, pod.FullName(),
		show.Why(&pod))
}

// selectPods returns the page of the list that a request asks for, and the selected rows of all pages.
func selectPods(report *diagnose.Report, r *http.Request) (listView[*podRow], []*podRow) {
	described := listOfPods()
	return described.show(rowsOf(report), parseSelection(r, described.keys()...))
}

// withValues returns the link to the rows with some values of facets: withValues("job", "app", "verdict", "DOWN").
func withValues(keysAndValues ...string) string {
	sel := selection{Chosen: map[string]string{}}
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		sel.Chosen[keysAndValues[i]] = keysAndValues[i+1]
	}
	return sel.Link()
}

// podLink returns the link to the evidence of a pod. It keeps the selection for the way back.
func podLink(sel selection, name string) string {
	q := sel.query()
	q.Set("pod", name)
	return "?" + q.Encode()
}

// funnels adds links to the numbers of funnels: to the pods that a step leaves out, to all pods of the job at the first
// step, and to those that are scraped at the last one.
func funnels(all []show.Funnel) []funnelView {
	var views []funnelView
	for _, f := range all {
		v := funnelView{Job: f.Job}
		for i, step := range f.Steps {
			sv := funnelStepView{FunnelStep: step}
			if step.Cause != "" {
				sv.OutLink = withValues("cause", step.Cause)
			}
			switch {
			case step.Left == 0:
			case i == len(f.Steps)-1:
				sv.LeftLink = withValues("job", f.Job, "verdict", string(diagnose.Scraped))
			case i == 0:
				sv.LeftLink = withValues("job", f.Job)
			}
			v.Steps = append(v.Steps, sv)
		}
		views = append(views, v)
	}
	return views
}

// AllPods returns what /api/v1/pods answers without parameters.
func (s *Server) AllPods() show.Answer {
	report := s.src.Pods.Report()
	return answerOf(&report, rowsOf(&report))
}

func answerOf(report *diagnose.Report, rows []*podRow) show.Answer {
	a := show.NewAnswer(report, hide)
	a.Total = len(rows)
	for _, row := range rows {
		a.Pods = append(a.Pods, show.NewPod(row.Row, hide))
	}
	return a
}

// answer returns what a request to the API asks for: one pod with its evidence, or the selected rows. They are complete
// unless the request asks for a page of them. If it cannot be answered, it returns the status code and why.
func (s *Server) answer(ctx context.Context, r *http.Request) (show.Answer, int, error) {
	q := r.URL.Query()
	if name := q.Get("pod"); name != "" {
		a, err := s.OnePod(ctx, name, !isCrossSite(r))
		return a, http.StatusNotFound, err
	}
	report := s.src.Pods.Report()
	view, rows := selectPods(&report, r)
	if view.Problem != "" {
		return show.Answer{}, http.StatusBadRequest, errors.New("search: " + view.Problem)
	}
	if q.Has("rows") || q.Has("page") {
		rows = view.Rows
	}
	a := answerOf(&report, rows)
	a.Total = view.Found
	return a, http.StatusOK, nil
}

// podText serves the evidence of a pod as plain text.
func (s *Server) podText(w http.ResponseWriter, r *http.Request, name string) {
	a, err := s.OnePod(r.Context(), name, !isCrossSite(r))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	var b bytes.Buffer
	if err := show.WritePod(&b, &a.Pods[0], a.Evidence, s.now()); err != nil {
		s.log.Debug("write a pod as text", zap.Error(err))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write(b.Bytes())
}

// apiPods serves the list, or one pod with its evidence, as JSON. It writes one pod at a time.
func (s *Server) apiPods(w http.ResponseWriter, r *http.Request) {
	a, code, err := s.answer(r.Context(), r)
	if err != nil {
		s.apiError(w, code, map[int]string{http.StatusNotFound: "not_found", http.StatusBadRequest: "bad_data"}[code],
			err)
		return
	}
	head := []field{{"at", a.At}, {"total", a.Total}, {"causes", a.Causes}, {"funnels", a.Funnels}, {"notes", a.Notes}}
	if a.Evidence != nil {
		head = append(head, field{"evidence", a.Evidence})
	}
	s.streamJSON(w, head, "pods", len(a.Pods), func(i int) any { return &a.Pods[i] })
}

// podCounts are the numbers of pods on the overview. Pods that have finished, or that other instances scrape, are not
// counted.
type podCounts struct{ Scraped, Total int }

func (s *Server) countPods() (c podCounts) {
	report := s.src.Pods.Report()
	for i := range report.Rows {
		v := report.Rows[i].Verdict
		if v == diagnose.Scraped {
			c.Scraped++
		}
		if !show.IsOthers(v) {
			c.Total++
		}
	}
	return c
}
