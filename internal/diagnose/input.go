package diagnose

import (
	"cmp"
	"slices"
	"strings"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// Input is what a report is made from. A running process takes it from its parts; a command that looks once takes it
// from discovery.Look and scrape.Look.
type Input struct {
	At     time.Time                  // of the report
	Jobs   []*promconfig.ScrapeConfig // in the order of the configuration
	Pools  []scrape.PoolStatus        // of Pools.FullStatus
	Pods   []discovery.PodRecord      // of Manager.Pods
	Scopes []discovery.PodScope       // of Manager.Scopes
	Asked  []*corev1.Pod              // whole pods that somebody asks for, whether or not a job looks at them
	Shard  int                        // index of this instance, if instances share the targets
	Self   scrape.Pod                 // the pod that this process runs in; zero: not known
	Ask    string                     // command that asks an instance in its own pod; empty: not known

	Outside bool // this process does not run in a pod, so it has no sidecar
}

// New makes a report. For 10,000 pods it takes a few tenths of a second.
func New(in Input) Report {
	b := newBuilder(in)
	for _, p := range b.pods {
		p.found = b.judge(p)
	}
	b.compare()
	r := Report{At: in.At, Rows: make([]Row, 0, len(b.pods)), Funnels: b.funnels(), Notes: b.notes()}
	slices.SortFunc(b.pods, func(x, y *pod) int { // pointers, since rows are large
		return cmp.Or(cmp.Compare(rank(x.found.verdict), rank(y.found.verdict)),
			strings.Compare(x.record.Namespace, y.record.Namespace), strings.Compare(x.record.Name, y.record.Name))
	})
	for _, p := range b.pods {
		r.Rows = append(r.Rows, p.row())
	}
	r.Causes = b.causes()
	return r
}

// Verdicts returns all verdicts, the worst first.
func Verdicts() []Verdict {
	return []Verdict{Down, Cut, NotATarget, NotSeen, NoSidecar, NotReady, Duplicate, Elsewhere, Finished, Scraped}
}

// rank returns how bad a verdict is; 0 is the worst.
func rank(v Verdict) int { return slices.Index(Verdicts(), v) }

// row returns the pod as a row.
func (p *pod) row() Row {
	return Row{
		Namespace: p.record.Namespace, Pod: p.record.Name, Node: p.record.Node, IP: p.record.IP,
		Workload: p.record.Controller, Verdict: p.found.verdict, Reason: p.found.reason,
		Target: shownTarget(p.found.target), Targets: len(p.targets),
	}
}

func shownTarget(t *scrape.TargetStatus) *Target {
	if t == nil {
		return nil
	}
	return &Target{
		Job: t.Job, URL: t.URL, LastScrape: t.LastScrape, Duration: t.Duration, PageBytes: t.PageBytes,
		WireBytes: t.WireBytes, Samples: t.Samples, Kept: t.Kept, Err: t.Err, FailingSince: t.FailingSince,
		Failures: t.Failures, SlowedSince: t.SlowedSince, Every: t.Every(),
	}
}
