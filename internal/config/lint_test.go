package config

import (
	"strings"
	"testing"
)

func TestLint(t *testing.T) {
	const pods = "  kubernetes_sd_configs: [{role: pod}]\n  relabel_configs:\n"
	for name, c := range map[string]struct {
		job  string // without its name
		want string // part of the only warning; empty: none
	}{
		"anchored keep of the port": {pods +
			"  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: " +
			"^http-envoy-prom$}", ""},
		"init containers dropped": {pods +
			"  - {source_labels: [__meta_kubernetes_pod_container_init], action: drop, regex: 'true'}",
			"native sidecars"},
		"only others kept": {pods +
			"  - {source_labels: [__meta_kubernetes_pod_container_init], action: keep, regex: 'false'}",
			"native sidecars"},
		"init containers kept": {pods +
			"  - {source_labels: [__meta_kubernetes_pod_container_init], action: keep, regex: 'true'}", ""},
		"init, rewritten before": {pods +
			"  - {target_label: __meta_kubernetes_pod_container_init, replacement: 'false'}\n  - {source_labels: " +
			"[__meta_kubernetes_pod_container_init], action: drop, regex: 'true'}", ""},
		"init and phase together": {pods +
			"  - {source_labels: [__meta_kubernetes_pod_container_init, __meta_kubernetes_pod_phase], action: " +
			"drop, regex: 'true;Failed'}", ""},
		"labeldrop of meta labels": {pods + "  - {action: labeldrop, regex: __meta_kubernetes_pod_label_(.+)}",
			"changes nothing"},
		"labeldrop, read later": {pods +
			"  - {action: labeldrop, regex: __meta_kubernetes_pod_label_(.+)}\n  - {action: labelmap, regex: " +
			"__meta_kubernetes_pod_label_(.+)}", ""},
		"labeldrop of stored labels": {pods + "  - {action: labeldrop, regex: pod_template_hash}", ""},
		"labelkeep without address":  {pods + "  - {action: labelkeep, regex: __meta_.*}", "removes __address__"},
		"labelkeep with address":     {pods + "  - {action: labelkeep, regex: __.*}", ""},
		"label of an annotation": {pods +
			"  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: " +
			"'true'}", ""},
		"label of a node, attached": {"  kubernetes_sd_configs: [{role: pod, attach_metadata: {node: " +
			"true}}]\n  relabel_configs:\n  - {source_labels: [__meta_kubernetes_node_label_zone], action: keep, " +
			"regex: a}", ""},
		"label of a node, not attached": {pods +
			"  - {source_labels: [__meta_kubernetes_node_label_zone], action: keep, regex: a}", "drops every target"},
		"absent label dropped": {pods + "  - {source_labels: [nowhere], action: drop, regex: a}",
			"does nothing"},
		"absent label, made before": {pods +
			"  - {source_labels: [__address__], target_label: made}\n  - {source_labels: [made], action: drop, " +
			"regex: a}", ""},
		"absent label, perhaps mapped": {pods +
			"  - {action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}\n  - {source_labels: [app], action: " +
			"keep, regex: a}", ""},
		"constant": {pods + "  - {target_label: cluster, replacement: east}", ""},
		"endpoints have ports of pods": {"  kubernetes_sd_configs: [{role: endpoints}]\n  relabel_configs:\n  - " +
			"{source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: http-envoy-prom}", ""},
		"a file may say anything": {"  file_sd_configs: [{files: ['testdata/*.json']}]\n  " +
			"relabel_configs:\n  - {source_labels: [anything], action: keep, regex: a}", "no file has this name yet"},
		"static label": {"  static_configs: [{targets: ['a:1'], labels: {x: y}}]\n  " +
			"relabel_configs:\n  - {source_labels: [x], action: keep, regex: y}", ""},
		"parameter": {"  params: {target: [a]}\n" + pods +
			"  - {source_labels: [__param_target], action: keep, regex: a}", ""},
		"only used stats": {"  params: {usedonly: ['']}\n  static_configs: [{targets: ['a:1']}]\n",
			":4: warning: job \"a\": scrape_configs[0].params.usedonly: a counter is not shown before its first"},
		"another parameter": {"  params: {filter: [istio_]}\n  static_configs: [{targets: ['a:1']}]\n", ""},
		"phase in lower case": {pods +
			"  - {source_labels: [__meta_kubernetes_pod_phase], action: drop, regex: succeeded|failed}",
			"does nothing"},
		"both ports of a host": {"  static_configs: [{targets: ['a:15020', 'a:15090', 'b:15090']}]",
			"repeats Envoy's"},
		"either port in one job": {pods +
			"  - {source_labels: [__meta_kubernetes_pod_container_port_number], action: keep, regex: " +
			"'15020|15090'}", "15090 of the same pods"},
		"sample's own labels": {pods +
			"  - {target_label: a, replacement: b}\n  metric_relabel_configs:\n  - {source_labels: [__name__, " +
			"le], action: keep, regex: 'x;.*'}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := load(t, Options{}, someRemote+"scrape_configs:\n- job_name: a\n"+c.job)
			var got []string
			for _, w := range cfg.Warnings {
				got = append(got, w.String())
			}
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("warnings = %q, want none", got)
			case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)):
				t.Errorf("warnings = %q, want one with %q", got, c.want)
			}
		})
	}
}

func TestLintTwoPorts(t *testing.T) {
	const (
		envoy = "- job_name: envoy\n  kubernetes_sd_configs: [{role: pod, namespaces: {names: [%]}}]\n  " +
			"relabel_configs:\n  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, " +
			"regex: .*-envoy-prom}\n"
		annotated = "- job_name: annotated\n  kubernetes_sd_configs: [{role: pod, namespaces: {names: [b]}}]\n  " +
			"relabel_configs:\n  - {source_labels: [__address__, " +
			"__meta_kubernetes_pod_annotation_prometheus_io_port], regex: '(.+):\\d+;(\\d+)', replacement: " +
			"'$1:$2', target_label: __address__}\n"
		without = "  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_port], action: drop, " +
			"regex: '15020'}\n"
	)
	for name, c := range map[string]struct {
		namespaces, more string
		want             int
	}{
		"all namespaces":     {"", "", 1},
		"a namespace shared": {"a, b", "", 1},
		"other namespaces":   {"a", "", 0},
		"15020 left out":     {"", without, 0},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := load(t, Options{}, someRemote+"scrape_configs:\n"+strings.Replace(envoy, "%", c.namespaces,
				1)+annotated+c.more)
			if len(cfg.Warnings) != c.want {
				t.Errorf("warnings = %v, want %d", cfg.Warnings, c.want)
			}
		})
	}
}
