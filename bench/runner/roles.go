package runner

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/receiver"
)

// What the children announce on their standard output, before an address.
const (
	fleetReady    = "fleet-control"
	receiverReady = "receiver"
)

// FleetFlags are the flags of a fleet, with the defaults of c.
func FleetFlags(fs *flag.FlagSet, c *fleet.Config) {
	fs.IntVar(&c.Targets, "targets", c.Targets, "number of sidecars")
	fs.IntVar(&c.Series, "series", c.Series, "series of each sidecar")
	fs.IntVar(&c.Replicas, "replicas", c.Replicas, "sidecars that share a workload; 1: no two share a series")
	fs.Float64Var(&c.Moving, "moving", c.Moving, "share of the values that change at each scrape")
	fs.Float64Var(&c.Churn, "churn", c.Churn, "share of the series that are replaced at each scrape")
	fs.BoolVar(&c.Page.Shuffle, "shuffle", c.Page.Shuffle,
		"another order within each family at every scrape, as ztunnel's")
	fs.BoolVar(&c.Page.Ungrouped, "ungrouped", c.Page.Ungrouped,
		"families neither grouped nor sorted, as Envoy's before 1.14")
	fs.BoolVar(&c.Page.BlankLines, "blank-lines", c.Page.BlankLines,
		"a blank line after each family, as Envoy's before 1.24")
	fs.BoolVar(&c.Page.Timestamps, "timestamps", c.Page.Timestamps, "samples with timestamps of their own")
	fs.BoolVar(&c.Page.Distinct, "distinct", c.Page.Distinct, "each sample with a label of its own")
	fs.BoolVar(&c.Page.Gzip, "gzip", c.Page.Gzip,
		"compressed pages for agents that accept them; the fleet then needs more CPU")
	fs.BoolVar(&c.OneAddress, "one-address", c.OneAddress, "one address and many ports, where only 127.0.0.1 is up")
	fs.TextVar(&c.Base, "base", c.Base, "address and port of the first sidecar")
}

// fleetArgs is the reverse of FleetFlags.
func fleetArgs(c fleet.Config) []string {
	return []string{
		fmt.Sprint("-targets=", c.Targets), fmt.Sprint("-series=", c.Series), fmt.Sprint("-replicas=", c.Replicas),
		fmt.Sprint("-moving=", c.Moving), fmt.Sprint("-churn=", c.Churn), fmt.Sprint("-one-address=", c.OneAddress),
		fmt.Sprint("-base=", c.Base), fmt.Sprint("-shuffle=", c.Page.Shuffle),
		fmt.Sprint("-ungrouped=", c.Page.Ungrouped),
		fmt.Sprint("-blank-lines=", c.Page.BlankLines), fmt.Sprint("-timestamps=", c.Page.Timestamps),
		fmt.Sprint("-distinct=", c.Page.Distinct), fmt.Sprint("-gzip=", c.Page.Gzip),
	}
}

// FleetMain serves a fleet until ctx ends.
func FleetMain(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	c := fleet.DefaultConfig()
	fs := flag.NewFlagSet("fleet", flag.ContinueOnError)
	FleetFlags(fs, &c)
	watch := fs.Bool("until-eof", false, "end with the standard input")
	control := fs.String("control", "127.0.0.1:0", "address of /stats and /drain")
	if err := fs.Parse(args); err != nil {
		return err
	}
	f, err := fleet.New(c)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *control)
	if err != nil {
		return err
	}
	if *watch {
		ctx = untilEOF(ctx, stdin)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() {
		served <- serve(ctx, l, f.Control())
		cancel()
	}()
	err = f.Run(ctx, func() { _, _ = fmt.Fprintln(stdout, fleetReady, l.Addr()) })
	cancel()
	return errors.Join(err, <-served)
}

// ReceiverMain serves a receiver until ctx ends.
func ReceiverMain(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	fs := flag.NewFlagSet("receiver", flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:0", "address of "+receiver.WritePath+" and /stats")
	accept := fs.String("accept", string(receiver.AcceptBoth), "protocols: "+strings.Join(receiver.Accepts(), ", "))
	watch := fs.Bool("until-eof", false, "end with the standard input")
	checks := fs.Bool("checks", true, "check labels, symbols and order; off: the null mode, which only counts")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if !slices.Contains(receiver.Accepts(), *accept) {
		return fmt.Errorf("-accept: %q is not one of %s", *accept, strings.Join(receiver.Accepts(), ", "))
	}
	if *watch {
		ctx = untilEOF(ctx, stdin)
	}
	if a, err := netip.ParseAddrPort(*listen); err != nil || !a.Addr().IsLoopback() {
		return fmt.Errorf("-listen: %q is not a loopback address and port", *listen)
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	r := receiver.New(receiver.Config{Accept: receiver.Accept(*accept), Checks: *checks})
	_, _ = fmt.Fprintln(stdout, receiverReady, l.Addr())
	return serve(ctx, l, r.Handler())
}

// untilEOF ends with the standard input, so that a child does not outlive a
// runner that was killed.
func untilEOF(ctx context.Context, stdin io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		cancel()
	}()
	return ctx
}

func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
