package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// wholeOptions are the flags of whole and catchup.
type wholeOptions struct {
	*options
	ways    string
	profile bool
	outage  time.Duration
}

func newWholeOptions(name, ways string) *wholeOptions {
	o := &wholeOptions{options: newOptions(name, "envoy-scraper", fleet.DefaultConfig())}
	o.StringVar(&o.ways, "ways", ways, "ways, one after another, separated by commas: all, ours, or names such as "+
		runner.Direct+", envoy-scraper-2.0-n3 (batch_send_deadline is 3 intervals), vmagent")
	o.Lookup("warmup").Usage = "time before the first window; becomes a multiple of all delays, and twice the longest"
	o.Lookup("agents").Usage = "not used: see -ways"
	return o
}

func (o *wholeOptions) parse(args []string) (c runner.WholeConfig, err error) {
	if err := o.options.parse(args); err != nil {
		return c, err
	}
	c = runner.WholeConfig{
		Config: o.config, Fleet: o.fleet, Store: runner.PrometheusStore(), Profile: o.profile, Outage: o.outage,
	}
	c.Ways, err = runner.FindWays(o.ways)
	return c, err
}

// whole measures agent and receiver together, with a real Prometheus as the receiver.
func whole(ctx context.Context, args []string) error {
	o := newWholeOptions("whole", "all")
	o.BoolVar(&o.profile, "receiver-profile", false, "profile the receiver's CPU in one more window")
	c, err := o.parse(args)
	if err != nil {
		return err
	}
	report, err := runner.Whole(ctx, c, os.Stderr)
	if len(report.Ways) == 0 {
		return err
	}
	return errors.Join(err, write(report, c.Out))
}

// catchUp measures how fast a queue drains after the receiver was down.
func catchUp(ctx context.Context, args []string) error {
	o := newWholeOptions("catchup", "ours")
	o.DurationVar(&o.outage, "outage", time.Minute, "how long the receiver is down")
	c, err := o.parse(args)
	if err != nil {
		return err
	}
	report, err := runner.CatchUp(ctx, c, os.Stderr)
	if len(report.CatchUps) == 0 {
		return err
	}
	return errors.Join(err, write(report, c.Out))
}
