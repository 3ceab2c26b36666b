package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// shapes are the fleets that documents speak of.
var shapes = map[string]struct {
	targets, series int
	interval        time.Duration
}{
	"S": {200, 2000, usualInterval}, "L": {20, 20_000, usualInterval}, "M": {1000, 500, usualInterval},
	"XL": {9000, 200, 15 * time.Second}, "N": {30, 1000, 15 * time.Second},
}

const usualInterval = 10 * time.Second

// options are the flags that all measurements have in common.
type options struct {
	*flag.FlagSet
	config        runner.Config
	fleet         fleet.Config
	shape, agents string
	duration      time.Duration
}

// newOptions has the defaults that are given, which a flag changes.
func newOptions(name, agents string, f fleet.Config) *options {
	o := &options{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), fleet: f}
	runner.FleetFlags(o.FlagSet, &o.fleet)
	c := &o.config
	o.StringVar(&o.shape, "fleet", "", "targets, series and interval by name: S (200 x 2,000), L (20 x 20,000), "+
		"M (1,000 x 500), all every 10 s; XL (9,000 x 200), N (a node's: 30 x 1,000), both every 15 s")
	o.StringVar(&o.agents, "agents", agents, "agents, one after another, separated by commas")
	o.StringVar(&c.Build, "build", "", "version of our own program, for the report")
	o.StringVar(&c.Programs, "programs", "bin", "folder of our program")
	o.StringVar(&c.Peers, "peers", "bin", "folder of the peers' programs")
	o.StringVar(&c.Out, "out", "out", "folder for logs, configurations and the report")
	o.DurationVar(&c.Interval, "interval", usualInterval, "scrape interval; if not given, that of -fleet")
	o.DurationVar(&c.Delay, "delay", 0, "batch_send_deadline; 0: the agent's default")
	o.DurationVar(&c.Warmup, "warmup", 40*time.Second, "time before the first window")
	o.DurationVar(&c.Window, "window", time.Minute, "length of a window")
	o.DurationVar(&o.duration, "duration", 5*time.Minute, "length of all windows together")
	o.BoolVar(&c.Checks, "checks", true, "receiver checks labels, symbols and order; off: it only counts")
	return o
}

// parse reads the flags and resolves what they name. The cases are each agent with the whole fleet.
func (o *options) parse(args []string) error {
	if err := o.Parse(args); err != nil {
		return err
	}
	c := &o.config
	if s, ok := shapes[o.shape]; ok {
		o.fleet.Targets, o.fleet.Series = s.targets, s.series
		if !o.isGiven("interval") {
			c.Interval = s.interval
		}
	} else if o.shape != "" {
		return fmt.Errorf("-fleet: %q is not S, L, M, XL or N", o.shape)
	}
	if c.Interval <= 0 || c.Window <= 0 || o.duration <= 0 {
		return errors.New("-interval, -window and -duration must be more than 0")
	}
	c.Window = min(c.Window, o.duration)
	c.Windows = int(o.duration / c.Window)
	if err := o.fleet.Validate(); err != nil {
		return err
	}
	agents, err := runner.FindAgents(o.agents)
	if err != nil {
		return err
	}
	c.Cases = runner.Cases(agents, o.fleet)
	c.Self, err = os.Executable()
	return err
}

// isGiven reports whether the command line has the flag.
func (o *options) isGiven(name string) (given bool) {
	o.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// report is what every measurement ends in.
type report interface {
	WriteText(io.Writer) error
	WriteMarkdown(io.Writer) error
	WriteJSON(io.Writer) error
}

// write prints the report and keeps it in three forms.
func write(r report, dir string) error {
	forms := map[string]func(io.Writer) error{
		"report.txt": r.WriteText, "report.md": r.WriteMarkdown, "report.json": r.WriteJSON,
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(forms)) {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		errs = append(errs, forms[name](f), f.Close())
	}
	return errors.Join(append(errs, r.WriteText(os.Stdout))...)
}
