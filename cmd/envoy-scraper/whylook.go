package main

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/agent"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// oneLook answers without a running process: from one discovery, and one scrape of the pods that are asked for.
type oneLook struct {
	cfg     *config.Config
	opts    scrape.Options
	manager *discovery.Manager
	found   map[string]discovery.Update
	pools   []scrape.PoolStatus // of the last look
	server  *web.Server         // never listens: it answers as that of a running process would
}

// discoverOnce reads the configuration and discovers.
func discoverOnce(ctx context.Context, opts config.Options, allowLoopback bool) (*oneLook, error) {
	opts.Check = true // nothing is sent, so no remote_write is needed
	cfg, err := config.Load(opts)
	if err != nil {
		return nil, err
	}
	discovery.TakeClientLogs(zap.NewNop()) // the error of Look is enough
	l := &oneLook{cfg: cfg, opts: agent.JobOptions(func() *config.Config { return cfg }, opts.NodeName)}
	l.opts.AllowLoopback, l.opts.Unsharded = allowLoopback, cfg.Unsharded
	if l.manager, l.found, err = discovery.Look(ctx, cfg.Jobs); err != nil {
		return nil, err
	}
	reports := &agent.PodReports{Config: func() *config.Config { return cfg }, Found: l.manager,
		Pools: func() []scrape.PoolStatus { return l.pools }}
	l.server = web.New(web.Config{}, web.Sources{
		Targets: func() []scrape.PoolStatus { return l.pools }, Rules: l.rules, Explain: relabel.Explain,
		Pods: web.PodSources{Report: reports.Report, Ask: reports.Ask,
			Targets: func(scrape.Pod) []scrape.PoolStatus { return l.pools }}, Gatherer: prometheus.NewRegistry(),
	}, zap.NewNop())
	return l, nil
}

// groups returns the groups that were discovered, by job.
func (l *oneLook) groups() map[string][]*targetgroup.Group {
	groups := map[string][]*targetgroup.Group{}
	for job, u := range l.found {
		for _, g := range u.Groups {
			groups[job] = append(groups[job], g.Group)
		}
	}
	return groups
}

func (l *oneLook) rules(job string) []*promrelabel.Config {
	for _, j := range l.cfg.Jobs {
		if j.JobName == job {
			return j.RelabelConfigs
		}
	}
	return nil
}

// pods scrapes the targets of the pods that are called name, or of all.
func (l *oneLook) pods(ctx context.Context, name, namespace string) (show.Answer, error) {
	chosen := func(scrape.TargetStatus) bool { return true }
	if name != "" || namespace != "" {
		all, err := l.look(ctx, func(scrape.TargetStatus) bool { return false })
		if err != nil {
			return all, err
		}
		wanted := map[scrape.Pod]bool{}
		for _, p := range show.Find(all.Pods, name, namespace) {
			wanted[scrape.Pod{Namespace: p.Namespace, Name: p.Name}] = true
		}
		one := name != "" && !show.IsGroup(name)
		chosen = func(t scrape.TargetStatus) bool {
			pod := []show.Pod{{Namespace: t.Pod.Namespace, Name: t.Pod.Name}}
			// Only its page may show that a pod has an Envoy.
			return wanted[t.Pod] || one && t.Pod != (scrape.Pod{}) && len(show.Find(pod, name, namespace)) > 0
		}
	}
	answer, err := l.look(ctx, chosen)
	if err == nil && ctx.Err() != nil {
		answer.Notes = append(answer.Notes,
			"Not every target could be scraped in time: a longer --timeout allows more.")
	}
	return answer, err
}

// look scrapes chosen targets once.
func (l *oneLook) look(ctx context.Context, choose func(scrape.TargetStatus) bool) (show.Answer, error) {
	pools, err := scrape.Look(ctx, l.cfg.Jobs, l.found, l.opts, l.cfg.Shards, choose)
	if err != nil {
		return show.Answer{}, fmt.Errorf("scrape_configs: %w", err)
	}
	l.pools = pools
	return l.server.AllPods(), nil
}

// answerTime is how long the API server may take to say something of a pod after the scrapes.
const answerTime = 10 * time.Second

func (l *oneLook) pod(ctx context.Context, fullName string) (show.Answer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
	defer cancel()
	return l.server.OnePod(ctx, fullName, true)
}
