package show

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestFacts(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-0", CreationTimestamp: metav1.NewTime(noon),
			Labels: map[string]string{"app": "canary", "sidecar.istio.io/inject": "true"},
			Annotations: map[string]string{"prometheus.io/port": "15020", "sidecar.istio.io/status": "canary",
				"kubectl.kubernetes.io/last-applied-configuration": "canary"}},
		Spec: corev1.PodSpec{NodeName: "node-1",
			InitContainers: []corev1.Container{{Name: "istio-proxy", RestartPolicy: &always,
				Ports: []corev1.ContainerPort{{Name: "http-envoy-prom", ContainerPort: 15090}},
				Env:   []corev1.EnvVar{{Name: "PASSWORD", Value: "canary"}}}},
			Containers: []corev1.Container{{Name: "app", Args: []string{"--password=canary"}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1",
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse,
				Reason: "ContainersNotReady"}},
			InitContainerStatuses: []corev1.ContainerStatus{{Name: "istio-proxy", Ready: true, RestartCount: 3,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{
				Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}},
	}
	var lines []string
	for _, f := range Facts(pod) {
		lines = append(lines, fmt.Sprintf("%s: %s", f.Name, f.Value))
	}
	want := `Phase: Running
Node: node-1
Address: 10.0.0.1
Created: 2026-03-01 12:00:00 UTC
Ready: False: ContainersNotReady
Label sidecar.istio.io/inject: true
Annotation prometheus.io/port: 15020
Native sidecar istio-proxy: running, 3 restarts, ports 15090 (http-envoy-prom)
Container app: waiting: CrashLoopBackOff, ports none declared`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := Facts(&corev1.Pod{}); len(got) != 0 {
		t.Errorf("of an empty pod: %v", got)
	}
}
