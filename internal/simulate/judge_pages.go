package simulate

import (
	"fmt"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// judgePages compares, after a calm time, what each agent says of itself with what is true: the status that its pages
// show, and its metrics. All faults are over, so each target is up, and each endpoint is reachable.
func (w *world) judgePages() {
	scraped := map[string]int{} // agents that have a pod as a target
	for _, r := range w.agents {
		if r.process == nil {
			continue
		}
		wrong := func(format string, args ...any) {
			w.problem("agent %d: %s", r.n, fmt.Sprintf(format, args...))
		}
		targets := r.judgeTargets(scraped, wrong)
		r.judgeEndpoints(targets, wrong)
		r.judgeHistory(wrong)
		r.judgeDiscovery(wrong)
	}
	for _, p := range w.pods {
		if n := scraped[p.name]; n != 1 && time.Since(p.born) > settle {
			w.problem("%s is a target of %d agents, want one", p.name, n)
		}
		delete(scraped, p.name)
	}
	for name := range scraped {
		w.problem("%s is a target, but it is gone", name)
	}
}

// judgeTargets checks the targets of an agent, and that its table has the series of their last pages and no others. It
// returns how many targets there are.
func (r *runner) judgeTargets(scraped map[string]int, wrong func(string, ...any)) int {
	w, kept := r.world, 0
	var targets []string
	for _, pool := range r.process.agent.Sources().Targets() {
		for _, t := range pool.Targets {
			name := t.Labels.Get("pod")
			scraped[name]++
			targets, kept = append(targets, name), kept+t.Kept-t.Duplicates
			r.judgeTarget(name, t, wrong)
		}
		if n := len(pool.Targets) + pool.Others; n != len(w.pods) || pool.DroppedCount != 0 || len(pool.Errors) != 0 {
			wrong("%d targets here and at other shards, want %d; %d dropped, errors %q", n, len(w.pods),
				pool.DroppedCount, pool.Errors)
		}
	}
	for name, want := range map[string]int{
		"envoy_scraper_scrape_targets": len(targets), "envoy_scraper_scrape_series": r.process.agent.Table().Len(),
		"envoy_scraper_scrape_other_shards_targets": len(w.pods) - len(targets),
		"envoy_scraper_scrape_slowed_targets":       0,
		"envoy_scraper_scrape_invalid_targets":      0, "envoy_scraper_scrape_job_series": kept,
	} {
		if got := r.process.total(name); int(got) != want {
			wrong("%s is %v, want %d", name, got, want)
		}
	}
	if n, want := r.process.agent.Table().Len(), w.oracle.LiveSeries(targets); n != want {
		wrong("%d series are in the table, but targets have %d", n, want)
	}
	return len(targets)
}

// judgeTarget checks the status of one target.
func (r *runner) judgeTarget(name string, t scrape.TargetStatus, wrong func(string, ...any)) {
	w := r.world
	if t.Health != scrape.HealthUp || t.Err != "" || t.Failure != "" || t.Failures != 0 || !t.FailingSince.IsZero() {
		wrong("%s is %s after a calm time: %q, %d failures (%s) since %v", name, t.Health, t.Err, t.Failures, t.Failure,
			t.FailingSince)
	}
	if age := time.Since(t.LastScrape); age > w.opts.Interval+w.opts.Timeout {
		wrong("%s was last scraped %v ago", name, age)
	}
	if t.Interval != w.opts.Interval || t.Timeout != w.opts.Timeout || t.Turns > 1 {
		wrong("%s has interval %v, timeout %v, and %d turns", name, t.Interval, t.Timeout, t.Turns)
	}
	for _, p := range w.pods {
		if p.name == name && t.Samples != p.envoy.Series() {
			wrong("%s has %d samples by its status, its page has %d", name, t.Samples, p.envoy.Series())
		}
	}
}

// judgeEndpoints checks the endpoints of an agent with a number of targets: without targets it sends nothing.
func (r *runner) judgeEndpoints(targets int, wrong func(string, ...any)) {
	all := r.process.agent.Sources().Endpoints()
	if len(all) != len(receiverNames) {
		wrong("%d endpoints, want %d", len(all), len(receiverNames))
	}
	for _, e := range all {
		if e.Unreachable || time.Since(e.LastSuccess) > settle && targets > 0 {
			wrong("endpoint %s: unreachable %v, last success at %v", e.Name, e.Unreachable, e.LastSuccess)
		}
		if e.Lanes < r.revision.minLanes || e.Lanes > max(r.revision.maxLanes, r.revision.minLanes) {
			wrong("endpoint %s has %d lanes, want %d to %d", e.Name, e.Lanes, r.revision.minLanes, r.revision.maxLanes)
		}
		of := func(name string) int {
			return int(r.process.totalWhere("envoy_scraper_remotewrite_"+name, fmt.Sprintf("endpoint=%q", e.Name)))
		}
		if n := of("samples_accepted_total"); int64(n) != e.SentSamples {
			wrong("endpoint %s: samples_accepted_total is %d, the page says %d", e.Name, n, e.SentSamples)
		}
		// Each sample of this process, and each that it found in its queue, is in exactly one place.
		found := of("samples_accepted_total") + of("samples_already_delivered_total") + of("samples_dropped_total") +
			of("pending_samples") - of("samples_total")
		if before, known := r.process.backlog[e.Name]; known && before != found {
			wrong("endpoint %s: accepted, already delivered, dropped and pending samples were %d more than scraped, "+
				"and are %d more now", e.Name, before, found)
		}
		if r.process.backlog[e.Name] = found; found < 0 {
			wrong("endpoint %s: %d scraped samples are neither accepted, delivered, dropped nor pending", e.Name,
				-found)
		}
	}
}

// judgeHistory checks the lines of the overview page: their length, and that nothing failed in the last minutes.
func (r *runner) judgeHistory(wrong func(string, ...any)) {
	for _, l := range r.process.agent.Sources().History() {
		want := min(int(time.Since(r.process.began)/historyInterval), historyPoints)
		if n := len(l.Values); n != want && n != want-1 { // a start takes a moment
			wrong("line %v has %d values, want %d", l.Quantity, n, want)
		}
	}
}

// The overview shows an hour.
const (
	historyInterval = 15 * time.Second
	historyPoints   = 240
)

// judgeDiscovery checks the discovery page.
func (r *runner) judgeDiscovery(wrong func(string, ...any)) {
	for _, d := range r.process.agent.Sources().Providers() {
		if d.State != "ok" || d.Err != "" || !d.Synced || d.Targets != len(r.world.pods) || d.Groups != d.Targets {
			wrong("discovery is %s (%s), synced %v, with %d targets in %d groups, want %d", d.State, d.Err, d.Synced,
				d.Targets, d.Groups, len(r.world.pods))
		}
	}
}

// total returns the sum of all metrics with a name.
func (p *process) total(name string) float64 { return p.totalWhere(name, "") }

// totalWhere returns the sum of the metrics with a name whose labels, as text, have a part.
func (p *process) totalWhere(name, part string) (sum float64) {
	p.eachMetric(func(full string, v float64) {
		if of, labels, _ := strings.Cut(full, "{"); of == name && strings.Contains(labels, part) {
			sum += v
		}
	})
	return sum
}
