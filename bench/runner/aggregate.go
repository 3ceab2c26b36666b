package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

// AggregateWay is a way of samples into a store, with sums over the pods or without.
type AggregateWay struct {
	Way
	Base string // the way without sums that it is compared with
}

// The ways without sums. The rules of the first one keep Istio's metrics.
const (
	rawWay      = "raw"
	rawWholeWay = "raw-whole"
)

// istioNames are the names that the preset istio sums.
const istioNames = "istio_.*"

// AggregateWays lists the ways of bench aggregate.
func AggregateWays() []AggregateWay {
	agents := map[string]*Agent{}
	for _, a := range append(Agents(), vmagentSums()) {
		agents[a.Name] = &a
	}
	ours := agents["envoy-scraper-2.0"]
	return []AggregateWay{
		{Way{Name: rawWay, Agent: ours, Job: Job{Keep: istioNames}}, rawWay},
		{Way{Name: "istio", Agent: ours, Job: Job{Keep: istioNames, Sums: istioNames}}, rawWay},
		{Way{Name: "vmagent-istio", Agent: agents["vmagent-sums"], Job: Job{Keep: istioNames, Sums: istioNames}},
			rawWay},
		{Way{Name: rawWholeWay, Agent: ours}, rawWholeWay},
		{Way{Name: "everything", Agent: ours, Job: Job{Sums: ".*"}}, rawWholeWay},
	}
}

// FindAggregateWays resolves names separated by commas. "all" are all ways.
func FindAggregateWays(names string) (found []AggregateWay, err error) {
	all := AggregateWays()
	for name := range strings.SplitSeq(names, ",") {
		matches := slices.DeleteFunc(slices.Clone(all), func(w AggregateWay) bool {
			return name != "all" && w.Name != name
		})
		if len(matches) == 0 {
			return nil, fmt.Errorf("way %q is not one of all, %s", name, strings.Join(aggregateWayNames(all), ", "))
		}
		found = append(found, matches...)
	}
	return found, nil
}

func aggregateWayNames(ways []AggregateWay) (names []string) {
	for _, w := range ways {
		names = append(names, w.Name)
	}
	return names
}

// AggregateConfig says how to measure what sums over the pods save. The Cases of Config are not used.
type AggregateConfig struct {
	Config
	Fleet fleet.Config
	Ways  []AggregateWay
	Store Agent
	// Replace is how many times each pod is replaced in a window: another pod of the workload comes in its place, with
	// another name and counters that begin at zero. Pods of a workload are replaced one after the other, each stepOf
	// intervals after the one before. A window is as long as that takes. 0: no pod is replaced.
	Replace int
}

// stepOf is how many intervals there are between two replacements.
const stepOf = 2

// fit makes a window as long as the replacements need. All windows together are as long as before, or one is longer.
func (c AggregateConfig) fit() AggregateConfig {
	if c.Replace > 0 {
		total := time.Duration(c.Windows) * c.Window
		c.Window = time.Duration(c.Replace*c.Fleet.Replicas*stepOf) * c.Interval
		c.Windows = max(1, int(total/c.Window))
	}
	return c
}

// step is the time between two replacements.
func (c AggregateConfig) step() time.Duration { return stepOf * c.Interval }

// Aggregate measures the ways in turns, each from its start with an empty database, so that a machine that gets slower
// meanwhile does so for all.
func Aggregate(ctx context.Context, c AggregateConfig, progress io.Writer) (r AggregateReport, err error) {
	c = c.fit()
	r = newAggregateReport(c)
	_, _ = fmt.Fprintf(progress, "%s; every %v; %d rounds: each way for a warm-up of %v and a window of %v\n",
		describe(c.Fleet), c.Interval, c.Windows, c.Warmup, c.Window)
	for n := range c.Windows {
		for i, w := range c.Ways {
			window, err := measureAggregate(ctx, c, w)
			if err != nil {
				return r, fmt.Errorf("%s: %w", w.Name, err)
			}
			r.Ways[i].Windows = append(r.Ways[i].Windows, window)
			_, _ = fmt.Fprintf(progress, "  round %d, %s: %s\n", n+1, w.Name, aggregateLine(window))
		}
	}
	return r, nil
}

func aggregateLine(w WholeWindow) string {
	return fmt.Sprintf("%.0f series; receiver %.3f cores, %.0f MiB; %.0f kB/s; agent %.3f cores, %.1f MiB; "+
		"others used %.2f cores", w.ReceiverSeries, w.ReceiverCores, mib(w.ReceiverRSSMedian), w.SentPerSecond/1e3,
		w.CPUCores, mib(w.RSSMedian), w.Noise())
}

// measureAggregate runs a way for one window.
func measureAggregate(ctx context.Context, c AggregateConfig, way AggregateWay) (w WholeWindow, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Warmup+c.Window+overhead)
	defer cancel()
	b, err := newWholeBed(ctx, WholeConfig{Config: c.Config, Fleet: c.Fleet, Store: c.Store}, way.Way)
	defer func() { err = errors.Join(err, b.stop()) }()
	if err != nil {
		return w, err
	}
	if err := b.rest(ctx, c.Warmup); err != nil {
		return w, err
	}
	if c.Replace > 0 {
		b.meanwhile = b.replacer(c)
	}
	if w, err = b.window(ctx); err != nil {
		return w, err
	}
	_, err = b.stopAgent()
	return w, err
}

// replacer returns the function that replaces pods in a window.
func (b *wholeBed) replacer(c AggregateConfig) func(context.Context, time.Duration) error {
	done := 0
	return func(ctx context.Context, since time.Duration) error {
		for ; done < c.Replace*c.Fleet.Replicas && since >= time.Duration(done)*c.step(); done++ {
			url := fmt.Sprintf("%s/restart?first=%d&step=%d", b.fleetURL, done%c.Fleet.Replicas, c.Fleet.Replicas)
			if err := call(ctx, http.MethodPost, url, nil); err != nil {
				return err
			}
			if err := writeTargets(b.targetsFile, replaced(c.Fleet, done+1)); err != nil {
				return err
			}
		}
		return nil
	}
}

// replaced returns the targets after a number of replacements. Each of them replaces one replica of every workload.
func replaced(f fleet.Config, replacements int) []fleet.Target {
	all := f.TargetList()
	for n := range all {
		// replica 3 of 10 is replaced for the first time by the fourth replacement, then by the 14th
		if lives := (replacements - n%f.Replicas + f.Replicas - 1) / f.Replicas; lives > 0 {
			all[n].Pod = fmt.Sprintf("%s-%d", all[n].Pod, lives)
		}
	}
	return all
}
