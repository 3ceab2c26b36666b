package main

import (
	"context"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// podReports makes the reports on pods that pages and `why` show. It keeps nothing: a report is made when somebody
// looks. People who look at the same time get the same report.
type podReports struct {
	config func() *config.Config // in force
	pools  func() []scrape.PoolStatus
	found  *discovery.Manager

	looking singleflight.Group
}

// podSources returns the functions of a running process.
func podSources(r *reloader, pools *scrape.Pools, found *discovery.Manager) web.PodSources {
	p := &podReports{config: r.config, pools: pools.FullStatus, found: found}
	return web.PodSources{Report: p.report, Ask: p.ask, Preview: pools.Preview}
}

func (p *podReports) report() diagnose.Report {
	report, _, _ := p.looking.Do("", func() (any, error) { return p.make(), nil })
	return report.(diagnose.Report)
}

// ask is web.PodSources.Ask.
func (p *podReports) ask(ctx context.Context, namespace, name string) (diagnose.Report, []show.Fact, error) {
	pod, err := p.found.Pod(ctx, namespace, name)
	if err != nil {
		return p.report(), nil, err
	}
	return p.make(pod), show.Facts(pod), nil
}

// make makes a report that has the pods that are asked for, even if no job looks at them.
func (p *podReports) make(asked ...*corev1.Pod) diagnose.Report {
	cfg := p.config()
	return diagnose.New(diagnose.Input{
		At: time.Now(), Jobs: cfg.Jobs, Pools: p.pools(), Pods: p.found.Pods(), Scopes: p.found.Scopes(), Asked: asked,
		Shard: cfg.Shards.Index, Self: ownPod(),
	})
}

// namespaceFile holds the namespace of the pod that this process runs in.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// ownPod returns the pod that this process runs in. It is zero outside of a cluster.
func ownPod() scrape.Pod {
	namespace, err := os.ReadFile(namespaceFile)
	if err != nil {
		return scrape.Pod{}
	}
	name := os.Getenv("POD_NAME")
	if name == "" { // the host name of a pod is its name
		if name, err = os.Hostname(); err != nil {
			return scrape.Pod{}
		}
	}
	return scrape.Pod{Namespace: strings.TrimSpace(string(namespace)), Name: name}
}
