package simulate

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// revision is one state of the file of all agents. Reloads make new ones.
type revision struct {
	rev       int           // a label of every series; another rev makes other targets
	interval  time.Duration // scrape_interval; 0: that of the options
	timeout   time.Duration // scrape_timeout; 0: that of the options
	zone      int           // an external label
	second    string        // a regular expression: workloads of a second job; empty: there is one job
	drop      string        // names of metrics that metric_relabel_configs drop
	dropAtB   string        // names of metrics that receiver b does not get
	bareAtB   string        // names of labels that series have no more at receiver b
	minLanes  int
	maxLanes  int
	maxDelay  string // empty: the default
	batchSize int    // max_samples_per_send; 0: the default
	message   string // protobuf_message of receiver a; empty: the default
	withoutB  bool   // receiver b is no endpoint
	withC     bool   // receiver c is one
	renamed   bool   // the endpoints have other names
}

// Protobuf messages of remote write.
const (
	message1 = "prometheus.WriteRequest"
	message2 = "io.prometheus.write.v2.Request"
)

// next returns r with one setting drawn again; it may be equal to r.
func (r revision) next(chance *rand.Rand, exact bool) revision {
	settings := 11
	if exact {
		settings = 6 // the others leave open what agents must count
	}
	switch chance.IntN(settings) {
	case 0:
		r.rev++
	case 1:
		r.drop = pick(chance, "", "istio_request_bytes.*", "envoy_cluster_.*", "istio_requests_total")
	case 2:
		r.dropAtB = pick(chance, "", "istio_request_bytes.*", "istio_.*_milliseconds.*")
		if !exact { // such series are in the table twice
			r.bareAtB = pick(chance, "", "cluster|destination_service")
		}
	case 3:
		r.minLanes = 1 + chance.IntN(3)
		r.maxLanes = r.minLanes + chance.IntN(6)
	case 4:
		r.maxDelay = pick(chance, "", "30s", "60s", "1s")
	case 5:
		r.batchSize = []int{0, 100, 1000}[chance.IntN(3)]
	case 6:
		r.interval = []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second}[chance.IntN(4)]
		r.timeout = time.Duration(chance.IntN(3)*2) * time.Second
	case 7:
		r.zone++
	case 8:
		r.second = pick(chance, "", "app-[0-2]", "app-[3-6]")
	case 9:
		r.message = pick(chance, "", message1, message2)
	case 10:
		r.renamed = !r.renamed
	}
	return r
}

func pick(chance *rand.Rand, from ...string) string { return from[chance.IntN(len(from))] }

// times returns scrape_interval and scrape_timeout.
func (r revision) times(o options) (interval, timeout time.Duration) {
	interval, timeout = r.interval, r.timeout
	if interval == 0 {
		interval = o.Interval
	}
	if timeout == 0 {
		timeout = o.Timeout
	}
	return interval, timeout
}

// receivers returns the names of the receivers that are endpoints.
func (r revision) receivers() (names []string) {
	for _, name := range allReceivers {
		if name == "b" && r.withoutB || name == "c" && !r.withC {
			continue
		}
		names = append(names, name)
	}
	return names
}

// receiverOf returns the receiver of an endpoint, whatever its name was at that time.
func receiverOf(endpoint string) string { return endpoint[:1] }

// yaml returns the configuration file.
func (r revision) yaml(w *world) string {
	var b strings.Builder
	interval, timeout := r.times(w.opts)
	fmt.Fprintf(&b, "global:\n  scrape_interval: %v\n  scrape_timeout: %v\n"+
		"  external_labels: {cluster: sim, zone: z%d}\nscrape_configs:\n", interval, timeout, r.zone)
	if r.second != "" {
		b.WriteString(r.job(w, "envoy", "drop", fmt.Sprint(r.rev)))
		b.WriteString(r.job(w, "second", "keep", fmt.Sprint(r.rev, " second")))
	} else {
		b.WriteString(r.job(w, "envoy", "", fmt.Sprint(r.rev)))
	}
	b.WriteString("remote_write:\n")
	for _, name := range r.receivers() {
		b.WriteString(r.endpoint(name, w.certificates))
	}
	pushDown := "off"
	if w.opts.PushDown {
		pushDown = "auto"
	}
	fmt.Fprintf(&b, "envoy_scraper:\n  jobs:\n  - {name: envoy, push_down: %q, pace: fixed}\n", pushDown)
	if r.second != "" {
		fmt.Fprintf(&b, "  - {name: second, push_down: %q, pace: fixed}\n", pushDown)
	}
	if w.opts.SmallQueue {
		b.WriteString("  queue: {max_bytes: 128KiB, max_age: 3m}\n")
	}
	if r.maxDelay != "" {
		fmt.Fprintf(&b, "  max_delay: %s\n", r.maxDelay)
	}
	return b.String()
}

// job returns an entry of scrape_configs. action says what happens to the workloads of the second job: keep, drop or,
// if there is no second job, nothing.
func (r revision) job(w *world, name, action, rev string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `- job_name: %s
  metrics_path: /stats/prometheus
%s  - {target_label: rev, replacement: "%s"}
`, name, w.discoveryConfig(), rev)
	if action != "" {
		b.WriteString(w.ruleOfWorkloads(r.second, action))
	}
	if r.rev%2 == 1 {
		b.WriteString("  - {source_labels: [app], regex: app-(.), replacement: tier-$1, target_label: tier}\n")
	}
	if r.drop != "" {
		fmt.Fprintf(&b, "  metric_relabel_configs:\n  - {source_labels: [__name__], regex: %q, action: drop}\n", r.drop)
	}
	return b.String()
}

// endpoint returns an entry of remote_write.
func (r revision) endpoint(name string, c *certificates) string {
	var b strings.Builder
	scheme, named := "http", name
	if r.renamed {
		named += " renamed"
	}
	if name == secured {
		scheme = "https"
	}
	fmt.Fprintf(&b, "- name: %s\n  url: %s://%s:9090/api/v1/write\n  remote_timeout: 10s\n", named, scheme,
		receiverAddress(name))
	if name == secured {
		fmt.Fprintf(&b, "  tls_config: {ca_file: %q, cert_file: %q, key_file: %q}\n", c.rootFile(), c.certFile(),
			c.keyFile())
	}
	if name == "a" && r.message != "" {
		fmt.Fprintf(&b, "  protobuf_message: %s\n", r.message)
	}
	fmt.Fprintf(&b, "  queue_config:\n    min_shards: %d\n    max_shards: %d\n", r.minLanes, r.maxLanes)
	if r.batchSize != 0 {
		fmt.Fprintf(&b, "    max_samples_per_send: %d\n", r.batchSize)
	}
	if name == "b" && r.dropAtB+r.bareAtB != "" {
		b.WriteString("  write_relabel_configs:\n")
		if r.dropAtB != "" {
			fmt.Fprintf(&b, "  - {source_labels: [__name__], regex: %q, action: drop}\n", r.dropAtB)
		}
		if r.bareAtB != "" {
			fmt.Fprintf(&b, "  - {regex: %q, action: labeldrop}\n", r.bareAtB)
		}
	}
	return b.String()
}
