package agent

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// reportAge is how long people who look one after another get the same report. At 10,000 pods a report takes a few
// tenths of a second.
const reportAge = 2 * time.Second

// PodReports makes the reports on pods that pages and `why` show. A report is made when somebody looks, one at a time,
// and is kept for a short time. Safe for concurrent use, once the exported fields are set.
type PodReports struct {
	Config func() *config.Config // in force
	Pools  func() []scrape.PoolStatus
	Found  *discovery.Manager
	Asking func() string // diagnose.Input.Ask; nil: not known

	MaxAge time.Duration // of a report; 0: none is kept

	mu   sync.Mutex       // guards the following; held while a report is made
	kept *diagnose.Report // nil: there is none
}

// podSources returns the functions of an agent. webConfig is --web.config.file.
func podSources(r *reloader, pools *scrape.Pools, found *discovery.Manager, webConfig string) web.PodSources {
	p := &PodReports{Config: r.config, Pools: pools.FullStatus, Found: found, MaxAge: reportAge}
	if webConfig == "" { // otherwise the pages may ask for TLS or a password
		p.Asking = func() string { return askCommand(r.listen) }
	}
	return web.PodSources{Report: p.Report, Ask: p.Ask, Targets: pools.FullStatusOf, Preview: pools.Preview}
}

// askCommand returns the command that asks a process whose pages are at an address, from its own machine. All instances
// of a StatefulSet have the same program and listen on the same port.
func askCommand(listen string) string {
	program, err := os.Executable()
	host, port, splitErr := net.SplitHostPort(listen)
	if err != nil || splitErr != nil {
		return ""
	}
	if ip := net.ParseIP(host); !ip.IsUnspecified() && !ip.IsLoopback() {
		return "" // an address of this pod only
	}
	return program + " why --url=http://127.0.0.1:" + port
}

// Report returns the report that is kept, or else a new one. Callers must not change its rows.
func (p *PodReports) Report() diagnose.Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept != nil {
		return *p.kept
	}
	r := p.make()
	if p.MaxAge > 0 {
		p.kept = &r
		time.AfterFunc(p.MaxAge, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.kept = nil
		})
	}
	return r
}

// Ask is web.PodSources.Ask. A pod that the report does not have is one that no job looks at: it gets a report of its
// own, with its verdict.
func (p *PodReports) Ask(ctx context.Context, namespace, name string) (diagnose.Report, []show.Fact, error) {
	pod, err := p.Found.Pod(ctx, namespace, name)
	report := p.Report()
	if err != nil {
		return report, nil, err
	}
	if report.Row(namespace, name) == nil { // no job looks at the pod
		report = p.make(pod)
	}
	return report, show.Facts(pod), nil
}

// make makes a report that has the pods that are asked for, even if no job looks at them.
func (p *PodReports) make(asked ...*corev1.Pod) diagnose.Report {
	cfg := p.Config()
	ask := ""
	if p.Asking != nil {
		ask = p.Asking()
	}
	return diagnose.New(diagnose.Input{
		At: time.Now(), Jobs: cfg.Jobs, Pools: p.Pools(), Pods: p.Found.Pods(), Scopes: p.Found.Scopes(), Asked: asked,
		Shard: cfg.Shards.Index, Self: ownPod(), Ask: ask,
		Outside: os.Getenv("KUBERNETES_SERVICE_HOST") == "", // which each container of a pod has
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
