package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	promconfig "github.com/prometheus/prometheus/config"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// reloader owns the configuration in force and puts a new one into every part, all or none.
type reloader struct {
	opts       config.Options
	listen     string        // the address our own server got
	auto       time.Duration // how often to look for a changed file; 0: never
	writers    *remotewrite.Writers
	pools      *scrape.Pools
	discovery  *discovery.Manager
	log        *zap.Logger
	level      zap.AtomicLevel // of log
	successful prometheus.Gauge
	loaded     prometheus.Gauge
	exposures  *exposures

	mu       sync.Mutex // guards the following; held through a reload
	current  *config.Config
	applying *config.Config // by apply, whose callees ask of it
	checksum string

	stateMu sync.Mutex // guards the following; held for a moment
	inForce web.Loaded
}

func newReloader(opts config.Options, cfg *config.Config, log *zap.Logger, level zap.AtomicLevel, reg prometheus.Registerer) *reloader {
	f := promauto.With(reg)
	return &reloader{
		opts: opts, current: cfg, log: log, exposures: newExposures(log, reg), level: level,
		successful: f.NewGauge(prometheus.GaugeOpts{
			Name: "envoy_scraper_config_last_reload_successful", Help: "Whether the last reload of the configuration succeeded.",
		}),
		loaded: f.NewGauge(prometheus.GaugeOpts{
			Name: "envoy_scraper_config_last_reload_success_timestamp_seconds", Help: "When the configuration in force was loaded.",
		}),
	}
}

// start puts the first configuration into force.
func (r *reloader) start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checksum = r.fileChecksum()
	if err := r.apply(r.current); err != nil {
		return err
	}
	r.succeeded()
	return nil
}

// Reload reads the configuration anew. A bad one changes nothing and is the error.
func (r *reloader) Reload(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checksum = r.fileChecksum()
	if err := r.replace(); err != nil {
		r.refused(err)
		r.log.Error("configuration refused; the one before stays in force", zap.String("file", r.opts.File), zap.Error(err))
		return err
	}
	r.succeeded()
	r.log.Info("configuration reloaded", zap.String("file", r.opts.File))
	return nil
}

func (r *reloader) replace() error {
	next, err := config.Load(r.opts)
	if err != nil {
		return err
	}
	if err := r.apply(next); err != nil {
		return errors.Join(err, r.apply(r.current))
	}
	r.current = next
	return nil
}

// apply has every part plan before the first one changes: a job that goes and comes back would lose its targets, and
// mark their series stale.
func (r *reloader) apply(cfg *config.Config) error {
	r.applying = cfg
	cfg.SetSelfAddress(r.listen)
	targets, err := r.pools.Plan(cfg.Jobs)
	if err != nil {
		return fmt.Errorf("scrape_configs: %w", err)
	}
	found, err := r.discovery.Plan(cfg.Jobs)
	if err == nil {
		err = r.writers.Apply(cfg.RemoteWrite)
	}
	if err != nil {
		targets.Discard()
		return err
	}
	r.pools.Shard(cfg.Shards)
	r.pools.Hold(r.discovery.Hold(cfg.Jobs))
	r.pools.Adopt(targets)
	r.discovery.Adopt(found)
	debug.SetGCPercent(cfg.Prometheus.Runtime.GoGC)
	setLevel(r.level, string(cfg.Prometheus.Runtime.LogLevel))
	return nil
}

// ownAddressOnly is what the pools ask of a job while apply is in them.
func (r *reloader) ownAddressOnly(job string) bool { return r.applying.OwnAddressOnly(job) }

func (r *reloader) succeeded() {
	r.exposures.show(r.current)
	r.successful.Set(1)
	r.loaded.SetToCurrentTime()
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	r.inForce = web.Loaded{At: time.Now()}
}

func (r *reloader) refused(why error) {
	r.successful.Set(0)
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	r.inForce.Refused, r.inForce.Why = time.Now(), why
}

// state says what is in force, without waiting for a reload.
func (r *reloader) state() web.Loaded {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	return r.inForce
}

// fileChecksum covers the files that the configuration includes; empty: there is no file, or it cannot be read.
func (r *reloader) fileChecksum() string {
	if r.opts.File == "" {
		return ""
	}
	sum, err := promconfig.GenerateChecksum(r.opts.File)
	if err != nil {
		return ""
	}
	return sum
}

// Run reloads on SIGHUP and, if asked to, when the file changed, until ctx ends. Refusals are logged.
func (r *reloader) Run(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	var tick <-chan time.Time
	if r.auto > 0 {
		t := time.NewTicker(r.auto)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			_ = r.Reload(ctx)
		case <-tick:
			if r.changed() {
				_ = r.Reload(ctx)
			}
		}
	}
}

func (r *reloader) changed() bool {
	sum := r.fileChecksum()
	r.mu.Lock()
	defer r.mu.Unlock()
	return sum != "" && sum != r.checksum
}

func (r *reloader) config() *config.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

// rules are the rules that choose a job's targets; nil: there is no such job.
func (r *reloader) rules(job string) []*promrelabel.Config {
	for _, j := range r.config().Jobs {
		if j.JobName == job {
			return j.RelabelConfigs
		}
	}
	return nil
}
