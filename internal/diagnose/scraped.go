package diagnose

import (
	"fmt"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

const (
	// slowShare is the part of its timeout from which on a scrape counts as slow.
	slowShare = 0.8
	// recently is how long ago a restart is worth a remark.
	recently = time.Hour
)

// scraped is about a pod whose last scrape was good. The hint is the first thing that is odd about it, if anything is.
func (b *builder) scraped(p *pod, t *scrape.TargetStatus) finding {
	f := same(Scraped, causeScraped, fmt.Sprintf("Job %s scrapes it every %s.", t.Job, span(t.Every())), "")
	kind, hint := b.remark(p, t)
	if kind != "" {
		f.reason.Cause += ":" + kind
		f.reason.Hint = hint
	}
	return f
}

// remark returns what is odd about a pod that is scraped.
func (b *builder) remark(p *pod, t *scrape.TargetStatus) (kind, hint string) {
	if other := secondPage(p, t); other != nil {
		return "twice", fmt.Sprintf("It is scraped twice, by job %s at %s and by job %s at %s: both pages have "+
			"Envoy's metrics. Drop one of them.", t.Job, t.URL, other.Job, other.URL)
	}
	_, port, _ := cutURL(t.URL)
	switch why := t.Signs.WhyNoRequests(); {
	case why != "":
		return "no-requests", "istio_requests_total is not on its page: " + why + "."
	case t.Duplicates > 0 && !b.changesSeries(t.Job):
		return "repeated", fmt.Sprintf("Its page shows %s of series that it has already shown; the first of each "+
			"counts. On the merged page of port 15020 the application may show what the agent shows too.",
			counted(t.Duplicates, "sample"))
	case t.Duplicates > 0:
		are := "are"
		if t.Duplicates == 1 {
			are = "is"
		}
		return "collisions", fmt.Sprintf("%s of its page %s lost: metric_relabel_configs of job %s remove the label "+
			"that tells their series apart, and only the first counts. Sum them at the receiver instead.",
			counted(t.Duplicates, "sample"), are, t.Job)
	case !t.SlowedSince.IsZero():
		return "slowed", fmt.Sprintf("It is asked every %s instead of every %s, because its answers begin only after "+
			"more than %s. %s To ask it at every turn, write pace: fixed in envoy_scraper.jobs.",
			span(t.Every()), span(t.Interval), span(scrape.SlowAfter(t.Interval)), fewerMetrics)
	case t.Timeout > 0 && t.Duration.Seconds() >= slowShare*t.Timeout.Seconds():
		return "slow", fmt.Sprintf("The last scrape took %s of its timeout of %s. %s",
			span(t.Duration.Round(time.Millisecond)), span(t.Timeout), slowHint)
	case !t.Restarted.IsZero() && b.in.At.Sub(t.Restarted) < recently:
		return "restarted", fmt.Sprintf("Its Envoy has started again: the uptime fell at %s, so its counters began "+
			"at 0 and series may be missing until there is traffic.", t.Restarted.UTC().Format(time.RFC3339))
	case t.Signs.Has(envoy.Unknown):
		return "unknown-peer", "Some of its requests have a workload named unknown: peers without a sidecar, such " +
			"as probes and clients outside of the mesh."
	case port == envoy.MergedPort || t.Signs.IsMerged():
		return "merged", "The page is the merged one of port 15020: it also has the metrics of the agent and of " +
			"the application. Envoy's alone are on 15090."
	default:
		return "", ""
	}
}

// changesSeries reports whether a job has metric_relabel_configs.
func (b *builder) changesSeries(job string) bool {
	cfg := b.jobs[job]
	return cfg != nil && len(cfg.MetricRelabelConfigs) > 0
}

// secondPage returns another target of the pod with Envoy's metrics, scraped by another job or on another port.
func secondPage(p *pod, t *scrape.TargetStatus) *scrape.TargetStatus {
	for _, other := range p.envoys {
		if other != t && other.Health == scrape.HealthUp && isOfEnvoy(other.Signs) &&
			(other.Job != t.Job || other.URL != t.URL) {
			return other
		}
	}
	return nil
}

// invalidHint says what to do about an invalid target; empty: nothing that the reason does not say.
func invalidHint(reason string) string {
	if strings.Contains(reason, "address") || strings.Contains(reason, "hostname") {
		return addressHint
	}
	return ""
}
