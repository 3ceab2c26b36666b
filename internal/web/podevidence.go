package web

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// A person who looks at the evidence of a pod causes one request to the API server and then one to the target. The
// limits hold for all people together.
const (
	maxPreviews     = 2                // people for whom such requests run at the same time
	slotTimeout     = 5 * time.Second  // of the wait until it is a person's turn
	evidenceTimeout = 10 * time.Second // of each of the two requests
)

// maxExplained is how many discovered targets of a pod are explained. A pod has one for each port of each job.
const maxExplained = 50

// podPage shows a pod with its evidence.
type podPage struct {
	frame
	Back     string // link to the list
	Pod      *podRow
	Unknown  string // if there is no such pod, a sentence
	Nearest  []pair // names and links, if there is no such pod
	Steps    []*stepsView
	Evidence *show.Evidence
}

func (s *Server) podPage(w http.ResponseWriter, r *http.Request, name string) {
	described := listOfPods()
	sel := parseSelection(r, described.keys()...)
	p := podPage{frame: s.frame(r, "Pod "+cut(name), "pods"), Back: sel.Link()}
	e := s.examine(r.Context(), name, !isCrossSite(r))
	p.Evidence, p.Steps = e.evidence, e.steps
	if e.row == nil {
		for _, name := range e.nearest {
			p.Nearest = append(p.Nearest, pair{name, podLink(sel, name)})
		}
		p.Unknown = e.unknown()
		w.Header().Set("Content-Type", "text/html; charset=utf-8") // render is too late for it
		w.WriteHeader(http.StatusNotFound)
	} else {
		p.Pod = &podRow{Row: e.row}
		p.Pod.show()
	}
	s.render(w, "pod.html", p)
}

// OnePod returns what /api/v1/pods answers for a pod, namespace/name: the pod with its evidence. The error says that
// there is no such pod. If fetch is false, neither the API server nor the target is asked for the evidence.
func (s *Server) OnePod(ctx context.Context, name string, fetch bool) (show.Answer, error) {
	e := s.examine(ctx, name, fetch)
	if e.row == nil {
		return show.Answer{}, errors.New(e.unknown() + e.suggestion())
	}
	a := show.NewAnswer(&diagnose.Report{At: e.at}, hide)
	a.Total, a.Pods, a.Evidence = 1, append(a.Pods, show.NewPod(e.row, hide)), e.evidence
	return a, nil
}

// examined is a pod that somebody asks for.
type examined struct {
	at       time.Time
	name     string
	row      *diagnose.Row // nil: there is no such pod
	err      error         // of the API server
	nearest  []string      // names, if there is no such pod
	evidence *show.Evidence
	steps    []*stepsView // of the evidence, as pages show them
}

// examine asks the API server and the target of a pod, and says what the rules did to it.
func (s *Server) examine(ctx context.Context, name string, fetch bool) examined {
	var busy error
	if fetch {
		var leave func()
		if leave, busy = s.takeSlot(ctx); busy == nil {
			defer leave()
		}
		fetch = busy == nil
	}
	namespace, pod, _ := strings.Cut(name, "/")
	e := examined{name: name}
	var report diagnose.Report
	var facts []show.Fact
	if fetch && s.src.Pods.Ask != nil {
		asking, cancel := context.WithTimeout(ctx, evidenceTimeout)
		report, facts, e.err = s.src.Pods.Ask(asking, namespace, pod)
		cancel()
	} else {
		report = s.src.Pods.Report()
	}
	e.at = report.At
	if e.row = report.Row(namespace, pod); e.row == nil {
		e.nearest = nearest(&report, name)
		return e
	}
	e.evidence = &show.Evidence{Relabeling: []show.Relabeling{}, Kubectl: []string{}}
	e.steps = s.stepsOf(scrape.Pod{Namespace: namespace, Name: pod})
	for _, v := range e.steps {
		e.evidence.Relabeling = append(e.evidence.Relabeling, relabelingOf(v))
	}
	if line := kubectlLine(e.row); line != "" {
		e.evidence.Kubectl = append(e.evidence.Kubectl, line)
	}
	if e.err != nil {
		e.evidence.NowError = cut(hide(e.err.Error()))
	}
	for _, f := range facts {
		e.evidence.Now = append(e.evidence.Now, show.Fact{Name: cut(f.Name), Value: cut(hide(f.Value))})
	}
	switch t := e.row.Target; {
	case t == nil || s.src.Pods.Preview == nil:
	case busy != nil:
		e.evidence.Page = &show.Page{Job: t.Job, URL: hide(t.URL), Err: busy.Error()}
	case fetch:
		e.evidence.Page = s.preview(ctx, t)
	}
	return e
}

// takeSlot waits until fewer than maxPreviews other people are being served. The caller calls leave at the end.
func (s *Server) takeSlot(ctx context.Context) (leave func(), err error) {
	waiting, cancel := context.WithTimeout(ctx, slotTimeout)
	defer cancel()
	select {
	case s.previews <- struct{}{}:
		return func() { <-s.previews }, nil
	case <-waiting.Done():
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%d other pages are being fetched; try again", maxPreviews)
	}
}

// unknown says that there is no such pod.
func (e *examined) unknown() string {
	text := fmt.Sprintf("no pod %s has an Envoy or should have one", cut(e.name))
	switch {
	case errors.Is(e.err, discovery.ErrNoPod):
		return fmt.Sprintf("there is no pod %s", cut(e.name))
	case e.err != nil:
		return text + ", as far as is known: " + cut(hide(e.err.Error()))
	}
	return text
}

