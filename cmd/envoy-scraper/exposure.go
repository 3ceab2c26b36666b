package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
)

// exposures tells what a configuration trusts more than it may know: in the log when it begins, and in gauges.
type exposures struct {
	log    *zap.Logger
	gauges map[config.ExposureKind]prometheus.Gauge
	told   map[config.Exposure]bool
}

func newExposures(log *zap.Logger, reg prometheus.Registerer) *exposures {
	f := promauto.With(reg)
	return &exposures{log: log, gauges: map[config.ExposureKind]prometheus.Gauge{
		config.NotVerified: f.NewGauge(prometheus.GaugeOpts{
			Name: "envoy_scraper_config_insecure_skip_verify",
			Help: "Places of the configuration in force that do not verify the certificate of who answers.",
		}),
		config.InTheClear: f.NewGauge(prometheus.GaugeOpts{
			Name: "envoy_scraper_config_credentials_in_clear",
			Help: "Places of the configuration in force with credentials that go over plain HTTP.",
		}),
		config.WorldReadable: f.NewGauge(prometheus.GaugeOpts{
			Name: "envoy_scraper_config_readable_secret_files",
			Help: "Places of the configuration in force that name a file with a secret which every user of the machine may read.",
		}),
	}}
}

// show tells of a configuration that has come into force. What the one before had too is not logged again.
func (e *exposures) show(cfg *config.Config) {
	now, counts := map[config.Exposure]bool{}, map[config.ExposureKind]float64{}
	for _, x := range cfg.Exposures() {
		counts[x.Kind]++
		if now[x] = true; e.told[x] {
			continue
		}
		switch x.Kind {
		case config.NotVerified:
			e.log.Warn("certificates are not verified: whoever answers is believed", zap.String("where", x.Where))
		case config.InTheClear:
			e.log.Warn("credentials go over plain HTTP", zap.String("where", x.Where))
		case config.WorldReadable:
			e.log.Warn("a file with a secret can be read by every user of the machine", zap.String("where", x.Where), zap.String("file", x.File))
		}
	}
	e.told = now
	for kind, gauge := range e.gauges {
		gauge.Set(counts[kind])
	}
}
