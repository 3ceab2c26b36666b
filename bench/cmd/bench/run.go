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
	o.BoolVar(&o.config.Strace, "strace", false, "count the agent's system calls by name in one more window, if "+
		"strace is installed")
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

// scale measures fleets of several sizes beside one: is the CPU of a sample the same?
func scale(ctx context.Context, args []string) error {
	f := fleet.DefaultConfig()
	f.Series = 200
	o := newOptions("scale", "envoy-scraper-2.0", f)
	o.config.Interval = 15 * time.Second
	list := o.String("sizes", "100,1000,3000,9000", "numbers of targets, separated by commas")
	reference := o.Int("reference", 300, "number of targets that runs beside each of them")
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
	report, err := runner.Scale(ctx, o.config, sizes, *reference, os.Stderr)
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
