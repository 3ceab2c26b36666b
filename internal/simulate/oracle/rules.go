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
	"github.com/prometheus/prometheus/model/value"

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
	Asked          time.Time // when agents were asked to load it, which takes long on a slow disk; zero: just now
}

// inForce is a configuration and the results of its rules so far.
type inForce struct {
	Rules
	from    time.Time
	targets map[string]*target           // by pod
	sent    map[string]map[uint64]string // by receiver: the sent series of a scraped one; "": dropped
}

// isLoaded reports whether agents load the configuration at some time between from and to.
func (c *inForce) isLoaded(from, to time.Time) bool {
	return !c.Asked.IsZero() && !c.Asked.After(to) && c.from.After(from)
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

// targetOfBatch returns the target that a batch is of, and the configuration that makes it. Several configurations may
// make the same target: the one that was in force counts.
func (o *Oracle) targetOfBatch(receiver string, p *pod, b *batch) (*inForce, *target) {
	// The time of a batch may be a little before its scrape. Receivers and external labels are those at its end. Last
	// markers have the time of a scrape that is missing.
	longest, ends := longestScrape, b.hasUp && value.IsStaleNaN(b.up)
	if ends {
		longest = time.Minute
	}
	at := p.scrapedAt(b)
	for _, until := range []time.Time{at, at.Add(time.Second), at.Add(longest)} {
		for i, c := range slices.Backward(o.configs) {
			if c.from.After(until) {
				continue
			}
			if !c.hasEndpoint(receiver) {
				if o.found(c.from).After(at) { // discovery does not answer: targets are still those of before
					continue
				}
				break
			}
			if t := c.targetOf(p); t != nil && c.makes(receiver, t, b) {
				return c, t
			}
			if !ends {
				continue
			}
			for _, before := range slices.Backward(o.configs[:i]) { // a target that c ends
				if t := before.targetOf(p); t != nil && c.makes(receiver, t, b) {
					return c, t
				}
			}
		}
	}
	for _, c := range slices.Backward(o.configs) {
		if !c.isLoaded(at, at.Add(longest)) || !c.hasEndpoint(receiver) {
			continue
		}
		if t := c.targetOf(p); t != nil && c.makes(receiver, t, b) {
			return c, t
		}
	}
	return nil, nil
}
