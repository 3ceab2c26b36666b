//go:build unix

package remotewrite

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// swallow is a queue that keeps the last request, so that only packing is measured.
type swallow struct{ last, open []queue.Record }

func (q *swallow) Append(_ int, r queue.Record) (queue.Loss, error) {
	if r.First {
		q.last, q.open = q.open, nil
	}
	q.open = append(q.open, r)
	return queue.Loss{}, nil
}

func (q *swallow) Next(int, queue.Limit) ([]queue.Request, queue.State, time.Duration) {
	return nil, queue.Empty, 0
}

func (q *swallow) Seal(int)                   {}
func (q *swallow) Ack(int)                    {}
func (q *swallow) Flush(int)                  {}
func (q *swallow) Resize(int)                 {}
func (q *swallow) Stats() queue.Stats         { return queue.Stats{} }
func (q *swallow) Close() (queue.Loss, error) { return queue.Loss{}, nil }

const benchSeries, benchTargets = 2000, 20

// benchBatches are replicas with fifteen labels a series, as Istio's are.
func benchBatches(table *series.Table) (out []*series.Batch) {
	for i := range benchTargets {
		public := labels.FromStrings("instance", fmt.Sprintf("10.0.0.%d:15090", i), "job", "envoy-stats",
			"namespace", "default", "pod_name", fmt.Sprintf("productpage-v1-%d", i))
		id := table.AddTarget(public)
		var b series.Batch
		b.Reset(id, 1_700_000_000_000)
		for j := range benchSeries {
			lb := labels.NewBuilder(public)
			lb.Set("__name__", fmt.Sprintf("istio_metric_%d_bucket", j/200))
			lb.Set("le", fmt.Sprintf("%d", j%20))
			lb.Set("destination_service", fmt.Sprintf("svc-%d.default.svc.cluster.local", j/20%10))
			for k := range 8 {
				lb.Set(fmt.Sprintf("source_label_%d", k), fmt.Sprintf("value-%d", k))
			}
			b.Add(table.Add(id, lb.Labels(), series.Meta{Type: model.MetricTypeHistogram, Help: "what Istio says"}),
				float64(j))
		}
		out = append(out, &b)
	}
	return out
}

func benchWriters(tb testing.TB, external labels.Labels) (*Writers, *swallow, []*series.Batch) {
	table := series.NewTable()
	w := New(table, nil, Options{}, zap.NewNop(), nil)
	q := &swallow{}
	w.openQueue = func(string, int, queue.Config) (queue.Queue, error) { return q, nil }
	err := w.Apply(Config{Endpoints: []EndpointConfig{endpointConfig("a")}, ExternalLabels: external})
	if err != nil {
		tb.Fatal(err)
	}
	return w, q, benchBatches(table)
}

// perSample reports processor time, which a busy machine does not falsify as it does the time on the wall.
// Call it before the loop and the result after.
func perSample(b *testing.B, samples int) (report func()) {
	began := processorTime(b)
	return func() {
		b.ReportMetric(float64(processorTime(b)-began)/float64(b.N)/float64(samples), "cpu-ns/sample")
	}
}

func processorTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkAppend(b *testing.B) {
	for name, external := range map[string]labels.Labels{
		"plain":    labels.EmptyLabels(),
		"external": labels.FromStrings("cluster", "c1", "zone", "z1"),
	} {
		b.Run(name, func(b *testing.B) {
			w, _, batches := benchWriters(b, external)
			b.ReportAllocs()
			i, report := 0, perSample(b, benchSeries)
			for b.Loop() {
				batch := batches[i%len(batches)]
				batch.Time += 10_000
				i++
				if err := w.Append(batch); err != nil {
					b.Fatal(err)
				}
			}
			report()
		})
	}
}

func TestASampleOnItsWayAllocatesNothing(t *testing.T) {
	w, _, batches := benchWriters(t, labels.EmptyLabels())
	i := 0
	if n := testing.AllocsPerRun(20, func() {
		batch := batches[i%len(batches)]
		batch.Time += 10_000
		i++
		if err := w.Append(batch); err != nil {
			t.Fatal(err)
		}
	}); n > benchSeries/10 {
		t.Errorf("%v allocations for %d samples", n, benchSeries)
	}
}

// BenchmarkRules appends pages whose series are known to an endpoint with write_relabel_configs.
func BenchmarkRules(b *testing.B) {
	for _, c := range ruleCases {
		b.Run(c.name, func(b *testing.B) {
			w, pages := ruledMesh(b, c.rules)
			at := int64(1000)
			samples := appendAll(b, w, pages, at)
			defer perSample(b, samples)()
			b.ReportAllocs()
			for b.Loop() {
				at += 1000
				appendAll(b, w, pages, at)
			}
		})
	}
}
