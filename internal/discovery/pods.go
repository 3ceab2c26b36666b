package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/flowcontrol"
)

// podDiscovery is Prometheus' discovery of pods over informers that keep of a pod only what rules read. Prometheus'
// own keeps whole pods, ten times as much, and has no hook to change that.
type podDiscovery struct {
	log        *slog.Logger
	client     corev1client.PodsGetter
	namespaces []string
	label      string // selectors
	field      string
	reads      *reads
	metrics    kubeMetrics
	events     watchEvents

	mu        sync.Mutex // guards the following
	informers []cache.SharedIndexInformer
	running   bool // informers are all that there will be
}

// watchEvents is told what Prometheus' discovery keeps for itself.
type watchEvents interface {
	watchBegins()
	watchFailed(error)
}

const (
	// requestsPerSecond bounds the requests of one discovery, which lists and watches each namespace by itself. With
	// client-go's default of 5, a list of 500 namespaces takes minutes.
	requestsPerSecond = 100
	requestBurst      = 200

	watchesPerSecond = 1
	watchBurst       = 5
	watchJitter      = 500 * time.Millisecond // so that the nodes of a cluster do not ask together
)

// kubeMetrics are those of Prometheus' discovery that its informers count in.
type kubeMetrics struct {
	events   *prometheus.CounterVec
	failures prometheus.Counter
}

// newKubeMetrics finds the metrics that Prometheus' discovery has registered: it does not hand them out.
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

// registered returns the collector that is registered under c's name; where none is, c becomes it.
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

// trimmable reports whether of the pods that c discovers only a part is needed. With metadata of other objects
// attached, and in the roles that look pods up, Prometheus' discovery reads more of them.
func trimmable(c promdiscovery.Config) (*kubernetes.SDConfig, bool) {
	k, ok := c.(*kubernetes.SDConfig)
	return k, ok && k.Role == kubernetes.RolePod && k.AttachMetadata == kubernetes.AttachMetadataConfig{}
}

// newPodDiscovery makes a discovery for a configuration that is trimmable.
func newPodDiscovery(log *slog.Logger, c *kubernetes.SDConfig, r *reads, m kubeMetrics, events watchEvents) (*podDiscovery, error) {
	cfg, err := restConfig(c, "kubernetes_sd")
	if err != nil {
		return nil, err
	}
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.QPS, cfg.Burst = requestsPerSecond, requestBurst
	d := &podDiscovery{log: log.With("role", "pod"), reads: r, metrics: m, events: events}
	if d.namespaces, err = podNamespaces(c.NamespaceDiscovery); err != nil {
		return nil, err
	}
	if d.client, err = corev1client.NewForConfig(cfg); err != nil {
		return nil, err
	}
	for _, s := range c.Selectors {
		if s.Role == kubernetes.RolePod {
			d.label, d.field = s.Label, s.Field
		}
	}
	return d, nil
}

// podNamespaces lists the namespaces to look into; an empty name means all.
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

// Run implements promdiscovery.Discoverer.
func (d *podDiscovery) Run(ctx context.Context, up chan<- []*targetgroup.Group) {
	var running sync.WaitGroup
	for _, namespace := range d.namespaces {
		informer, err := d.informer(namespace)
		if err != nil { // of a setting that only a started informer refuses
			d.log.Error("cannot watch pods", "err", err)
			continue
		}
		d.mu.Lock()
		d.informers = append(d.informers, informer)
		d.mu.Unlock()
		pods := kubernetes.NewPod(d.log, podInformer{informer}, nil, nil, nil, nil, false, false, false, d.metrics.events)
		running.Go(func() { informer.RunWithContext(ctx) })
		running.Go(func() { pods.Run(ctx, up) })
	}
	d.mu.Lock()
	d.running = true
	d.mu.Unlock()
	running.Wait()
	<-ctx.Done()
}

// listed tells that every namespace was listed. What is found by then may still be on its way.
func (d *podDiscovery) listed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running && !slices.ContainsFunc(d.informers, func(i cache.SharedIndexInformer) bool { return !i.HasSynced() })
}

// watchLimit bounds how fast the watches of a namespace are begun: client-go begins one after another while the first
// event says that it expired.
type watchLimit struct{ flowcontrol.RateLimiter }

func newWatchLimit() watchLimit {
	return watchLimit{flowcontrol.NewTokenBucketRateLimiter(watchesPerSecond, watchBurst)}
}

// pause waits where watches were begun too fast.
func (l watchLimit) pause(ctx context.Context) error {
	if l.TryAccept() {
		return nil
	}
	select {
	case <-time.After(rand.N(watchJitter)):
		return l.Wait(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// informer makes one over the pods of a namespace. Pods are trimmed as soon as they are decoded, so that a list holds
// whole ones only while they are read.
func (d *podDiscovery) informer(namespace string) (cache.SharedIndexInformer, error) {
	pods, limit := d.client.Pods(namespace), newWatchLimit()
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
			for i := range list.Items {
				list.Items[i] = *trimPod(&list.Items[i], d.reads)
			}
			return list, nil
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
