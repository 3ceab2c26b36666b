package scrape

import (
	"fmt"
	"reflect"
	"time"

	config_util "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

// jobState is a job's configuration and what follows from it. Immutable: a reload makes a new one.
type jobState struct {
	cfg         *promconfig.ScrapeConfig
	fetcher     *fetcher
	metrics     *jobMetrics        // set when the job is adopted: a job that was refused leaves no metrics
	pageOptions exposition.Options // of all targets; pageOptionsOf adds what relabeling set for one
	ownAddress  bool
	filter      *jobFilter
	fixedPace   bool // its targets are asked at every turn, however slow they are
	onNode      bool // discovery finds the pods of this node only
	byWorkload  bool // instances share its targets, and one instance has all pods of a workload
	failures    *failureLog
	text        string // the configuration as YAML: equal means that nothing changed
	seriesText  string // the part of it that decides which series a page's lines become
}

func newJobState(cfg *promconfig.ScrapeConfig, opts Options) (*jobState, error) {
	own := opts.OwnAddressOnly != nil && opts.OwnAddressOnly(cfg.JobName)
	f, err := newFetcher(cfg, opts, own)
	if err != nil {
		return nil, err
	}
	f.byPlace = opts.Encoding.isByPlace(cfg.JobName)
	if opts.transport != nil {
		f.client.Transport, f.plain = opts.transport, nil
	}
	proxy, err := opts.Via.Of(cfg)
	if err != nil {
		f.close()
		return nil, err
	}
	f.readPodsThrough(proxy)
	j := &jobState{
		cfg: cfg, fetcher: f, ownAddress: own, filter: newJobFilter(cfg, opts),
		fixedPace: hasFixedPace(cfg.JobName, f, opts), onNode: opts.Encoding.isOnNode(cfg.JobName),
		byWorkload: opts.isByWorkload(cfg.JobName),
		pageOptions: exposition.Options{
			SampleLimit:        int(cfg.SampleLimit),
			GrowthLimit:        growthLimit(int(cfg.BodySizeLimit)),
			HonorTimestamps:    cfg.HonorTimestamps,
			TrackTimestamps:    cfg.TrackTimestampsStaleness,
			Fallback:           cfg.ScrapeFallbackProtocol.HeaderMediaType(),
			BucketLimit:        int(cfg.NativeHistogramBucketLimit),
			MaxHistogramSchema: exposition.MaxSchema(cfg.NativeHistogramMinBucketFactor),
		},
		text:       asText(*cfg),
		seriesText: asText(seriesRelevant(*cfg)),
	}
	if j.failures, err = openFailureLog(cfg); err != nil {
		f.close()
		return nil, fmt.Errorf("scrape_failure_log_file: %w", err)
	}
	return j, nil
}

// hasFixedPace reports whether the targets of a job are asked at every turn. Behind a proxy it is not known whether the
// target or the proxy is slow.
func hasFixedPace(job string, f *fetcher, opts Options) bool {
	return opts.FixedPace != nil && opts.FixedPace(job) || len(f.guard.proxies) > 0
}

// leastGrowthLimit is how many bytes the new series of a page may always take. A sidecar's page of 64 MiB needs far
// less.
const leastGrowthLimit = 128 << 20

// growthLimit returns how many bytes the new series of a page may take: twice body_size_limit, but not less than
// leastGrowthLimit. Without a body_size_limit it is 0, which is no limit.
func growthLimit(bodySizeLimit int) int {
	if bodySizeLimit == 0 {
		return 0
	}
	return max(leastGrowthLimit, 2*bodySizeLimit)
}

// pageOptionsOf returns how a target's pages are read.
func (j *jobState) pageOptionsOf(t *target) exposition.Options {
	o := j.pageOptions
	o.NativeHistograms, o.ClassicToo, o.ToCustomBuckets = t.nativeHistograms, t.classicToo, t.toCustomBuckets
	return o
}

// isSame reports whether two configurations are the same. The YAML masks secrets, so they are compared by themselves.
func (j *jobState) isSame(other *jobState) bool {
	return j.text == other.text && j.ownAddress == other.ownAddress && j.onNode == other.onNode &&
		j.byWorkload == other.byWorkload &&
		j.filter.expr == other.filter.expr && j.filter.why == other.filter.why &&
		j.fixedPace == other.fixedPace && j.fetcher.byPlace == other.fetcher.byPlace &&
		reflect.DeepEqual(j.cfg.HTTPClientConfig, other.cfg.HTTPClientConfig)
}

// close gives back what the job holds open.
func (j *jobState) close() {
	j.fetcher.close()
	j.failures.close()
}

// seriesRelevant returns the fields that decide how a page's lines become series.
func seriesRelevant(cfg promconfig.ScrapeConfig) promconfig.ScrapeConfig {
	cfg.ScrapeInterval, cfg.ScrapeTimeout, cfg.SampleLimit = 0, 0, 0
	cfg.HTTPClientConfig = config_util.HTTPClientConfig{}
	cfg.ServiceDiscoveryConfigs = nil
	return cfg
}

func asText(cfg promconfig.ScrapeConfig) string {
	text, err := yaml.Marshal(&cfg)
	if err != nil { // a text that equals no other
		return time.Now().String()
	}
	return string(text)
}
