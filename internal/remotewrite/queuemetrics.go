package remotewrite

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// queueCollector reads what the queues know of their disk when somebody asks.
type queueCollector struct {
	endpoints func() []*endpoint
	figures   []queueFigure
}

type queueFigure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*queue.Stats) float64
}

func newQueueCollector(endpoints func() []*endpoint) *queueCollector {
	c := &queueCollector{endpoints: endpoints}
	add := func(name, help string, kind prometheus.ValueType, read func(*queue.Stats) float64) {
		desc := prometheus.NewDesc("envoy_scraper_queue_"+name, help, []string{"endpoint"}, nil)
		c.figures = append(c.figures, queueFigure{desc, kind, read})
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	add("memory_bytes", "Bytes of samples that wait in memory, whether or not they are on disk too.", gauge,
		func(s *queue.Stats) float64 { return float64(s.MemoryBytes) })
	add("disk_bytes", "Size of the queue's segments.", gauge, func(s *queue.Stats) float64 { return float64(s.DiskBytes) })
	add("segments", "Segment files of the queue.", gauge, func(s *queue.Stats) float64 { return float64(s.Segments) })
	add("disk_failing", "1 while the disk refuses to write, sync or remove segments.", gauge, func(s *queue.Stats) float64 {
		if s.DiskError != "" {
			return 1
		}
		return 0
	})
	add("written_bytes_total", "Bytes written to segments.", counter, func(s *queue.Stats) float64 { return float64(s.WrittenBytes) })
	add("write_errors_total", "Writes that failed, and were tried again.", counter, func(s *queue.Stats) float64 { return float64(s.WriteErrors) })
	add("sync_errors_total", "Syncs that failed; what they should have synced was written again.", counter,
		func(s *queue.Stats) float64 { return float64(s.SyncErrors) })
	add("remove_errors_total", "Removals of segments that failed, and were tried again.", counter,
		func(s *queue.Stats) float64 { return float64(s.RemoveErrors) })
	add("read_errors_total", "Reads that failed, and were tried again.", counter, func(s *queue.Stats) float64 { return float64(s.ReadErrors) })
	add("read_records_total", "Records read back from disk.", counter, func(s *queue.Stats) float64 { return float64(s.ReadRecords) })
	add("replayed_records_total", "Of the records read back from disk, those that an earlier process wrote.", counter,
		func(s *queue.Stats) float64 { return float64(s.ReplayedRecords) })
	add("replayed_bytes_total", "Bytes of such records.", counter, func(s *queue.Stats) float64 { return float64(s.ReplayedBytes) })
	add("corrupt_records_total", "Records, or their headers, that failed their checksum.", counter,
		func(s *queue.Stats) float64 { return float64(s.CorruptRecords) })
	add("skipped_bytes_total", "Damaged bytes of segments that were skipped, and kept aside.", counter,
		func(s *queue.Stats) float64 { return float64(s.SkippedBytes) })
	add("truncated_bytes_total", "Bytes of half-written records that were cut off.", counter,
		func(s *queue.Stats) float64 { return float64(s.TruncatedBytes) })
	return c
}

// Describe implements prometheus.Collector.
func (c *queueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.figures {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	for _, e := range c.endpoints() {
		stats := e.queue.Stats()
		for _, f := range c.figures {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.read(&stats), e.label)
		}
	}
}
