package config

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
)

func TestBuiltinRules(t *testing.T) {
	cfg := load(t, Options{RemoteWriteURL: "http://r/"}, "")
	for name, c := range map[string]struct {
		address, port, phase, annotation string
		want                             string // the address; empty: dropped
	}{
		"plain":              {"10.0.0.1:15090", "http-envoy-prom", "Running", "", "10.0.0.1:15090"},
		"annotated":          {"10.0.0.1:15090", "http-envoy-prom", "Running", "15020", "10.0.0.1:15090"},
		"other number":       {"10.0.0.1:8080", "tcp-envoy-prom", "Running", "9100", "10.0.0.1:15090"},
		"IPv6":               {"[fd00::1]:15090", "http-envoy-prom", "Running", "", "[fd00::1]:15090"},
		"IPv6, other number": {"[fd00::1]:8080", "http-envoy-prom", "Running", "15020", "[fd00::1]:15090"},
		"finished":           {"10.0.0.1:15090", "http-envoy-prom", "Succeeded", "", ""},
		"failed":             {"10.0.0.1:15090", "http-envoy-prom", "Failed", "", ""},
		"other port":         {"10.0.0.1:8080", "http", "Running", "15020", ""},
	} {
		t.Run(name, func(t *testing.T) {
			const meta = "__meta_kubernetes_"
			found := labels.FromStrings("__address__", c.address, meta+"namespace", "shop", meta+"pod_name", "reviews",
				meta+"pod_container_port_name", c.port, meta+"pod_phase", c.phase,
				meta+"pod_annotation_prometheus_io_port", c.annotation)
			b := labels.NewBuilder(found)
			kept := relabel.ProcessBuilder(b, cfg.Jobs[0].RelabelConfigs...)
			got := b.Labels()
			if kept != (c.want != "") || kept && got.Get("__address__") != c.want {
				t.Errorf("kept %v at %q, want %q", kept, got.Get("__address__"), c.want)
			}
			if kept && (got.Get("namespace") != "shop" || got.Get("pod_name") != "reviews") {
				t.Errorf("labels = %v", got)
			}
		})
	}
}
