package diagnose

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// Beginnings of labels that discovery sets.
const (
	kubePrefix = model.MetaLabelPrefix + "kubernetes_"
	podPrefix  = kubePrefix + "pod_"
)

// pod is a pod with everything that discovery and relabeling made of it.
type pod struct {
	record     discovery.PodRecord
	whole      *corev1.Pod            // if it was asked for
	seen       bool                   // a discovery lists it
	byLabels   bool                   // there is no record of it: record holds what the labels of a target say
	targets    []*scrape.TargetStatus // of all jobs
	envoys     []*scrape.TargetStatus // those of its Envoy, by job and URL
	dropped    []*scrape.DroppedTarget
	invalid    []*scrape.FoundTarget
	duplicates []*scrape.FoundTarget
	elsewhere  []*scrape.FoundTarget
	shards     int // number of instances that share the targets in elsewhere

	found finding
}

// builder holds what one report is made from.
type builder struct {
	in     Input
	jobs   map[string]*promconfig.ScrapeConfig
	order  map[string]int // of the jobs
	pods   []*pod
	byName map[scrape.Pod]*pod
	byIP   map[string]*pod // one that has not finished
	wants  map[string]bool // jobs that look for Envoys
	misses map[missKey]string
}

func newBuilder(in Input) *builder {
	b := &builder{in: in, jobs: map[string]*promconfig.ScrapeConfig{}, order: map[string]int{},
		byName: make(map[scrape.Pod]*pod, len(in.Pods)), byIP: make(map[string]*pod, len(in.Pods)),
		wants: map[string]bool{}, misses: map[missKey]string{}}
	for i, job := range in.Jobs {
		b.jobs[job.JobName], b.order[job.JobName], b.wants[job.JobName] = job, i, wantsEnvoys(job)
	}
	for _, r := range in.Pods {
		b.add(r).seen = true
	}
	for _, whole := range in.Asked {
		p := b.byName[scrape.Pod{Namespace: whole.Namespace, Name: whole.Name}]
		if p == nil {
			p = b.add(discovery.RecordOf(whole))
		}
		p.whole = whole
	}
	b.gather()
	for _, p := range b.pods {
		if !p.record.Finished() && p.record.IP != "" {
			b.byIP[p.record.IP] = p
		}
	}
	return b
}

func (b *builder) add(r discovery.PodRecord) *pod {
	p := &pod{record: r}
	b.pods = append(b.pods, p)
	b.byName[scrape.Pod{Namespace: r.Namespace, Name: r.Name}] = p
	return p
}

// gather gives each pod its targets.
func (b *builder) gather() {
	keepsRecords := b.jobsWithRecords()
	for i := range b.in.Pools {
		pool := &b.in.Pools[i]
		of := func(name scrape.Pod, discovered func() labels.Labels, signs envoy.Signs) *pod {
			p := b.byName[name]
			if p != nil || name == (scrape.Pod{}) || keepsRecords[pool.Job] && !isOfEnvoy(signs) {
				return p
			}
			return b.addByLabels(name, discovered(), signs)
		}
		for j := range pool.Targets {
			t := &pool.Targets[j]
			if p := of(t.Pod, t.Discovered, t.Signs); p != nil {
				p.targets = append(p.targets, t)
			}
		}
		for j := range pool.Dropped {
			t := &pool.Dropped[j]
			if p := of(t.Pod, t.Discovered, 0); p != nil {
				p.dropped = append(p.dropped, t)
			}
		}
		found := func(all []scrape.FoundTarget, list func(*pod) *[]*scrape.FoundTarget) {
			for j := range all {
				t := &all[j]
				if p := of(t.Pod, t.Discovered, 0); p != nil && (b.wants[pool.Job] || p.isProxys(t.Discovered())) {
					*list(p) = append(*list(p), t)
					p.shards = max(p.shards, pool.Shards)
				}
			}
		}
		found(pool.Invalid, func(p *pod) *[]*scrape.FoundTarget { return &p.invalid })
		found(pool.Duplicates, func(p *pod) *[]*scrape.FoundTarget { return &p.duplicates })
		found(pool.Elsewhere, func(p *pod) *[]*scrape.FoundTarget { return &p.elsewhere })
	}
	for _, p := range b.pods {
		for _, t := range p.targets {
			if p.isEnvoys(t) {
				p.envoys = append(p.envoys, t)
			}
		}
		slices.SortStableFunc(p.envoys, func(x, y *scrape.TargetStatus) int {
			return cmp.Or(cmp.Compare(b.order[x.Job], b.order[y.Job]), strings.Compare(x.URL, y.URL))
		})
	}
}

// jobsWithRecords returns the jobs whose discoveries all keep records of pods.
func (b *builder) jobsWithRecords() map[string]bool {
	jobs := map[string]bool{}
	for _, s := range b.in.Scopes {
		before, known := jobs[s.Job]
		jobs[s.Job] = s.Records && (before || !known)
	}
	return jobs
}

// addByLabels adds a pod of which only the labels of a target are known. It returns nil unless the target is an
// Envoy's.
func (b *builder) addByLabels(name scrape.Pod, l labels.Labels, signs envoy.Signs) *pod {
	container, port := l.Get(podPrefix+"container_name"), l.Get(podPrefix+"container_port_name")
	isEnvoy := container == envoy.ProxyContainer || strings.HasSuffix(port, envoy.PortSuffix) || isOfEnvoy(signs)
	if !isEnvoy || port == discovery.ZtunnelPort {
		return nil
	}
	r := discovery.PodRecord{
		Namespace: name.Namespace, Name: name.Name, IP: l.Get(podPrefix + "ip"), Node: l.Get(podPrefix + "node_name"),
		Phase: l.Get(podPrefix + "phase"), Ready: l.Get(podPrefix+"ready") != "false", Proxy: container,
		ProxyInit: l.Get(podPrefix+"container_init") == "true",
	}
	if kind := l.Get(podPrefix + "controller_kind"); kind != "" {
		r.Controller = kind + "/" + l.Get(podPrefix+"controller_name")
	}
	p := b.add(r)
	p.seen, p.byLabels = true, true
	return p
}

func isOfEnvoy(s envoy.Signs) bool {
	return s.Has(envoy.Envoy | envoy.Requests | envoy.HTTP | envoy.TCP | envoy.Agent)
}

// isEnvoys reports whether a target is the page of the pod's Envoy: by what the page shows, by its port and path, or by
// the container in which it was found.
func (p *pod) isEnvoys(t *scrape.TargetStatus) bool {
	_, port, path := cutURL(t.URL)
	if isOfEnvoy(t.Signs) || port == envoy.StatsPort || port == envoy.MergedPort || path == envoy.StatsPath {
		return true
	}
	return p.isProxys(t.Discovered())
}

// isProxys reports whether a target was found in the proxy container, or by the name of a port of Envoy's metrics.
func (p *pod) isProxys(l labels.Labels) bool {
	return p.record.Proxy != "" && l.Get(podPrefix+"container_name") == p.record.Proxy ||
		strings.HasSuffix(l.Get(podPrefix+"container_port_name"), envoy.PortSuffix)
}

// cutURL returns the address of a target's URL (host:port), its port and its path.
func cutURL(text string) (address, port, path string) {
	u, err := url.Parse(text)
	if err != nil {
		return text, "", ""
	}
	return u.Host, u.Port(), u.Path
}
