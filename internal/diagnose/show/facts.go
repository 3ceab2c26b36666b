package show

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// meshKeys begin the labels and annotations that decide whether a pod has an Envoy and how it is scraped. Only these
// are shown: others may be anything.
var meshKeys = []string{"sidecar.istio.io/inject", "istio.io/rev", "prometheus.io/", "prometheus.istio.io/",
	"traffic.sidecar.istio.io/excludeInboundPorts", "traffic.sidecar.istio.io/includeInboundPorts",
	"istio-injection"}

// Facts returns what an API server says of a pod, as far as it matters for scraping its Envoy. Environments, arguments
// and volumes are left out: they may hold secrets.
func Facts(pod *corev1.Pod) []Fact {
	var facts []Fact
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, Fact{name, value})
		}
	}
	add("Phase", join(string(pod.Status.Phase), pod.Status.Reason, pod.Status.Message))
	add("Node", pod.Spec.NodeName)
	add("Address", pod.Status.PodIP)
	if pod.Spec.HostNetwork {
		add("Network", "that of its node (hostNetwork)")
	}
	add("Created", stamp(pod.CreationTimestamp.Time))
	if pod.DeletionTimestamp != nil {
		add("Deleted", stamp(pod.DeletionTimestamp.Time))
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady || c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue {
			add(string(c.Type), join(string(c.Status), c.Reason, c.Message))
		}
	}
	addMesh(add, "Label", pod.Labels)
	addMesh(add, "Annotation", pod.Annotations)
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		kind := "Init container "
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			kind = "Native sidecar "
		}
		add(kind+c.Name, containerWords(c, pod.Status.InitContainerStatuses))
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		add("Container "+c.Name, containerWords(c, pod.Status.ContainerStatuses))
	}
	return facts
}

func addMesh(add func(name, value string), kind string, values map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if slices.ContainsFunc(meshKeys, func(begin string) bool { return strings.HasPrefix(key, begin) }) {
			add(kind+" "+key, values[key])
		}
	}
}

// containerWords returns the state and the ports of a container: running, ready, 3 restarts; ports 15090
// (http-envoy-prom).
func containerWords(c *corev1.Container, all []corev1.ContainerStatus) string {
	var words []string
	for i := range all {
		if s := &all[i]; s.Name == c.Name {
			words = append(words, stateWords(s.State))
			if s.State.Running != nil && !s.Ready {
				words = append(words, "not ready")
			}
			if s.RestartCount > 0 {
				words = append(words, fmt.Sprintf("%d restarts", s.RestartCount))
			}
		}
	}
	ports := make([]string, 0, len(c.Ports))
	for _, p := range c.Ports {
		port := fmt.Sprint(p.ContainerPort)
		if p.Name != "" {
			port += " (" + p.Name + ")"
		}
		ports = append(ports, port)
	}
	if len(ports) == 0 {
		ports = []string{"none declared"}
	}
	return strings.Join(append(words, "ports "+strings.Join(ports, ", ")), ", ")
}

func stateWords(s corev1.ContainerState) string {
	switch {
	case s.Running != nil:
		return "running"
	case s.Terminated != nil:
		return join(fmt.Sprintf("ended with exit code %d", s.Terminated.ExitCode), s.Terminated.Reason)
	case s.Waiting != nil:
		return join("waiting", s.Waiting.Reason, s.Waiting.Message)
	}
	return "not started"
}

// join joins the words that are not empty.
func join(words ...string) string {
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), ": ")
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}
