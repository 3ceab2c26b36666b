package agent

import (
	"time"

	promconfig "github.com/prometheus/prometheus/config"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// Settings are what the command line says of an agent. No reload changes them.
type Settings struct {
	Config        *config.Config // the first one, which was loaded with Options
	Options       config.Options // for a reload, which loads the configuration again
	AutoReload    time.Duration  // how often to check whether the file has changed; 0: never
	StoragePath   string         // directory of the queues; empty: in memory only
	AllowLoopback bool           // dial discovered loopback addresses
	ScrapeMemory  int64          // for pages that are read concurrently, in bytes; 0: the default of scrape

	Via       via.Way // how pages of pods are read: Direct or APIServer
	ViaLimits via.Limits

	Web    web.Config
	Notice string            // a sentence that every page shows; empty: none
	Build  web.Build         // for the pages
	Flags  map[string]string // for the pages

	// UseRuntime changes the process as a configuration says that comes into force: its log level and GOGC. It is
	// called by one goroutine at a time; nil: nothing is called.
	UseRuntime func(promconfig.RuntimeConfig)
}

// scrapeOptions returns the options of scraping. They depend on the settings and the first configuration, and no reload
// changes them, except what r says of a job.
func (s *Settings) scrapeOptions(w World, r *reloader) scrape.Options {
	opts := JobOptions(r.applyingConfig, s.Options.NodeName)
	opts.Dial, opts.Host = w.Dial, w.Host
	opts.AllowLoopback, opts.MaxMemory = s.AllowLoopback, s.ScrapeMemory
	opts.ExternalLabels = s.Config.RemoteWrite.ExternalLabels
	opts.Sharded, opts.Unsharded = s.Config.Shards.On(), s.Config.Unsharded
	return opts
}

// JobOptions returns the options of scraping that a configuration sets for single jobs. node is the name of this node;
// empty: not known.
func JobOptions(cfg func() *config.Config, node string) scrape.Options {
	return scrape.Options{
		OwnAddressOnly: func(job string) bool { return cfg().OwnAddressOnly(job) },
		PushDown:       func(job string) bool { return cfg().PushDown(job) },
		FixedPace:      func(job string) bool { return cfg().FixedPace(job) },
		Encoding: scrape.EncodingOptions{
			Node:    node,
			ByPlace: func(job string) bool { return cfg().EncodingByPlace(job) },
			OnNode:  func(job string) bool { return cfg().OnNode(job) },
		},
		ShardByWorkload: func(job string) bool { return cfg().ShardByWorkload(job) },
	}
}
