package discovery

import (
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/util/strutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const podPrefix = kubePrefix + "pod_"

// trimPod returns a pod that has only the fields from which Prometheus' discovery makes targets (address, containers,
// ports) and the labels that rules read. It shares memory with the given pod.
func trimPod(pod *corev1.Pod, r *reads) *corev1.Pod {
	small := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: pod.Namespace, Name: pod.Name, ResourceVersion: pod.ResourceVersion,
		Labels:      trimMeta(pod.Labels, "label", r),
		Annotations: trimMeta(pod.Annotations, "annotation", r),
	}}
	small.Status.PodIP = pod.Status.PodIP
	if r.has(podPrefix + "uid") {
		small.UID = pod.UID
	}
	if r.has(podPrefix + "node_name") {
		small.Spec.NodeName = pod.Spec.NodeName
	}
	if r.has(podPrefix + "phase") {
		small.Status.Phase = pod.Status.Phase
	}
	if r.has(podPrefix + "host_ip") {
		small.Status.HostIP = pod.Status.HostIP
	}
	if r.any(podPrefix+"controller_kind", podPrefix+"controller_name") {
		small.OwnerReferences = controllerOnly(pod.OwnerReferences)
	}
	if r.has(podPrefix + "ready") {
		small.Status.Conditions = readyOnly(pod.Status.Conditions)
	}
	small.Spec.Containers = trimContainers(pod.Spec.Containers, r)
	small.Spec.InitContainers = trimContainers(pod.Spec.InitContainers, r)
	if r.has(podPrefix + "container_id") {
		small.Status.ContainerStatuses = idsOnly(pod.Status.ContainerStatuses)
		small.Status.InitContainerStatuses = idsOnly(pod.Status.InitContainerStatuses)
	}
	return small
}

// trimMeta keeps the labels or annotations whose value or presence a rule can read.
func trimMeta(meta map[string]string, kind string, r *reads) map[string]string {
	var kept map[string]string
	for key, value := range meta {
		name := strutil.SanitizeLabelName(key)
		if !r.any(podPrefix+kind+"_"+name, podPrefix+kind+"present_"+name) {
			continue
		}
		if kept == nil {
			kept = map[string]string{}
		}
		kept[key] = value
	}
	return kept
}

// controllerOnly keeps the first reference to a controller, the only one that makes labels.
func controllerOnly(owners []metav1.OwnerReference) []metav1.OwnerReference {
	for _, o := range owners {
		if o.Controller != nil && *o.Controller {
			return []metav1.OwnerReference{{Kind: o.Kind, Name: o.Name, Controller: o.Controller}}
		}
	}
	return nil
}

// readyOnly keeps the first condition of type Ready, the only one that makes a label.
func readyOnly(conditions []corev1.PodCondition) []corev1.PodCondition {
	for _, c := range conditions {
		if c.Type == corev1.PodReady {
			return []corev1.PodCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return nil
}

func trimContainers(containers []corev1.Container, r *reads) []corev1.Container {
	if len(containers) == 0 {
		return nil
	}
	small := make([]corev1.Container, len(containers))
	for i, c := range containers {
		small[i].Name = c.Name
		if r.has(podPrefix + "container_image") {
			small[i].Image = c.Image
		}
		for _, p := range c.Ports {
			small[i].Ports = append(small[i].Ports,
				corev1.ContainerPort{Name: p.Name, ContainerPort: p.ContainerPort, Protocol: p.Protocol})
		}
	}
	return small
}

func idsOnly(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
	var small []corev1.ContainerStatus
	for _, s := range statuses {
		small = append(small, corev1.ContainerStatus{Name: s.Name, ContainerID: s.ContainerID})
	}
	return small
}

// trimGroup returns a group without the meta labels that no rule reads. Relabeling gives the same result, because all
// meta labels are removed after the last rule.
func trimGroup(g *targetgroup.Group, r *reads) *targetgroup.Group {
	if len(g.Targets) == 0 {
		return &targetgroup.Group{Source: g.Source}
	}
	small := &targetgroup.Group{Source: g.Source, Labels: trimLabels(g.Labels, nil, r),
		Targets: make([]model.LabelSet, len(g.Targets))}
	for i, t := range g.Targets {
		small.Targets[i] = trimLabels(t, g.Labels, r)
	}
	return small
}

// trimLabels returns a copy in a map of the right size. Labels with an empty value are left out unless they hide a
// label of the group.
func trimLabels(labels, group model.LabelSet, r *reads) model.LabelSet {
	keep := func(name model.LabelName, value model.LabelValue) bool {
		return (value != "" || group[name] != "") && r.keeps(name)
	}
	kept := 0
	for name, value := range labels {
		if keep(name, value) {
			kept++
		}
	}
	small := make(model.LabelSet, kept)
	for name, value := range labels {
		if !keep(name, value) {
			continue
		}
		if shared, ok := r.names[string(name)]; ok {
			name = model.LabelName(shared)
		}
		small[name] = value
	}
	return small
}

// keeps reports whether a discovered label stays: it is no meta label, or a rule can read it.
func (r *reads) keeps(name model.LabelName) bool {
	return !strings.HasPrefix(string(name), model.MetaLabelPrefix) || r.has(string(name))
}
