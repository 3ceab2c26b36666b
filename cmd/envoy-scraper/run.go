package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/common/version"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/footprint"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

func newRunCommand(app *kingpin.Application) command {
	cmd := app.Command("run", "Scrape and send, until SIGINT or SIGTERM. The default command.").Default()
	f := addRunFlags(cmd)
	return command{clause: cmd, run: func(ctx context.Context, _, stderr io.Writer) int {
		if err := f.values(); err != nil {
			fmt.Fprintf(stderr, "envoy-scraper: %v\n", err)
			return exitUsage
		}
		if err := run(ctx, f, app, stderr); err != nil {
			fmt.Fprintf(stderr, "envoy-scraper: %v\n", err)
			return exitRefused
		}
		return exitOK
	}}
}

// run builds each part, starts it and waits for the end.
func run(ctx context.Context, f *runFlags, app *kingpin.Application, stderr io.Writer) error {
	log, level := newLogger(stderr, f.logLevel, f.logFormat)
	defer func() { _ = log.Sync() }()
	if err := f.check(); err != nil {
		return err
	}
	limitMemory(f.memoryRatio, f.enablePprof, log)

	opts := f.config.options()
	opts.ListenAddress, opts.FlushDeadline, opts.LogLevel = f.listenAddress, f.flushDeadline, f.logLevel
	opts.Ephemeral = f.ephemeral
	cfg, err := config.Load(opts)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		log.Warn("configuration: " + w.String())
	}

	store, err := openStorage(f, log)
	if err != nil {
		return err
	}
	defer closeStorage(store, log)

	reg := newRegistry()
	table := series.NewTable()
	writers := remotewrite.New(table, store, log.Named("remotewrite"), reg)
	r := newReloader(opts, cfg, log, level, reg)
	pools := scrape.New(table, writers, scrape.Options{
		AllowLoopback: f.allowLoopback, MaxMemory: scrapeMemory(int64(f.scrapeMemory)),
		OwnAddressOnly: r.ownAddressOnly,
		ExternalLabels: cfg.RemoteWrite.ExternalLabels,
		Sharded:        cfg.Shards.On(),
		Unsharded:      cfg.Unsharded,
	}, log.Named("scrape"), reg)
	discovery.TakeClientLogs(log.Named("kubernetes"))
	found, err := discovery.New(log.Named("discovery"), reg)
	if err != nil {
		return err
	}
	r.writers, r.pools, r.discovery = writers, pools, found
	if f.autoReload {
		r.auto = f.autoReloadInterval
	}

	server := web.New(web.Config{
		ListenAddress: f.listenAddress, WebConfigFile: f.webConfigFile, EnableLifecycle: f.enableLifecycle, EnablePprof: f.enablePprof,
	}, web.Sources{
		Targets: pools.Status, Providers: found.Status, Rules: r.rules, Explain: relabel.Explain,
		ConfigYAML: func() (string, error) { return r.config().Redacted() }, Loaded: r.state,
		Endpoints: writers.Status, Ready: ready(found), Reload: r.Reload,
		Build: build(), Flags: flagValues(app), Started: time.Now(), Gatherer: reg,
	}, log.Named("web"))
	addr, err := server.Listen()
	if err != nil {
		return err
	}
	r.listen = addr.String()
	if err := r.start(); err != nil {
		return err
	}
	log.Info("started", zap.String("version", version.Info()), zap.Int("jobs", len(cfg.Jobs)), zap.Int("endpoints", len(cfg.RemoteWrite.Endpoints)))

	g, ctx := errgroup.WithContext(ctx)
	// The writers outlive the scrapes: what the last of them yields is flushed too.
	delivering, scraped := context.WithCancel(context.WithoutCancel(ctx))
	defer scraped()
	g.Go(func() error { return found.Run(ctx, pools.Update) })
	g.Go(func() error { defer scraped(); return pools.Run(ctx) })
	g.Go(func() error { return writers.Run(delivering) })
	g.Go(func() error { return server.Run(ctx) })
	g.Go(func() error { return r.Run(ctx) })
	g.Go(func() error { return footprint.Run(ctx, log.Named("footprint")) })
	g.Go(func() error { return footprint.RunProcs(ctx, log.Named("footprint")) })
	err = g.Wait()
	log.Info("stopped")
	return err
}

func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector("envoy_scraper"),
	)
	return reg
}

func ready(found *discovery.Manager) func() (bool, string) {
	return func() (bool, string) {
		select {
		case <-found.Synced():
			return true, ""
		default:
			return false, "waiting for the first answer of every discovery"
		}
	}
}

func build() web.Build {
	return web.Build{
		Version: version.Version, Revision: version.Revision, Branch: version.Branch,
		BuildUser: version.BuildUser, BuildDate: version.BuildDate, GoVersion: runtime.Version(),
	}
}
