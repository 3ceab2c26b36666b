package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	promconfig "github.com/prometheus/prometheus/config"
	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/podlookup"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// lookupTimeout limits the look-up of a pod.
const lookupTimeout = 15 * time.Second

// podFlags say which pod's page is scraped.
type podFlags struct {
	namespace  string
	selector   string
	kubeconfig string
	context    string
	port       uint16
	path       string

	allowLoopback bool
}

func addPodFlags(cmd *kingpin.CmdClause) *podFlags {
	f := &podFlags{}
	cmd.Flag("namespace", "Namespace of the pod. Default: that of the kubeconfig's context.").Short('n').
		StringVar(&f.namespace)
	cmd.Flag("selector", "Labels of the pod, such as app=details, instead of its name.").Short('l').
		StringVar(&f.selector)
	cmd.Flag("kubeconfig", "Kubeconfig of the cluster that has the pod. Default: $KUBECONFIG or ~/.kube/config; in a "+
		"pod its service account.").PlaceHolder("FILE").StringVar(&f.kubeconfig)
	cmd.Flag("context", "Context of the kubeconfig. Default: the current one.").StringVar(&f.context)
	cmd.Flag("port", "Port of the pod's page.").Default(envoy.StatsPort).Uint16Var(&f.port)
	cmd.Flag("path", "Path of the pod's page, such as /stats/prometheus?usedonly. Default: metrics_path of the job, "+
		"or "+envoy.StatsPath+" without --config.file.").StringVar(&f.path)
	cmd.Flag("scrape.allow-loopback", "Allow a pod whose address is loopback. A URL always may be.").
		BoolVar(&f.allowLoopback)
	return f
}

// name reports whether the flags and the argument name a pod. Otherwise the argument is a URL.
func (f *podFlags) name(target string) bool {
	kind, _, isWorkload := strings.Cut(target, "/")
	switch {
	case f.namespace != "", f.selector != "", f.kubeconfig != "", f.context != "":
		return true
	case isWorkload:
		return podlookup.IsKind(kind)
	default:
		return !strings.ContainsAny(target, ".:") && target != "localhost"
	}
}

// podPage is the page of a pod, and the way on which it is scraped.
type podPage struct {
	found podlookup.Found
	port  int32
	way   chosenWay
	once  *scrape.Once
}

// podPage finds the pod that the command line names, and chooses the way to it.
func (c *scrapeCommand) podPage(ctx context.Context, job *promconfig.ScrapeConfig) (*podPage, error) {
	f := c.pod
	switch {
	case strings.Contains(c.target, "://"):
		return nil, errors.New("give a URL, or the name of a pod with -n, -l, --kubeconfig and --context, but not both")
	case c.target != "" && f.selector != "":
		return nil, errors.New("give the name of a pod, or its labels with -l, but not both")
	}
	cluster, err := podlookup.Open(f.kubeconfig, f.context)
	if err != nil {
		return nil, fmt.Errorf("%w (a page that is not of a pod needs host:port or a whole URL)", err)
	}
	lookup, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := cluster.Find(lookup, podlookup.Query{Namespace: f.namespace, Name: c.target, Selector: f.selector})
	if err != nil {
		return nil, err
	}
	p := &podPage{found: found, port: int32(f.port)}
	if err := p.check(); err != nil {
		return nil, err
	}
	p.once = &scrape.Once{Job: job, URL: c.podURL(&found.Pod, job), Timeout: c.timeout,
		Pod:     &via.Pod{Namespace: found.Pod.Namespace, Name: found.Pod.Name},
		ByPlace: c.byPlace, RefuseLoopback: !f.allowLoopback, OwnAddressOnly: true}
	if p.way, err = c.wayTo(ctx, p, cluster.Who); err != nil {
		return nil, err
	}
	if p.way.Way == via.APIServer {
		p.once.Via, err = via.New(via.Options{Way: via.APIServer, Limits: c.via.limits}, nil).Through(cluster.REST, job)
	}
	return p, err
}

