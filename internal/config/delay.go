package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
)

// EndpointExtension has the settings of one entry of remote_write.
type EndpointExtension struct {
	Name     string          `yaml:"name"`                // of the entry
	MaxDelay *model.Duration `yaml:"max_delay,omitempty"` // overrides Extension.MaxDelay
}

const (
	// lookBack is how far Prometheus' queries look back for the newest sample of a series (--query.lookback-delta).
	lookBack = model.Duration(5 * time.Minute)
	// deliveryTime is what the last scrape of a request (scrape_timeout: 10s) and its POST may add to the age of the
	// samples before a query sees them.
	deliveryTime = model.Duration(30 * time.Second)
	// longestDelay allows for a receiver whose queries look back twice as far. With more, most queries see no value.
	longestDelay = 2 * lookBack
)

// scrapesPerRequest returns how many scrapes of a target one request holds: as many intervals as fit into the delay.
// Example: with a delay of 30s, a target that is scraped every 10s has 3 scrapes in a request. The first of them waits
// for 20s, until the third has ended.
func scrapesPerRequest(delay, interval model.Duration) int {
	return remotewrite.ScrapesPerRequest(time.Duration(delay), time.Duration(interval))
}

// validateDelays returns every problem of max_delay and of endpoints. names are the names in remote_write.
func (e Extension) validateDelays(names []string) []error {
	errs := validateDelay("max_delay", e.MaxDelay)
	first := map[string]int{}
	for i, endpoint := range e.Endpoints {
		key := fmt.Sprintf("endpoints[%d]", i)
		other, twice := first[endpoint.Name]
		switch {
		case endpoint.Name == "":
			errs = append(errs, keyError{key, "", "the name is missing",
				"add the name of an entry of remote_write, as name: prod"})
		case twice:
			errs = append(errs, keyError{key + ".name", endpoint.Name,
				fmt.Sprintf("endpoints[%d] has this name too", other), "remove one of the two"})
		case !slices.Contains(names, endpoint.Name):
			fix := "give an entry of remote_write this name"
			if len(names) > 0 {
				fix = "write one of " + strings.Join(names, ", ")
			}
			errs = append(errs, keyError{key + ".name", endpoint.Name, "no entry of remote_write has this name", fix})
		}
		if !twice {
			first[endpoint.Name] = i
		}
		if endpoint.MaxDelay == nil {
			errs = append(errs, keyError{key, endpoint.Name, "max_delay is missing, so the entry has no effect",
				"add max_delay, or remove the entry"})
		}
		errs = append(errs, validateDelay(key+".max_delay", endpoint.MaxDelay)...)
	}
	return errs
}

// validateDelay returns the problem of one max_delay, nil if it is not written. The decoder refuses a negative one.
func validateDelay(key string, delay *model.Duration) []error {
	switch {
	case delay == nil:
	case *delay == 0:
		return []error{keyError{key, delay.String(), "must be more than 0",
			"write a time, as 30s, or remove the key: then batch_send_deadline applies (default: 5s)"}}
	case *delay > longestDelay:
		return []error{keyError{key, delay.String(), fmt.Sprintf("more than %v: Prometheus' queries look back %v, so "+
			"alerts and graphs would have no present value for most of the time", longestDelay, lookBack),
			fmt.Sprintf("write at most %v; to send fewer samples, raise scrape_interval", longestDelay)}}
	}
	return nil
}

// delay is how long a sample may wait for an entry of remote_write, and the key that says so.
type delay struct {
	time       model.Duration
	key        string // path, as envoy_scraper.max_delay
	file       string
	line       int
	written    bool // false: the default of batch_send_deadline
	isMaxDelay bool // false: the key is batch_send_deadline
}

// word returns the last part of the key.
func (d delay) word() string { return d.key[strings.LastIndexByte(d.key, '.')+1:] }

