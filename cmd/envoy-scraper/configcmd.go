package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kingpin/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
)

// newConfigCommand returns the command that prints the configuration as run would use it.
func newConfigCommand(app *kingpin.Application) command {
	clause := app.Command("config", "Print the configuration as YAML, with all defaults and flags filled in, without "+
		"secrets.")
	flags := addConfigFlags(clause)
	return command{clause: clause, run: func(_ context.Context, stdout, stderr io.Writer) int {
		o := flags.options()
		o.Check = true
		cfg, err := config.Load(o)
		var problems config.Problems
		switch {
		case errors.As(err, &problems):
			printProblems(stderr, problems)
			return exitRefused
		case err != nil:
			fmt.Fprintln(stderr, err)
			return exitRefused
		}
		printProblems(stderr, cfg.Warnings)
		text, err := cfg.Redacted()
		if err != nil {
			fmt.Fprintln(stderr, err)
			return exitRefused
		}
		fmt.Fprint(stdout, text)
		return exitOK
	}}
}
