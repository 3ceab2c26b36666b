package aggregate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestALookAtGauges: a look tells counters from gauges, and what is computed of gauges.
func TestALookAtGauges(t *testing.T) {
	for _, of := range []Gauges{GaugesSum, GaugesMax, GaugesMin} {
		block := istio()
		block.Gauges = of
		b := newBed(t, block)
		a := b.target("a")
		b.now = b.now.Add(time.Second)
		a.scrape(line{"istio_gauge", "", model.MetricTypeGauge, 5}, line{"istio_x", "", model.MetricTypeCounter, 5})
		all, _ := b.a.Series(b.a.Status().Groups[0].Labels, nil, 0, 9)
		if len(all) != 2 || all[0].Of != of || all[1].Of != "" {
			t.Errorf("%s: %+v", of, all)
		}
	}
}

// TestALookAtAGroup: which aggregates there are, and which series they are made of.
func TestALookAtAGroup(t *testing.T) {
	b := newBed(t, istio())
	code := func(c string, v float64) line {
		return line{"istio_requests_total", "code=" + c, model.MetricTypeCounter, v}
	}
	a, c := b.target("a"), b.target("b")
	b.now = b.now.Add(time.Second)
	a.scrape(code("200", 5), code("500", 1), line{"istio_aaa", "", model.MetricTypeCounter, 9})
	c.scrape(code("200", 7))
	b.wait(9 * time.Second)
	b.now = b.now.Add(time.Second)
	c.scrape(code("200", 9), code("404", 3))
	group := b.a.Status().Groups[0].Labels

	name := func(l labels.Labels) string { return l.Get("__name__") + " " + l.Get("code") }
	look := func(match func(labels.Labels) bool, offset, limit int) (got string) {
		of, found := b.a.Series(group, match, offset, limit)
		for _, s := range of {
			got += fmt.Sprintf("%s=%v/%d/%v, ", name(s.Series), s.Total, s.Sources, s.Written)
			if s.Series.Get("instance") != "node-7" || s.Series.Has("pod") {
				t.Errorf("the labels are %s", s.Series)
			}
		}
		return fmt.Sprintf("%sof %d", got, found)
	}
	const all = "istio_aaa =0/1/true, istio_requests_total 200=2/2/true, istio_requests_total 404=3/1/false, " +
		"istio_requests_total 500=0/1/true, of 4"
	for _, tc := range []struct{ got, want string }{
		{look(nil, 0, 100), all},
		{look(nil, 0, 1), "istio_aaa =0/1/true, of 4"},
		{look(nil, 3, 100), "istio_requests_total 500=0/1/true, of 4"},
		{look(nil, 4, 100), "of 4"}, {look(nil, 1<<40, 100), "of 4"}, {look(nil, -1, -1), "of 4"},
		{look(func(l labels.Labels) bool { return l.Get("code") == "404" }, 0, 9),
			"istio_requests_total 404=3/1/false, of 1"},
	} {
		if tc.got != tc.want {
			t.Errorf("got  %s\nwant %s", tc.got, tc.want)
		}
	}

	sum := labels.FromStrings("__name__", "istio_requests_total", "app", "reviews", "code", "200", "instance", "node-7",
		"job", "envoy")
	sources := func(offset, limit int) (got string) {
		of, found, ok := b.a.Sources(group, sum, offset, limit)
		for _, s := range of {
			got += fmt.Sprintf("%s %s=%v, ", s.Target.Get("pod"), name(s.Series), s.Last)
			if s.Series.Get("pod") != s.Target.Get("pod") || s.Series.Get("instance") != s.Target.Get("instance") {
				t.Errorf("%s is not a series of %s", s.Series, s.Target)
			}
		}
		return fmt.Sprintf("%sof %d, %v", got, found, ok)
	}
	for _, tc := range []struct{ got, want string }{
		{sources(0, 100), "a istio_requests_total 200=5, b istio_requests_total 200=9, of 2, true"},
		{sources(0, 1), "a istio_requests_total 200=5, of 2, true"},
		{sources(1, 5), "b istio_requests_total 200=9, of 2, true"},
		{sources(2, 5), "of 2, true"}, {sources(-1, -1), "of 2, true"},
	} {
		if tc.got != tc.want {
			t.Errorf("got  %s\nwant %s", tc.got, tc.want)
		}
	}
	b.a.Forget(a.source)
	if got, want := sources(0, 100), "b istio_requests_total 200=9, of 1, true"; got != want {
		t.Errorf("after the end of a target: got %s, want %s", got, want)
	}
	if _, found := b.a.Series(sum, nil, 0, 9); found != 0 {
		t.Error("there is a group that has the labels of an aggregate")
	}
	for _, wrong := range []labels.Labels{group, labels.EmptyLabels(), labels.FromStrings("__name__", "x", "a", "b")} {
		if of, found, ok := b.a.Sources(group, wrong, 0, 9); ok || found != 0 || len(of) != 0 {
			t.Errorf("%s: got %v", wrong, of)
		}
	}
	if _, _, ok := b.a.Sources(sum, sum, 0, 9); ok {
		t.Error("there is a group that has the labels of an aggregate")
	}
}

