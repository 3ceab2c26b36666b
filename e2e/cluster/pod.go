package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Sidecar is how a pod runs its Envoy.
type Sidecar int

// Kinds of sidecars.
const (
	NoSidecar     Sidecar = iota
	PlainSidecar          // an additional container
	NativeSidecar         // an init container with restartPolicy Always, the default since Istio 1.27
)

// Pod is a pod after injection, scheduled and started.
type Pod struct {
	Namespace   string
	Name        string
	Node        string // default: node-a
	IP          string // podIP of the status
	Labels      map[string]string
	Annotations map[string]string
	Sidecar     Sidecar
	Phase       corev1.PodPhase // default: Running
}

// CreateNamespace creates a namespace with labels.
func (c *Cluster) CreateNamespace(ctx context.Context, name string, labels map[string]string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	_, err := c.admin.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{})
	return err
}

// CreatePod creates the pod.
func (c *Cluster) CreatePod(ctx context.Context, p Pod) error { return c.Create(ctx, p.Object()) }

// Create creates a pod. Then it sets its status in a second request, as a kubelet would.
func (c *Cluster) Create(ctx context.Context, p *corev1.Pod) error {
	pods := c.admin.CoreV1().Pods(p.Namespace)
	created, err := pods.Create(ctx, p, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	created.Status = p.Status
	if _, err := pods.UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("update the status of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}

// DeletePod deletes the pod with a grace period. With 0 the pod vanishes at once. Otherwise it stays in the state
// Terminating, because there is no kubelet to finish the deletion.
func (c *Cluster) DeletePod(ctx context.Context, namespace, name string, graceSeconds int64) error {
	return c.admin.CoreV1().Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &graceSeconds})
}

// Object returns the pod as the API has it.
func (p Pod) Object() *corev1.Pod {
	node := p.Node
	if node == "" {
		node = "node-a"
	}
	app := corev1.Container{
		Name:  "app",
		Image: "app:1",
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 9080, Protocol: corev1.ProtocolTCP}},
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, Labels: p.Labels,
			Annotations: p.Annotations},
		Spec:   corev1.PodSpec{NodeName: node, Containers: []corev1.Container{app}},
		Status: p.status(),
	}
	proxy := corev1.Container{
		Name:  "istio-proxy",
		Image: "proxyv2:1",
		Ports: []corev1.ContainerPort{{Name: "http-envoy-prom", ContainerPort: 15090, Protocol: corev1.ProtocolTCP}},
	}
	switch p.Sidecar {
	case PlainSidecar:
		pod.Spec.Containers = append(pod.Spec.Containers, proxy)
	case NativeSidecar:
		always := corev1.ContainerRestartPolicyAlways
		proxy.RestartPolicy = &always
		pod.Spec.InitContainers = []corev1.Container{proxy}
	}
	return pod
}

func (p Pod) status() corev1.PodStatus {
	status := corev1.PodStatus{Phase: p.Phase, PodIP: p.IP, HostIP: "127.0.0.1"}
	if p.IP != "" {
		status.PodIPs = []corev1.PodIP{{IP: p.IP}}
	}
	if status.Phase == "" {
		status.Phase = corev1.PodRunning
	}
	ready := corev1.ConditionFalse
	if status.Phase == corev1.PodRunning {
		ready = corev1.ConditionTrue
	}
	status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	return status
}
