package pack

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/value"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

func streamSettings(change ...func(*promconfig.RemoteWriteConfig)) *Settings {
	rw := promconfig.DefaultRemoteWriteConfig
	rw.QueueConfig.BatchSendDeadline = model.Duration(time.Minute)
	rw.SendExemplars, rw.SendNativeHistograms = true, true
	for _, c := range change {
		c(&rw)
	}
	return NewSettings(&rw, labels.FromStrings("cluster", "a"))
}

// take appends a batch, and returns the kinds of the requests that it became, and their samples by series.
func (p *packing) take(b *series.Batch) (kinds []string, samples map[string][]float64) {
	p.t.Helper()
	b.Interval = 10 * time.Second
	p.append(b)
	samples = map[string][]float64{}
	for _, l := range p.packer.Lanes() {
		for {
			group, state, _ := l.Next(true)
			if state != queue.Ready {
				break
			}
			for _, r := range group {
				kind := "fragment"
				if r.Records[0].Layout != nil {
					kind = "column"
				}
				kinds = append(kinds, kind)
				p.read(r, samples)
			}
			l.Ack(group)
		}
	}
	return kinds, samples
}

// takeBare is take for series without metadata.
func (p *packing) takeBare(b *series.Batch) (kinds []string, samples map[string][]float64) {
	p.bare = true
	return p.take(b)
}

// read adds the samples of a request, by the name of their series.
func (p *packing) read(r queue.Request, to map[string][]float64) {
	p.t.Helper()
	for _, m := range p.messages(r) {
		req := decode(p.t, m)
		for _, ts := range req.Timeseries {
			var builder labels.ScratchBuilder
			ls, err := ts.ToLabels(&builder, req.Symbols)
			if err != nil {
				p.t.Fatal(err)
			}
			for _, s := range ts.Samples {
				to[ls.Get("__name__")] = append(to[ls.Get("__name__")], s.Value)
			}
			for range ts.Histograms {
				to[ls.Get("__name__")] = append(to[ls.Get("__name__")], -1)
			}
			if ls.Get("cluster") != "a" || ls.Get("instance") != "pod" || ts.Metadata.HelpRef == 0 && !p.bare {
				p.t.Errorf("%v lacks labels or metadata", ls)
			}
		}
	}
}

func (p *packing) wantKinds(what string, b *series.Batch, want ...string) {
	p.t.Helper()
	kinds, samples := p.take(b)
	if !slices.Equal(kinds, want) {
		p.t.Errorf("%s: %v, want %v", what, kinds, want)
	}
	all := 0
	for _, s := range samples {
		all += len(s)
	}
	if all != b.Len() {
		p.t.Errorf("%s: %d samples, want %d", what, all, b.Len())
	}
}

func TestAScrapeWithTheRowsOfTheOneBeforeIsAColumn(t *testing.T) {
	p := newPackingBy(t, streamSettings())
	pod := p.target("pod", 5)
	at := int64(0)
	next := func() *series.Batch {
		at += 10_000
		return p.scrape(pod, at)
	}
	p.wantKinds("first scrape", next(), "fragment")
	p.wantKinds("second", next(), "column")
	b := next()
	b.Values[3] = math.Float64frombits(value.StaleNaN)
	p.wantKinds("with a staleness marker", b, "column")
	pod.ids = append(pod.ids, p.series(pod.id, labels.FromStrings("instance", "pod", "job", "envoy"), "new"))
	p.wantKinds("with a new series", next(), "fragment")
	p.wantKinds("again", next(), "column")
	pod.ids[0], pod.ids[1] = pod.ids[1], pod.ids[0]
	p.wantKinds("in another order", next(), "fragment")
	p.wantKinds("again", next(), "column")
	b = next()
	b.Exemplars = []series.Exemplar{{Index: 1, Exemplar: exemplar.Exemplar{
		Labels: labels.FromStrings("trace", "1"), Value: 1, HasTs: true, Ts: b.Time}}}
	p.wantKinds("with an exemplar", b, "fragment")
	p.wantKinds("first without it", next(), "fragment")
	p.wantKinds("again", next(), "column")
	b = next()
	b.Histograms = []series.Histogram{{Index: 2, Float: &histogram.FloatHistogram{Count: 1}}}
	p.wantKinds("with a native histogram", b, "fragment")
	p.wantKinds("first without it", next(), "fragment")
	p.wantKinds("again", next(), "column")
	b = next()
	b.Starts = []series.Start{{Index: 0, Time: 5}}
	p.wantKinds("with a start timestamp", b, "fragment")
	p.wantKinds("first without it", next(), "fragment")
	b = next()
	b.Urgent = true
	p.wantKinds("the last one", b, "column")
	p.wantKinds("the target comes back", next(), "fragment")
	p.wantKinds("again", next(), "column")
	p.packer.Replace(streamSettings())
	p.wantKinds("after a reload", next(), "fragment")
	p.wantKinds("again", next(), "column")
}