// TestWhereATargetIsSummed: in the groups of all blocks.
func TestWhereATargetIsSummed(t *testing.T) {
	other := istio()
	other.Match, other.Without = regexp.MustCompile("^(?s:other_.*)$"), []string{"instance", "pod", "app"}
	b := newBed(t, istio(), other)
	a, c, idle := b.target("a"), b.target("b"), b.target("c")
	b.now = b.now.Add(time.Second)
	counterOf := func(name string) line { return line{name, "", model.MetricTypeCounter, 1} }
	a.scrape(requests(1), counterOf("other_1"), counterOf("other_2"), counterOf("raw"))
	c.scrape(requests(1))
	idle.scrape(counterOf("raw"))
	of := func(targets ...labels.Labels) (got string) {
		for _, groups := range b.a.Of(targets) {
			for _, in := range groups {
				got += fmt.Sprintf("%d in %s; ", in.Series, in.Group)
			}
			got += "| "
		}
		return got
	}
	const first, second = `1 in {app="reviews", instance="node-7", job="envoy"}; `,
		`2 in {instance="node-7", job="envoy"}; `
	want := first + "| | " + first + second + "| | "
	if got := of(c.labels, idle.labels, a.labels, labels.EmptyLabels()); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	b.a.Forget(c.source)
	b.a.Apply([]Block{other})
	if got := of(c.labels, a.labels); got != "| | " {
		t.Errorf("before the next page under other blocks: got %s", got)
	}
	b.a.Apply(nil)
	if got := of(a.labels); got != "| " {
		t.Errorf("without a block: got %s", got)
	}
}

// TestALookAtSeriesOfOneTarget: if what is summed away is a label of the page, a target has several sources.
func TestALookAtSeriesOfOneTarget(t *testing.T) {
	block := istio()
	block.Without = append(block.Without, "code")
	b := newBed(t, block)
	b.now = b.now.Add(time.Second)
	for _, pod := range []string{"a", "b"} {
		b.target(pod).scrape(line{"istio_requests_total", "code=1", model.MetricTypeCounter, 1},
			line{"istio_requests_total", "code=2", model.MetricTypeCounter, 2})
	}
	group := b.a.Status().Groups[0].Labels
	sum, _ := b.a.Series(group, nil, 0, 1)
	if len(sum) != 1 || sum[0].Sources != 4 {
		t.Fatalf("got %+v", sum)
	}
	var got []string
	for offset := range 5 {
		of, found, _ := b.a.Sources(group, sum[0].Series, offset, 1)
		if found != 4 {
			t.Errorf("found %d", found)
		}
		for _, s := range of {
			got = append(got, s.Target.Get("pod")+s.Series.Get("code"))
		}
	}
	if want := []string{"a1", "a2", "b1", "b2"}; !slices.Equal(got, want) {
		t.Errorf("one at a time: got %v, want %v", got, want)
	}
}

// TestALookHoldsNoLock: match may take its time, and may call the aggregates.
func TestALookHoldsNoLock(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	b.now = b.now.Add(time.Second)
	a.scrape(requests(1))
	group, asked := b.a.Status().Groups[0].Labels, false
	b.a.Series(group, func(labels.Labels) bool {
		asked = true
		b.now = b.now.Add(time.Second)
		a.scrape(requests(2)) // would wait for ever for the lock of the group
		b.wait(interval)
		b.a.Apply(nil)
		return true
	}, 0, 1)
	if !asked {
		t.Error("match was not called")
	}
}

