package main

import (
	"context"
	"errors"
	"os"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// aggregate measures what sums over the pods save, with a real Prometheus as the receiver.
func aggregate(ctx context.Context, args []string) error {
	o := newOptions("aggregate", "envoy-scraper", fleet.DefaultConfig())
	c := runner.AggregateConfig{Store: runner.PrometheusStore()}
	names := o.String("ways", "all", "ways, in turns, separated by commas: all, or some of raw, istio (sums of "+
		"istio_.*), vmagent-istio (its stream aggregation), raw-whole and everything (the same of whole pages)")
	o.IntVar(&c.Replace, "replace", 0, "how many times each pod is replaced in a window; more than 0: a window is two "+
		"intervals for each replacement of a workload")
	o.Lookup("agents").Usage = "not used: see -ways"
	if err := o.parse(args); err != nil {
		return err
	}
	if c.Replace < 0 {
		return errors.New("-replace must not be negative")
	}
	c.Config, c.Fleet = o.config, o.fleet
	var err error
	if c.Ways, err = runner.FindAggregateWays(*names); err != nil {
		return err
	}
	report, err := runner.Aggregate(ctx, c, os.Stderr)
	if len(report.Ways) == 0 {
		return err
	}
	return errors.Join(err, write(report, c.Out))
}
