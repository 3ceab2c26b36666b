package simulate

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// revision is one state of the file of an agent. Reloads make new ones.
type revision struct {
	rev       int    // a label of every series; another rev makes other targets
	drop      string // names of metrics that metric_relabel_configs drop
	dropAtB   string // names of metrics that receiver b does not get
	minLanes  int
	maxLanes  int
	maxDelay  string // empty: the default
	batchSize int    // max_samples_per_send; 0: the default
}

// next returns r with one setting drawn again; it may be equal to r.
func (r revision) next(chance *rand.Rand) revision {
	switch chance.IntN(6) {
	case 0:
		r.rev++
	case 1:
		r.drop = pick(chance, "", "istio_request_bytes.*", "envoy_cluster_.*", "istio_requests_total")
	case 2:
		r.dropAtB = pick(chance, "", "istio_request_bytes.*", "istio_.*_milliseconds.*")
	case 3:
		r.minLanes = 1 + chance.IntN(3)
		r.maxLanes = r.minLanes + chance.IntN(6)
	case 4:
		r.maxDelay = pick(chance, "", "30s", "60s", "1s")
	case 5:
		r.batchSize = []int{0, 100, 1000}[chance.IntN(3)]
	}
	return r
}

func pick(chance *rand.Rand, from ...string) string { return from[chance.IntN(len(from))] }

// yaml returns the configuration file.
func (r revision) yaml(w *world) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global:\n  scrape_interval: %v\n  scrape_timeout: %v\n  external_labels: {cluster: sim}\n",
		w.opts.Interval, w.opts.Timeout)
	fmt.Fprintf(&b, `scrape_configs:
- job_name: envoy
  metrics_path: /stats/prometheus
%s  - {target_label: rev, replacement: "%d"}
`, w.discoveryConfig(), r.rev)
	if r.drop != "" {
		fmt.Fprintf(&b, "  metric_relabel_configs:\n  - {source_labels: [__name__], regex: %q, action: drop}\n", r.drop)
	}
	b.WriteString("remote_write:\n")
	for i, name := range receiverNames {
		fmt.Fprintf(&b, "- name: %s\n  url: http://%s:9090/api/v1/write\n  remote_timeout: 10s\n  queue_config:\n"+
			"    min_shards: %d\n    max_shards: %d\n", name, receiverAddress(i), r.minLanes, r.maxLanes)
		if r.batchSize != 0 {
			fmt.Fprintf(&b, "    max_samples_per_send: %d\n", r.batchSize)
		}
		if name == "b" && r.dropAtB != "" {
			fmt.Fprintf(&b, "  write_relabel_configs:\n  - {source_labels: [__name__], regex: %q, action: drop}\n",
				r.dropAtB)
		}
	}
	b.WriteString("envoy_scraper:\n  jobs:\n  - {name: envoy, push_down: 'off', pace: fixed}\n")
	if r.maxDelay != "" {
		fmt.Fprintf(&b, "  max_delay: %s\n", r.maxDelay)
	}
	return b.String()
}
