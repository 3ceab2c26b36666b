package via

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	config_util "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
)

// Options say how pages of pods are read.
type Options struct {
	Way    Way // Direct, for which no proxy is made, or APIServer
	Limits Limits
	Dial   discovery.Dial // connects to API servers; nil: by the network of the machine
}

// Proxies makes the proxies of jobs. They share the limits and the metrics. Safe for concurrent use.
type Proxies struct {
	opts    Options
	limiter *limiter
	metrics *metrics
}

// New returns Proxies. reg may be nil.
func New(opts Options, reg prometheus.Registerer) *Proxies {
	l := newLimiter(opts.Limits)
	return &Proxies{opts: opts, limiter: l, metrics: newMetrics(reg, opts.Way, l)}
}

// Of returns the proxy for the pods that a job discovers. It is nil if they are read directly: --via says so, or the
// job discovers no pods. The error says why the job cannot be read through an API server, and what to change.
func (ps *Proxies) Of(job *promconfig.ScrapeConfig) (*Proxy, error) {
	if ps == nil || ps.opts.Way != APIServer {
		return nil, nil
	}
	var from *kubernetes.SDConfig
	for _, sd := range job.ServiceDiscoveryConfigs {
		k, ok := sd.(*kubernetes.SDConfig)
		if !ok {
			continue
		}
		if from != nil && !haveOneServer(from, k) {
			return nil, errors.New("--via=apiserver reads the pods of a job through one API server, and this job has " +
				"kubernetes_sd_configs of two: write a job for each")
		}
		from = k
	}
	if from == nil {
		return nil, nil
	}
	cfg, err := discovery.RESTConfig(from, ps.opts.Dial)
	if err != nil {
		return nil, fmt.Errorf("--via=apiserver: %w", err)
	}
	return ps.Through(cfg, job)
}

// Through returns a proxy for the pods of an API server, which are read as the job says. The error is as that of Of.
func (ps *Proxies) Through(cfg *rest.Config, job *promconfig.ScrapeConfig) (*Proxy, error) {
	if err := checkClient(job.HTTPClientConfig); err != nil {
		return nil, err
	}
	p, err := newProxy(cfg, ps.limiter, ps.metrics)
	if err != nil {
		return nil, fmt.Errorf("--via=apiserver: %w", err)
	}
	return p, nil
}

// haveOneServer reports whether two discoveries ask the same API server with the same credentials.
func haveOneServer(a, b *kubernetes.SDConfig) bool {
	return a.KubeConfig == b.KubeConfig && reflect.DeepEqual(a.APIServer, b.APIServer) &&
		reflect.DeepEqual(a.HTTPClientConfig, b.HTTPClientConfig)
}

// DirectOnly returns the keys of a job's HTTP client that the API server cannot stand in for. It removes Authorization,
// takes some headers for its own, such as Impersonate-User, has no client certificate for pods, and chooses its own way
// to them.
func DirectOnly(c config_util.HTTPClientConfig) (keys []string) {
	for _, k := range []struct {
		key string
		set bool
	}{
		{"basic_auth", c.BasicAuth != nil},
		{"authorization", c.Authorization != nil},
		{"bearer_token", c.BearerToken != ""},
		{"bearer_token_file", c.BearerTokenFile != ""},
		{"oauth2", c.OAuth2 != nil},
		{"http_headers", c.HTTPHeaders != nil},
		{"proxy_url", c.ProxyURL.URL != nil},
		{"proxy_from_environment", c.ProxyFromEnvironment},
		{"tls_config.cert_file", c.TLSConfig.CertFile != ""},
		{"tls_config.cert", c.TLSConfig.Cert != ""},
		{"tls_config.cert_ref", c.TLSConfig.CertRef != ""},
	} {
		if k.set {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// checkClient returns an error if a job has keys that work only directly.
func checkClient(c config_util.HTTPClientConfig) error {
	keys := DirectOnly(c)
	if len(keys) == 0 {
		return nil
	}
	return fmt.Errorf("%s: a request through the API server cannot have it: remove it from the job, or read the pods "+
		"directly (--via=direct)", strings.Join(keys, ", "))
}
