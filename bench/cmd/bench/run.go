package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// run measures agents one after another with the same fleet.
func run(ctx context.Context, args []string) error {
	o := newOptions("run", "envoy-scraper", fleet.DefaultConfig())
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

// scale measures fleets of several sizes: is the CPU of a sample the same?
func scale(ctx context.Context, args []string) error {
	f := fleet.DefaultConfig()
	f.Series = 200
	o := newOptions("scale", "envoy-scraper-2.0", f)
	list := o.String("sizes", "100,300,1000,2000", "numbers of targets, separated by commas")
	if err := o.parse(args); err != nil {
		return err
	}
	var sizes []int
	for text := range strings.SplitSeq(*list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("-sizes: %w", err)
		}
		sizes = append(sizes, n)
	}
	report, err := runner.Scale(ctx, o.config, sizes, os.Stderr)
	if len(report.Rows) == 0 {
		return err
	}
	return errors.Join(err, write(report, o.config.Out))
}

// idle tells what an agent needs without targets, and how soon it sends with some.
func idle(ctx context.Context, args []string) error {
	o := newOptions("idle", "envoy-scraper", fleet.DefaultConfig())
	after := o.Duration("idle", 30*time.Second, "how long there are no targets")
	if err := o.parse(args); err != nil {
		return err
	}
	report, err := runner.Idle(ctx, o.config, *after, os.Stderr)
	if len(report.Idle) == 0 {
		return err
	}
	return errors.Join(err, write(report, o.config.Out))
}