// TestALookLeavesNothing: references that a look took are given back.
func TestALookLeavesNothing(t *testing.T) {
	table := series.NewTable()
	a := New(table, nowhere{}, zap.NewNop(), nil)
	a.Apply([]Block{istio()})
	p := page(table, 1, 50, a)
	if err := a.Append(p); err != nil {
		t.Fatal(err)
	}
	size := func() string { return fmt.Sprint(table.Len(), table.SymbolCount()) }
	before := size()
	group := a.Status().Groups[0].Labels
	sums, _ := a.Series(group, nil, 0, 3)
	a.Sources(group, sums[0].Series, 0, 9)
	a.Sources(group, labels.FromStrings("__name__", "no_such", "label", "no_such_value"), 0, 9)
	a.Series(labels.FromStrings("no_such_group", "no_such_value"), nil, 0, 9)
	if after := size(); after != before {
		t.Errorf("%s series and strings, before %s", after, before)
	}
}

func TestOwnMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := newBed(t, istio())
	b.a = New(b.table, b, zap.NewNop(), reg)
	b.a.clock = func() time.Time { return b.now }
	b.a.Apply([]Block{istio()})
	b.now = b.now.Add(time.Minute)
	a, c, young := b.target("a"), b.target("b"), b.target("c")
	young.uptime = time.Second
	other := func(name string, v float64) line { return line{name, "", model.MetricTypeCounter, v} }
	a.scrape(requests(5), other("istio_x", 1), other("not_summed", 1))
	c.scrape(requests(5))
	young.scrape(requests(5))
	b.wait(interval)
	b.now = b.now.Add(time.Second)
	a.scrape(requests(6), other("istio_x", 0), other("istio_new", 1))
	b.wait(5 * interval / 2) // between two ticks
	a.uptime = time.Minute
	a.scrape(requests(7))
	b.now = b.now.Add(time.Second)
	a.uptime = time.Second
	a.scrape(requests(1))
	b.wait(3 * time.Second) // at a tick
	want := map[string]float64{
		"groups": 1, "targets": 3, "source_series": 3, "series": 3,
		"samples_summed_total": 9, "samples_written_total": 8,
		"first_pages_total": 2, "young_pages_total": 1, "births_total": 1, "resets_total": 1, "restarts_total": 1,
		"ticks_total": 3, "late_ticks_total": 1, "bounds_disagreements_total": 0,
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), metricPrefix)
		got := f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		if v, ok := want[name]; !ok || got != v {
			t.Errorf("%s is %v, want %v", name, got, v)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("there are no %v", want)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// BenchmarkLook is a page of a group with 40,000 aggregates of 20 replicas. The longest time for which a scrape could
// have waited is that of copySeries and copySources.
func BenchmarkLook(b *testing.B) {
	const replicas, samples = 20, 40_000
	table := series.NewTable()
	a := New(table, nowhere{}, zap.NewNop(), nil)
	a.Apply([]Block{istio()})
	for r := range replicas {
		if err := a.Append(page(table, r, samples, a)); err != nil {
			b.Fatal(err)
		}
	}
	group := a.Status().Groups[0].Labels
	sums, n := a.Series(group, nil, samples/2, 1)
	if n != samples {
		b.Fatal(n)
	}
	b.Run("Series", func(b *testing.B) {
		for b.Loop() {
			a.Series(group, nil, 1000, 100)
		}
	})
	b.Run("locked for Series", func(b *testing.B) {
		for b.Loop() {
			_, ids := a.copySeries(group)
			b.StopTimer()
			release(table, ids)
			b.StartTimer()
		}
	})
	b.Run("Sources", func(b *testing.B) {
		for b.Loop() {
			a.Sources(group, sums[0].Series, 0, 100)
		}
	})
	b.Run("locked for Sources", func(b *testing.B) {
		for b.Loop() {
			all, _ := a.copySources(group, sums[0].Series)
			b.StopTimer()
			for _, s := range all {
				release(table, s.ids)
			}
			b.StartTimer()
		}
	})
	b.Run("Status", func(b *testing.B) {
		for b.Loop() {
			a.Status()
		}
	})
}
