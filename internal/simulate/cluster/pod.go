package cluster

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// Pod is one pod. Its exported fields are immutable.
type Pod struct {
	Name, Workload, Node string

	number  int // in the order of starts
	cluster *Cluster
	since   time.Time // when it was made

	// cluster.mu guards the following.
	state    State
	ip       string         // also of the dead; empty: it never had one
	envoy    *sidecar.Envoy // also of the dead; nil: it never ran
	host     *network.Host  // nil: no process
	deleted  time.Time      // its deletionTimestamp; zero: none
	restarts int
	shown    *corev1.Pod // what the API server was given last
	had      []string    // addresses that earlier pods of the name had
	track    int         // number of changes of its labels
	noPort   bool        // no container declares Envoy's port
}

// State returns where the pod is in its life.
func (p *Pod) State() State {
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	return p.state
}

// Address returns the address and port of its Envoy, also after its end. It is empty if the pod never ran.
func (p *Pod) Address() string {
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	if p.ip == "" {
		return ""
	}
	return net.JoinHostPort(p.ip, strconv.Itoa(EnvoyPort))
}

// Shown returns the pod as the API server was given it last. It must not be changed.
func (p *Pod) Shown() *corev1.Pod {
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	return p.shown
}

// Process returns the Envoy and the host of the pod. They are nil if there is no process.
func (p *Pod) Process() (*sidecar.Envoy, *network.Host) {
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	if p.host == nil {
		return nil, nil
	}
	return p.envoy, p.host
}

// finished reports whether the API server shows that the pod has ended. The caller holds cluster.mu.
func (p *Pod) finished() bool { return p.state == Failed || p.state == Succeeded }

// restartFault is the name of the fault of the network while the Envoy is not there.
func (p *Pod) restartFault() string { return "restart of " + p.Name }

// object returns the pod for the API server, with its present state. The caller holds cluster.mu.
func (p *Pod) object() *corev1.Pod {
	proxy := corev1.Container{Name: "istio-proxy", Image: "istio/proxyv2:1.24.2", Ports: []corev1.ContainerPort{
		{Name: "http-envoy-prom", ContainerPort: EnvoyPort, Protocol: corev1.ProtocolTCP},
	}}
	if p.noPort {
		proxy.Ports = []corev1.ContainerPort{{Name: "tcp-admin", ContainerPort: 15000, Protocol: corev1.ProtocolTCP}}
	}
	o := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Name, Namespace: Namespace, UID: types.UID(fmt.Sprintf("00000000-0000-0000-0000-%012d", p.number)),
			CreationTimestamp: metav1.NewTime(p.since),
			Labels:            map[string]string{"app": p.Workload, "version": "v1", "track": strconv.Itoa(p.track)},
			Annotations:       map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": "15020"},
			OwnerReferences:   []metav1.OwnerReference{p.owner()},
		},
		Spec: corev1.PodSpec{NodeName: p.Node, Containers: []corev1.Container{{Name: "app", Image: "shop/app:1",
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}}},
		Status: corev1.PodStatus{Phase: p.phase(), PodIP: p.ip, HostIP: "10.2.0.1"},
	}
	if p.number%3 == 0 { // a native sidecar
		always := corev1.ContainerRestartPolicyAlways
		proxy.RestartPolicy = &always
		o.Spec.InitContainers = []corev1.Container{proxy}
	} else {
		o.Spec.Containers = append(o.Spec.Containers, proxy)
	}
	if p.ip != "" {
		o.Status.PodIPs = []corev1.PodIP{{IP: p.ip}}
	}
	if !p.deleted.IsZero() {
		at := metav1.NewTime(p.deleted)
		o.DeletionTimestamp = &at
	}
	ready := corev1.ConditionFalse
	if p.state == Running {
		ready = corev1.ConditionTrue
	}
	o.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	o.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "istio-proxy", RestartCount: int32(p.restarts)}}
	return o
}

// owner returns the ReplicaSet of the pod.
func (p *Pod) owner() metav1.OwnerReference {
	controls := true
	return metav1.OwnerReference{
		APIVersion: "apps/v1", Kind: "ReplicaSet", Name: p.Name[:strings.LastIndexByte(p.Name, '-')],
		UID: types.UID("rs-" + p.Workload), Controller: &controls,
	}
}

func (p *Pod) phase() corev1.PodPhase {
	switch p.state {
	case Pending:
		return corev1.PodPending
	case Failed:
		return corev1.PodFailed
	case Succeeded:
		return corev1.PodSucceeded
	}
	return corev1.PodRunning
}

// String returns the name of the state.
func (s State) String() string {
	return [...]string{"pending", "running", "terminating", "ended", "failed", "succeeded", "lost", "gone"}[s]
}
