package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// SoakConfig says how restless a soak is.
type SoakConfig struct {
	Duration time.Duration // after the warm-up
	Rotate   time.Duration // how often other targets leave
	Every    time.Duration // how often the agent is looked at
}

// DefaultSoak is restless enough for its length: targets come and go each minute, or more often in a short one.
func DefaultSoak(d time.Duration) SoakConfig {
	return SoakConfig{Duration: d, Rotate: min(time.Minute, d/6), Every: min(10*time.Second, max(time.Second, d/180))}
}

// leaveOneIn is the share of the targets that are away: every tenth.
const leaveOneIn = 10

// SoakReport says whether memory, goroutines and descriptors of an agent stay flat while targets come and go.
type SoakReport struct {
	Report
	Fleet      string         `json:"fleet"`
	Rotations  int            `json:"rotations"`
	Departures int            `json:"departures"`
	Points     []SoakPoint    `json:"points"`
	Thirds     []Thirds       `json:"thirds"`
	Served     fleet.Stats    `json:"served"`
	Received   receiver.Stats `json:"received"`
	Account    Account        `json:"account"`
	Noise      float64        `json:"other_cores"`
	CPU        float64        `json:"cpu_seconds_per_million_samples"`
}

// SoakPoint is one look at the agent.
type SoakPoint struct {
	Seconds float64            `json:"seconds"` // after the warm-up
	Values  map[string]float64 `json:"values"`
}

// Soak runs the first case, which is one of ours, while every tenth of its
// targets is away, another tenth each time.
func Soak(ctx context.Context, c Config, s SoakConfig, progress io.Writer) (r SoakReport, err error) {
	k := c.Cases[0]
	r = SoakReport{Report: newReport(c), Fleet: describe(k.Fleet)}
	b, err := newBed(ctx, c, k.Fleet, k.Agent.Accept, filepath.Join(c.Out, k.dir()))
	defer func() { err = errors.Join(err, b.stop()) }()
	if err != nil {
		return r, err
	}
	_, _ = fmt.Fprintf(progress, "%s: %s every %v; warm-up %v, then %v; every %v another tenth of the targets leaves\n",
		k.Name, r.Fleet, c.Interval, c.Warmup, s.Duration, s.Rotate)
	if err := b.startAgent(k, k.Fleet.TargetList()); err != nil {
		return r, err
	}
	if err := b.rest(ctx, c.Warmup); err != nil {
		return r, err
	}
	begin, err := b.snapshot(ctx)
	if err != nil {
		return r, err
	}
	if err := b.soak(ctx, s, &r, progress); err != nil {
		return r, err
	}
	end, err := b.snapshot(ctx)
	if err != nil {
		return r, err
	}
	w := b.between(begin, end, nil)
	r.Noise, r.CPU = w.Noise(), w.CPUPerMillion
	r.Thirds = thirds(r.Points)
	return r, b.settle(ctx, &r, end)
}

// soak looks at the agent and lets targets come and go, until the time is over.
func (b *bed) soak(ctx context.Context, s SoakConfig, r *SoakReport, progress io.Writer) error {
	all := b.fleetConfig.TargetList()
	begun := time.Now()
	rotate := begun.Add(s.Rotate)
	for {
		now := time.Since(begun)
		values, err := b.look(ctx)
		if err != nil {
			return err
		}
		r.Points = append(r.Points, SoakPoint{Seconds: now.Seconds(), Values: values})
		if now >= s.Duration {
			return nil
		}
		if !time.Now().Before(rotate) {
			rotate = rotate.Add(s.Rotate)
			stay := present(all, r.Rotations)
			if err := writeTargets(b.targetsFile, stay); err != nil {
				return err
			}
			r.Rotations++
			r.Departures += len(all) - len(stay)
			_, _ = fmt.Fprintf(progress, "  %v: %.1f MiB, %.0f goroutines, %.0f descriptors, %d targets leave\n",
				now.Round(time.Second),
				values[soakRSS]/(1<<20), values[soakGoroutines], values[soakDescriptors], len(all)-len(stay))
		}
		if err := b.rest(ctx, min(s.Every, max(0, s.Duration-time.Since(begun)))); err != nil {
			return err
		}
	}
}

// present are all targets but every tenth; which, depends on the rotation.
func present(all []fleet.Target, rotation int) []fleet.Target {
	var stay []fleet.Target
	for n, t := range all {
		if (n+rotation)%leaveOneIn != 0 {
			stay = append(stay, t)
		}
	}
	return stay
}

// settle compares the samples that were served with those that arrived.
func (b *bed) settle(ctx context.Context, r *SoakReport, end snapshot) (err error) {
	if r.Served, r.Received, err = b.drain(ctx); err != nil {
		return err
	}
	m, err := b.metrics(ctx)
	if err != nil {
		return err
	}
	r.Account = account(r.Served, r.Received, m, r.Departures)
	r.Account.FailedScrapes = end.received.Down // those after the drain are its own doing
	_, err = b.stopAgent()
	return err
}

// metrics asks the agent for its own.
func (b *bed) metrics(ctx context.Context) (ownMetrics, error) {
	return metricsOf(ctx, "http://"+b.web)
}

// metricsOf asks a program for its own metrics.
func metricsOf(ctx context.Context, url string) (ownMetrics, error) {
	text, err := fetch(ctx, http.MethodGet, url+"/metrics")
	if err != nil {
		return nil, err
	}
	return parseMetrics(text)
}
