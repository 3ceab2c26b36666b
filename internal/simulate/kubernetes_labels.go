package simulate

import (
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	corev1 "k8s.io/api/core/v1"
)

// discoveredTargets returns the labels that Prometheus' discovery of pods gives the ports of a pod. It is a second
// implementation, for the oracle.
func discoveredTargets(pod *corev1.Pod) (targets []labels.Labels) {
	if pod.Status.PodIP == "" {
		return nil
	}
	shared := podLabels(pod)
	containers := len(pod.Spec.Containers)
	for i, c := range append(pod.Spec.Containers[:containers:containers], pod.Spec.InitContainers...) {
		b := labels.NewBuilder(shared)
		b.Set("__meta_kubernetes_pod_container_name", c.Name)
		b.Set("__meta_kubernetes_pod_container_image", c.Image)
		b.Set("__meta_kubernetes_pod_container_init", strconv.FormatBool(i >= containers))
		if len(c.Ports) == 0 {
			b.Set("__address__", pod.Status.PodIP)
			targets = append(targets, b.Labels())
		}
		for _, port := range c.Ports {
			number := strconv.Itoa(int(port.ContainerPort))
			b.Set("__address__", net.JoinHostPort(pod.Status.PodIP, number))
			b.Set("__meta_kubernetes_pod_container_port_number", number)
			b.Set("__meta_kubernetes_pod_container_port_name", port.Name)
			b.Set("__meta_kubernetes_pod_container_port_protocol", string(port.Protocol))
			targets = append(targets, b.Labels())
		}
	}
	return targets
}

// podLabels returns the labels that all ports of a pod have.
func podLabels(pod *corev1.Pod) labels.Labels {
	const prefix = "__meta_kubernetes_pod_"
	b := labels.NewBuilder(labels.FromStrings("__meta_kubernetes_namespace", pod.Namespace,
		prefix+"name", pod.Name, prefix+"ip", pod.Status.PodIP, prefix+"phase", string(pod.Status.Phase),
		prefix+"node_name", pod.Spec.NodeName, prefix+"host_ip", pod.Status.HostIP, prefix+"uid", string(pod.UID),
		prefix+"ready", "unknown"))
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			b.Set(prefix+"ready", strings.ToLower(string(c.Status)))
		}
	}
	for _, owner := range pod.OwnerReferences {
		if owner.Controller != nil && *owner.Controller {
			b.Set(prefix+"controller_kind", owner.Kind)
			b.Set(prefix+"controller_name", owner.Name)
		}
	}
	invalid := regexp.MustCompile(`[^a-zA-Z0-9_]`)
	for kind, values := range map[string]map[string]string{"label": pod.Labels, "annotation": pod.Annotations} {
		for name, value := range values {
			name = invalid.ReplaceAllString(name, "_")
			b.Set(prefix+kind+"_"+name, value)
			b.Set(prefix+kind+"present_"+name, "true")
		}
	}
	return b.Labels()
}
