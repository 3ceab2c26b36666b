package via

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
)

// Pod names a pod of a cluster.
type Pod struct{ Namespace, Name string }

// String returns namespace/name.
func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// check returns an error unless the names are valid in Kubernetes. A discovery that is not Kubernetes' can set any
// labels, and a name such as "x/../../secrets" must not become a part of a path.
func (p Pod) check() error {
	for _, name := range []string{p.Namespace, p.Name} {
		if len(validation.IsDNS1123Subdomain(name)) > 0 {
			return fmt.Errorf("%q is not the name of a pod or namespace", name)
		}
	}
	return nil
}

type podKey struct{}

// WithPod returns a context for a request for a page of the pod. Proxy.RoundTrip needs it.
func WithPod(ctx context.Context, pod Pod) context.Context {
	return context.WithValue(ctx, podKey{}, pod)
}

// Proxy sends requests for pages of pods through one API server. It is an http.RoundTripper. Safe for concurrent use.
type Proxy struct {
	server  string // for people: https://10.0.0.1:6443
	base    *url.URL
	next    http.RoundTripper
	limiter *limiter
	metrics *metrics
}

func newProxy(cfg *rest.Config, l *limiter, m *metrics) (*Proxy, error) {
	client, err := rest.HTTPClientFor(cfg) // with exec plugins, rotating tokens, CA and proxy of the kubeconfig
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("address of the API server: %w", err)
	}
	next := client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	return &Proxy{server: strings.TrimSuffix(base.Redacted(), "/"), base: base, next: next, limiter: l, metrics: m}, nil
}

// Add counts a target that is scraped again and again, for Limits.Targets.
func (p *Proxy) Add() { p.limiter.targets.Add(1) }

// Remove undoes Add.
func (p *Proxy) Remove() { p.limiter.targets.Add(-1) }

// CloseIdleConnections implements the method that http.Client looks for.
func (p *Proxy) CloseIdleConnections() { utilnet.CloseIdleConnectionsFor(p.next) }

// RoundTrip implements http.RoundTripper for a request whose context has a pod. The response is the pod's, as if it had
// been asked directly. If the API server answered instead, the error is a *Refusal.
func (p *Proxy) RoundTrip(page *http.Request) (*http.Response, error) {
	ctx := page.Context()
	pod, ok := ctx.Value(podKey{}).(Pod)
	if !ok {
		return nil, errors.New("only pages of pods can be read through the API server")
	}
	if page.Header.Get("Authorization") != "" {
		return nil, errors.New("the API server does not pass on credentials to a pod: leave them out, or read the " +
			"page directly (--via=direct)")
	}
	req, err := p.request(page, pod)
	if err != nil {
		return nil, err
	}
	if err := p.limiter.checkTargets(); err != nil {
		return nil, err
	}
	release, err := p.limiter.acquire(ctx)
	if err != nil {
		return nil, err
	}
	p.metrics.requests.Inc()
	wait := newAnswerWait(ctx)
	resp, err := p.send(req.WithContext(wait.ctx), wait, pod, portOf(page.URL))
	end := func() { wait.end(); release() }
	if err != nil {
		end()
		return nil, err
	}
	resp.Request = page
	p.unproxyLocation(resp, pod)
	resp.Body = &pacedBody{ReadCloser: resp.Body, ctx: ctx, limiter: p.limiter, metrics: p.metrics, release: end}
	return resp, nil
}

// send sends the request, and returns the pod's response.
func (p *Proxy) send(req *http.Request, wait *answerWait, pod Pod, port string) (*http.Response, error) {
	resp, err := p.next.RoundTrip(req)
	var refusal *Refusal
	if err == nil {
		if refusal, err = readRefusal(resp, pod, port); err == nil && refusal == nil && wait.stop() {
			return resp, nil
		}
		_ = resp.Body.Close()
	}
	switch {
	case refusal != nil:
	case wait.isOver() && wait.sent.Load():
		refusal = noAnswer(pod, wait.limit)
	case wait.isOver():
		return nil, &ServerError{p.server, fmt.Errorf("no connection within %v", wait.limit)}
	default:
		return nil, &ServerError{p.server, err}
	}
	p.metrics.refusals.WithLabelValues(refusal.Reason).Inc()
	return nil, refusal
}

// request returns the request by which the API server asks a pod for a page.
func (p *Proxy) request(page *http.Request, pod Pod) (*http.Request, error) {
	if err := pod.check(); err != nil {
		return nil, err
	}
	segments := strings.Split(page.URL.Path, "/")
	if slices.Contains(segments, "..") || slices.Contains(segments, ".") {
		return nil, fmt.Errorf("path %q: a path with . or .. is not read through the API server", page.URL.Path)
	}
	rest := page.URL.EscapedPath()
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	name := pod.Name + ":" + portOf(page.URL)
	if page.URL.Scheme == "https" {
		name = "https:" + name
	}
	u := *p.base
	u.RawPath = p.podPath(pod) + name + "/proxy" + rest
	var err error
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return nil, err
	}
	u.RawQuery = page.URL.RawQuery
	req := page.Clone(page.Context())
	req.URL, req.Host = &u, ""
	return req, nil
}

// podPath returns the path of all pages of all ports of a pod, up to its name: /api/v1/namespaces/shop/pods/.
func (p *Proxy) podPath(pod Pod) string {
	return strings.TrimSuffix(p.base.EscapedPath(), "/") + "/api/v1/namespaces/" + pod.Namespace + "/pods/"
}

// unproxyLocation turns a redirect within the pod, which the API server has rewritten to a path of its own, back into
// the path that the pod named: /api/v1/namespaces/shop/pods/cart-0:15090/proxy/metrics into /metrics.
func (p *Proxy) unproxyLocation(resp *http.Response, pod Pod) {
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || to.Path == "" {
		return
	}
	port := portOf(resp.Request.URL)
	for _, name := range []string{pod.Name + ":" + port, "https:" + pod.Name + ":" + port} {
		path, ok := strings.CutPrefix(to.EscapedPath(), p.podPath(pod)+name+"/proxy/")
		if !ok {
			continue
		}
		location := "/" + path
		if to.RawQuery != "" {
			location += "?" + to.RawQuery
		}
		resp.Header.Set("Location", location)
		return
	}
}

// portOf returns the port of a page's URL.
func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}