// applyDelays sets the delay of each endpoint: max_delay of its entry in endpoints, else max_delay, else
// batch_send_deadline. It notes and warns what the delays do, and returns them.
func (l *loader) applyDelays(cfg *Config, src *source) []delay {
	var all []delay
	intervals := intervalsOf(cfg.Jobs)
	for i, e := range cfg.RemoteWrite.Endpoints {
		d := l.delayOf(src, l.remotes[i], e.RemoteWriteConfig)
		if e.QueueConfig.BatchSendDeadline != d.time {
			l.lintOverridden(d, src, l.remotes[i])
			e.QueueConfig.BatchSendDeadline = d.time
		}
		n := 1
		if len(intervals) > 0 {
			n = scrapesPerRequest(d.time, intervals[0])
			if limit := e.QueueConfig.SampleAgeLimit; n > 1 && limit > 0 && limit < d.time {
				l.add(d.warning(fmt.Sprintf("samples wait that long, and %s.queue_config.sample_age_limit drops those "+
					"older than %v", l.remotes[i].path, limit),
					fmt.Sprintf("write at most %v, or raise sample_age_limit", limit)))
			}
		}
		if yamltree.IsEmpty(yamltree.Get(l.remotes[i].node, "queue_config", "max_samples_per_send")) {
			cfg.RemoteWrite.Endpoints[i].SeriesPerSend = remotewrite.DefaultSeriesPerSend
			e.QueueConfig.MaxSamplesPerSend = n * remotewrite.DefaultSeriesPerSend
		}
		cfg.noteDelay(d, "remote_write "+cmp.Or(e.Name, redactURL(e.URL.String())), intervals)
		all = append(all, d)
	}
	if len(all) == 0 && l.ext.MaxDelay != nil { // check, of a file whose receiver a flag names later
		d := l.extensionDelay("max_delay", *l.ext.MaxDelay)
		cfg.noteDelay(d, "remote_write", intervals)
		all = append(all, d)
	}
	l.lintDelays(all, cfg.Jobs, intervals)
	return all
}

// delayOf returns the delay of an entry of remote_write.
func (l *loader) delayOf(src *source, r *remote, rw *promconfig.RemoteWriteConfig) delay {
	for i, e := range l.ext.Endpoints {
		if e.Name == rw.Name && e.MaxDelay != nil {
			return l.extensionDelay(fmt.Sprintf("endpoints[%d].max_delay", i), *e.MaxDelay)
		}
	}
	if l.ext.MaxDelay != nil {
		return l.extensionDelay("max_delay", *l.ext.MaxDelay)
	}
	d := delay{time: rw.QueueConfig.BatchSendDeadline, key: r.path + ".queue_config.batch_send_deadline",
		file: src.name, line: r.node.Line}
	if line := yamltree.Line(r.node, "queue_config", "batch_send_deadline"); line > 0 {
		d.line, d.written = line, true
	}
	return d
}

func (l *loader) extensionDelay(key string, length model.Duration) delay {
	key = extensionKey + "." + key
	return delay{time: length, key: key, file: l.extFile, line: l.extPart.LineOf(key), written: true, isMaxDelay: true}
}

// lintOverridden warns about a batch_send_deadline that is written and differs from max_delay.
func (l *loader) lintOverridden(d delay, src *source, r *remote) {
	if own := yamltree.Get(r.node, "queue_config", "batch_send_deadline"); !yamltree.IsEmpty(own) {
		l.add(Problem{Severity: SeverityWarning, File: src.name,
			Line: yamltree.Line(r.node, "queue_config", "batch_send_deadline"),
			Key:  r.path + ".queue_config.batch_send_deadline", Value: l.show(own, ""),
			Why: fmt.Sprintf("%s on line %d overrides it with %v", d.key, d.line, d.time),
			Fix: "remove one of the two"})
	}
}

