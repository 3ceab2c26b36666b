package discovery

import (
	"github.com/prometheus/client_golang/prometheus"
)

// collector shows Status as metrics; so the jobs that a reload took away need no clearing.
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
		m:          m,
		up:         desc("api_server_up", "1 if every Kubernetes API server of the job answers and grants what discovery needs, else 0."),
		lastUpdate: desc("last_update_timestamp_seconds", "When a discovery of the job last delivered something."),
		groups:     desc("groups", "Discovered groups that have targets: pods, for example."),
		synced:     desc("synced", "1 if every discovery of the job has delivered its first whole picture."),
		watches:    desc("watches_total", "Watches of pods begun for the job; each ends after 5 to 10 minutes when all is well."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.lastUpdate, c.groups, c.synced, c.watches} {
		ch <- d
	}
}

// jobNumbers is what a job's discoveries add up to.
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
