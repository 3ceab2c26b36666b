package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	promconfig "github.com/prometheus/prometheus/config"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// reloader owns the configuration in force. It applies a new configuration to every part of the agent, or to none.
type reloader struct {
	opts       config.Options
	listen     string                         // address of the pages
	auto       time.Duration                  // how often to check whether the file has changed; 0: never
	useRuntime func(promconfig.RuntimeConfig) // see Settings
	writers    *remotewrite.Writers
	sums       *aggregate.Aggregates
	pools      *scrape.Pools
	discovery  *discovery.Manager
	log        *zap.Logger
	successful prometheus.Gauge
	loaded     prometheus.Gauge
	exposures  *exposures

	// current is replaced when a reload has succeeded, so that pages never wait for a reload, which waits for the disk.
	current atomic.Pointer[config.Config]

	mu       sync.Mutex     // guards the following; locked during a whole reload
	applying *config.Config // set by apply, for applyingConfig
	checksum string

	stateMu sync.Mutex // guards the following; locked briefly, after mu where both are
	inForce web.Loaded
}

// newReloader returns a reloader. The caller sets the parts, and then calls start.
func newReloader(s Settings, log *zap.Logger, reg prometheus.Registerer) *reloader {
	f := promauto.With(reg)
	r := &reloader{
		opts: s.Options, auto: s.AutoReload, useRuntime: s.UseRuntime, log: log,
		exposures: newExposures(log, reg),
		successful: f.NewGauge(prometheus.GaugeOpts{
			Name: "envoy_scraper_config_last_reload_successful",
			Help: "1 if the last reload of the configuration succeeded, else 0.",
		}),
		loaded: f.NewGauge(prometheus.GaugeOpts{
			Name: "envoy_scraper_config_last_reload_success_timestamp_seconds",
			Help: "Unix time at which the configuration in force was loaded.",
		}),
	}
	r.current.Store(s.Config)
	return r
}

// start applies the first configuration.
func (r *reloader) start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checksum = r.fileChecksum()
	if err := r.apply(r.config()); err != nil {
		return err
	}
	r.succeeded()
	return nil
}

// Reload reads the configuration again and applies it. If the new configuration is wrong, Reload changes nothing and
// returns the reason.
func (r *reloader) Reload(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checksum = r.fileChecksum()
	if err := r.replace(); err != nil {
		r.refused(err)
		r.log.Error("configuration refused; the previous one stays in force", zap.String("file", r.opts.File),
			zap.Error(err))
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
		return errors.Join(err, r.apply(r.config()))
	}
	r.current.Store(next)
	return nil
}

// apply lets every part plan before the first part changes. Without a plan, a job that is removed by one part and
// restored after the error of another would lose its targets and mark their series stale.
//
// The aggregates change after the last part that can fail: a changed block ends its sums, which an error after it would
// do for nothing. They change before the targets do, so that the first page of a new target is summed already, instead
// of being sent as it is once. In return, a target that is removed together with its block may be sent as it is once.
// These series end with the target, by staleness markers.
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
	r.sums.Apply(cfg.Aggregates())
	r.pools.Shard(cfg.Shards)
	r.pools.Hold(r.discovery.Hold(cfg.Jobs))
	r.pools.Adopt(targets)
	r.discovery.Adopt(found)
	if r.useRuntime != nil {
		r.useRuntime(cfg.Prometheus.Runtime)
	}
	return nil
}

// applyingConfig returns the configuration that is being applied. The pools ask for it during apply.
func (r *reloader) applyingConfig() *config.Config { return r.applying }

func (r *reloader) succeeded() {
	r.exposures.show(r.config())
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

// state returns when the configuration was loaded and why a later one was refused. It does not wait for a reload.
func (r *reloader) state() web.Loaded {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	return r.inForce
}

// fileChecksum returns the checksum of the configuration file and the files that it includes. It is empty if there is
// no file, or if a file cannot be read.
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

// Run reloads when the file has changed, if it is to look for that, until ctx ends.
func (r *reloader) Run(ctx context.Context) error {
	if r.auto == 0 {
		return nil
	}
	tick := time.NewTicker(r.auto)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
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

// config returns the configuration in force. It does not wait for a reload.
func (r *reloader) config() *config.Config { return r.current.Load() }

// rules returns the relabel_configs of a job, or nil if there is no such job.
func (r *reloader) rules(job string) []*promrelabel.Config {
	for _, j := range r.config().Jobs {
		if j.JobName == job {
			return j.RelabelConfigs
		}
	}
	return nil
}
