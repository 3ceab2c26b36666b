package discovery

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
)

// PodRecord is what is remembered of a pod that has an Envoy or asks for one, whether or not rules make a target of it.
// It is a copy.
type PodRecord struct {
	Namespace   string
	Name        string
	IP          string // empty: it has none yet
	Node        string // empty: it is not scheduled yet
	Controller  string // in the words of kubectl: ReplicaSet/reviews-v1-7f9c; empty: it has none
	Phase       string // Pending, Running, Succeeded, Failed or Unknown
	Ready       bool
	HostNetwork bool // it has the network of its node
	Injected    bool // Istio's injector has changed it
	Asks        bool // a label or an annotation asks for a sidecar

	Proxy     string      // the container that is taken for the Envoy; empty: there is none
	ProxyInit bool        // the proxy is an init container: a native sidecar
	Ports     []ProxyPort // that the proxy container declares
}

// ProxyPort is a declared port of a container.
type ProxyPort struct {
	Name   string // may be empty
	Number int32
}

// Finished reports whether all containers of the pod have ended for good.
func (r PodRecord) Finished() bool {
	return r.Phase == string(corev1.PodSucceeded) || r.Phase == string(corev1.PodFailed)
}

// Declares reports whether the proxy container declares a port.
func (r PodRecord) Declares(number int32) bool {
	return slices.ContainsFunc(r.Ports, func(p ProxyPort) bool { return p.Number == number })
}

// ZtunnelPort is the name of the port with the metrics of Istio's ztunnel.
const ZtunnelPort = "ztunnel-stats"

const (
	injectKey   = "sidecar.istio.io/inject" // a label; formerly an annotation
	revisionKey = "istio.io/rev"
	statusKey   = "sidecar.istio.io/status" // an annotation that the injector sets
)

// podRecord is a PodRecord in memory, without the names, which its storedPod has. Pods of one workload share all
// strings but the address, so it takes about 80 bytes.
type podRecord struct {
	ip         string
	node       unique.Handle[string]
	controller unique.Handle[string]
	proxy      unique.Handle[string] // container and ports: istio-proxy,15090=http-envoy-prom,15021=
	phase      podPhase
	flags      podFlags
}

// podPhase is an index in phases.
type podPhase uint8

func phases() [6]corev1.PodPhase {
	return [...]corev1.PodPhase{"", corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed,
		corev1.PodUnknown}
}

type podFlags uint8

const (
	flagReady podFlags = 1 << iota
	flagHostNetwork
	flagInjected
	flagAsks
	flagProxyInit
)

// newPodRecord returns the record of a whole pod, or nil if the pod neither has an Envoy nor asks for one.
func newPodRecord(pod *corev1.Pod) *podRecord {
	container, init := proxyContainer(pod)
	injected := pod.Annotations[statusKey] != ""
	asks := asksForSidecar(pod)
	if container == nil && !injected && !asks {
		return nil
	}
	r := &podRecord{
		ip: pod.Status.PodIP, node: unique.Make(pod.Spec.NodeName), controller: unique.Make(controllerOf(pod)),
		proxy: unique.Make(proxyText(container)),
	}
	for i, phase := range phases() {
		if phase == pod.Status.Phase {
			r.phase = podPhase(i)
		}
	}
	r.set(flagReady, isReady(pod))
	r.set(flagHostNetwork, pod.Spec.HostNetwork)
	r.set(flagInjected, injected)
	r.set(flagAsks, asks)
	r.set(flagProxyInit, init)
	return r
}

func (r *podRecord) set(f podFlags, on bool) {
	if on {
		r.flags |= f
	}
}

// RecordOf returns the record of a whole pod, whether or not it has an Envoy.
func RecordOf(pod *corev1.Pod) PodRecord {
	r := newPodRecord(pod)
	if r == nil {
		r = &podRecord{ip: pod.Status.PodIP, node: unique.Make(pod.Spec.NodeName),
			controller: unique.Make(controllerOf(pod)), proxy: unique.Make("")}
	}
	out := r.public(pod.Namespace, pod.Name)
	out.Phase, out.Ready, out.HostNetwork = string(pod.Status.Phase), isReady(pod), pod.Spec.HostNetwork
	return out
}

