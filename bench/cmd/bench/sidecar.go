package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// sidecar measures what scraping costs a real Envoy, the agent and the receiver.
func sidecar(ctx context.Context, args []string) error {
	o := newOptions("sidecar", "envoy-scraper", fleet.DefaultConfig())
	c := runner.SidecarConfig{Store: runner.PrometheusStore()}
	o.StringVar(&c.Envoy, "envoy", "", "path of a real Envoy")
	o.IntVar(&c.Shape.Clusters, "clusters", 290, "Envoy's clusters: about 170 lines each")
	o.IntVar(&c.Shape.VirtualClusters, "virtual-clusters", 167, "Envoy's virtual clusters: six lines each")
	o.StringVar(&c.Keep, "keep", "envoy_vhost_.*", "regex of metric_relabel_configs: names that are kept")
	o.Func("filter", "filter of the pages without an agent (vhost, which finds what is kept); may be repeated",
		func(text string) error { c.Filters = append(c.Filters, text); return nil })
	o.IntVar(&c.Pages, "pages", 40, "pages of each kind without an agent")
	o.DurationVar(&c.Rest, "rest", 2*time.Second, "pause before each of the rested pages without an agent")
	o.IntVar(&c.Rested, "rested", 10, "rested pages of each kind without an agent")
	o.IntVar(&c.Targets, "times", 2, "how many times the Envoy is a target")
	names := o.String("ways", "all", "ways, one after another, separated by commas: all, or some of "+
		strings.Join(wayNames(), ", ")+"; none: only the pages without an agent")
	o.Lookup("agents").Usage = "not used: see -ways"
	if err := o.parse(args); err != nil {
		return err
	}
	if c.Envoy == "" {
		return errors.New("-envoy: the path of a real Envoy is missing")
	}
	c.Config = o.config
	for _, w := range runner.SidecarWays() {
		if *names == "all" || slices.Contains(strings.Split(*names, ","), w.Name) {
			c.Ways = append(c.Ways, w)
		}
	}
	if len(c.Filters) == 0 {
		c.Filters = []string{"vhost"}
	}
	if len(c.Ways) == 0 && *names != "none" {
		return fmt.Errorf("-ways: %q has none of all, none, %s", *names, strings.Join(wayNames(), ", "))
	}
	report, err := runner.Sidecar(ctx, c, os.Stderr)
	if len(report.Pages) == 0 {
		return err
	}
	return errors.Join(err, write(report, c.Out))
}

func wayNames() (names []string) {
	for _, w := range runner.SidecarWays() {
		names = append(names, w.Name)
	}
	return names
}
