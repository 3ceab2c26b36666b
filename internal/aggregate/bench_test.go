package aggregate

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

type nowhere struct{}

func (nowhere) Append(*series.Batch) error { return nil }
func (nowhere) Flush()                     {}

// page returns a batch of counters of a replica.
func page(table *series.Table, replica, n int, a *Aggregates) *series.Batch {
	l := replicaLabels(replica)
	b := &series.Batch{}
	b.Reset(table.AddTarget(l), 0)
	b.Interval = interval
	for i := range n {
		lb := labels.NewBuilder(l)
		lb.Set(model.MetricNameLabel, fmt.Sprintf("istio_%d_total", i%20))
		lb.Set("code", fmt.Sprint(i/20))
		b.Add(table.Add(b.Target, lb.Labels(), series.Meta{Type: model.MetricTypeCounter}), float64(i))
	}
	b.Origin = series.Origin{Source: series.SourceID(replica + 1), Job: "envoy", Page: b.Len(), Good: true, Uptime: -1}
	return b
}

// replicaLabels returns the labels of the target of a page.
func replicaLabels(replica int) labels.Labels {
	pod := fmt.Sprint(replica)
	return labels.FromStrings("app", "reviews", "instance", pod, "job", "envoy", "pod", pod)
}

// BenchmarkRepeat measures a page of known series whose values grow: beside it, a sink that only copies the batch.
func BenchmarkRepeat(b *testing.B) {
	const replicas, samples = 200, 2000
	table := series.NewTable()
	a := New(table, nowhere{}, zap.NewNop(), prometheus.NewRegistry())
	a.clock = func() time.Time { return start }
	a.Apply([]Block{istio()})
	var pages []*series.Batch
	for r := range replicas {
		pages = append(pages, page(table, r, samples, a))
		if err := a.Append(pages[r]); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	for b.Loop() {
		p := pages[n%replicas]
		n++
		for i := range p.Values {
			p.Values[i]++
		}
		_ = a.Append(p)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*samples), "ns/sample")
}
