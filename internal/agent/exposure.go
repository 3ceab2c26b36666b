package agent

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
)

// exposures reports the insecure settings of the configuration in force: in the log when they appear, and in gauges.
type exposures struct {
	log    *zap.Logger
	gauges map[config.ExposureKind]prometheus.Gauge
	logged map[config.Exposure]bool // settings of the configuration in force
}

func newExposures(log *zap.Logger, reg prometheus.Registerer) *exposures {
	f := promauto.With(reg)
	return &exposures{log: log, gauges: map[config.ExposureKind]prometheus.Gauge{
		config.NotVerified: f.NewGauge(prometheus.GaugeOpts{
			Name: "envoy_scraper_config_insecure_skip_verify",
			Help: "Number of places in the configuration that turn off the verification of certificates.",
		}),
		config.InTheClear: f.NewGauge(prometheus.GaugeOpts{
			Name: "envoy_scraper_config_credentials_in_clear",
			Help: "Number of places in the configuration with credentials that are sent over plain HTTP.",
		}),
		config.WorldReadable: f.NewGauge(prometheus.GaugeOpts{
			Name: "envoy_scraper_config_readable_secret_files",
			Help: "Number of places in the configuration that name a secret file which every user of the machine can " +
				"read.",
		}),
	}}
}

// show reports on the configuration that has just come into force. It logs only settings that the previous one had not.
func (e *exposures) show(cfg *config.Config) {
	now, counts := map[config.Exposure]bool{}, map[config.ExposureKind]float64{}
	for _, x := range cfg.Exposures() {
		counts[x.Kind]++
		if now[x] = true; e.logged[x] {
			continue
		}
		switch x.Kind {
		case config.NotVerified:
			e.log.Warn("certificates are not verified: any server is trusted", zap.String("where", x.Where))
		case config.InTheClear:
			e.log.Warn("credentials are sent over plain HTTP", zap.String("where", x.Where))
		case config.WorldReadable:
			e.log.Warn("every user of the machine can read a secret file", zap.String("where", x.Where),
				zap.String("file", x.File))
		}
	}
	e.logged = now
	for kind, gauge := range e.gauges {
		gauge.Set(counts[kind])
	}
}
