package aggregate

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// bed is an Aggregates with a recording sink and a clock that the test sets.
type bed struct {
	t     *testing.T
	table *series.Table
	a     *Aggregates
	now   time.Time
	sent  map[string][]sample // by series
	rows  int                 // of the last batch
	next  series.SourceID
}

type sample struct {
	at    int64 // milliseconds after the start of the bed
	value float64
}

const interval = 10 * time.Second

// start is on the grid of every interval used here.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newBed(t *testing.T, blocks ...Block) *bed {
	b := &bed{t: t, table: series.NewTable(), now: start, sent: map[string][]sample{}}
	b.a = New(b.table, b, zap.NewNop(), prometheus.NewRegistry())
	b.a.clock = func() time.Time { return b.now }
	b.a.steady = b.a.clock
	b.a.Apply(blocks)
	return b
}

// istio is the block that most tests use.
func istio() Block {
	return Block{Jobs: []string{"envoy"}, Match: regexp.MustCompile("^(?s:istio_.*)$"),
		Without: []string{"instance", "pod"}, As: labels.FromStrings("instance", "node-7"), Gauges: GaugesRaw,
		Idle: 5 * time.Minute}
}

func (b *bed) Append(batch *series.Batch) error {
	b.rows = batch.Len()
	b.table.Read(func(v series.View) {
		for i, id := range batch.Series {
			l, _ := wholeLabels(v, nil, id, batch.Target)
			at := batch.Time - start.UnixMilli()
			before := b.sent[l.String()]
			if n := len(before); n > 0 && before[n-1].at >= at {
				b.t.Errorf("%s: sample at %d after %d", l, at, before[n-1].at)
			}
			b.sent[l.String()] = append(before, sample{at, batch.Values[i]})
		}
	})
	return nil
}

func (b *bed) Flush() {}

// target is a target whose pages a test makes.
type target struct {
	bed    *bed
	labels labels.Labels
	id     series.TargetID
	source series.SourceID
	live   map[series.ID]bool
	again  bool // the batch before was of a good page
	hasGap bool
	uptime time.Duration

	partial  bool // its pages leave out lines with old timestamps
	interval time.Duration
	job      string
}

func (b *bed) target(pod string) *target {
	l := labels.FromStrings("app", "reviews", "instance", pod+":15090", "job", "envoy", "pod", pod)
	b.next++
	return &target{bed: b, labels: l, id: b.table.AddTarget(l), source: b.next, live: map[series.ID]bool{}, uptime: -1,
		interval: interval,
		job:      "envoy"}
}

// line is a line of a page.
type line struct {
	name, label string // label: name=value, or empty
	typ         model.MetricType
	value       float64
}

func requests(v float64) line { return line{"istio_requests_total", "", model.MetricTypeCounter, v} }

// scrape hands a page to the aggregates as scrape does: markers for series that are gone, and the report series up.
func (t *target) scrape(lines ...line) {
	b := &series.Batch{}
	b.Reset(t.id, t.bed.now.UnixMilli())
	b.Interval = t.interval
	shown := map[series.ID]bool{}
	for _, l := range lines {
		b.Add(t.add(l), l.value)
	}
	for _, id := range b.Series {
		shown[id] = true
	}
	b.Origin = series.Origin{Source: t.source, Job: t.job, Page: b.Len(), Good: true, Again: t.again, Gap: t.hasGap,
		Uptime: t.uptime, Partial: t.partial}
	t.finish(b, shown, 1)
	t.again = true
}

// fail hands on a failed scrape.
func (t *target) fail() {
	b := &series.Batch{}
	b.Reset(t.id, t.bed.now.UnixMilli())
	b.Interval = t.interval
	b.Origin = series.Origin{Source: t.source, Job: t.job, Again: t.again, Gap: t.hasGap, Uptime: -1}
	t.finish(b, map[series.ID]bool{}, 0)
	t.again = false
}

// end is what scrape does when the target is gone.
func (t *target) end() {
	t.bed.now = t.bed.now.Add(time.Millisecond)
	t.fail()
	t.bed.a.Forget(t.source)
}

func (t *target) finish(b *series.Batch, shown map[series.ID]bool, up float64) {
	for _, id := range slices.Sorted(maps.Keys(t.live)) {
		if !shown[id] {
			b.Add(id, series.StaleMarker())
		}
	}
	b.Add(t.add(line{"up", "", model.MetricTypeGauge, up}), up)
	if err := t.bed.a.Append(b); err != nil {
		t.bed.t.Fatal(err)
	}
	t.live = shown // one reference of each series is never given back
}

func (t *target) add(l line) series.ID {
	b := labels.NewBuilder(t.labels)
	b.Set(model.MetricNameLabel, l.name)
	if name, v, ok := cutLabel(l.label); ok {
		b.Set(name, v)
	}
	return t.bed.table.Add(t.id, b.Labels(), series.Meta{Type: l.typ})
}

func cutLabel(s string) (name, v string, ok bool) {
	for i := range s {
		if s[i] == '=' {
			return s[:i], s[i+1:], true
		}
	}
	return "", "", false
}

// wait moves the clock, and has due ticks written.
func (b *bed) wait(d time.Duration) {
	b.now = b.now.Add(d)
	b.a.tickAll(b.now)
}

// total is the aggregate of requests.
const total = `{__name__="istio_requests_total", app="reviews", instance="node-7", job="envoy"}`

// want compares the samples of a series: seconds and values, as "10:0 20:3 30:stale".
func (b *bed) want(name, want string) {
	b.t.Helper()
	got := ""
	for i, s := range b.sent[name] {
		if i > 0 {
			got += " "
		}
		v := fmt.Sprint(s.value)
		if math.Float64bits(s.value) == value.StaleNaN {
			v = "stale"
		}
		got += fmt.Sprintf("%v:%s", time.Duration(s.at*int64(time.Millisecond)).Seconds(), v)
	}
	if got != want {
		b.t.Errorf("%s\n got %s\nwant %s", name, got, want)
	}
}

// raw returns the name of the series of requests of a pod.
func raw(pod string) string {
	return fmt.Sprintf(`{__name__="istio_requests_total", app="reviews", instance="%s:15090", job="envoy", pod="%s"}`,
		pod, pod)
}
