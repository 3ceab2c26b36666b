package scrape

import (
	"fmt"
	"strings"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	promrelabel "github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/pushdown"
)

// FilterOf returns the filter with which the targets of a job can be asked for their pages: see package pushdown. If
// there is none, filter is empty, and why has the reason: a clause that begins in lower case and has no full stop.
// Single targets are still asked for whole pages if their path or port says so.
func FilterOf(cfg *promconfig.ScrapeConfig) (filter, why string) {
	if why := pushdown.RefuseParams(cfg.Params); why != "" {
		return "", why
	}
	for i, rule := range cfg.RelabelConfigs {
		if setsParam(rule) {
			return "", fmt.Sprintf("relabel_configs[%d] sets a parameter of the request", i)
		}
	}
	return pushdown.Build(cfg.MetricRelabelConfigs)
}

// setsParam reports whether a rule may set a label __param_…, which becomes a parameter of the request.
func setsParam(rule *promrelabel.Config) bool {
	switch rule.Action {
	case promrelabel.LabelMap:
		return strings.HasPrefix(rule.Replacement, model.ParamLabelPrefix)
	case promrelabel.Keep, promrelabel.Drop, promrelabel.KeepEqual, promrelabel.DropEqual, promrelabel.LabelDrop,
		promrelabel.LabelKeep:
		return false
	default:
		return strings.HasPrefix(rule.TargetLabel, model.ParamLabelPrefix)
	}
}
