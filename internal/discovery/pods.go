package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
)

// podDiscovery is Prometheus' discovery of pods, run on informers that keep only the fields of a pod that rules read.
// Prometheus' own informers keep whole pods, ten times as much memory, and offer no hook to change that.
type podDiscovery struct {
	log        *slog.Logger
	client     corev1client.PodsGetter
	transport  http.RoundTripper // of client
	namespaces []string
	label      string // selectors
	field      string
	reads      *reads
	metrics    kubeMetrics
	events     watchEvents
	chance     chance.Source

	mu        sync.Mutex // guards the following
	informers []cache.SharedIndexInformer
	running   bool // informers is complete
}

// watchEvents receives events that Prometheus' discovery does not report.
type watchEvents interface {
	watchBegins()
	watchFailed(error)
}

const (
	// requestsPerSecond limits the requests of one discovery, which lists and watches each namespace separately. With
	// client-go's default of 5, listing 500 namespaces takes minutes.
	requestsPerSecond = 100
	requestBurst      = 200

	watchesPerSecond = 1
	watchBurst       = 5
	watchJitter      = 500 * time.Millisecond // so that the nodes of a cluster do not ask at the same moment
)

// kubeMetrics are the metrics of Prometheus' discovery that its informers increment.
type kubeMetrics struct {
	events   *prometheus.CounterVec
	failures prometheus.Counter
}

// newKubeMetrics looks up the metrics that Prometheus' discovery has registered and does not export.
func newKubeMetrics(reg prometheus.Registerer) (m kubeMetrics, err error) {
	const prefix = promdiscovery.KubernetesMetricsNamespace
	m.events, err = registered(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: prefix, Name: "events_total", Help: "The number of Kubernetes events handled.",
	}, []string{"role", "event"}))
	if err != nil {
		return m, err
	}
	m.failures, err = registered(reg, prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: prefix, Name: "failures_total", Help: "The number of failed WATCH/LIST requests.",
	}))
	return m, err
}

// registered returns the collector that is registered under c's name. If there is none, it registers c.
func registered[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	err := reg.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if there, ok := already.ExistingCollector.(C); ok {
			return there, nil
		}
	}
	return c, err
}

// trimmable reports whether the pods that c discovers can be trimmed to the fields that rules read. Prometheus'
// discovery reads more of them with attach_metadata and in roles that look pods up, such as endpoints.
func trimmable(c promdiscovery.Config) (*kubernetes.SDConfig, bool) {
	k, ok := c.(*kubernetes.SDConfig)
	return k, ok && k.Role == kubernetes.RolePod && k.AttachMetadata == kubernetes.AttachMetadataConfig{}
}

// newPodDiscovery returns a discovery for a trimmable configuration.
func (m *Manager) newPodDiscovery(log *slog.Logger, c *kubernetes.SDConfig, r *reads, events watchEvents) (
	*podDiscovery, error) {
	cfg, err := restConfig(c, "kubernetes_sd", m.opts.Dial)
	if err != nil {
		return nil, err
	}
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.QPS, cfg.Burst = requestsPerSecond, requestBurst
	d := &podDiscovery{log: log.With("role", "pod"), reads: r, metrics: m.kube, events: events, chance: m.opts.Chance}
	if d.namespaces, err = podNamespaces(c.NamespaceDiscovery); err != nil {
		return nil, err
	}
	over, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	if d.client, err = corev1client.NewForConfigAndClient(cfg, over); err != nil {
		return nil, err
	}
	d.transport = over.Transport
	for _, s := range c.Selectors {
		if s.Role == kubernetes.RolePod {
			d.label, d.field = s.Label, s.Field
		}
	}
	return d, nil
}

