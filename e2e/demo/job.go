package main

import (
	"fmt"
	"os"
	"strings"
)

// referenceRules holds the relabel rules that Alibaba Cloud's service mesh documents for scraping Envoy, word for word.
const referenceRules = `  relabel_configs:
  - source_labels: [__meta_kubernetes_pod_container_port_name]
    action: keep
    regex: '.*-envoy-prom'
  - source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port]
    action: replace
    regex: ([^:]+)(?::\d+)?;(\d+)
    replacement: $1:15090
    target_label: __address__
  - action: labeldrop
    regex: __meta_kubernetes_pod_label_(.+)
  - source_labels: [__meta_kubernetes_namespace]
    action: replace
    target_label: namespace
  - source_labels: [__meta_kubernetes_pod_name]
    action: replace
    target_label: pod_name
`

// The two ways in which the job discovers its pods: from a file or from a Kubernetes API.
const (
	fromList    = "  file_sd_configs:\n  - files: [%q]\n"
	fromCluster = "  kubernetes_sd_configs:\n  - role: pod\n    kubeconfig_file: %q\n"
)

// writeConfig writes envoy-scraper's configuration. source is fromList or fromCluster, and of is the path of its file.
func writeConfig(file, source, of string) error {
	var b strings.Builder
	b.WriteString("global:\n  scrape_interval: 5s\n  scrape_timeout: 4s\n")
	b.WriteString("scrape_configs:\n- job_name: envoy-stats\n  metrics_path: /stats/prometheus\n")
	fmt.Fprintf(&b, source, of)
	b.WriteString(referenceRules)
	return os.WriteFile(file, []byte(b.String()), 0o600)
}
