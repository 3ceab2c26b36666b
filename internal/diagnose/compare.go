package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

const (
	// fewestOwnPages is how many pods must show one page for the conclusion that it is envoy-scraper's own.
	fewestOwnPages = 3
	// sameStart is by how much the starts of one Envoy may differ by its uptime, which has whole seconds.
	sameStart = 2 * time.Second
)

// compare changes findings by what only all pods together show.
func (b *builder) compare() {
	b.findOwnPage()
	b.findSilentNamespaces()
}

// findOwnPage finds out whether all targets show one page. This happens if envoy-scraper has a sidecar that captures
// its traffic: the sidecar answers all requests to port 15090 itself.
func (b *builder) findOwnPage() {
	if b.in.Outside {
		return
	}
	self := b.byName[b.in.Self]
	if self != nil && self.record.Proxy == "" || b.in.Self != (scrape.Pod{}) && self == nil && b.seesAll() {
		return // it has no sidecar
	}
	var up []*pod
	workloads := map[string]bool{}
	for _, p := range b.pods {
		if p.found.verdict == Scraped && !p.found.target.Started.IsZero() {
			up = append(up, p)
			workloads[p.record.Namespace+"/"+p.record.Controller] = true
		}
	}
	if len(up) < fewestOwnPages || len(workloads) < 2 {
		return
	}
	first, last, shape := up[0].found.target.Started, up[0].found.target.Started, up[0].found.target.Shape
	for _, p := range up {
		t := p.found.target
		if t.Shape != shape || shape == 0 {
			return
		}
		if t.Started.Before(first) {
			first = t.Started
		}
		if t.Started.After(last) {
			last = t.Started
		}
	}
	if last.Sub(first) > sameStart {
		return
	}
	for _, p := range up {
		p.found.reason.Cause = causeScraped + ":own-page"
		p.found.reason.Hint = ownPageHint
	}
}

const ownPageHint = "All targets show one and the same page, as if one Envoy answered for all: envoy-scraper itself " +
	`has a sidecar that captures its traffic. Give its pods the label sidecar.istio.io/inject: "false".`

// seesAll reports whether the records are of all namespaces, so that a pod without a record has no sidecar.
func (b *builder) seesAll() bool {
	return slices.ContainsFunc(b.in.Scopes, func(s discovery.PodScope) bool {
		return s.Records && len(s.Namespaces) == 0 && len(s.Denied) == 0 && s.Label == "" && s.Field == ""
	})
}

// findSilentNamespaces finds namespaces of which no pod answers in time while those of others do: a NetworkPolicy.
func (b *builder) findSilentNamespaces() {
	silent, answers := map[string][]*pod{}, map[string]int{}
	for _, p := range b.pods {
		switch {
		case p.answers():
			answers[p.record.Namespace]++
		case p.found.reason.Cause == causeDown+":timeout":
			silent[p.record.Namespace] = append(silent[p.record.Namespace], p)
		}
	}
	if len(answers) == 0 {
		return
	}
	for _, namespace := range slices.Sorted(maps.Keys(silent)) {
		pods := silent[namespace]
		if answers[namespace] > 0 || len(pods) < 2 {
			continue
		}
		for _, p := range pods {
			_, port, _ := cutURL(p.found.target.URL)
			p.found.reason.Cause = causeDown + ":timeout:namespace:" + namespace
			p.found.words = fmt.Sprintf("No pod of namespace %s answers in time, and pods of other namespaces do.",
				namespace)
			p.found.reason.Hint = fmt.Sprintf("None of the %d pods of namespace %s answers, and those of other "+
				"namespaces do: a NetworkPolicy of %s keeps port %s closed. Allow it from the namespace of "+
				"envoy-scraper.",
				len(pods), namespace, namespace, port)
		}
	}
}

// answers reports whether the pod has answered: no NetworkPolicy keeps envoy-scraper away from all of its ports.
func (p *pod) answers() bool {
	switch p.found.verdict {
	case Scraped:
		return true
	case Cut: // these two limits may apply before a connection
		return p.found.reason.Cause != causeCut+":target_limit" && p.found.reason.Cause != causeCut+":memory"
	case Down:
		if upTarget(p) != nil {
			return true
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(p.found.reason.Cause, causeDown+":"), ":")
		return slices.Contains([]string{"refused", "reset", "status", "page", "merged-page", "utf-8", "cut-off",
			"slow"}, kind)
	default: // such as a finished pod, whose address may be another pod's
		return false
	}
}

// notes says what the report cannot know.
func (b *builder) notes() []string {
	var notes []string
	if len(b.in.Scopes) == 0 {
		notes = append(notes, "No job discovers pods in Kubernetes, so pods are known by the labels of targets only.")
	}
	for _, s := range b.in.Scopes {
		for _, namespace := range slices.Sorted(maps.Keys(s.Denied)) {
			where := "namespace " + namespace
			if namespace == "" {
				where = "all namespaces"
			}
			notes = append(notes, fmt.Sprintf("Job %s %s, so pods of %s may be missing here.", s.Job,
				s.Denied[namespace], where))
		}
		if !s.Records {
			notes = append(notes, fmt.Sprintf("Job %s discovers with the role %s or with attach_metadata, so of "+
				"its pods only the labels of their targets are known.", s.Job, s.Role))
		}
	}
	for _, p := range b.pods {
		if strings.HasSuffix(p.found.reason.Cause, ":own-page") {
			return append([]string{ownPageHint}, notes...)
		}
	}
	return notes
}
