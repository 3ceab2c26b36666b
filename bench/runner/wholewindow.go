package runner

import (
	"context"
	"fmt"
	"time"
)

// storedMetric counts the samples that a Prometheus has stored since it started.
const storedMetric = "prometheus_tsdb_head_samples_appended_total"

// seriesMetric is the number of series in a Prometheus' memory. In the first hours none leaves it.
const seriesMetric = "prometheus_tsdb_head_series"

// rejectedMetrics count what it did not store, sent or scraped.
var rejectedMetrics = []string{
	"prometheus_tsdb_out_of_order_samples_total", "prometheus_tsdb_too_old_samples_total",
	"prometheus_tsdb_out_of_bound_samples_total", "prometheus_target_scrapes_sample_out_of_order_total",
	"prometheus_target_scrapes_sample_duplicate_timestamp_total",
	"prometheus_target_scrapes_sample_out_of_bounds_total",
}

// wholeSnapshot is all counters of a way at one moment.
type wholeSnapshot struct {
	snapshot
	stored, rejected     float64
	series               float64 // in the store's memory
	pending              float64 // samples in the agent's queue
	sent, queued         float64 // bytes, by the agent's own counters
	written, storeOnDisk int64   // bytes to disk: of the agent, of the store
}

func (b *wholeBed) snapshot(ctx context.Context) (s wholeSnapshot, err error) {
	if s.snapshot, err = b.snapshotWithoutReceived(ctx); err != nil {
		return s, err
	}
	if b.receiver != nil { // else it is down
		if err = b.storeCounters(ctx, &s); err != nil {
			return s, err
		}
	}
	if b.agent != nil {
		err = b.agentCounters(ctx, &s)
	}
	return s, err
}

func (b *wholeBed) storeCounters(ctx context.Context, s *wholeSnapshot) (err error) {
	if s.storeOnDisk, err = writtenToDisk(b.receiver.pid()); err != nil {
		return err
	}
	store, err := metricsOf(ctx, b.receiverURL)
	s.stored, s.series = store[storedMetric], store[seriesMetric]
	for _, name := range rejectedMetrics {
		s.rejected += store[name]
	}
	return err
}

func (b *wholeBed) agentCounters(ctx context.Context, s *wholeSnapshot) (err error) {
	if s.written, err = writtenToDisk(b.agent.pid()); err != nil {
		return err
	}
	agent, err := b.metrics(ctx)
	of := b.way.Agent
	s.sent, s.queued, s.pending = agent[of.SentBytes], agent[of.QueueBytes], agent[of.Pending]
	return err
}

// WholeWindow is the figures of a window. In Window, the agent's are 0 if there is none, and delivered samples are
// those that the store stored, synthetic ones included.
type WholeWindow struct {
	Window
	ReceiverPerMillion float64 `json:"receiver_cpu_seconds_per_million_samples"`
	ReceiverRSSMedian  int64   `json:"receiver_rss_median_bytes"`
	ReceiverAnonymous  int64   `json:"receiver_rss_anonymous_median_bytes"`
	ReceiverSeries     float64 `json:"receiver_series"`       // in its memory, at the end of the window
	SentPerSecond      float64 `json:"sent_bytes_per_second"` // by the agent's own counter
	Rejected           uint64  `json:"samples_rejected"`
	QueuePerSample     float64 `json:"queue_bytes_per_sample"` // that the agent wrote to its queue, by its own counter
	DiskPerSample      float64 `json:"disk_bytes_per_sample"`  // that the kernel wrote for the agent, in whole pages
	ReceiverDisk       float64 `json:"receiver_disk_bytes_per_sample"`
}

// Both is the CPU of agent and store: CPU seconds per million samples.
func (w WholeWindow) Both() float64 { return w.CPUPerMillion + w.ReceiverPerMillion }

// StoredPerSecond is the number of samples that the store stored per second.
func (w WholeWindow) StoredPerSecond() float64 { return ratio(float64(w.Delivered), w.Seconds) }

func (w WholeWindow) String() string {
	return fmt.Sprintf("agent %.3f + receiver %.3f CPU-s/M samples, stored %.4f of due, others used %.2f cores",
		w.CPUPerMillion, w.ReceiverPerMillion, w.DeliveredPerDue, w.Noise())
}

// window watches agent and store for the length of one window.
func (b *wholeBed) window(ctx context.Context) (w WholeWindow, err error) {
	begin, err := b.snapshot(ctx)
	if err != nil {
		return w, err
	}
	var agent, store []usage
	for end := begin.at.Add(b.config.Window); time.Now().Before(end); {
		if b.meanwhile != nil {
			if err := b.meanwhile(ctx, time.Since(begin.at)); err != nil {
				return w, err
			}
		}
		if err := b.rest(ctx, min(time.Second, time.Until(end))); err != nil {
			return w, err
		}
		u, err := processUsage(b.receiver.pid())
		if err != nil {
			return w, err
		}
		store = append(store, u)
		if b.agent == nil {
			continue
		}
		if u, err = processUsage(b.agent.pid()); err != nil {
			return w, err
		}
		agent = append(agent, u)
	}
	end, err := b.snapshot(ctx)
	if err != nil {
		return w, err
	}
	return b.between(begin, end, agent, store), nil
}

// between returns the figures of the time between two snapshots. The agent's CPU is divided by the samples that the
// fleet served, the store's by those that it stored.
func (b *wholeBed) between(begin, end wholeSnapshot, agent, store []usage) WholeWindow {
	w := WholeWindow{Window: b.bed.between(begin.snapshot, end.snapshot, agent)}
	stored := end.stored - begin.stored
	due := float64(b.fleetConfig.Targets) * float64(b.fleetConfig.Series+b.synthetic) * w.Seconds /
		b.config.Interval.Seconds()
	w.Delivered, w.DeliveredPerDue = uint64(stored), ratio(stored, due)
	w.Rejected = uint64(end.rejected - begin.rejected)
	w.ReceiverPerMillion = ratio((end.receiverCPU-begin.receiverCPU).Seconds()*1e6, stored)
	w.WirePerSample = ratio(end.sent-begin.sent, stored)
	w.QueuePerSample = ratio(end.queued-begin.queued, stored)
	w.DiskPerSample = ratio(float64(end.written-begin.written), stored)
	w.ReceiverDisk = ratio(float64(end.storeOnDisk-begin.storeOnDisk), stored)
	var ofStore Window
	ofStore.watched(store)
	w.ReceiverRSSMedian, w.ReceiverAnonymous = ofStore.RSSMedian, ofStore.AnonymousMedian
	w.ReceiverSeries, w.SentPerSecond = end.series, ratio(end.sent-begin.sent, w.Seconds)
	return w
}