func TestOtherMetadataIsAnotherLayout(t *testing.T) {
	p := newPackingBy(t, streamSettings())
	pod := p.target("pod", 3)
	for n := range int64(2) {
		p.take(p.scrape(pod, 1000*(n+1)))
	}
	p.table.SetMeta(pod.ids[1], series.Meta{Type: model.MetricTypeGauge, Help: "another help"})
	p.wantKinds("with another help", p.scrape(pod, 3000), "fragment")
	p.wantKinds("again", p.scrape(pod, 4000), "column")
}

// TestFirstMetadataIsAnotherLayout: the series of a target without replicas have no metadata at first.
func TestFirstMetadataIsAnotherLayout(t *testing.T) {
	p := newPackingBy(t, streamSettings())
	p.bare = true
	public := labels.FromStrings("instance", "pod", "job", "envoy")
	pod := page{id: p.table.AddTarget(public)}
	named := labels.NewBuilder(public).Set("__name__", "a").Labels()
	pod.ids = append(pod.ids, p.table.Add(pod.id, named, series.Meta{}))
	for n := range int64(3) {
		p.take(p.scrape(pod, 1000*(n+1)))
	}
	p.table.SetMeta(pod.ids[0], series.Meta{Type: model.MetricTypeCounter})
	p.wantKinds("with a type", p.scrape(pod, 4000), "fragment")
}

// TestAReusedIDIsAnotherRow: a series ends, and another one that the page prints in its place gets its ID.
func TestAReusedIDIsAnotherRow(t *testing.T) {
	p := newPackingBy(t, streamSettings())
	pod := p.target("pod", 3)
	for n := range int64(3) {
		p.take(p.scrape(pod, 1000*(n+1)))
	}
	was := pod.ids[1]
	p.table.Release(slices.Values(pod.ids[1:2]))
	pod.ids[1] = p.series(pod.id, labels.FromStrings("instance", "pod", "job", "envoy"), "other")
	if pod.ids[1] != was {
		t.Fatalf("ID %d, want %d again", pod.ids[1], was)
	}
	kinds, samples := p.take(p.scrape(pod, 4000))
	if !slices.Equal(kinds, []string{"fragment"}) || len(samples["other"]) != 1 {
		t.Errorf("%v %v, want a fragment with the other series", kinds, samples)
	}
}

