package main

import (
	"context"
	"errors"
	"os"

	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// run measures agents one after another with the same fleet.
func run(ctx context.Context, args []string) error {
	o := newOptions("run", "envoy-scraper")
	mustDeliver := o.Bool("must-deliver", false, "fail unless every sample arrived, in order, and no scrape failed")
	if err := o.parse(args); err != nil {
		return err
	}
	report, err := runner.Run(ctx, o.config, os.Stderr)
	if len(report.Rows) == 0 {
		return err
	}
	if err = errors.Join(err, write(report, o.config.Out)); err == nil && *mustDeliver {
		err = report.Complete()
	}
	return err
}
