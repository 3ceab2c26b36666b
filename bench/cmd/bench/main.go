// Command bench measures what an agent needs to scrape a mesh of sidecars:
// `bench run`, with `bench fleet` and `bench receiver` as its two ends, which
// can be used alone too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := dispatch(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	role := ""
	if len(args) > 0 {
		role, args = args[0], args[1:]
	}
	switch role {
	case "run":
		return run(ctx, args)
	case "fleet":
		return runner.FleetMain(ctx, args, os.Stdin, os.Stdout)
	case "receiver":
		return runner.ReceiverMain(ctx, args, os.Stdin, os.Stdout)
	}
	return errors.New("usage: bench run|fleet|receiver [flags]; -h after one of them lists its flags")
}

// shapes are the fleets that documents speak of.
var shapes = map[string]struct{ targets, series int }{
	"S": {200, 2000}, "L": {20, 20_000}, "M": {1000, 500},
}

func run(ctx context.Context, args []string) error {
	c := runner.Config{Fleet: fleet.DefaultConfig()}
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	runner.FleetFlags(fs, &c.Fleet)
	shape := fs.String("fleet", "", "targets and series by name: S (200 x 2,000), L (20 x 20,000), M (1,000 x 500)")
	mustDeliver := fs.Bool("must-deliver", false, "fail unless every sample arrived, in order, and no scrape failed")
	fs.StringVar(&c.Build, "build", "", "version of our own program, for the report")
	agents := fs.String("agents", "envoy-scraper", "agents, one after another, separated by commas")
	fs.StringVar(&c.Programs, "programs", "bin", "folder of the agents' programs")
	fs.StringVar(&c.Out, "out", "out", "folder for logs, configurations and the report")
	fs.DurationVar(&c.Interval, "interval", 10*time.Second, "scrape interval")
	fs.DurationVar(&c.Warmup, "warmup", 40*time.Second, "time before the first window")
	fs.DurationVar(&c.Window, "window", time.Minute, "length of a window")
	duration := fs.Duration("duration", 5*time.Minute, "length of all windows together")
	fs.BoolVar(&c.Checks, "checks", true, "receiver checks labels, symbols and order; off: it only counts")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if s, ok := shapes[*shape]; ok {
		c.Fleet.Targets, c.Fleet.Series = s.targets, s.series
	} else if *shape != "" {
		return fmt.Errorf("-fleet: %q is not S, L or M", *shape)
	}
	if c.Interval <= 0 || c.Window <= 0 || *duration <= 0 {
		return errors.New("-interval, -window and -duration must be more than 0")
	}
	c.Window = min(c.Window, *duration)
	c.Windows = int(*duration / c.Window)
	var err error
	if c.Agents, err = runner.FindAgents(*agents); err != nil {
		return err
	}
	if err := c.Fleet.Validate(); err != nil {
		return err
	}
	if c.Self, err = os.Executable(); err != nil {
		return err
	}
	report, err := runner.Run(ctx, c, os.Stderr)
	if len(report.Rows) == 0 {
		return err
	}
	if err = errors.Join(err, write(report, c.Out)); err == nil && *mustDeliver {
		err = report.Complete()
	}
	return err
}

// write prints the report and keeps it in three forms.
func write(r runner.Report, dir string) error {
	var errs []error
	for name, form := range map[string]func(io.Writer) error{
		"report.txt": r.WriteText, "report.md": r.WriteMarkdown, "report.json": r.WriteJSON,
	} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		errs = append(errs, form(f), f.Close())
	}
	return errors.Join(append(errs, r.WriteText(os.Stdout))...)
}
