package remotewrite

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// onDemand are metrics that are read from endpoints when metrics are collected. A removed endpoint has none.
type onDemand struct {
	endpoints func() []*endpoint
	prefix    string
	all       []onDemandMetric
}

type onDemandMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*endpoint, *queue.Stats) float64
}

func (c *onDemand) add(name, help string, kind prometheus.ValueType, read func(*endpoint, *queue.Stats) float64) {
	c.all = append(c.all, onDemandMetric{prometheus.NewDesc(c.prefix+name, help, []string{"endpoint"}, nil), kind,
		read})
}

// newLaneCollector returns metrics of endpoints and their lanes.
func newLaneCollector(endpoints func() []*endpoint) *onDemand {
	c := &onDemand{endpoints: endpoints, prefix: "envoy_scraper_remotewrite_"}
	add := func(name, help string, read func(*endpoint) float64) {
		c.add(name, help, prometheus.GaugeValue, func(e *endpoint, _ *queue.Stats) float64 { return read(e) })
	}
	add("lanes", "Lanes of the endpoint: the number of concurrent requests.",
		func(e *endpoint) float64 { return float64(len(e.packer.Lanes())) })
	add("lanes_min", "Smallest number of lanes (min_shards).",
		func(e *endpoint) float64 { return float64(e.settings.Load().lanes()) })
	add("lanes_max", "Largest number of lanes (max_shards).",
		func(e *endpoint) float64 { return float64(e.settings.Load().maxLanes()) })
	add("lanes_desired", "Lanes that the load needs, without the limits.",
		func(e *endpoint) float64 { return float64(e.desired.Load()) })
	add("max_samples_per_send", "Largest number of samples in a request (max_samples_per_send).",
		func(e *endpoint) float64 { return float64(e.settings.Load().QueueConfig.MaxSamplesPerSend) })
	add("highest_appended_timestamp_seconds", "Newest timestamp that was appended to the queue.",
		func(e *endpoint) float64 { return float64(e.packer.Newest()) / 1000 })
	add("highest_accepted_timestamp_seconds", "Newest timestamp that the endpoint accepted.",
		func(e *endpoint) float64 { return float64(e.account.highest.Load()) / 1000 })
	add("protocol", "Major version of remote write in use: 1 or 2.",
		func(e *endpoint) float64 { return float64(e.receiver.Protocol()) })
	return c
}

// newQueueCollector returns metrics of queues on disk.
func newQueueCollector(endpoints func() []*endpoint) *onDemand {
	c := &onDemand{endpoints: endpoints, prefix: "envoy_scraper_queue_"}
	add := func(name, help string, kind prometheus.ValueType, read func(*queue.Stats) float64) {
		c.add(name, help, kind, func(_ *endpoint, s *queue.Stats) float64 { return read(s) })
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	add("memory_bytes", "Bytes of queued samples in memory. They may be on disk too.", gauge,
		func(s *queue.Stats) float64 { return float64(s.MemoryBytes) })
	c.add("memory_limit_bytes", "Limit of memory_bytes (max_memory); 4 times that while the disk is slow.", gauge,
		func(e *endpoint, _ *queue.Stats) float64 { return float64(e.limits.MaxMemory) })
	c.add("age_limit_seconds", "Age at which queued samples are dropped (max_age); 0: never.", gauge,
		func(e *endpoint, _ *queue.Stats) float64 { return e.limits.MaxAge.Seconds() })
	add("disk_bytes", "Size of the segment files of the queue.", gauge,
		func(s *queue.Stats) float64 { return float64(s.DiskBytes) })
	add("segments", "Segment files of the queue.", gauge, func(s *queue.Stats) float64 { return float64(s.Segments) })
	add("disk_failing", "1 while writing, syncing or removing segments fails.", gauge,
		func(s *queue.Stats) float64 {
			if s.DiskError != "" {
				return 1
			}
			return 0
		})
	add("written_bytes_total", "Bytes written to segments.", counter,
		func(s *queue.Stats) float64 { return float64(s.WrittenBytes) })
	add("write_errors_total", "Failed writes of segments. They are retried.", counter,
		func(s *queue.Stats) float64 { return float64(s.WriteErrors) })
	add("sync_errors_total", "Failed syncs of segments. Their data is written again.", counter,
		func(s *queue.Stats) float64 { return float64(s.SyncErrors) })
	add("remove_errors_total", "Failed removals of segments. They are retried.", counter,
		func(s *queue.Stats) float64 { return float64(s.RemoveErrors) })
	add("read_errors_total", "Failed reads of segments. They are retried.", counter,
		func(s *queue.Stats) float64 { return float64(s.ReadErrors) })
	add("read_records_total", "Records read back from disk.", counter,
		func(s *queue.Stats) float64 { return float64(s.ReadRecords) })
	add("replayed_records_total", "Records read back from disk that an earlier process had written.", counter,
		func(s *queue.Stats) float64 { return float64(s.ReplayedRecords) })
	add("replayed_bytes_total", "Bytes of such records.", counter,
		func(s *queue.Stats) float64 { return float64(s.ReplayedBytes) })
	add("corrupt_records_total", "Records whose checksum, or that of their header, was wrong.", counter,
		func(s *queue.Stats) float64 { return float64(s.CorruptRecords) })
	add("skipped_bytes_total", "Damaged bytes of segments that were skipped and kept aside.", counter,
		func(s *queue.Stats) float64 { return float64(s.SkippedBytes) })
	add("truncated_bytes_total", "Bytes of half-written records that were cut off.", counter,
		func(s *queue.Stats) float64 { return float64(s.TruncatedBytes) })
	return c
}

// Describe implements prometheus.Collector.
func (c *onDemand) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.all {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *onDemand) Collect(ch chan<- prometheus.Metric) {
	for _, e := range c.endpoints() {
		stats := e.queue.Stats()
		for _, f := range c.all {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.read(e, &stats), e.label)
		}
	}
}
