package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	promconfig "github.com/prometheus/prometheus/config"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/envoy-scraper/envoy-scraper/internal/agent"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/footprint"
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

// run runs an agent until ctx ends, and what belongs to the process: its log, its signals, the settings of the Go
// runtime.
func run(ctx context.Context, f *runFlags, app *kingpin.Application, stderr io.Writer) error {
	log, level := newLogger(stderr, f.logLevel, f.logFormat)
	defer func() { _ = log.Sync() }()
	if err := f.check(); err != nil {
		return err
	}
	hup := make(chan os.Signal, 1) // a SIGHUP that comes before the agent runs, or while it stops, ends nothing
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	limitMemory(f.memoryRatio, f.enablePprof, log)
	cfg, err := loadConfig(f.options(), log)
	if err != nil {
		return err
	}
	discovery.TakeClientLogs(log.Named("kubernetes"))
	settings := f.settings(cfg)
	if settings.Via, settings.Notice, err = f.via.chooseForRun(ctx, cfg, f.allowLoopback, log); err != nil {
		return err
	}
	settings.Build, settings.Flags = build(), flagValues(app)
	memory := &footprint.Memory{}
	settings.UseRuntime = func(c promconfig.RuntimeConfig) {
		memory.Use(c.GoGC)
		setLevel(level, string(c.LogLevel))
	}
	a, err := agent.Open(settings, agent.World{}, log, newRegistry())
	if err != nil {
		return err
	}
	defer a.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error { return reloadOnHangup(ctx, a, hup) })
	g.Go(func() error { return memory.Run(ctx) })
	g.Go(func() error { return footprint.RunProcessors(ctx) })
	return g.Wait()
}

// reloadOnHangup reloads the configuration on SIGHUP, until ctx ends.
func reloadOnHangup(ctx context.Context, a *agent.Agent, hup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			_ = a.Reload(ctx) // which logs its error
		}
	}
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
