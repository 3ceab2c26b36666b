package scrape

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	config_util "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/util/logging"
	"go.yaml.in/yaml/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

// jobState is a job's configuration and what is made of it. Immutable: a reload makes a new one.
type jobState struct {
	cfg         *promconfig.ScrapeConfig
	fetcher     *fetcher
	metrics     *jobMetrics
	pageOptions exposition.Options
	ownAddress  bool
	failures    *slog.Logger // scrape_failure_log_file; nil: none
	failureFile io.Closer
	whole       string // the configuration as text: equal means that nothing changed
	series      string // the part of it that decides what series look like
}

func newJobState(cfg *promconfig.ScrapeConfig, m *metrics, opts Options) (*jobState, error) {
	own := opts.OwnAddressOnly != nil && opts.OwnAddressOnly(cfg.JobName)
	f, err := newFetcher(cfg, opts.AllowLoopback, own)
	if err != nil {
		return nil, err
	}
	if opts.transport != nil {
		f.client.Transport, f.plain = opts.transport, nil
	}
	j := &jobState{
		cfg: cfg, fetcher: f, metrics: m.of(cfg.JobName), ownAddress: own,
		pageOptions: exposition.Options{
			SampleLimit:        int(cfg.SampleLimit),
			HonorTimestamps:    cfg.HonorTimestamps,
			TrackTimestamps:    cfg.TrackTimestampsStaleness,
			Fallback:           cfg.ScrapeFallbackProtocol.HeaderMediaType(),
			NativeHistograms:   cfg.ScrapeNativeHistogramsEnabled(),
			ClassicToo:         cfg.AlwaysScrapeClassicHistogramsEnabled(),
			ToCustomBuckets:    cfg.ConvertClassicHistogramsToNHCBEnabled(),
			BucketLimit:        int(cfg.NativeHistogramBucketLimit),
			MaxHistogramSchema: exposition.MaxSchema(cfg.NativeHistogramMinBucketFactor),
		},
		whole:  asText(*cfg),
		series: asText(withoutWhatLeavesSeries(*cfg)),
	}
	if file := cfg.ScrapeFailureLogFile; file != "" {
		l, err := logging.NewJSONFileLogger(file)
		if err != nil {
			return nil, fmt.Errorf("scrape_failure_log_file: %w", err)
		}
		j.failures, j.failureFile = slog.New(l).With("job_name", cfg.JobName), l
	}
	return j, nil
}

// close gives back what the job holds open: another took its place, or none.
func (j *jobState) close() {
	j.fetcher.close()
	if j.failureFile != nil {
		_ = j.failureFile.Close()
	}
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