// check returns an error if the pod cannot have a page now.
func (p *podPage) check() error {
	pod := &p.found.Pod
	switch {
	case p.found.Unseen:
		return nil
	case pod.Status.Phase == corev1.PodSucceeded, pod.Status.Phase == corev1.PodFailed:
		return fmt.Errorf("pod %s has finished (%s), so nothing in it answers", p.name(), pod.Status.Phase)
	case pod.Status.PodIP == "":
		return fmt.Errorf("pod %s has no address yet (%s)", p.name(), pod.Status.Phase)
	}
	return nil
}

func (p *podPage) name() string { return p.found.Pod.Namespace + "/" + p.found.Pod.Name }

// podURL returns the URL of the pod's page, as a job would scrape it.
func (c *scrapeCommand) podURL(pod *corev1.Pod, job *promconfig.ScrapeConfig) *url.URL {
	host, path := pod.Status.PodIP, c.pod.path
	if host == "" {
		host = pod.Name
	}
	u := &url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(int(c.pod.port)))}
	if c.configFile != "" {
		u.Scheme, u.RawQuery = job.Scheme, job.Params.Encode()
		if path == "" {
			path = job.MetricsPath
		}
	}
	if path == "" {
		path = envoy.StatsPath
	}
	path, query, hasQuery := strings.Cut(path, "?")
	if hasQuery {
		u.RawQuery = query
	}
	u.Path = "/" + strings.TrimPrefix(path, "/")
	return u
}

// wayTo chooses how the pod's page is read.
func (c *scrapeCommand) wayTo(ctx context.Context, p *podPage, who func() string) (chosenWay, error) {
	if !p.found.Unseen {
		return c.via.choose(ctx, []*scrape.Once{p.once}, scrape.IsAnswer, who), nil
	}
	if c.via.way == string(via.Direct) {
		return chosenWay{}, fmt.Errorf("the API server does not let you get pods in namespace %s (403), so the "+
			"address of %s is not known: leave out --via=direct", p.found.Pod.Namespace, p.name())
	}
	return chosenWay{via.APIServer, "you may not get pods, so the pod's address is not known", who()}, nil
}

// explain says for a failed scrape whether the pod answered, and what is likely the reason if it did not.
func (p *podPage) explain(err error) error {
	var refusal *via.Refusal
	var server *via.ServerError
	switch {
	case p.once.Response != nil:
		return fmt.Errorf("pod %s answers, but: %w", p.name(), err)
	case errors.As(err, &server):
		return fmt.Errorf("pod %s could not be asked: %w", p.name(), err)
	case errors.As(err, &refusal) && refusal.Reason != via.ReasonUnreachable:
		return fmt.Errorf("pod %s was not asked: %w", p.name(), err)
	}
	return fmt.Errorf("pod %s does not answer on port %d (asked %s): %w; %s", p.name(), p.port, p.way, err, p.likely())
}

// likely returns the likeliest reason why a pod does not answer.
func (p *podPage) likely() string {
	if p.found.Unseen {
		return fmt.Sprintf("does the pod have a sidecar, and is %d its port (--port)?", p.port)
	}
	pod := &p.found.Pod
	var names []string
	declared := false
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		names = append(names, c.Name)
		declared = declared || slices.ContainsFunc(c.Ports,
			func(port corev1.ContainerPort) bool { return port.ContainerPort == p.port })
	}
	if !slices.Contains(names, envoy.ProxyContainer) && !declared {
		return fmt.Sprintf("the pod has no container %s and declares no port %d, so it has no sidecar (its "+
			"containers: %s)", envoy.ProxyContainer, p.port, strings.Join(names, ", "))
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if s.Name == envoy.ProxyContainer && !s.Ready {
			return "its container " + envoy.ProxyContainer + " is not ready: see kubectl describe pod"
		}
	}
	return fmt.Sprintf("is %d the port of its page (--port), and does no NetworkPolicy forbid it?", p.port)
}
