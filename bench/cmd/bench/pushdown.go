package main

import (
	"context"
	"errors"
	"os"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// pushDown compares our own program that asks for filtered pages with itself asking for whole ones, in turns.
func pushDown(ctx context.Context, args []string) error {
	o := newOptions("pushdown", "envoy-scraper-2.0", fleet.DefaultConfig())
	keep := o.String("keep", "istio_.*", "regex of metric_relabel_configs: names that are kept; empty: no rules")
	if err := o.parse(args); err != nil {
		return err
	}
	if len(o.config.Cases) != 1 {
		return errors.New("-agents must name one agent")
	}
	whole := o.config.Cases[0]
	filtered := whole
	whole.Name, whole.Job = "off", runner.Job{Keep: *keep, PushDown: "off"}
	filtered.Name, filtered.Job = "auto", runner.Job{Keep: *keep, PushDown: "auto"}
	o.config.Cases = []runner.Case{whole, filtered}
	report, err := runner.Diff(ctx, o.config, os.Stderr)
	if len(report.Rounds) == 0 {
		return err
	}
	return errors.Join(err, write(report, o.config.Out))
}
