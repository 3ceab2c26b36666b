package aggregate

import (
	"regexp"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

func TestBlocksAsYAML(t *testing.T) {
	for want, b := range map[string]Block{
		`envoy_scraper:
  aggregate:
    - jobs: [envoy-stats]
      match: istio_.*
      without: [instance, pod]
      as:
        instance: node-1
      idle: 15m
`: {Jobs: []string{"envoy-stats"}, Match: regexp.MustCompile("^(?s:istio_.*)$"), Without: []string{"instance", "pod"},
			As: labels.FromStrings("instance", "node-1"), Gauges: GaugesRaw, Idle: 15 * time.Minute},
		`envoy_scraper:
  aggregate:
    - jobs: [a, 'b: c']
      match: a|b
      by: []
      as:
        agent: '%{POD_NAME}'
        instance: x
      prefix: 'workload:'
      gauges: sum
      keep_raw: true
      count_first: false
`: {Jobs: []string{"a", "b: c"}, Match: regexp.MustCompile("^(?:a|b)$"), By: []string{},
			As: labels.FromStrings("instance", "x", "agent", "%{POD_NAME}"), Prefix: "workload:", Gauges: GaugesSum,
			KeepRaw: true, SkipFirst: true},
	} {
		if got := YAML(b); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	}
}
