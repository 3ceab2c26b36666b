package scrape

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	promscrape "github.com/prometheus/prometheus/scrape"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
)

// target is one page to scrape. Immutable: replaced, never edited.
type target struct {
	url      string        // whole, with parameters
	shown    string        // without secrets
	hostPort string        // or, behind a socket, that: scrapes of one never overlap
	socket   string        // Unix socket that it stands behind; empty: none
	labels   labels.Labels // public: what its series carry
	hash     uint64        // of every label, hidden ones too, and the URL: equal targets of a job are one
	key      uint64        // where instances can share the targets: the same in all of them; else 0
	interval time.Duration
	timeout  time.Duration
	named    bool // by a list of the user's own

	// What relabeling made of the job's histogram settings.
	nativeHistograms, classicToo, toCustomBuckets bool

	silent atomic.Bool // its last scrape that had a connection ended by the timeout
}

// discovered returns the labels before relabeling, as Prometheus shows them.
func discovered(cfg *promconfig.ScrapeConfig, own, group model.LabelSet) labels.Labels {
	lb := labels.NewBuilder(labels.EmptyLabels())
	promscrape.PopulateDiscoveredLabels(lb, cfg, discovery.Own(own, group, model.LabelSet{}), group)
	return lb.Labels()
}

// foundTarget is what discovery says of a target.
type foundTarget struct{ own, group model.LabelSet }

// makeTarget returns nil without an error for what relabeling dropped.
func makeTarget(lb *labels.Builder, cfg *promconfig.ScrapeConfig, own model.LabelSet, from *targetgroup.Group, ownAddress bool) (*target, error) {
	group := from.Labels
	lset, err := promscrape.PopulateLabels(lb, cfg, own, group)
	if err != nil || lset.IsEmpty() {
		return nil, err
	}
	named := isNamed(cfg, from)
	socket, err := unixSocket(lset, named)
	if err != nil {
		return nil, err
	}
	t := promscrape.NewTarget(lset, cfg, own, group)
	u := t.URL()
	interval, err := model.ParseDuration(lset.Get(model.ScrapeIntervalLabel))
	if err != nil {
		return nil, err
	}
	timeout, err := model.ParseDuration(lset.Get(model.ScrapeTimeoutLabel))
	if err != nil {
		return nil, err
	}
	if ownAddress {
		if err := isOwnAddress(u.Hostname(), podIP(own, group)); err != nil {
			return nil, err
		}
	}
	busy := hostPort(u.Scheme, u.Hostname(), u.Port())
	if socket != "" {
		busy = "unix:" + socket
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%016d%s", lset.Hash(), u)
	text := u.String()
	shown := MaskURL(text)
	if shown == text {
		shown = text // as most are: one string serves
	}
	return &target{
		url: text, shown: shown, hostPort: busy, socket: socket,
		labels: t.Labels(lb), hash: h.Sum64(),
		interval: time.Duration(interval), timeout: time.Duration(timeout),
		nativeHistograms: isSet(lset, nativeHistogramsLabel, cfg.ScrapeNativeHistogramsEnabled()),
		classicToo:       isSet(lset, classicTooLabel, cfg.AlwaysScrapeClassicHistogramsEnabled()),
		toCustomBuckets:  isSet(lset, toCustomBucketsLabel, cfg.ConvertClassicHistogramsToNHCBEnabled()),
		named:            named,
	}, nil
}

// Labels that relabeling may set to have a target's histograms read in another way than its job's, as in Prometheus.
const (
	nativeHistogramsLabel = "__scrape_native_histograms__"
	classicTooLabel       = "__always_scrape_classic_histograms__"
	toCustomBucketsLabel  = "__convert_classic_histograms_to_nhcb__"
)

// isSet returns a target's label as a boolean, which promscrape.PopulateLabels has checked. A label that relabeling
// took away leaves what the job says.
func isSet(lset labels.Labels, name string, job bool) bool {
	if v, err := strconv.ParseBool(lset.Get(name)); err == nil {
		return v
	}
	return job
}

// isOwnAddress refuses what is not a pod's own address.
func isOwnAddress(host, podIP string) error {
	ip, err := netip.ParseAddr(podIP)
	if err != nil {
		return fmt.Errorf("%s is not the address of a pod, and this job scrapes a pod's own addresses only", host)
	}
	if addr, err := netip.ParseAddr(host); err != nil || addr != ip {
		return fmt.Errorf("address %s is not the pod's own, %s", host, ip)
	}
	return nil
}

// isNamed tells whether a static list of the job, or a file that it names, has a group of targets. Prometheus numbers the
// groups of a static list; every other discovery says more in a group's source, and files and HTTP mark theirs.
func isNamed(cfg *promconfig.ScrapeConfig, from *targetgroup.Group) bool {
	for _, sd := range cfg.ServiceDiscoveryConfigs {
		if _, static := sd.(promdiscovery.StaticConfig); static {
			if _, err := strconv.Atoi(from.Source); err == nil {
				return true
			}
		} else if sd.Name() == "file" && from.Labels[model.MetaLabelPrefix+"filepath"] != "" && from.Labels[model.MetaLabelPrefix+"url"] == "" {
			return true
		}
	}
	return false
}

const podIPLabel = model.MetaLabelPrefix + "kubernetes_pod_ip"

func podIP(own, group model.LabelSet) string {
	if ip, ok := own[podIPLabel]; ok {
		return string(ip)
	}
	return string(group[podIPLabel])
}

// Scrapes come in convoys: a convoy begins every convoyDistance and takes its time, in which its targets have their
// turns one after another. A process that wakes for each scrape alone finds its caches cold and its processor asleep;
// in convoys the same targets cost a quarter less CPU.
const (
	convoyDistance = time.Second
	convoyTime     = 50 * time.Millisecond
)

// offset is where in the interval the target's turn is: stable over restarts, spread over the convoys of the interval,
// and by seed over replicas of this process, whose convoys are also shifted against each other. It returns how long
// from now until then.
func (t *target) offset(now time.Time, seed uint64) time.Duration {
	interval := int64(t.interval)
	h := t.hash ^ seed
	if t.key != 0 { // hash may be another in another build
		h = t.key ^ seed
	}
	place := h % uint64(interval)
	if convoys := uint64(interval / int64(convoyDistance)); convoys > 1 {
		place = h%convoys*uint64(convoyDistance) + h/convoys%uint64(convoyTime) + seed%uint64(convoyDistance)
	}
	next := interval - now.UnixNano()%interval + int64(place)%interval
	if next > interval {
		next -= interval
	}
	return time.Duration(next)
}
