// Command envoy-scraper finds the Envoy sidecars of a mesh through Kubernetes, scrapes their stats pages and
// remote-writes them to a Prometheus.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
)

// Exit codes, the same for every subcommand.
const (
	exitOK      = 0
	exitRefused = 1 // the configuration is wrong, or something that it names cannot be used
	exitUsage   = 2 // the command line is wrong
)

// command is a subcommand: its clause on the command line, and its function, which returns the exit code.
type command struct {
	clause *kingpin.CmdClause
	run    func(ctx context.Context, stdout, stderr io.Writer) int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute parses the command line and runs the subcommand it names.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := kingpin.New(filepath.Base(os.Args[0]), "Scrapes the Envoy sidecars of a service mesh and remote-writes "+
		"their samples to a Prometheus.")
	app.Version(version.Print("envoy-scraper")).HelpFlag.Short('h')
	app.UsageWriter(stdout).ErrorWriter(stderr)
	useHelp(app)

	commands := map[string]command{}
	all := []command{newRunCommand(app), newCheckCommand(app), newConfigCommand(app), newTargetsCommand(app),
		newScrapeCommand(app), newWhyCommand(app), newCostCommand(app)}
	for _, c := range append(all, newQueueCommands(app)...) {
		commands[c.clause.FullCommand()] = c
	}
	name, err := app.Parse(args)
	if err != nil {
		fmt.Fprintln(stderr, usageError(app, args, err))
		return exitUsage
	}
	return commands[name].run(ctx, stdout, stderr)
}
