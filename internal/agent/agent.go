package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/version"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/cost"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/history"
	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// Agent is everything that runs for one configuration. Call Open, then Run once, then Close.
type Agent struct {
	log     *zap.Logger
	store   *queue.Store // nil: the queues are in memory
	table   *series.Table
	sources web.Sources
	server  *web.Server
	reloads *reloader
	parts   []part
}

// Open opens what the parts share, makes the parts, and applies the configuration to them. Nothing runs yet. The parts
// register their metrics with reg, which the pages show. To add a part, make it here and put it on the list at the end.
func Open(s Settings, w World, log *zap.Logger, reg *prometheus.Registry) (_ *Agent, err error) {
	store, err := openStorage(s.StoragePath, w.files(), log)
	if err != nil {
		return nil, err
	}
	a := &Agent{log: log, store: store, table: series.NewTable()}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()

	writers := remotewrite.New(a.table, store, remotewrite.Options{Dial: w.Dial, Chance: w.Chance.Of("remote write")},
		log.Named("remotewrite"), reg)
	sums := aggregate.New(a.table, writers, log.Named("aggregate"), reg)
	r := newReloader(s, log, reg)
	watch := &cost.Watch{}
	opts := s.scrapeOptions(w, r)
	opts.Via = via.New(via.Options{Way: s.Via, Limits: s.ViaLimits, Dial: w.Dial}, reg)
	opts.Forget = sums.Forget
	pools := scrape.New(a.table, watch.Sink(sums), opts, log.Named("scrape"), reg)
	found, err := discovery.New(discovery.Options{Dial: w.Dial, Chance: w.Chance.Of("discovery")},
		log.Named("discovery"), reg)
	if err != nil {
		return nil, err
	}
	found.KeepOwners(func(job string) bool { return r.applyingConfig().PlacesByWorkload(job) })
	lastHour := history.New(reg)
	costs := cost.New(cost.Source{Table: a.table, Pages: pools.LastPages, Others: pools.OtherShards,
		Controllers: Controllers(found), Sent: sent(writers), Watch: watch, Aggregates: sums.Status})
	a.sources = web.Sources{
		Targets: pools.Status, Providers: found.Status, Rules: r.rules, Explain: relabel.Explain,
		ConfigYAML: func() (string, error) { return r.config().Redacted() }, Loaded: r.state,
		Endpoints: writers.Status, History: lastHour.Lines, Ready: ready(found), Reload: r.Reload,
		Pods: podSources(r, pools, found, s.Web.WebConfigFile), Cost: costs.Report, Aggregates: sums,
		Notice: s.Notice, Build: s.Build, Flags: s.Flags, Started: time.Now(), Gatherer: reg,
	}
	s.Web.Listen = w.Listen
	a.server = web.New(s.Web, a.sources, log.Named("web"))
	addr, err := a.server.Listen()
	if err != nil {
		return nil, err
	}

	r.writers, r.sums, r.pools, r.discovery, r.listen = writers, sums, pools, found, addr.String()
	a.reloads = r
	if err := r.start(); err != nil {
		return nil, err
	}
	log.Info("started", zap.String("version", version.Info()), zap.Int("jobs", len(s.Config.Jobs)),
		zap.Int("endpoints", len(s.Config.RemoteWrite.Endpoints)))
	a.parts = []part{
		{name: "discovery", run: func(ctx context.Context) error { return found.Run(ctx, pools.Update) }},
		{name: "scrape", run: pools.Run},
		{name: "aggregates", run: sums.Run, outlives: "scrape"},
		{name: "remote write", run: writers.Run, outlives: "aggregates"},
		{name: "pages", run: a.server.Run},
		{name: "history", run: lastHour.Run},
		{name: "costs", run: costs.Run},
		{name: "reloads", run: r.Run},
	}
	return a, nil
}

// Run runs all parts until ctx ends, or until a part fails. A stop takes as long as the flush deadline allows.
func (a *Agent) Run(ctx context.Context) error {
	err := runParts(ctx, a.parts)
	a.log.Info("stopped")
	return err
}

// Close closes the port of the pages and the directory of the queues, so that another agent can open them.
func (a *Agent) Close() {
	if a.server != nil {
		a.server.Close()
	}
	closeStorage(a.store, a.log)
}

// Reload reads the configuration again and applies it. If the new configuration is wrong, Reload changes nothing and
// returns the reason. Safe for concurrent use, also before Run.
func (a *Agent) Reload(ctx context.Context) error { return a.reloads.Reload(ctx) }

// Sources returns what the pages show: the state of every part.
func (a *Agent) Sources() web.Sources { return a.sources }

// Table returns the table of series, which is empty when no target is left.
func (a *Agent) Table() *series.Table { return a.table }
