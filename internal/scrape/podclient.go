package scrape

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// podClient sends the requests of a job for pages of pods through their API server.
type podClient struct {
	proxy *via.Proxy
	http  *http.Client
}

// readPodsThrough makes the fetcher read targets with a pod through proxy; nil: directly. Call it before the first
// request.
func (f *fetcher) readPodsThrough(proxy *via.Proxy) {
	if proxy == nil {
		return
	}
	follow := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if f.cfg.HTTPClientConfig.FollowRedirects {
		follow = f.redirects(nil, true) // only within the pod
	}
	f.pods = &podClient{proxy, &http.Client{Transport: proxy, CheckRedirect: follow}}
}

// withPod returns the request for a target's page with the pod that proxy asks for it.
func (c *podClient) withPod(req *http.Request, t *target) *http.Request {
	return req.WithContext(via.WithPod(req.Context(), *t.pod))
}

const (
	podNameLabel   = model.MetaLabelPrefix + "kubernetes_pod_name"
	namespaceLabel = model.MetaLabelPrefix + "kubernetes_namespace"
)

// podOf returns the pod that discovery found a target in; nil: it is not of a pod.
func podOf(own, group model.LabelSet) *via.Pod {
	if pod := podIn(own, group); pod != (via.Pod{}) {
		return &pod
	}
	return nil
}

// readThroughPod makes the target be read through the API server, which connects to the pod's own address and does not
// verify its certificate. The error says why the target cannot be read so. A target that is not of a pod is still read
// directly.
func (t *target) readThroughPod(cfg *promconfig.ScrapeConfig, own, group model.LabelSet) error {
	pod := podOf(own, group)
	if pod == nil || t.named {
		return nil
	}
	u, err := url.Parse(t.url)
	if err != nil {
		return err
	}
	if err := isPodAddress(u.Hostname(), podIP(own, group)); err != nil {
		return err
	}
	if err := checkPodScheme(u.Scheme, cfg); err != nil {
		return err
	}
	t.pod = pod
	h := fnv.New64a()
	fmt.Fprintf(h, "%016x%s", t.hash, pod) // the pod of an address may change, while the labels stay
	t.hash = h.Sum64()
	return nil
}

// checkPodScheme refuses https if the job wants certificates to be verified.
func checkPodScheme(scheme string, cfg *promconfig.ScrapeConfig) error {
	if scheme == "https" && !cfg.HTTPClientConfig.TLSConfig.InsecureSkipVerify {
		return errors.New("the API server does not verify the certificate of a pod: set tls_config." +
			"insecure_skip_verify: true in the job if that is good enough, or read the pod directly (--via=direct)")
	}
	return nil
}

// isPodAddress is isOwnAddress in words about --via.
func isPodAddress(host, podIP string) error {
	if isOwnAddress(host, podIP) != nil {
		return fmt.Errorf("address %s is not that of the pod, %s, and the API server reads a pod at no other: read "+
			"the job directly (--via=direct)", host, podIP)
	}
	return nil
}
