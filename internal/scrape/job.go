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

// jobState is a job's configuration and what is made of it. Immutable: a reload makes a new one.
type jobState struct {
	cfg         *promconfig.ScrapeConfig
	fetcher     *fetcher
	metrics     *jobMetrics        // since the job was adopted: one that is refused leaves no series of its own
	pageOptions exposition.Options // less what a target may say otherwise
	ownAddress  bool
	failures    *failureLog
	whole       string // the configuration as text: equal means that nothing changed
	series      string // the part of it that decides what series look like
}

func newJobState(cfg *promconfig.ScrapeConfig, opts Options) (*jobState, error) {
	own := opts.OwnAddressOnly != nil && opts.OwnAddressOnly(cfg.JobName)
	f, err := newFetcher(cfg, opts.budget, opts.AllowLoopback, own)
	if err != nil {
		return nil, err
	}
	if opts.transport != nil {
		f.client.Transport, f.plain = opts.transport, nil
	}
	j := &jobState{
		cfg: cfg, fetcher: f, ownAddress: own,
		pageOptions: exposition.Options{
			SampleLimit:        int(cfg.SampleLimit),
			GrowthLimit:        growthLimit(int(cfg.BodySizeLimit)),
			HonorTimestamps:    cfg.HonorTimestamps,
			TrackTimestamps:    cfg.TrackTimestampsStaleness,
			Fallback:           cfg.ScrapeFallbackProtocol.HeaderMediaType(),
			BucketLimit:        int(cfg.NativeHistogramBucketLimit),
			MaxHistogramSchema: exposition.MaxSchema(cfg.NativeHistogramMinBucketFactor),
		},
		whole:  asText(*cfg),
		series: asText(withoutWhatLeavesSeries(*cfg)),
	}
	if j.failures, err = openFailureLog(cfg); err != nil {
		f.close()
		return nil, fmt.Errorf("scrape_failure_log_file: %w", err)
	}
	return j, nil
}

// leastGrowthLimit is how many bytes the new series of a page may always take: no page of 64 MiB that a sidecar prints
// comes near.
const leastGrowthLimit = 128 << 20

// growthLimit is how many bytes the new series of a page may take: twice body_size_limit where that is more than
// leastGrowthLimit; 0, no limit, where pages have none.
func growthLimit(bodySizeLimit int) int {
	if bodySizeLimit == 0 {
		return 0
	}
	return max(leastGrowthLimit, 2*bodySizeLimit)
}

// pageOptionsOf is how a target's pages are read.
func (j *jobState) pageOptionsOf(t *target) exposition.Options {
	o := j.pageOptions
	o.NativeHistograms, o.ClassicToo, o.ToCustomBuckets = t.nativeHistograms, t.classicToo, t.toCustomBuckets
	return o
}

// isSame reports whether two configurations are the same. Text hides secrets, hence the second look.
func (j *jobState) isSame(other *jobState) bool {
	return j.whole == other.whole && j.ownAddress == other.ownAddress &&
		reflect.DeepEqual(j.cfg.HTTPClientConfig, other.cfg.HTTPClientConfig)
}

// close gives back what the job holds open: another took its place, or none.
func (j *jobState) close() {
	j.fetcher.close()
	j.failures.close()
}

// withoutWhatLeavesSeries takes away what has no influence on how a page's lines become series.
func withoutWhatLeavesSeries(cfg promconfig.ScrapeConfig) promconfig.ScrapeConfig {
	cfg.ScrapeInterval, cfg.ScrapeTimeout, cfg.SampleLimit = 0, 0, 0
	cfg.HTTPClientConfig = config_util.HTTPClientConfig{}
	cfg.ServiceDiscoveryConfigs = nil
	return cfg
}

func asText(cfg promconfig.ScrapeConfig) string {
	text, err := yaml.Marshal(&cfg)
	if err != nil { // never equal to anything
		return time.Now().String()
	}
	return string(text)
}
