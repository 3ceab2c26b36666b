package cost

import (
	"strings"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

const (
	unknownFamily = "(family not known)"
	noPlace       = "(not a pod)"

	podMeta = model.MetaLabelPrefix + "kubernetes_pod_"
)

// placeOf returns the names of the pod, the namespace and the workload that a page belongs to. A target that is no pod
// goes by its label instance. controllers is what Source.Controllers returns.
func placeOf(p *scrape.LastPage, controllers map[scrape.Pod]string) (pod, namespace, workload string) {
	if p.Pod == (scrape.Pod{}) {
		return p.Labels.Get(model.InstanceLabel), noPlace, noPlace
	}
	controller, known := controllers[p.Pod]
	if !known {
		found := p.Discovered()
		controller = found.Get(podMeta+"controller_kind") + "/" + found.Get(podMeta+"controller_name")
	}
	workload = workloadOf(controller)
	if workload == "" {
		workload = workloadOfPod(p.Pod.Name)
	}
	return p.Pod.String(), p.Pod.Namespace, p.Pod.Namespace + "/" + workload
}

// workloadOf returns the name of the workload behind a controller, or "". A Deployment controls its pods through a
// ReplicaSet, whose name has a hash at the end: ReplicaSet/reviews-v1-6c9f8bcb9d is of reviews-v1. A CronJob does so
// through a Job, whose name has the minute at the end: Job/backup-29012345 is of backup.
func workloadOf(controller string) string {
	kind, name, _ := strings.Cut(controller, "/")
	rest, last, ok := cutLast(name)
	if ok && (kind == "ReplicaSet" && isHash(last) || kind == "Job" && len(last) == 8 && isNumber(last)) {
		return rest
	}
	return name
}

// workloadOfPod returns the name of the workload that a pod's name begins with: reviews-v1-6c9f8bcb9d-mm6jd is a pod of
// the Deployment reviews-v1, postgres-0 of the StatefulSet postgres, and node-agent-x7k2p of the DaemonSet node-agent.
func workloadOfPod(pod string) string {
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
