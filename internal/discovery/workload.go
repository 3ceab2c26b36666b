package discovery

import (
	"strings"

	"github.com/prometheus/common/model"
)

const (
	controllerKindLabel = podPrefix + "controller_kind"
	controllerNameLabel = podPrefix + "controller_name"
)

// OwnerOf returns the kind and name of the workload that the pod of a target belongs to, such as
// ReplicaSet/reviews-v1: the pod's controller, by what WorkloadOf makes of its name. It returns "" if the target is not
// of a pod, or the pod has no controller. own and group are the labels of the target and its group.
func OwnerOf(own, group model.LabelSet) string {
	get := func(name model.LabelName) string {
		if v, ok := own[name]; ok {
			return string(v)
		}
		return string(group[name])
	}
	kind, name := get(controllerKindLabel), get(controllerNameLabel)
	if kind == "" || name == "" {
		return ""
	}
	return kind + "/" + WorkloadOf(kind+"/"+name)
}

// WorkloadOf returns the name of the workload behind a controller, or "". A Deployment controls its pods through a
// ReplicaSet, whose name has a hash at the end: ReplicaSet/reviews-v1-6c9f8bcb9d is of reviews-v1. A CronJob does so
// through a Job, whose name has the minute at the end: Job/backup-29012345 is of backup.
func WorkloadOf(controller string) string {
	kind, name, _ := strings.Cut(controller, "/")
	rest, last, ok := cutLast(name)
	if ok && (kind == "ReplicaSet" && isHash(last) || kind == "Job" && len(last) == 8 && isNumber(last)) {
		return rest
	}
	return name
}

// WorkloadOfPod returns the name of the workload that a pod's name begins with: reviews-v1-6c9f8bcb9d-mm6jd is a pod of
// the Deployment reviews-v1, postgres-0 of the StatefulSet postgres, and node-agent-x7k2p of the DaemonSet node-agent.
func WorkloadOfPod(pod string) string {
	rest, last, ok := cutLast(pod)
	switch {
	case !ok:
		return pod
	case isNumber(last):
		return rest
	case len(last) != 5 || !isRandom(last):
		return pod
	}
	if deployment, hash, ok := cutLast(rest); ok && isHash(hash) {
		return deployment
	}
	return rest
}

func cutLast(s string) (rest, last string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// isHash reports whether s may be the hash of a Deployment's template of pods.
func isHash(s string) bool { return len(s) >= 8 && len(s) <= 10 && isRandom(s) }

// isRandom reports whether Kubernetes may have made s: it uses no vowels, and not the digits 0, 1 and 3.
func isRandom(s string) bool { return strings.Trim(s, "bcdfghjklmnpqrstvwxz2456789") == "" }