// podNamespaces lists the namespaces to discover pods in. An empty name means all namespaces.
func podNamespaces(c kubernetes.NamespaceDiscovery) ([]string, error) {
	names := slices.Clone(c.Names)
	if c.IncludeOwnNamespace {
		own, err := os.ReadFile(serviceAccountNamespace)
		if err != nil {
			return nil, fmt.Errorf("could not determine the pod's namespace: %w", err)
		}
		if len(own) == 0 {
			return nil, errors.New("could not read own namespace name (empty file)")
		}
		names = append(names, string(own))
	}
	if len(names) == 0 {
		names = []string{metav1.NamespaceAll}
	}
	return names, nil
}

// longestEnd is how long Run waits for client-go at its end. client-go waits up to a minute for its next try to list if
// the server refuses connections, even if its context has ended.
const longestEnd = time.Second

// Run implements promdiscovery.Discoverer. At the end it closes its idle connections.
func (d *podDiscovery) Run(ctx context.Context, up chan<- []*targetgroup.Group) {
	var informers, running sync.WaitGroup
	for _, namespace := range d.namespaces {
		informer, err := d.informer(namespace)
		if err != nil { // only a started informer refuses its settings
			d.log.Error("cannot watch pods", "err", err)
			continue
		}
		d.mu.Lock()
		d.informers = append(d.informers, informer)
		d.mu.Unlock()
		pods := kubernetes.NewPod(d.log, podInformer{informer}, nil, nil, nil, nil, false, false, false,
			d.metrics.events)
		informers.Go(func() { informer.RunWithContext(ctx) })
		running.Go(func() { pods.Run(ctx, up) })
	}
	d.mu.Lock()
	d.running = true
	d.mu.Unlock()
	running.Wait()
	<-ctx.Done()
	ended := make(chan struct{})
	go func() {
		informers.Wait()
		utilnet.CloseIdleConnectionsFor(d.transport)
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(longestEnd):
	}
}

// listed reports whether every namespace has been listed. The groups of the last pods may not have arrived yet.
func (d *podDiscovery) listed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running && !slices.ContainsFunc(d.informers,
		func(i cache.SharedIndexInformer) bool { return !i.HasSynced() })
}

// watchLimit limits how fast the watches of a namespace are started: client-go starts the next one without a pause when
// the first event of a watch is an error such as 410 Expired.
type watchLimit struct {
	flowcontrol.RateLimiter
	random *rand.Rand
}

func newWatchLimit(random *rand.Rand) watchLimit {
	return watchLimit{flowcontrol.NewTokenBucketRateLimiter(watchesPerSecond, watchBurst), random}
}

// pause waits if watches were started too fast.
func (l watchLimit) pause(ctx context.Context) error {
	if l.TryAccept() {
		return nil
	}
	select {
	case <-time.After(time.Duration(l.random.Int64N(int64(watchJitter)))):
		return l.Wait(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// informer returns an informer for the pods of a namespace. Pods are stored as soon as they are decoded: only the list
// response that is being read holds whole pods. client-go sets the page size of lists.
func (d *podDiscovery) informer(namespace string) (cache.SharedIndexInformer, error) {
	pods, limit := d.client.Pods(namespace), newWatchLimit(d.chance.Of("watches of "+namespace).Rand())
	selected := func(o metav1.ListOptions) metav1.ListOptions {
		o.FieldSelector, o.LabelSelector = d.field, d.label
		return o
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := pods.List(ctx, selected(o))
			if err != nil {
				d.events.watchFailed(err)
				return nil, err
			}
			return storeAll(list, d.reads)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			if err := limit.pause(ctx); err != nil {
				return nil, err
			}
			d.events.watchBegins()
			w, err := pods.Watch(ctx, selected(o))
			if err != nil {
				d.events.watchFailed(err)
			}
			return w, err
		},
	}
	informer := cache.NewSharedIndexInformer(lw, &corev1.Pod{}, 0, cache.Indexers{})
	return informer, errors.Join(
		informer.SetTransform(storing(d.reads)),
		informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
			d.metrics.failures.Inc()
			cache.DefaultWatchErrorHandler(ctx, r, err)
		}),
	)
}
