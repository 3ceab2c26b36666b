package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// causes groups the pods that are not scraped by their causes, the most frequent first. The example is the first pod by
// namespace and name.
func (b *builder) causes() []Cause {
	byKey := map[string]*Cause{}
	for _, p := range b.pods {
		f := &p.found
		if f.verdict == Scraped {
			continue
		}
		name := p.record.Namespace + "/" + p.record.Name
		key := string(f.verdict) + " " + f.reason.Cause
		c := byKey[key]
		if c == nil {
			c = &Cause{Key: f.reason.Cause, Verdict: f.verdict, Words: f.words, Example: name}
			byKey[key] = c
		}
		c.Count++
		if name < c.Example {
			c.Example, c.Words = name, f.words
		}
	}
	all := make([]Cause, 0, len(byKey))
	for _, c := range byKey {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(x, y Cause) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(rank(x.Verdict), rank(y.Verdict)),
			strings.Compare(x.Key, y.Key))
	})
	return all
}

// funnels returns what became of the discovered targets of each job.
func (b *builder) funnels() []Funnel {
	pools := map[string]*scrape.PoolStatus{}
	for i := range b.in.Pools {
		pools[b.in.Pools[i].Job] = &b.in.Pools[i]
	}
	causes := map[string]bool{}
	for _, p := range b.pods {
		causes[p.found.reason.Cause] = true
	}
	var all []Funnel
	for _, job := range b.in.Jobs {
		if pool := pools[job.JobName]; pool != nil {
			all = append(all, b.funnel(pool, causes))
		}
	}
	return all
}

// funnel makes the funnel of a job. causes are those of all pods.
func (b *builder) funnel(pool *scrape.PoolStatus, causes map[string]bool) Funnel {
	job := b.jobs[pool.Job]
	byRule := make([]int, len(job.RelabelConfigs)+1) // the first: dropped by former rules
	for _, t := range pool.Dropped {
		if t.Rule < len(byRule) {
			byRule[t.Rule]++
		}
	}
	left := len(pool.Targets) + len(pool.Dropped) + len(pool.Invalid) + len(pool.Duplicates) + len(pool.Elsewhere)
	f := Funnel{Job: pool.Job, Steps: []FunnelStep{{Words: "discovered", Left: left}}}
	leave := func(words string, out int, cause string) {
		if out > 0 {
			left -= out
			if !causes[cause] { // only targets of pods that are scraped otherwise leave here
				cause = ""
			}
			f.Steps = append(f.Steps, FunnelStep{Words: words, Out: out, Left: left, Cause: cause})
		}
	}
	leave("left out by former rules", byRule[0], "")
	for i, rule := range job.RelabelConfigs {
		leave(fmt.Sprintf("rule %d: %s", i+1, relabel.Words(rule)), byRule[i+1],
			fmt.Sprintf("%s:%s:%d", causeRule, pool.Job, i+1))
	}
	leave("invalid", len(pool.Invalid), causeInvalid+":"+pool.Job)
	leave("equal to another target", len(pool.Duplicates), causeDuplicate+":"+pool.Job)
	leave(fmt.Sprintf("of other shards (this is %d of %d)", b.in.Shard, pool.Shards), len(pool.Elsewhere),
		causeElsewhere+":shard")
	up := 0
	for _, t := range pool.Targets {
		if t.Health == scrape.HealthUp {
			up++
		}
	}
	f.Steps = append(f.Steps, FunnelStep{Words: "scraped", Out: left - up, Left: up})
	return f
}
