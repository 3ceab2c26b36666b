package scrape

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
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
	"github.com/envoy-scraper/envoy-scraper/internal/pushdown"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// target is one page to scrape. Immutable but for its atomic fields: replaced, never edited.
type target struct {
	url      string        // with parameters and secrets
	shown    string        // the URL without secrets
	hostPort string        // scrapes of one hostPort never overlap; "unix:" and the path for a socket
	socket   string        // path of the Unix socket to connect to; empty: none
	labels   labels.Labels // those that its series have
	hash     uint64        // of all labels, hidden ones too, and the URL: targets of a job with one hash are equal
	shardKey uint64        // the same in all instances that share the targets, see shard.Key; 0: none do
	interval time.Duration
	timeout  time.Duration
	named    bool     // by a static list or a file of the user
	filters  bool     // its path, port and parameters are those of a page that can be asked for with a filter
	near     bool     // a loopback address, or a pod of this process' node; false: elsewhere, or not known
	pod      *via.Pod // read through its API server; nil: directly

	// The job's histogram settings, as relabeling may have changed them.
	nativeHistograms, classicToo, toCustomBuckets bool

	silent  atomic.Bool // the last scrape that had a connection ended by the timeout
	badZstd atomic.Bool // a page came in zstd that could not be read: ask for gzip
}

// hasPageOf reports whether two targets ask for the same page.
func (t *target) hasPageOf(other *target) bool { return t.url == other.url && t.socket == other.socket }

// discovered returns the labels before relabeling, as Prometheus shows them.
func discovered(cfg *promconfig.ScrapeConfig, own, group model.LabelSet) labels.Labels {
	lb := labels.NewBuilder(labels.EmptyLabels())
	promscrape.PopulateDiscoveredLabels(lb, cfg, discovery.Own(own, group, model.LabelSet{}), group)
	return lb.Labels()
}

// foundTarget is a target's labels before relabeling.
type foundTarget struct{ own, group model.LabelSet }

// makeTarget returns nil without an error if relabeling drops the target.
func makeTarget(
	lb *labels.Builder, cfg *promconfig.ScrapeConfig, own model.LabelSet, from *targetgroup.Group, ownAddress bool,
) (*target, error) {
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
		shown = text // keeps one string instead of two
	}
	return &target{
		url: text, shown: shown, hostPort: busy, socket: socket,
		labels: t.Labels(lb), hash: h.Sum64(),
		interval: time.Duration(interval), timeout: time.Duration(timeout),
		nativeHistograms: isSet(lset, nativeHistogramsLabel, cfg.ScrapeNativeHistogramsEnabled()),
		classicToo:       isSet(lset, classicTooLabel, cfg.AlwaysScrapeClassicHistogramsEnabled()),
		toCustomBuckets:  isSet(lset, toCustomBucketsLabel, cfg.ConvertClassicHistogramsToNHCBEnabled()),
		named:            named,
		filters:          pushdown.RefuseURL(u) == "",
	}, nil
}

// Labels by which relabeling may change how a target's histograms are read, as in Prometheus.
const (
	nativeHistogramsLabel = "__scrape_native_histograms__"
	classicTooLabel       = "__always_scrape_classic_histograms__"
	toCustomBucketsLabel  = "__convert_classic_histograms_to_nhcb__"
)

// isSet returns a target's label as a boolean, which promscrape.PopulateLabels has checked. If relabeling removed the
// label, it returns the job's setting.
func isSet(lset labels.Labels, name string, job bool) bool {
	if v, err := strconv.ParseBool(lset.Get(name)); err == nil {
		return v
	}
	return job
}

// isOwnAddress returns an error unless host is the pod's own address.
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

// isNamed reports whether a group comes from a static list of the job, or from a file that it names. Prometheus numbers
// the groups of a static list, so their source is a number; no other discovery has such sources. Meta labels
// distinguish groups of files from those of HTTP.
func isNamed(cfg *promconfig.ScrapeConfig, from *targetgroup.Group) bool {
	_, err := strconv.Atoi(from.Source)
	isNumber := err == nil
	isFile := from.Labels[model.MetaLabelPrefix+"filepath"] != "" && from.Labels[model.MetaLabelPrefix+"url"] == ""
	return slices.ContainsFunc(cfg.ServiceDiscoveryConfigs, func(sd promdiscovery.Config) bool {
		_, isStatic := sd.(promdiscovery.StaticConfig)
		return isStatic && isNumber || sd.Name() == "file" && isFile
	})
}

const podIPLabel = model.MetaLabelPrefix + "kubernetes_pod_ip"

func podIP(own, group model.LabelSet) string { return valueOf(podIPLabel, own, group) }

func valueOf(label model.LabelName, own, group model.LabelSet) string {
	if value, ok := own[label]; ok {
		return string(value)
	}
	return string(group[label])
}
