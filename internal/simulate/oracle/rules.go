package oracle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// Endpoint is a receiver as the configuration has it.
type Endpoint struct {
	Receiver string // its name in Accept
	Rules    []*relabel.Config
}

// Rules are a configuration: jobs as Prometheus reads them, and endpoints.
type Rules struct {
	Jobs           []*promconfig.ScrapeConfig
	Endpoints      []Endpoint
	ExternalLabels labels.Labels
}

// inForce is a configuration and the results of its rules so far.
type inForce struct {
	Rules
	from    time.Time
	targets map[string]*target           // by pod
	sent    map[string]map[uint64]string // by receiver: the sent series of a scraped one; "": dropped
}

// target is what a job makes of a pod.
type target struct {
	job     *promconfig.ScrapeConfig
	labels  labels.Labels
	key     uint64                            // by which agents share it
	scraped map[*sidecar.Series]labels.Labels // after metric_relabel_configs; empty: dropped
	texts   map[*sidecar.Series]string        // of scraped
	report  map[string]labels.Labels          // by name
}

func (t *target) interval() time.Duration { return time.Duration(t.job.ScrapeInterval) }
func (t *target) timeout() time.Duration  { return time.Duration(t.job.ScrapeTimeout) }

// reportNames are the series that say how a scrape went.
var reportNames = [...]string{"up", "scrape_duration_seconds", "scrape_samples_scraped",
	"scrape_samples_post_metric_relabeling", "scrape_series_added"}

// targetOf returns the target that the jobs make of a pod, or nil if no job keeps it.
func (c *inForce) targetOf(p *pod) *target {
	if t, known := c.targets[p.name]; known {
		return t
	}
	var found *target
	for _, job := range c.Jobs {
		for _, discovered := range p.discovered {
			ls, keep := targetLabels(job, discovered)
			if keep && found != nil {
				panic(fmt.Sprintf("%s is scraped twice, which the oracle cannot tell apart", p.name))
			}
			if keep {
				found = newTarget(job, ls)
			}
		}
	}
	c.targets[p.name] = found
	return found
}

func newTarget(job *promconfig.ScrapeConfig, ls labels.Labels) *target {
	t := &target{job: job, labels: ls, scraped: map[*sidecar.Series]labels.Labels{},
		texts: map[*sidecar.Series]string{}, report: map[string]labels.Labels{},
		key: keyOf(ls, job.Scheme+"://"+ls.Get(model.InstanceLabel)+job.MetricsPath)}
	for _, name := range reportNames {
		b := labels.NewBuilder(ls)
		b.Set(model.MetricNameLabel, name)
		t.report[name] = b.Labels()
	}
	return t
}

// targetLabels returns the labels of a target after relabel_configs.
func targetLabels(job *promconfig.ScrapeConfig, discovered labels.Labels) (labels.Labels, bool) {
	b := labels.NewBuilder(discovered)
	setDefault := func(name, value string) {
		if b.Get(name) == "" {
			b.Set(name, value)
		}
	}
	setDefault(model.JobLabel, job.JobName)
	setDefault(model.SchemeLabel, job.Scheme)
	setDefault(model.MetricsPathLabel, job.MetricsPath)
	setDefault(model.ScrapeIntervalLabel, job.ScrapeInterval.String())
	setDefault(model.ScrapeTimeoutLabel, job.ScrapeTimeout.String())
	if !relabel.ProcessBuilder(b, job.RelabelConfigs...) || b.Get(model.AddressLabel) == "" {
		return labels.EmptyLabels(), false
	}
	setDefault(model.InstanceLabel, b.Get(model.AddressLabel))
	b.Range(func(l labels.Label) {
		if strings.HasPrefix(l.Name, "__") {
			b.Del(l.Name)
		}
	})
	return b.Labels(), true
}

// scrapedOf returns the series that a line of a target's page becomes; empty if the rules drop it.
func (t *target) scrapedOf(s *sidecar.Series) labels.Labels {
	if ls, known := t.scraped[s]; known {
		return ls
	}
	b := labels.NewBuilder(s.Labels)
	for _, name := range []string{"le", "quantile"} { // Prometheus 3 writes them as floats
		if v, err := strconv.ParseFloat(b.Get(name), 64); err == nil {
			b.Set(name, labels.FormatOpenMetricsFloat(v))
		}
	}
	t.labels.Range(func(l labels.Label) {
		if shown := b.Get(l.Name); shown != "" && !t.job.HonorLabels {
			b.Set("exported_"+l.Name, shown)
		} else if shown != "" {
			return
		}
		b.Set(l.Name, l.Value)
	})
	ls := labels.EmptyLabels()
	if relabel.ProcessBuilder(b, t.job.MetricRelabelConfigs...) {
		ls = b.Labels()
	}
	t.scraped[s], t.texts[s] = ls, ls.String()
	return ls
}

// hasEndpoint reports whether a receiver is an endpoint of the configuration.
func (c *inForce) hasEndpoint(receiver string) bool {
	return slices.ContainsFunc(c.Endpoints, func(e Endpoint) bool { return e.Receiver == receiver })
}

// sentOf returns the series that a receiver gets for a scraped one, as text; "" if the endpoint's rules drop it or the
// receiver is no endpoint.
func (c *inForce) sentOf(receiver string, scraped labels.Labels) string {
	if scraped.IsEmpty() {
		return ""
	}
	cache := c.sent[receiver]
	if cache == nil {
		cache = map[uint64]string{}
		c.sent[receiver] = cache
	}
	hash := scraped.Hash()
	if key, known := cache[hash]; known {
		return key
	}
	key := ""
	for _, e := range c.Endpoints {
		if e.Receiver != receiver {
			continue
		}
		b := labels.NewBuilder(scraped)
		c.ExternalLabels.Range(func(l labels.Label) {
			if b.Get(l.Name) == "" {
				b.Set(l.Name, l.Value)
			}
		})
		if relabel.ProcessBuilder(b, e.Rules...) {
			key = b.Labels().String()
		}
	}
	cache[hash] = key
	return key
}
