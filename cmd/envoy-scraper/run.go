package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/cost"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/footprint"
	"github.com/envoy-scraper/envoy-scraper/internal/history"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

func newRunCommand(app *kingpin.Application) command {
	cmd := app.Command("run", "Scrape and remote-write until SIGINT or SIGTERM. The default command.").Default()
	f := addRunFlags(cmd)
	return command{clause: cmd, run: func(ctx context.Context, _, stderr io.Writer) int {
		if err := f.values(); err != nil {
			fmt.Fprintf(stderr, "envoy-scraper: %v\n", err)
			return exitUsage
		}
		remove, err := f.config.useContext()
		if err == nil {
			defer remove()
			err = run(ctx, f, app, stderr)
		}
		if err != nil {
			fmt.Fprintf(stderr, "envoy-scraper: %v\n", err)
			return exitRefused
		}
		return exitOK
	}}
}

// run opens what the parts share, makes the parts, and runs them until ctx ends. To add a part, make it here and put it
// on the list at the end.
func run(ctx context.Context, f *runFlags, app *kingpin.Application, stderr io.Writer) error {
	log, level := newLogger(stderr, f.logLevel, f.logFormat)
	defer func() { _ = log.Sync() }()
	if err := f.check(); err != nil {
		return err
	}
	limitMemory(f.memoryRatio, f.enablePprof, log)
	cfg, err := loadConfig(f.options(), log)
	if err != nil {
		return err
	}
	store, err := openStorage(f, log)
	if err != nil {
		return err
	}
	defer closeStorage(store, log)

	reg := newRegistry()
	table := series.NewTable()
	writers := remotewrite.New(table, store, log.Named("remotewrite"), reg)
	sums := aggregate.New(table, writers, log.Named("aggregate"), reg)
	r := newReloader(f.options(), cfg, log, level, reg)
	watch := &cost.Watch{}
	discovery.TakeClientLogs(log.Named("kubernetes"))
	proxies, notice, err := f.via.openForRun(ctx, cfg, f.allowLoopback, log, reg)
	if err != nil {
		return err
	}
	opts := f.scrapeOptions(cfg, proxies, r)
	opts.Forget = sums.Forget
	pools := scrape.New(table, watch.Sink(sums), opts, log.Named("scrape"), reg)
	found, err := discovery.New(log.Named("discovery"), reg)
	if err != nil {
		return err
	}
	found.KeepOwners(func(job string) bool { return r.applyingConfig().PlacesByWorkload(job) })
	lastHour := history.New(reg)
	costs := cost.New(cost.Source{Table: table, Pages: pools.LastPages, Others: pools.OtherShards,
		Controllers: controllers(found), Sent: sent(writers), Watch: watch, Aggregates: sums.Status})
	server := web.New(f.webConfig(), web.Sources{
		Targets: pools.Status, Providers: found.Status, Rules: r.rules, Explain: relabel.Explain,
		ConfigYAML: func() (string, error) { return r.config().Redacted() }, Loaded: r.state,
		Endpoints: writers.Status, History: lastHour.Lines, Ready: ready(found), Reload: r.Reload,
		Pods: podSources(r, pools, found, f.webConfigFile), Cost: costs.Report, Aggregates: sums, Notice: notice,
		Build: build(), Flags: flagValues(app), Started: time.Now(), Gatherer: reg,
	}, log.Named("web"))
	addr, err := server.Listen()
	if err != nil {
		return err
	}

	r.writers, r.sums, r.pools, r.discovery, r.listen = writers, sums, pools, found, addr.String()
	if f.autoReload {
		r.auto = f.autoReloadInterval
	}
	if err := r.start(); err != nil {
		return err
	}
	log.Info("started", zap.String("version", version.Info()), zap.Int("jobs", len(cfg.Jobs)),
		zap.Int("endpoints", len(cfg.RemoteWrite.Endpoints)))
	err = runParts(ctx, []part{
		{name: "discovery", run: func(ctx context.Context) error { return found.Run(ctx, pools.Update) }},
		{name: "scrape", run: pools.Run},
		{name: "aggregates", run: sums.Run, outlives: "scrape"},
		{name: "remote write", run: writers.Run, outlives: "aggregates"},
		{name: "pages", run: server.Run},
		{name: "history", run: lastHour.Run},
		{name: "costs", run: costs.Run},
		{name: "reloads", run: r.Run},
		{name: "memory", run: r.memory.Run},
		{name: "processors", run: footprint.RunProcessors},
	})
	log.Info("stopped")
	return err
}

// loadConfig reads the configuration and logs its warnings.
func loadConfig(opts config.Options, log *zap.Logger) (*config.Config, error) {
	cfg, err := config.Load(opts)
	if err != nil {
		return nil, err
	}
	for _, w := range cfg.Warnings {
		log.Warn("configuration: " + w.String())
	}
	return cfg, nil
}
