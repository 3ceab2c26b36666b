package scrape

import (
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// asStatus returns the state of the loop's target.
func (l *loop) asStatus() TargetStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, s, cfg, found := l.target, l.status, l.job.cfg, l.found
	status := TargetStatus{
		Job: cfg.JobName, URL: t.shown, Labels: t.labels,
		Discovered: func() labels.Labels { return discovered(cfg, found.own, found.group) },
		Health:     s.health, LastScrape: s.last, Duration: s.duration, Err: s.err,
		Interval: t.interval, Timeout: t.timeout,
		Samples: s.counts.Scraped, Kept: s.counts.Kept, Duplicates: s.counts.Duplicates,
		Pod:       podIn(found.own, found.group),
		PageBytes: s.page, WireBytes: s.wire, Failure: s.failure, Failures: s.failures,
		Signs: s.traits.signs, Shape: s.traits.shape, Started: timeOf(s.traits.started),
		Restarted: timeOf(s.traits.restarted), Turns: l.pace.turns(), SlowedSince: l.pace.slowedSince(),
		Whole: s.whole(),
	}
	status.Filter, status.WhyWhole = l.shownFilter(s.refused)
	if s.health == HealthDown {
		status.FailingSince = s.since
	}
	return status
}

// podIn returns the pod that a target was found in; zero: it is not of a pod.
func podIn(own, group model.LabelSet) Pod {
	get := func(name model.LabelName) string {
		if v, ok := own[name]; ok {
			return string(v)
		}
		return string(group[name])
	}
	pod := Pod{Namespace: get(namespaceLabel), Name: get(podNameLabel)}
	if pod.Namespace == "" || pod.Name == "" {
		return Pod{}
	}
	return pod
}

// containerPort returns the port of a container that a target was found by.
func containerPort(own model.LabelSet) Port {
	const prefix = model.MetaLabelPrefix + "kubernetes_pod_container_"
	return Port{string(own[prefix+"name"]), string(own[prefix+"port_name"]), string(own[prefix+"port_number"])}
}

// traits are what the pages of a target say about the process behind it. They hold no reference to a series: uptime is
// valid as long as the page knows the line. note forgets it with the first good page that lacks it, and loop.abandon
// with the failed page after which its line is not known.
type traits struct {
	signs     envoy.Signs
	hasUptime bool
	uptime    series.ID // of envoy_server_uptime, if hasUptime
	index     int32     // where the last batch had it
	shape     uint64    // sum of the hashes of all series that were new on a page
	started   int64     // of the Envoy, Unix milliseconds; 0: not known
	restarted int64     // when a scrape saw that it had started again; 0: none did
}

const uptimeName = envoy.Uptime

// marks are what the labels of a series, as the page prints them, say about the process behind the page.
type marks struct {
	sign     envoy.Signs
	isUptime bool
}

func marksOf(printed labels.Labels) marks {
	name := printed.Get(model.MetricNameLabel)
	sign := envoy.SignOf(name)
	if sign == envoy.Requests {
		sign = envoy.SignsOf(name, printed.Get("source_workload"), printed.Get("destination_workload"))
	}
	return marks{sign, name == uptimeName}
}

// shapeOf returns a hash of a series: that of the text of its line, or if that is 0 that of its labels.
func shapeOf(text uint64, printed labels.Labels) uint64 {
	if text != 0 {
		return text
	}
	return printed.Hash()
}

// notice takes a series that is new on the page. hash is the result of shapeOf. kept is false if rules drop it.
func (t *traits) notice(hash uint64, m marks, id series.ID, kept bool) {
	t.signs |= m.sign
	t.shape += hash
	if m.isUptime && kept {
		t.uptime, t.hasUptime = id, true
	}
}

// forgetSeries forgets the ID.
func (t *traits) forgetSeries() { t.hasUptime, t.index = false, 0 }

// learnAnew forgets what follows from single lines: they are learned again.
func (t *traits) learnAnew() {
	t.forgetSeries()
	t.shape, t.signs = 0, 0
}

// restartTolerance is by how many milliseconds the start of an Envoy may seem to move without a restart: its uptime has
// whole seconds, and a page may be late.
const restartTolerance = 30_000

// longestUptime is how many seconds of uptime are taken for one: 30 years.
const longestUptime = 30 * 365 * 24 * 3600

// note reads the uptime of the Envoy from the samples of a page. good reports whether the page is kept. It returns true
// if the Envoy has started again since the last page.
func (t *traits) note(b *series.Batch, good bool) (restarted bool) {
	switch {
	case !good || !t.hasUptime:
		return false
	case int(t.index) >= len(b.Series) || b.Series[t.index] != t.uptime:
		index := slices.Index(b.Series, t.uptime)
		if index < 0 {
			t.forgetSeries()
			return false
		}
		t.index = int32(index)
	}
	uptime := b.Values[t.index]
	if !(uptime >= 0 && uptime < longestUptime) { // or NaN
		t.started = 0
		return false
	}
	started := b.Time - int64(uptime*1000)
	if restarted = t.started != 0 && started-t.started > restartTolerance; restarted {
		t.restarted = b.Time
	}
	t.started = started
	return restarted
}

// uptimeIn returns the uptime of the Envoy in the batch that note has read last; negative: it is not known.
func (t *traits) uptimeIn(b *series.Batch) time.Duration {
	if !t.hasUptime || t.started == 0 {
		return -1
	}
	return time.Duration(b.Values[t.index] * float64(time.Second))
}

// timeOf returns a time of Unix milliseconds; 0 is the zero time.
func timeOf(millis int64) time.Time {
	if millis == 0 {
		return time.Time{}
	}
	return time.UnixMilli(millis)
}
