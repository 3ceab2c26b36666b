package podlookup

import "strings"

// kinds are the names that kubectl accepts for a kind.
var kinds = map[string]string{
	"po": "Pod", "pod": "Pod", "pods": "Pod",
	"ns": "Namespace", "namespace": "Namespace", "namespaces": "Namespace",
	"deploy": "Deployment", "deployment": "Deployment", "deployments": "Deployment",
	"rs": "ReplicaSet", "replicaset": "ReplicaSet", "replicasets": "ReplicaSet",
	"sts": "StatefulSet", "statefulset": "StatefulSet", "statefulsets": "StatefulSet",
	"ds": "DaemonSet", "daemonset": "DaemonSet", "daemonsets": "DaemonSet",
	"job": "Job", "jobs": "Job", "cj": "CronJob", "cronjob": "CronJob", "cronjobs": "CronJob",
	"rc": "ReplicationController", "replicationcontroller": "ReplicationController",
	"replicationcontrollers": "ReplicationController",
}

// KindOf returns the kind that a word means, such as Deployment for deploy or deployments.apps, or "". The host
// jobs.example.com is no kind.
func KindOf(word string) string {
	word, group, _ := strings.Cut(strings.ToLower(word), ".")
	switch strings.TrimPrefix(group, "v1.") {
	case "", "v1", "apps", "batch":
		return kinds[word]
	}
	return ""
}

// IsKind reports whether a Query.Name can begin with a word, such as deploy in deploy/details.
func IsKind(word string) bool {
	switch KindOf(word) {
	case "Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job":
		return true
	}
	return false
}
