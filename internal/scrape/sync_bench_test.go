package scrape

import (
	"fmt"
	"os"
	"testing"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// meshJob is the built-in job, which keeps one port of each pod of meshPod.
func meshJob(tb testing.TB) *promconfig.ScrapeConfig {
	tb.Helper()
	raw, err := os.ReadFile("../config/builtin.yml")
	if err != nil {
		tb.Fatal(err)
	}
	cfg, err := promconfig.Load(string(raw), nil)
	if err != nil {
		tb.Fatal(err)
	}
	jobs, err := cfg.GetScrapeConfigs()
	if err != nil {
		tb.Fatal(err)
	}
	return jobs[0]
}

// meshPod is the group of a pod with three ports, as discovery hands it over. version changes a label.
func meshPod(n, version int) *targetgroup.Group {
	const meta = model.MetaLabelPrefix + "kubernetes_"
	ip := fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255)
	g := &targetgroup.Group{Source: fmt.Sprintf("pod/ns%d/app-%d", n%50, n), Labels: model.LabelSet{
		meta + "namespace":     model.LabelValue(fmt.Sprintf("ns%d", n%50)),
		meta + "pod_name":      model.LabelValue(fmt.Sprintf("app-7d4b9c6f5d-%d", n)),
		meta + "pod_ip":        model.LabelValue(ip),
		meta + "pod_phase":     "Running",
		meta + "pod_label_app": model.LabelValue(fmt.Sprintf("app-%d", version)),
	}}
	for i, port := range []string{"http", "http-envoy-prom", "status"} {
		container := "istio-proxy"
		if i == 0 {
			container = "app"
		}
		g.Targets = append(g.Targets, model.LabelSet{
			model.AddressLabel:               model.LabelValue(fmt.Sprintf("%s:%d", ip, 15090+i)),
			meta + "pod_container_name":      model.LabelValue(container),
			meta + "pod_container_port_name": model.LabelValue(port),
		})
	}
	return g
}

// mesh returns pools that scrape n pods, and the pods.
func mesh(tb testing.TB, pods int) (*Pools, string, []*targetgroup.Group) {
	job := meshJob(tb)
	ps := New(series.NewTable(), &sink{}, Options{}, zap.NewNop(), nil)
	if err := ps.Apply([]*promconfig.ScrapeConfig{job}); err != nil {
		tb.Fatal(err)
	}
	groups := make([]*targetgroup.Group, pods)
	for i := range groups {
		groups[i] = meshPod(i, 0)
	}
	return ps, job.JobName, groups
}

func BenchmarkFirstPicture(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		b.StopTimer()
		ps, name, groups := mesh(b, 100_000)
		b.StartTimer()
		ps.Update(map[string]discovery.Update{name: wholeUpdate(groups)})
	}
}

// BenchmarkPodChanges is one event of one pod among 100,000.
func BenchmarkPodChanges(b *testing.B) {
	ps, name, groups := mesh(b, 100_000)
	ps.Update(map[string]discovery.Update{name: wholeUpdate(groups)})
	b.ReportAllocs()
	version := 0
	for b.Loop() {
		version++
		i := version % len(groups)
		ps.Update(map[string]discovery.Update{name: {Groups: []discovery.Group{{Discovery: uint64(i),
			Group: meshPod(i, version)}}}})
	}
}
