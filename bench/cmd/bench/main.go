// Command bench measures what an agent needs to scrape a mesh of sidecars:
// `bench run`, with `bench fleet` and `bench receiver` as its two ends, which
// can be used alone too, and some narrower measurements beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

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
	case "fleet":
		return runner.FleetMain(ctx, args, os.Stdin, os.Stdout)
	case "receiver":
		return runner.ReceiverMain(ctx, args, os.Stdin, os.Stdout)
	}
	if command, ok := commands()[role]; ok {
		return command(ctx, args)
	}
	var names []string
	for name := range commands() {
		names = append(names, name)
	}
	slices.Sort(names)
	return fmt.Errorf("usage: bench %s|fleet|receiver [flags]; -h after one of them lists its flags",
		strings.Join(names, "|"))
}

func commands() map[string]func(context.Context, []string) error {
	return map[string]func(context.Context, []string) error{
		"run": run, "scale": scale, "idle": idle, "diff": diff, "soak": soak, "profile": profile,
		"pushdown": pushDown, "sidecar": sidecar, "aggregate": aggregate,
		"whole": whole, "catchup": catchUp, "publish": publishReport, "publish-whole": publishWhole,
	}
}
