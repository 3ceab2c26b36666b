package config

import (
	"net"
	"os"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
)

// selfJob is the name of the job of --self-scrape.
const selfJob = "envoy-scraper"

// addSelf adds the job that scrapes our own metrics.
func (l *loader) addSelf(cfg *Config) {
	self := promconfig.DefaultScrapeConfig
	self.JobName = selfJob
	if err := self.Validate(l.global); err != nil {
		l.add(Problem{File: "--self-scrape", Why: err.Error(), Fix: "leave it out"})
		return
	}
	l.fillLimits(&self, nil)
	cfg.Jobs = append(cfg.Jobs, &self)
	cfg.SetSelfAddress(l.opts.ListenAddress)
}

// SetSelfAddress sets the target of the self-scrape after the server has started to listen: Options.ListenAddress may
// have port 0. It has no effect without Options.SelfScrape. Call it before the jobs are applied.
func (c *Config) SetSelfAddress(listen string) {
	if !c.opts.SelfScrape || listen == "" {
		return
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	for _, j := range c.Jobs {
		if j.JobName == selfJob {
			j.ServiceDiscoveryConfigs = discovery.Configs{discovery.StaticConfig{{
				Source:  "0",
				Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(net.JoinHostPort(host, port))}},
				Labels: model.LabelSet{model.InstanceLabel: model.LabelValue(net.JoinHostPort(c.selfName(host),
					port))},
			}}}
		}
	}
}

// selfName returns the host name for the instance label. Processes in a cluster may all listen on the same address.
func (c *Config) selfName(host string) string {
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return host
	}
	for _, name := range []string{c.opts.Hostname, c.opts.NodeName} {
		if name != "" {
			return name
		}
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return host
}
