package runner

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// snapshot is all counters at one moment.
type snapshot struct {
	at                                         time.Time
	agentCPU, fleetCPU, receiverCPU, runnerCPU time.Duration
	busy, stolen                               time.Duration
	served                                     fleet.Stats
	received                                   receiver.Stats
	counts                                     Counts // of the agent
}

func (b *bed) snapshot(ctx context.Context) (s snapshot, err error) {
	if s, err = b.snapshotWithoutReceived(ctx); err != nil {
		return s, err
	}
	return s, call(ctx, http.MethodGet, b.receiverURL+"/stats", &s.received)
}

// snapshotWithoutReceived is a snapshot where the receiver is not ours. A process that does not run has used nothing.
func (b *bed) snapshotWithoutReceived(ctx context.Context) (s snapshot, err error) {
	s.at = time.Now()
	for _, p := range []struct {
		process *process
		into    *time.Duration
	}{
		{b.agent, &s.agentCPU}, {b.fleet, &s.fleetCPU}, {b.receiver, &s.receiverCPU},
	} {
		if p.process == nil {
			continue
		}
		if *p.into, err = processCPU(p.process.pid()); err != nil {
			return s, err
		}
	}
	if b.agent != nil {
		if s.counts, err = b.agent.counts.read(); err != nil {
			return s, err
		}
	}
	if s.runnerCPU, err = processCPU(os.Getpid()); err != nil {
		return s, err
	}
	if s.busy, s.stolen, err = systemCPU(); err != nil {
		return s, err
	}
	return s, call(ctx, http.MethodGet, b.fleetURL+"/stats", &s.served)
}

// Window is the figures of one window.
type Window struct {
	Seconds         float64 `json:"seconds"`
	CPUPerMillion   float64 `json:"cpu_seconds_per_million_samples"`
	CPUCores        float64 `json:"cpu_cores"`
	CPUPerScrape    float64 `json:"cpu_seconds_per_scrape"`
	PagePerScrape   float64 `json:"page_bytes_per_scrape"` // as the fleet sent them
	RSSMedian       int64   `json:"rss_median_bytes"`
	RSSMax          int64   `json:"rss_max_bytes"`
	AnonymousMedian int64   `json:"rss_anonymous_median_bytes"`
	FileMedian      int64   `json:"rss_file_median_bytes"`
	Threads         int64   `json:"threads_max"`
	Descriptors     int64   `json:"descriptors_max"`
	Scrapes         uint64  `json:"scrapes"`
	Samples         uint64  `json:"samples_served"`
	Delivered       uint64  `json:"samples_delivered"`
	DeliveredPerDue float64 `json:"delivered_per_due"`
	WirePerSample   float64 `json:"wire_bytes_per_sample"`
	FailedScrapes   uint64  `json:"failed_scrapes"`
	FleetCores      float64 `json:"fleet_cores"`
	ReceiverCores   float64 `json:"receiver_cores"`
	PerScrape       Counts  `json:"per_scrape"` // of the agent
	PerSecond       Counts  `json:"per_second"`
	OtherCores      float64 `json:"other_cores"`  // everything on this machine that is not ours
	StolenCores     float64 `json:"stolen_cores"` // what the hypervisor kept back
}

// Noise returns the cores that all other programs on the machine used.
func (w Window) Noise() float64 { return w.OtherCores + w.StolenCores }

func (w Window) String() string {
	return fmt.Sprintf("%.3f CPU-s/M samples, %.1f MiB, delivered %.4f of due, others used %.2f cores",
		w.CPUPerMillion, mib(w.RSSMedian), w.DeliveredPerDue, w.Noise())
}

// window watches the agent for the length of one window.
func (b *bed) window(ctx context.Context) (Window, error) {
	windows, err := windowOf(ctx, []*bed{b})
	if err != nil {
		return Window{}, err
	}
	return windows[0], nil
}

// windowOf watches the agents of all beds at the same time, for the length of one window.
func windowOf(ctx context.Context, beds []*bed) ([]Window, error) {
	begin, err := snapshots(ctx, beds)
	if err != nil {
		return nil, err
	}
	seen := make([][]usage, len(beds))
	for end := begin[0].at.Add(beds[0].config.Window); time.Now().Before(end); {
		if err := restOf(ctx, beds, min(time.Second, time.Until(end))); err != nil {
			return nil, err
		}
		for i, b := range beds {
			now, err := b.memory()
			if err != nil {
				return nil, err
			}
			seen[i] = append(seen[i], now)
		}
	}
	end, err := snapshots(ctx, beds)
	if err != nil {
		return nil, err
	}
	var windows []Window
	for i, b := range beds {
		windows = append(windows, b.between(begin[i], end[i], seen[i]))
	}
	return withoutEachOther(windows), nil
}