func TestRowsThatAreNoColumns(t *testing.T) {
	drop := func(rw *promconfig.RemoteWriteConfig) {
		rw.WriteRelabelConfigs = []*relabel.Config{{SourceLabels: model.LabelNames{"__name__"}, Separator: ";",
			Regex: relabel.MustNewRegexp("metric_1"), Action: relabel.Drop,
			NameValidationScheme: model.UTF8Validation}}
	}
	replace := func(rw *promconfig.RemoteWriteConfig) {
		rw.WriteRelabelConfigs = []*relabel.Config{{SourceLabels: model.LabelNames{"__name__"}, Separator: ";",
			Regex: relabel.MustNewRegexp("(.*)"), Replacement: "$1", TargetLabel: "copy", Action: relabel.Replace,
			NameValidationScheme: model.UTF8Validation}}
	}
	classic := func(rw *promconfig.RemoteWriteConfig) { rw.ConvertNHCBToClassic = true }
	none := func(*promconfig.RemoteWriteConfig) {}
	for _, c := range []struct {
		name    string
		with    func(*promconfig.RemoteWriteConfig)
		unbound bool
		want    string
		samples int
	}{
		{"plain", none, false, "column", 3},
		{"rules that drop series", drop, false, "column", 2},
		{"rules that change labels", replace, false, "fragment", 3},
		{"classic histograms", classic, false, "fragment", 3},
		{"an unbound series", none, true, "fragment", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPackingBy(t, streamSettings(c.with))
			pod := p.target("pod", 3)
			if c.unbound {
				public := labels.FromStrings("__name__", "unbound", "instance", "pod")
				pod.ids = append(pod.ids, p.table.Add(pod.id, public, series.Meta{Help: "h"}))
			}
			for n := int64(1); n <= 4; n++ {
				kinds, samples := p.take(p.scrape(pod, n*1000))
				columns := slices.Contains(kinds, "column")
				if want := c.want == "column"; n > 1 && columns != want {
					t.Errorf("scrape %d: %v, want %s", n, kinds, c.want)
				}
				if len(samples) != c.samples {
					t.Errorf("scrape %d: %d series, want %d", n, len(samples), c.samples)
				}
			}
		})
	}
}

// TestALateScrapeIsNoColumn: its samples are compared series by series.
func TestALateScrapeIsNoColumn(t *testing.T) {
	p := newPackingBy(t, streamSettings())
	pod := p.target("pod", 3)
	for n := int64(1); n <= 3; n++ {
		p.take(p.scrape(pod, n*1000))
	}
	if kinds, _ := p.take(p.scrape(pod, 2500)); len(kinds) > 0 || p.tally.NotNewer != 3 {
		t.Errorf("late scrape: %v, %d samples not newer, want none and 3", kinds, p.tally.NotNewer)
	}
	if kinds, _ := p.take(p.scrape(pod, 4000)); !slices.Equal(kinds, []string{"fragment"}) {
		t.Errorf("next scrape: %v, want a fragment", kinds)
	}
}

// TestLayoutsAreForgotten: of a target that is gone, nothing as large as a scrape is kept.
func TestLayoutsAreForgotten(t *testing.T) {
	p := newPackingBy(t, streamSettings())
	l := p.packer.Lanes()[0]
	for i := range 3 {
		pod := p.target("pod", 3)
		for n := int64(1); n <= 2; n++ {
			b := p.scrape(pod, int64(i)*10_000+n*1000)
			p.take(b)
		}
	}
	layouts := func() (n int) {
		for _, h := range l.history.targets {
			if h.rows.layout != nil {
				n++
			}
		}
		return n
	}
	if n := layouts(); n != 1 { // the three targets have the same labels
		t.Errorf("%d layouts, want 1", n)
	}
	l.history.sweep(time.Now().Add(historySweep + layoutIdle))
	if n := layouts(); n != 0 {
		t.Errorf("%d layouts after %v, want none", n, layoutIdle)
	}
}

// BenchmarkAppendColumn compares a scrape that is a column with the same scrape as a fragment.
func BenchmarkAppendColumn(b *testing.B) {
	for _, columns := range []bool{true, false} {
		b.Run(fmt.Sprintf("columns=%v", columns), func(b *testing.B) {
			s := streamSettings(func(rw *promconfig.RemoteWriteConfig) { rw.ConvertNHCBToClassic = !columns })
			table := series.NewTable()
			p := &packing{table: table, packer: New(table, s, 1, zap.NewNop())}
			p.packer.Use(queue.NewMemory(queue.DefaultConfig(), 1))
			pod := p.target("pod", 2000)
			l := p.packer.Lanes()[0]
			at := int64(1_700_000_000_000)
			b.ReportAllocs()
			for b.Loop() {
				at += 10_000
				p.packer.Append(p.scrape(pod, at))
				group, _, _ := l.Next(true)
				l.Ack(group)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2000, "ns/sample")
		})
	}
}