// intervalsOf returns the different scrape_intervals of the jobs, shortest first.
func intervalsOf(jobs []*promconfig.ScrapeConfig) []model.Duration {
	var all []model.Duration
	for _, j := range jobs {
		all = append(all, j.ScrapeInterval)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// noteDelay notes how many scrapes a request holds. It says nothing about a delay that is not written and holds one.
func (c *Config) noteDelay(d delay, endpoint string, intervals []model.Duration) {
	for _, interval := range intervals {
		n := scrapesPerRequest(d.time, interval)
		scrapes := fmt.Sprintf("%d scrapes", n)
		if n == 1 {
			scrapes = "1 scrape"
		}
		if n > 1 || d.written {
			c.Notes = append(c.Notes, Problem{Severity: SeverityNote, File: d.file, Line: d.line,
				Why: fmt.Sprintf("%s: %s a request (%s %v, scrape_interval %v)", endpoint, scrapes, d.word(), d.time,
					interval)})
		}
	}
}

// lintDelays warns about written delays without an effect, and about those after which queries see no value.
func (l *loader) lintDelays(delays []delay, jobs []*promconfig.ScrapeConfig, intervals []model.Duration) {
	seen := map[string]bool{}
	for _, d := range delays {
		if !seen[d.key] && d.written && len(intervals) > 0 {
			l.lintNoEffect(d, jobs, intervals[0])
			l.lintLookBack(d, intervals)
		}
		seen[d.key] = true
	}
	if l.ext.MaxDelay != nil && !seen[extensionKey+".max_delay"] {
		d := l.extensionDelay("max_delay", *l.ext.MaxDelay)
		l.add(d.warning("has no effect: each entry of remote_write has its own in endpoints", "remove it"))
	}
}

// warning returns a warning about the delay.
func (d delay) warning(why, fix string) Problem {
	return Problem{Severity: SeverityWarning, File: d.file, Line: d.line, Key: d.key, Value: d.time.String(), Why: why,
		Fix: fix}
}

// lintNoEffect warns about a max_delay that holds no two scrapes of any job. A delay below the default makes requests
// leave earlier, which may be wanted.
func (l *loader) lintNoEffect(d delay, jobs []*promconfig.ScrapeConfig, shortest model.Duration) {
	if !d.isMaxDelay || scrapesPerRequest(d.time, shortest) > 1 ||
		d.time < promconfig.DefaultQueueConfig.BatchSendDeadline || slices.ContainsFunc(jobs, setsIntervals) {
		return
	}
	fix := "remove it"
	if shortest <= longestDelay/2 {
		fix = fmt.Sprintf("write at least %v, or remove it", 2*shortest)
	}
	l.add(d.warning(fmt.Sprintf("has no effect: a request holds two scrapes of a target only if it is scraped "+
		"twice in that time, and the shortest scrape_interval is %v", shortest), fix))
}

// setsIntervals reports whether a job may give its targets intervals of their own.
func setsIntervals(j *promconfig.ScrapeConfig) bool {
	for _, r := range j.RelabelConfigs {
		if strings.Contains(r.TargetLabel+r.Replacement, model.ScrapeIntervalLabel) {
			return true
		}
	}
	for _, d := range j.ServiceDiscoveryConfigs {
		static, ok := d.(discovery.StaticConfig)
		if !ok {
			continue
		}
		for _, group := range static {
			if _, ok := group.Labels[model.ScrapeIntervalLabel]; ok {
				return true
			}
		}
	}
	return false
}

// lintLookBack warns about a delay that makes samples older than Prometheus' queries look back. Just before a request
// arrives, the newest sample of a series at the receiver is that of the request before: it is as old as the scrapes of
// a request take, plus the last scrape and the POST. Example: with 5 scrapes of 1m, up to 5m and some seconds.
func (l *loader) lintLookBack(d delay, intervals []model.Duration) {
	var oldest, of model.Duration
	for _, interval := range intervals {
		n := scrapesPerRequest(d.time, interval)
		if age := model.Duration(n) * interval; n > 1 && age > oldest {
			oldest, of = age, interval
		}
	}
	if oldest <= lookBack-deliveryTime {
		return
	}
	l.add(d.warning(fmt.Sprintf("%d scrapes of %v take %v, so the newest sample of a series is up to %v old when "+
		"the next request leaves; Prometheus' queries look back %v: in between, alerts have no value and graphs end "+
		"early", int(oldest/of), of, oldest, oldest, lookBack),
		fmt.Sprintf("write at most %v, which leaves %v for a scrape and a request, or raise --query.lookback-delta "+
			"of the receiver", lookBack-deliveryTime, deliveryTime)))
}
