package cost

import (
	"strings"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

const (
	unknownFamily = "(family not known)"
	noPlace       = "(not a pod)"

	podMeta = model.MetaLabelPrefix + "kubernetes_"
)

// placeOf returns the names of the pod, the namespace and the workload that a page belongs to. A target that is no pod
// goes by its label instance.
func placeOf(p *scrape.LastPage) (pod, namespace, workload string) {
	found := p.Discovered()
	name := found.Get(podMeta + "pod_name")
	if name == "" {
		return p.Labels.Get(model.InstanceLabel), noPlace, noPlace
	}
	namespace = found.Get(podMeta + "namespace")
	return namespace + "/" + name, namespace, namespace + "/" + workloadOf(name)
}

// workloadOf returns the name of the workload that a pod's name begins with: reviews-v1-6c9f8bcb9d-mm6jd is a pod of
// the Deployment reviews-v1, postgres-0 of the StatefulSet postgres, and node-agent-x7k2p of the DaemonSet node-agent.
func workloadOf(pod string) string {
	rest, last, ok := cutLast(pod)
	switch {
	case !ok:
		return pod
	case isNumber(last):
		return rest
	case len(last) != 5 || !isRandom(last):
		return pod
	}
	if deployment, hash, ok := cutLast(rest); ok && len(hash) >= 8 && len(hash) <= 10 && isRandom(hash) {
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

// isRandom reports whether Kubernetes may have made s: it uses no vowels, and not the digits 0, 1 and 3.
func isRandom(s string) bool { return strings.Trim(s, "bcdfghjklmnpqrstvwxz2456789") == "" }
