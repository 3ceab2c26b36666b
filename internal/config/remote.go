package config

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/locate"
	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
)

// Flags that a problem can be about.
const (
	flagRemoteWriteURL = "--remote-write.url"
	flagExternalLabel  = "--external-label"
	flagKubeconfig     = "--kubeconfig"
	flagNodeName       = "--node-name"
	flagShardIndex     = "--shard.index"
	flagShardCount     = "--shard.count"
)

// remote is an entry of remote_write as written.
type remote struct {
	path string
	node *yaml.Node
}

// readRemotes checks the entries of remote_write, each on its own.
func (l *loader) readRemotes(src *source) {
	value := yamltree.Get(src.root, "remote_write")
	if value != nil && value.Kind != yaml.SequenceNode && !yamltree.IsEmpty(value) {
		l.checkTop(src, "remote_write", value)
	}
	names, unnamed := map[string]int{}, map[string]int{}
	for i, node := range yamltree.Items(value) {
		r := &remote{path: fmt.Sprintf("remote_write[%d]", i), node: node}
		l.remotes = append(l.remotes, r)
		l.check(src, "", locate.NewPart(node, r.path, l.decodeRemote))
		name := yamltree.Get(node, "name")
		if name == nil || name.Value == "" {
			l.lintUnnamed(src, r, unnamed)
			continue
		}
		if line, twice := names[name.Value]; twice {
			l.add(Problem{File: src.name, Line: name.Line, Key: r.path + ".name", Value: name.Value,
				Why: fmt.Sprintf("another entry has this name, on line %d",
					line), Fix: "rename one of the two"})
		}
		names[name.Value] = name.Line
	}
	l.checkURL(src, value)
}

// lintUnnamed warns about a second entry without a name for the same URL, as for two tenants: only the order of the
// entries distinguishes their queues. seen has the line of each URL.
func (l *loader) lintUnnamed(src *source, r *remote, seen map[string]int) {
	value := yamltree.Get(r.node, "url")
	if value == nil {
		return
	}
	u, err := url.Parse(value.Value)
	if err != nil {
		return // reported
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	if line, twice := seen[u.String()]; twice {
		l.add(Problem{Severity: SeverityWarning, File: src.name, Line: value.Line, Key: r.path + ".url",
			Value: redactURL(value.Value),
			Why: fmt.Sprintf("the entry on line %d has this URL, and neither has a name: after a restart with the "+
				"entries in another order, or without the first one, a backlog may be sent by the wrong entry", line),
			Fix: "give each entry a name"})
		return
	}
	seen[u.String()] = value.Line
}

func (l *loader) decodeRemote(n *yaml.Node) error {
	var doc promconfig.Config
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{n}}
	if err := yamltree.DecodeStrict(yamltree.Mapping(yamltree.String("remote_write"), list), &doc); err != nil {
		return err
	}
	rw := doc.RemoteWriteConfigs[0]
	if rw.QueueConfig.MinShards > queue.MaxLanes {
		return fmt.Errorf("remote write queue min_shards must not be greater than %d", queue.MaxLanes)
	}
	return rw.Validate(l.labelScheme())
}

// checkURL checks that there is a receiver, either in the file or by the flag.
func (l *loader) checkURL(src *source, value *yaml.Node) {
	flag := l.opts.RemoteWriteURL
	switch {
	case flag != "" && len(l.remotes) > 0:
		l.add(Problem{File: src.name, Line: value.Line, Key: "remote_write", Why: "both the file and " +
			flagRemoteWriteURL + " name a receiver",
			Fix: "remove the flag, or remove remote_write from the file"})
	case flag != "":
		if u, err := url.Parse(flag); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			l.add(Problem{File: flagRemoteWriteURL, Value: redactURL(flag), Why: "not an http:// or https:// URL",
				Fix: "give the receiver's URL, as http://prometheus:9090/api/v1/write"})
		}
	case l.opts.File == "" && !l.opts.Check:
		l.add(Problem{File: flagRemoteWriteURL, Why: "there is no receiver for the samples",
			Fix: "add " + flagRemoteWriteURL + "=http://prometheus:9090/api/v1/write, or a file by --config.file"})
	case len(l.remotes) == 0 && l.opts.File != "":
		p := Problem{File: src.name, Key: "remote_write", Why: "there is no receiver for the samples",
			Fix: "add remote_write with the receiver's url, or " + flagRemoteWriteURL +
				"=http://prometheus:9090/api/v1/write"}
		if l.opts.Check {
			p.Severity = SeverityWarning
		}
		l.add(p)
	}
}

// remoteWrite sets the endpoints of cfg, with defaults that depend on the keys that were written.
func (l *loader) remoteWrite(cfg *Config, src *source) {
	prom := cfg.Prometheus
	if l.opts.RemoteWriteURL != "" {
		u, err := url.Parse(l.opts.RemoteWriteURL)
		if err != nil {
			return // reported
		}
		rw := promconfig.DefaultRemoteWriteConfig
		rw.URL = &config.URL{URL: u}
		prom.RemoteWriteConfigs = []*promconfig.RemoteWriteConfig{&rw}
		l.remotes = []*remote{{path: flagRemoteWriteURL, node: yamltree.Mapping()}}
	}
	cfg.RemoteWrite.FlushDeadline, cfg.RemoteWrite.Ephemeral = l.opts.FlushDeadline, l.opts.Ephemeral
	cfg.RemoteWrite.Queue = l.ext.Queue.queue()
	for i, rw := range prom.RemoteWriteConfigs {
		node := l.remotes[i].node
		if yamltree.Get(node, "queue_config", "retry_on_http_429") == nil {
			rw.QueueConfig.RetryOnRateLimit = true
		}
		cfg.RemoteWrite.Endpoints = append(cfg.RemoteWrite.Endpoints, remotewrite.EndpointConfig{
			RemoteWriteConfig: rw, Negotiate: yamltree.Get(node, "protobuf_message") == nil,
		})
	}
	prom.GlobalConfig.ExternalLabels = l.mergeExternalLabels(prom.GlobalConfig.ExternalLabels, src)
	cfg.RemoteWrite.ExternalLabels = prom.GlobalConfig.ExternalLabels
}

// checkExternalLabels checks the labels of --external-label.
func (l *loader) checkExternalLabels() {
	for name, value := range l.opts.ExternalLabels {
		p := Problem{File: flagExternalLabel, Value: name + "=" + value}
		switch {
		case !l.labelScheme().IsValidLabelName(name):
			p.Why, p.Fix = fmt.Sprintf("%q is not a valid label name", name), "name a label, as cluster=east"
		case !model.LabelValue(value).IsValid():
			p.Value, p.Why, p.Fix = name, "the value is not valid UTF-8", "correct the value"
		default:
			continue
		}
		l.add(p)
	}
}

// mergeExternalLabels adds the labels of the flag. They override those of the file, with a warning for each.
func (l *loader) mergeExternalLabels(written labels.Labels, src *source) labels.Labels {
	if len(l.opts.ExternalLabels) == 0 {
		return written
	}
	b := labels.NewBuilder(written)
	var names []string
	for name := range l.opts.ExternalLabels {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		value := l.opts.ExternalLabels[name]
		if old := written.Get(name); old != "" && old != value {
			l.add(Problem{Severity: SeverityWarning, File: src.name,
				Line: yamltree.Line(src.root, "global", "external_labels", name),
				Key: "global.external_labels." +
					name, Value: old, Why: fmt.Sprintf("%s overrides it with %s", flagExternalLabel, value),
				Fix: "remove one of the two"})
		}
		b.Set(name, value)
	}
	return b.Labels()
}
