package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kingpin/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
)

// newCheckCommand returns the command that reports the problems of a configuration and runs nothing.
func newCheckCommand(app *kingpin.Application) command {
	clause := app.Command("check", "Check a configuration. Reports every problem at once, with the key, its value, "+
		"and a fix. Exits 1 if there is an error.")
	file := clause.Arg("FILE", "The configuration file.").Required().String()
	lintFatal := clause.Flag("lint-fatal", "Exit 1 if there is a warning, too.").Bool()
	var nodeName, shardIndex, shardCount string
	addNodeName(clause, &nodeName)
	addShard(clause, &shardIndex, &shardCount)
	return command{clause: clause, run: func(_ context.Context, stdout, _ io.Writer) int {
		cfg, err := config.Load(config.Options{File: *file, NodeName: nodeName, ShardIndex: shardIndex,
			ShardCount: shardCount, Check: true, Strict: true})
		var problems config.Problems
		if err != nil && !errors.As(err, &problems) {
			fmt.Fprintf(stdout, "%s: %v\n", *file, err)
			return exitRefused
		}
		if err == nil {
			problems = cfg.Warnings
		}
		printProblems(stdout, problems)
		if err == nil {
			printProblems(stdout, cfg.Notes)
		}
		failures, warnings := problems.Errors(), len(problems)-problems.Errors()
		switch {
		case err != nil:
			fmt.Fprintf(stdout, "%s: refused: %s, %s\n", *file, plural(failures, "error"), plural(warnings, "warning"))
			return exitRefused
		case warnings > 0 && *lintFatal:
			fmt.Fprintf(stdout, "%s: refused by --lint-fatal: %s\n", *file, plural(warnings, "warning"))
			return exitRefused
		}
		fmt.Fprintf(stdout, "%s: good: %s, %s, %s\n", *file, plural(len(cfg.Jobs), "job"),
			plural(len(cfg.RemoteWrite.Endpoints), "remote_write endpoint"), plural(warnings, "warning"))
		return exitOK
	}}
}

// printProblems prints each problem on a line of its own.
func printProblems(w io.Writer, problems []config.Problem) {
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
