package discovery

import (
	"github.com/prometheus/client_golang/prometheus"
)

// collector exports Status as metrics, so the metrics of removed jobs disappear by themselves.
type collector struct {
	m *Manager

	up         *prometheus.Desc
	lastUpdate *prometheus.Desc
	groups     *prometheus.Desc
	synced     *prometheus.Desc
	watches    *prometheus.Desc
}

func newCollector(m *Manager) *collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("envoy_scraper_discovery_"+name, help, []string{"job"}, nil)
	}
	return &collector{
		m: m,
		up: desc("api_server_up", "Whether every Kubernetes API server of the job answers and grants the "+
			"rights that discovery needs (1) or not (0)."),
		lastUpdate: desc("last_update_timestamp_seconds", "Time of the last update from a discovery of the job."),
		groups:     desc("groups", "Number of discovered groups that have targets. A pod is one group."),
		synced: desc("synced", "Whether every discovery of the job has delivered its first complete set of "+
			"groups (1) or not (0)."),
		watches: desc("watches_total", "Number of pod watches started for the job. A healthy watch lasts 5 to "+
			"10 minutes."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.lastUpdate, c.groups, c.synced, c.watches} {
		ch <- d
	}
}

// jobNumbers holds the values of a job's metrics, summed over its discoveries.
type jobNumbers struct {
	hasServer, up, synced bool
	lastUpdate            float64
	groups, watches       int
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	jobs := map[string]*jobNumbers{}
	for _, st := range c.m.Status() {
		n, ok := jobs[st.Job]
		if !ok {
			n = &jobNumbers{up: true, synced: true}
			jobs[st.Job] = n
		}
		n.hasServer = n.hasServer || st.Server != ""
		n.up = n.up && (st.Server == "" || st.State == StateOK || st.State == StateWaiting && st.Reachable)
		n.synced = n.synced && st.Synced
		n.groups += st.Groups
		n.watches += st.Watches
		if !st.LastUpdate.IsZero() {
			n.lastUpdate = max(n.lastUpdate, float64(st.LastUpdate.UnixMilli())/1000)
		}
	}
	gauge := func(d *prometheus.Desc, v float64, job string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, job)
	}
	for job, n := range jobs {
		if n.hasServer {
			gauge(c.up, number(n.up), job)
			ch <- prometheus.MustNewConstMetric(c.watches, prometheus.CounterValue, float64(n.watches), job)
		}
		if n.lastUpdate > 0 {
			gauge(c.lastUpdate, n.lastUpdate, job)
		}
		gauge(c.groups, float64(n.groups), job)
		gauge(c.synced, number(n.synced), job)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
