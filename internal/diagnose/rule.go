package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	promconfig "github.com/prometheus/prometheus/config"
	promrelabel "github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// leftOut is about a pod whose targets rules have dropped. Of several dropped targets it takes the one that came
// nearest: of a job that looks for Envoys, of the proxy's port, of the proxy container, and there of the latest rule.
func (b *builder) leftOut(p *pod) finding {
	nearest := slices.MaxFunc(p.dropped, func(x, y *scrape.DroppedTarget) int {
		return cmp.Compare(b.nearness(p, x), b.nearness(p, y))
	})
	found, job := nearest.Discovered(), b.jobs[nearest.Job]
	if job == nil {
		return movedOn(nearest.Job)
	}
	step, ok := relabel.Dropped(relabel.Explain(found, job.RelabelConfigs))
	if !ok {
		return movedOn(nearest.Job)
	}
	r := Reason{Job: nearest.Job, Rule: step.Index + 1, RuleText: step.String(),
		Value: shorten(step.Value(scrape.MaskParam))}
	if step.Rule.Action == promrelabel.Keep || step.Rule.Action == promrelabel.Drop {
		r.Regex = step.Rule.Regex.String()
	}
	r.Cause = fmt.Sprintf("%s:%s:%d", causeRule, r.Job, r.Rule)
	words := fmt.Sprintf("Rule %d of job %s leaves it out: %s", r.Rule, r.Job, r.RuleText)
	r.Sentence = fmt.Sprintf("%s, and the value is %q.", words, r.Value)
	r.Hint = b.miss(p, step, found)
	return finding{verdict: NotATarget, reason: r, words: words + "."}
}

// movedOn is about a target that a former rule dropped.
func movedOn(job string) finding {
	f := same(NotReady, causeNotReady+":no-target-yet", fmt.Sprintf("Former rules of job %s left it out; those of "+
		"now do not.", job), "Look again in a second.")
	f.reason.Job = job
	return f
}

// nearness says how near a dropped target came to be the target of the pod's Envoy.
func (b *builder) nearness(p *pod, t *scrape.DroppedTarget) int {
	n := min(t.Rule, 99)
	if p.record.Proxy != "" && t.Port.Container == p.record.Proxy {
		n += 100
	}
	if strings.HasSuffix(t.Port.Name, envoy.PortSuffix) || t.Port.Number == envoy.StatsPort {
		n += 200
	}
	if b.wants[t.Job] {
		n += 1000
	}
	return n
}

// wantsEnvoys reports whether a job looks for Envoys, by its path and its rules.
func wantsEnvoys(job *promconfig.ScrapeConfig) bool {
	if job.MetricsPath == envoy.StatsPath {
		return true
	}
	for _, rule := range job.RelabelConfigs {
		text := rule.Regex.String() + " " + rule.Replacement
		for _, word := range []string{"envoy", envoy.ProxyContainer, envoy.StatsPort, envoy.MergedPort} {
			if strings.Contains(text, word) {
				return true
			}
		}
	}
	return false
}

// mostShown is how many bytes of a value a reason shows. An annotation may have 256 KiB.
const mostShown = 200

func shorten(value string) string {
	if len(value) <= mostShown {
		return value
	}
	return strings.ToValidUTF8(value[:mostShown], "") + "…"
}
