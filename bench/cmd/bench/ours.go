package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// diff compares two builds of our own program, or two agents, in turns or at the same time.
func diff(ctx context.Context, args []string) error {
	o := newOptions("diff", "envoy-scraper-2.0", fleet.DefaultConfig())
	o.BoolVar(&o.config.Together, "together", false, "both at the same time, each with a fleet and a receiver of its "+
		"own: a round is a window. Otherwise in turns")
	base := o.String("base-program", "", "the program to compare with; not needed if -agents names two")
	fresh := o.String("new-program", "", "the program to look at; not needed if -agents names two")
	baseName := o.String("base-name", "base", "what the report calls it")
	freshName := o.String("new-name", "new", "what the report calls it")
	if err := o.parse(args); err != nil {
		return err
	}
	switch cases := o.config.Cases; {
	case len(cases) == 2 && *base == "" && *fresh == "":
		if cases[0].Name == cases[1].Name {
			return errors.New("-agents must name two different agents, or one, with a program for each side")
		}
	case len(cases) == 1 && *base != "" && *fresh != "":
		k, other := cases[0], cases[0]
		k.Program, k.Name = *base, *baseName
		other.Program, other.Name = *fresh, *freshName
		o.config.Cases = []runner.Case{k, other}
	default:
		return errors.New("-agents must name two agents, or one with -base-program and -new-program")
	}
	report, err := runner.Diff(ctx, o.config, os.Stderr)
	if len(report.Rounds) == 0 {
		return err
	}
	return errors.Join(err, write(report, o.config.Out))
}

// soak asks whether the program stays as it is while targets and series come and go.
func soak(ctx context.Context, args []string) error {
	f := fleet.DefaultConfig()
	f.Churn = 0.01
	o := newOptions("soak", "envoy-scraper", f)
	rotate := o.Duration("rotate", 0, "how often another tenth of the targets leaves; 0: each minute, "+
		"more often in a short soak")
	if err := o.parse(args); err != nil {
		return err
	}
	s := runner.DefaultSoak(o.duration)
	if *rotate > 0 {
		s.Rotate = *rotate
	}
	report, err := runner.Soak(ctx, o.config, s, os.Stderr)
	if err != nil {
		return err
	}
	return errors.Join(write(report, o.config.Out), report.Err())
}

// profile writes where the CPU time and the memory of our own program go.
func profile(ctx context.Context, args []string) error {
	o := newOptions("profile", "envoy-scraper", fleet.DefaultConfig())
	if err := o.parse(args); err != nil {
		return err
	}
	o.config.Window = o.duration // one profile of all of it
	top, err := runner.Profile(ctx, o.config, os.Stderr)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s\nprofiles and their texts: %s\n", top, o.config.Out)
	return err
}
