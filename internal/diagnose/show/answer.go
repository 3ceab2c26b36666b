package show

import (
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
)

// Answer is what /api/v1/pods answers. Times are RFC 3339, durations are in seconds.
type Answer struct {
	At       time.Time `json:"at"`
	Total    int       `json:"total"` // pods that match the query, also those that Pods leaves out
	Pods     []Pod     `json:"pods"`
	Causes   []Cause   `json:"causes"`
	Funnels  []Funnel  `json:"funnels"`
	Notes    []string  `json:"notes"`              // what is not known, one sentence each
	Evidence *Evidence `json:"evidence,omitempty"` // if the query names a pod
}

// Pod is a diagnose.Row.
type Pod struct {
	Namespace string           `json:"namespace"`
	Name      string           `json:"pod"`
	Node      string           `json:"node,omitempty"`
	IP        string           `json:"ip,omitempty"`
	Workload  string           `json:"workload,omitempty"` // such as ReplicaSet/reviews-v1-7f9c
	Verdict   diagnose.Verdict `json:"verdict"`
	Reason    Reason           `json:"reason"`
	Target    *Target          `json:"target,omitempty"`
	Targets   int              `json:"targets"` // of all jobs
}

// These have the same form in a report and in JSON.
type (
	Reason     = diagnose.Reason
	Cause      = diagnose.Cause
	Funnel     = diagnose.Funnel
	FunnelStep = diagnose.FunnelStep
)

// Target is a diagnose.Target.
type Target struct {
	Job          string     `json:"job"`
	URL          string     `json:"url"`
	LastScrape   *time.Time `json:"lastScrape,omitempty"` // absent: none yet
	Seconds      float64    `json:"durationSeconds"`
	PageBytes    int64      `json:"pageBytes"` // uncompressed; 0: not known
	WireBytes    int64      `json:"wireBytes"`
	Samples      int        `json:"samples"`
	Kept         int        `json:"kept"`
	Err          string     `json:"lastError,omitempty"`
	FailingSince *time.Time `json:"failingSince,omitempty"`
	Failures     int        `json:"failuresInARow,omitempty"`
	SlowedSince  *time.Time `json:"slowedSince,omitempty"`  // since when it is asked less often, see EverySeconds
	EverySeconds float64    `json:"everySeconds,omitempty"` // between two scrapes
}

// Evidence is what a verdict about a pod rests on.
type Evidence struct {
	Relabeling []Relabeling `json:"relabeling"` // one for each discovered target of the pod
	Page       *Page        `json:"page,omitempty"`
	Kubectl    []string     `json:"kubectl"` // commands that fetch the page, to copy
	Now        []Fact       `json:"apiServer,omitempty"`
	NowError   string       `json:"apiServerError,omitempty"`
}

// Relabeling is what the rules of a job did to a discovered target.
type Relabeling struct {
	Job    string            `json:"job"`
	Name   string            `json:"target"` // such as shop/cart-0 istio-proxy:15090
	Kept   bool              `json:"kept"`
	Note   string            `json:"note,omitempty"` // where it is summed, or why it is kept and not scraped from here
	Steps  []Step            `json:"steps"`
	Before map[string]string `json:"labelsBefore"`
	After  map[string]string `json:"labelsAfter,omitempty"` // if kept
}

// Step is what one rule did.
type Step struct {
	Rule    int      `json:"rule"` // from 1
	Words   string   `json:"words"`
	Kept    bool     `json:"kept"` // false: this rule dropped the target
	Changes []Change `json:"changes,omitempty"`
}

// Change is a label that a rule changed.
type Change struct {
	Kind string `json:"kind"` // added, changed, removed
	Name string `json:"label"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// Page is the page of a target, fetched for the person who looks.
type Page struct {
	Job     string   `json:"job"`
	URL     string   `json:"url"`
	Status  string   `json:"status,omitempty"` // such as 200 OK
	Seconds float64  `json:"durationSeconds"`
	Header  []Header `json:"header,omitempty"`
	Body    string   `json:"body,omitempty"`
	Cut     bool     `json:"cut,omitempty"` // the page is longer than Body
	Err     string   `json:"error,omitempty"`
}

// Header is a field of a response header.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Fact is one thing that the API server says of a pod, such as Phase: Running.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// FullName returns namespace/pod.
func (p Pod) FullName() string { return p.Namespace + "/" + p.Name }

// NewPod returns a row of a report. hide removes credentials from a text; it must not be nil.
func NewPod(r *diagnose.Row, hide func(string) string) Pod {
	p := Pod{
		Namespace: r.Namespace, Name: r.Pod, Node: r.Node, IP: r.IP, Workload: r.Workload, Verdict: r.Verdict,
		Targets: r.Targets, Reason: r.Reason,
	}
	for _, text := range []*string{&p.Reason.Sentence, &p.Reason.Hint, &p.Reason.RuleText, &p.Reason.Value,
		&p.Reason.Regex} {
		*text = hide(*text)
	}
	if t := r.Target; t != nil {
		p.Target = &Target{
			Job: t.Job, URL: hide(t.URL), LastScrape: ever(t.LastScrape), Seconds: t.Duration.Seconds(),
			PageBytes: t.PageBytes, WireBytes: t.WireBytes, Samples: t.Samples, Kept: t.Kept, Err: hide(t.Err),
			FailingSince: ever(t.FailingSince), Failures: t.Failures, SlowedSince: ever(t.SlowedSince),
			EverySeconds: t.Every.Seconds(),
		}
	}
	return p
}

// NewAnswer returns what a report says beside its rows: causes, funnels and notes.
func NewAnswer(r *diagnose.Report, hide func(string) string) Answer {
	a := Answer{At: r.At, Pods: []Pod{}, Causes: []Cause{}, Funnels: []Funnel{}, Notes: []string{}}
	for _, c := range r.Causes {
		c.Words = hide(c.Words)
		a.Causes = append(a.Causes, c)
	}
	for _, f := range r.Funnels {
		f.Steps = slices.Clone(f.Steps) // the report may be shared
		for i := range f.Steps {
			f.Steps[i].Words = hide(f.Steps[i].Words)
		}
		a.Funnels = append(a.Funnels, f)
	}
	for _, note := range r.Notes {
		a.Notes = append(a.Notes, hide(note))
	}
	return a
}

// IsOthers reports whether a pod with this verdict is none that this process should scrape: it has finished, or another
// instance scrapes it.
func IsOthers(v diagnose.Verdict) bool { return v == diagnose.Finished || v == diagnose.Elsewhere }

// ever returns nil for the zero time, which JSON then leaves out.
func ever(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
