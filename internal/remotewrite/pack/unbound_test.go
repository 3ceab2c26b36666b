package pack

import (
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestMetadataOfAnUnboundSeriesIsThatOfItsOwnFamily: the lock of the table is given up before unbound
// rows are encoded. Another target
// with the series may change what is known of its family meanwhile, and the number of the old text may go to another
// family.
func TestMetadataOfAnUnboundSeriesIsThatOfItsOwnFamily(t *testing.T) {
	w := newPacking(t)
	pod, other := w.target("pod-1", 0), w.target("pod-2", 0)
	named := func(name string) labels.Labels { return labels.FromStrings("__name__", name, "job", "envoy") }
	counter := func(help string) series.Meta { return series.Meta{Type: model.MetricTypeCounter, Help: help} }
	pod.ids = []series.ID{w.table.Add(pod.id, named("unbound"), counter("help of unbound"))}
	w.table.Add(other.id, named("known"), counter("new help"))

	p := w.packer
	b := w.scrape(pod, time.Now().UnixMilli())
	var hash uint64
	w.table.Read(func(v series.View) { hash = v.TargetHash(b.Target) })
	var unbound unboundRows
	p.appendBound(p.settings.Load(), b, hash, nil, &unbound, &w.tally)
	w.table.Add(other.id, named("unbound"), counter("new help"))
	w.table.Add(other.id, named("another"), series.Meta{Type: model.MetricTypeGauge, Help: "help of another"})
	p.appendUnbound(p.settings.Load(), b, hash, &unbound, &w.tally)

	for _, req := range w.drain() {
		for _, ts := range req.Timeseries {
			if help := req.Symbols[ts.Metadata.HelpRef]; help != "new help" {
				t.Errorf("help = %q, want that of its family now", help)
			}
		}
	}
}