func (e *examined) suggestion() string {
	if len(e.nearest) == 0 {
		return ""
	}
	return "; the nearest names: " + strings.Join(e.nearest, ", ")
}

func nearest(report *diagnose.Report, name string) []string {
	pods := make([]show.Pod, 0, len(report.Rows))
	for i := range report.Rows {
		pods = append(pods, show.Pod{Namespace: report.Rows[i].Namespace, Name: report.Rows[i].Pod})
	}
	return show.Nearest(pods, name)
}

// isCrossSite reports whether another web site made the browser send the request. Such a request must not cause
// requests to pods or to the API server.
func isCrossSite(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Site") == "cross-site" }

// preview fetches the page of a target for a person.
func (s *Server) preview(ctx context.Context, t *diagnose.Target) *show.Page {
	ctx, cancel := context.WithTimeout(ctx, evidenceTimeout)
	defer cancel()
	p := &show.Page{Job: t.Job, URL: hide(t.URL)}
	got, err := s.src.Pods.Preview(ctx, t.Job, t.URL)
	if err != nil {
		p.Err = hide(err.Error())
	}
	if got == nil {
		return p
	}
	p.Status, p.Seconds, p.Cut = got.Status, got.Took.Seconds(), got.Cut
	p.Body = hide(strings.ToValidUTF8(string(got.Body), "\uFFFD"))
	for _, name := range slices.Sorted(maps.Keys(got.Header)) {
		for _, value := range got.Header[name] {
			p.Header = append(p.Header, show.Header{Name: cut(name), Value: cut(hide(value))})
		}
	}
	return p
}

// stepsOf returns the steps of each discovered target of a pod, by job.
func (s *Server) stepsOf(pod scrape.Pod) []*stepsView {
	var views []*stepsView
	add := func(of scrape.Pod, job string, discovered func() labels.Labels, note func() string) {
		if of == pod && len(views) < maxExplained {
			v := s.steps(job, discovered())
			v.Note = note()
			v.Anchor = fmt.Sprintf("target-%d-", len(views)+1)
			views = append(views, v)
		}
	}
	none := func() string { return "" }
	for _, p := range s.src.Pods.Targets(pod) {
		for _, t := range p.Targets {
			add(t.Pod, p.Job, t.Discovered, func() string { return s.sumsNote(t.Labels) })
		}
		for _, d := range p.Dropped {
			add(d.Pod, p.Job, d.Discovered, none)
		}
		for _, t := range p.Invalid {
			add(t.Pod, p.Job, t.Discovered, func() string {
				return "It is not a valid target: " + cut(hide(t.Reason)) + "."
			})
		}
		for _, t := range p.Duplicates {
			add(t.Pod, p.Job, t.Discovered, func() string {
				if t.Same == (scrape.Pod{}) {
					return "It equals another target of the job, which is scraped."
				}
				return fmt.Sprintf("It equals the target of pod %s, which is scraped.", t.Same)
			})
		}
		for _, t := range p.Elsewhere {
			add(t.Pod, p.Job, t.Discovered, func() string { return fmt.Sprintf("Shard %d scrapes it.", t.Shard) })
		}
	}
	return views
}

func relabelingOf(v *stepsView) show.Relabeling {
	r := show.Relabeling{Job: v.Job, Name: v.Name, Kept: v.Kept, Note: v.Note, Steps: []show.Step{},
		Before: labelMap(v.Before)}
	if v.Kept {
		r.After = labelMap(v.After)
	}
	for i, row := range v.Steps {
		step := show.Step{Rule: i + 1, Words: row.Words, Kept: row.Kept}
		for _, c := range row.Diff {
			step.Changes = append(step.Changes, show.Change(c))
		}
		r.Steps = append(r.Steps, step)
	}
	return r
}

func labelMap(l labels.Labels) map[string]string {
	m := make(map[string]string, l.Len())
	for _, p := range pairs(l) {
		m[p.Name] = p.Value
	}
	return m
}

// kubectlLine returns a command that fetches a pod's page through the API server. It returns nothing if the target is
// not at the pod's address. Without a target it is Envoy's page on the port that Istio adds.
func kubectlLine(row *diagnose.Row) string {
	scheme, port, path := "", envoy.StatsPort, strings.TrimPrefix(envoy.StatsPath, "/")
	if row.Target != nil {
		u, err := url.Parse(row.Target.URL)
		if err != nil || row.IP != "" && u.Hostname() != row.IP {
			return ""
		}
		if u.Scheme == "https" {
			scheme, port = "https:", "443"
		} else if u.Scheme == "http" {
			port = "80"
		}
		if u.Port() != "" {
			port = u.Port()
		}
		if path = strings.TrimPrefix(u.EscapedPath(), "/"); u.RawQuery != "" {
			path += "?" + u.RawQuery
		}
	}
	return "kubectl get --raw " + shellQuote(fmt.Sprintf("/api/v1/namespaces/%s/pods/%s%s:%s/proxy/%s", row.Namespace,
		scheme, row.Pod, port, path))
}

// shellQuote quotes a word for a shell if it has other characters than those of a plain path. Annotations of a pod can
// choose the path.
func shellQuote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/.:_-", r)
	}
	if strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