// proxyContainer returns the container named istio-proxy, or else the first one with a port of Envoy's metrics; nil:
// there is none. init reports whether it is an init container.
func proxyContainer(pod *corev1.Pod) (c *corev1.Container, init bool) {
	isProxy := func(c corev1.Container) bool { return c.Name == envoy.ProxyContainer && !isZtunnel(&c) }
	hasPort := func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Ports,
			func(p corev1.ContainerPort) bool { return strings.HasSuffix(p.Name, envoy.PortSuffix) })
	}
	for _, is := range []func(corev1.Container) bool{isProxy, hasPort} {
		if i := slices.IndexFunc(pod.Spec.Containers, is); i >= 0 {
			return &pod.Spec.Containers[i], false
		}
		if i := slices.IndexFunc(pod.Spec.InitContainers, is); i >= 0 {
			return &pod.Spec.InitContainers[i], true
		}
	}
	return nil, false
}

// isZtunnel reports whether a container is Istio's ztunnel, which is no Envoy although it is named istio-proxy.
func isZtunnel(c *corev1.Container) bool {
	return slices.Contains(c.Args, "ztunnel") ||
		slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == ZtunnelPort })
}

// asksForSidecar reports whether labels or annotations of the pod itself ask Istio for a sidecar. A label of its
// namespace may do so too, which the pod does not show.
func asksForSidecar(pod *corev1.Pod) bool {
	switch cmp.Or(pod.Labels[injectKey], pod.Annotations[injectKey]) {
	case "false":
		return false
	case "true":
		return true
	}
	return cmp.Or(pod.Labels[revisionKey], pod.Annotations[revisionKey]) != ""
}

func controllerOf(pod *corev1.Pod) string {
	for _, o := range controllerOnly(pod.OwnerReferences) {
		return o.Kind + "/" + o.Name
	}
	return ""
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range readyOnly(pod.Status.Conditions) {
		return c.Status == corev1.ConditionTrue
	}
	return false
}

// proxyText writes a container and its ports: istio-proxy,15090=http-envoy-prom,15021=
func proxyText(c *corev1.Container) string {
	if c == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString(c.Name)
	for _, p := range c.Ports {
		b.WriteString("," + strconv.Itoa(int(p.ContainerPort)) + "=" + p.Name)
	}
	return b.String()
}

// parseProxy reads what proxyText wrote.
func parseProxy(text string) (name string, ports []ProxyPort) {
	name, rest, more := strings.Cut(text, ",")
	for more {
		var port string
		port, rest, more = strings.Cut(rest, ",")
		digits, portName, _ := strings.Cut(port, "=")
		if n, err := strconv.ParseInt(digits, 10, 32); err == nil {
			ports = append(ports, ProxyPort{portName, int32(n)})
		}
	}
	return name, ports
}

func (r *podRecord) has(f podFlags) bool { return r.flags&f != 0 }

// public returns the record as other packages see it.
func (r *podRecord) public(namespace, name string) PodRecord {
	proxy, ports := parseProxy(r.proxy.Value())
	return PodRecord{
		Namespace: namespace, Name: name, IP: r.ip, Node: r.node.Value(), Controller: r.controller.Value(),
		Phase: string(phases()[r.phase]), Ready: r.has(flagReady), HostNetwork: r.has(flagHostNetwork),
		Injected: r.has(flagInjected), Asks: r.has(flagAsks), Proxy: proxy, ProxyInit: r.has(flagProxyInit),
		Ports: ports,
	}
}

// records calls add for each pod of which there is a record.
func (d *podDiscovery) records(add func(*storedPod)) {
	d.mu.Lock()
	informers := slices.Clone(d.informers)
	d.mu.Unlock()
	for _, i := range informers {
		for _, item := range i.GetStore().List() {
			if pod, ok := item.(*storedPod); ok && pod.record != nil {
				add(pod)
			}
		}
	}
}

// Pods returns a record of each pod that has an Envoy or asks for one, and that a discovery with the role pod lists,
// sorted by namespace and name. Discoveries with other roles or attach_metadata keep no records, see PodScope.
func (m *Manager) Pods() []PodRecord {
	m.mu.Lock()
	providers := slices.Clone(m.providers)
	m.mu.Unlock()
	type key struct{ namespace, name string }
	found := map[key]*storedPod{}
	for _, p := range providers {
		if d, ok := p.inner.(*podDiscovery); ok {
			d.records(func(pod *storedPod) { found[key{pod.namespace, pod.name}] = pod })
		}
	}
	records := make([]PodRecord, 0, len(found))
	for pod := range maps.Values(found) {
		records = append(records, pod.record.public(pod.namespace, pod.name))
	}
	slices.SortFunc(records, func(a, b PodRecord) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return records
}