func snapshots(ctx context.Context, beds []*bed) (all []snapshot, err error) {
	for _, b := range beds {
		s, err := b.snapshot(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// restOf waits as rest does, for all beds.
func restOf(ctx context.Context, beds []*bed, d time.Duration) error {
	end := time.Now().Add(d)
	for _, b := range beds {
		if err := b.rest(ctx, max(0, time.Until(end))); err != nil {
			return err
		}
	}
	return nil
}

// memory returns the agent's memory at the moment, and counts the context switches of threads that may end soon. If the
// agent has ended, the error tells how.
func (b *bed) memory() (usage, error) {
	err := b.agent.counts.look()
	if err == nil {
		var u usage
		if u, err = processUsage(b.agent.pid()); err == nil {
			return u, nil
		}
	}
	select {
	case <-b.agent.done:
		return usage{}, b.agent.ended()
	case <-time.After(time.Second): // the kernel forgets a process a moment before we hear of its end
		return usage{}, err
	}
}

// withoutEachOther takes what the processes of one bed used out of what the windows of the others call others' cores.
func withoutEachOther(windows []Window) []Window {
	all := 0.0
	for _, w := range windows {
		all += w.ownCores()
	}
	for i := range windows {
		w := &windows[i]
		w.OtherCores = max(0, w.OtherCores-(all-w.ownCores()))
	}
	return windows
}

// ownCores is what the agent, the fleet and the receiver used.
func (w Window) ownCores() float64 { return w.CPUCores + w.FleetCores + w.ReceiverCores }

// between returns the figures of the time between two snapshots.
func (b *bed) between(begin, end snapshot, seen []usage) Window {
	elapsed := end.at.Sub(begin.at).Seconds()
	cores := func(a, b time.Duration) float64 { return (b - a).Seconds() / elapsed }
	w := Window{
		Seconds:       elapsed,
		CPUCores:      cores(begin.agentCPU, end.agentCPU),
		Scrapes:       end.served.Scrapes - begin.served.Scrapes,
		Samples:       end.served.Samples - begin.served.Samples,
		Delivered:     end.received.Page() - begin.received.Page(),
		FailedScrapes: end.received.Down - begin.received.Down,
		FleetCores:    cores(begin.fleetCPU, end.fleetCPU),
		ReceiverCores: cores(begin.receiverCPU, end.receiverCPU),
		StolenCores:   cores(begin.stolen, end.stolen),
	}
	runner := cores(begin.runnerCPU, end.runnerCPU)
	w.OtherCores = max(0, cores(begin.busy, end.busy)-w.ownCores()-runner)
	cpu := (end.agentCPU - begin.agentCPU).Seconds()
	w.CPUPerMillion = ratio(cpu*1e6, float64(w.Scrapes)*b.kept)
	w.CPUPerScrape = ratio(cpu, float64(w.Scrapes))
	w.PagePerScrape = ratio(float64(end.served.Bytes-begin.served.Bytes), float64(w.Scrapes))
	perScrape := b.kept
	if !b.config.Checks { // the null mode cannot tell page samples from those that an agent adds
		perScrape += float64(b.synthetic)
	}
	due := float64(b.fleetConfig.Targets) * perScrape * elapsed / b.config.Interval.Seconds()
	w.DeliveredPerDue = ratio(float64(w.Delivered), due)
	w.WirePerSample = ratio(float64(end.received.WireBytes-begin.received.WireBytes),
		float64(end.received.Samples-begin.received.Samples))
	w.PerScrape = end.counts.since(begin.counts, float64(w.Scrapes))
	w.PerSecond = end.counts.since(begin.counts, elapsed)
	w.watched(seen)
	return w
}

func (w *Window) watched(seen []usage) {
	if len(seen) == 0 {
		return
	}
	each := func(of func(usage) int64) []int64 {
		var values []int64
		for _, u := range seen {
			values = append(values, of(u))
		}
		return values
	}
	resident := each(func(u usage) int64 { return u.Resident })
	w.RSSMedian, w.RSSMax = median(resident), slices.Max(resident)
	w.AnonymousMedian = median(each(func(u usage) int64 { return u.Anonymous }))
	w.FileMedian = median(each(func(u usage) int64 { return u.FileBacked }))
	w.Threads = slices.Max(each(func(u usage) int64 { return u.Threads }))
	w.Descriptors = slices.Max(each(func(u usage) int64 { return u.Descriptors }))
}

// ratio returns 0 instead of dividing by 0, so that JSON can hold the result.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func median[T int64 | float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
