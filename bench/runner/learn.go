package runner

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// Learning is the time from an agent's start until each series of the fleet had arrived once. Its first four fields are
// zero if they did not all arrive in the warm-up, or if the receiver does not check.
type Learning struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu_seconds"` // of the agent, from its start
	Scrapes uint64  `json:"scrapes"`     // that the fleet served
	// Known is the CPU of as many scrapes in the windows, where each page shows series that the agent knows.
	Known float64 `json:"known_cpu_seconds"`
	// PeakAnonymous is the most anonymous memory in the warm-up, looked at ten times per second.
	PeakAnonymous int64 `json:"peak_rss_anonymous_bytes"`
}

// LearnCPU is the CPU that only the first scrapes need.
func (l Learning) LearnCPU() float64 { return max(0, l.CPU-l.Known) }

// compare fills in what the scrapes cost once their series are known.
func (l *Learning) compare(windows []Window) {
	l.Known = float64(l.Scrapes) * medianOf(windows, func(w Window) float64 { return w.CPUPerScrape })
}

// warmUp waits for the warm-up, and fills in how it went for each bed.
func warmUp(ctx context.Context, beds []*bed, rows []Row) error {
	const look = 100 * time.Millisecond
	for end := beds[0].agent.begun.Add(beds[0].config.Warmup); time.Now().Before(end); {
		for i, b := range beds {
			if err := b.learned(ctx, &rows[i].Learning); err != nil {
				return err
			}
		}
		if err := restOf(ctx, beds, min(look, time.Until(end))); err != nil {
			return err
		}
	}
	for i, b := range beds {
		warm, err := b.snapshot(ctx)
		if err != nil {
			return err
		}
		rows[i].WarmupFailed, rows[i].WarmupCPU = warm.received.Down, warm.agentCPU.Seconds()
	}
	return nil
}

// learned looks at the agent's memory, and fills in the rest of l once each series has arrived, those that the agent
// adds to each scrape included.
func (b *bed) learned(ctx context.Context, l *Learning) error {
	memory, err := b.memory()
	if err != nil {
		return err
	}
	l.PeakAnonymous = max(l.PeakAnonymous, memory.Anonymous)
	if l.Seconds > 0 || !b.config.Checks {
		return nil
	}
	var s receiver.Stats
	if err := call(ctx, http.MethodGet, b.receiverURL+"/stats", &s); err != nil {
		return err
	}
	series := math.Round(float64(b.fleetConfig.Targets) * (b.kept + float64(b.synthetic)))
	if float64(s.DistinctSeries) < series {
		return nil
	}
	now, err := b.snapshot(ctx)
	l.Seconds, l.CPU, l.Scrapes = now.at.Sub(b.agent.begun).Seconds(), now.agentCPU.Seconds(), now.served.Scrapes
	return err
}
