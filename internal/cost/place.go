package cost

import (
	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
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
	workload = discovery.WorkloadOf(controller)
	if workload == "" {
		workload = discovery.WorkloadOfPod(p.Pod.Name)
	}
	return p.Pod.String(), p.Pod.Namespace, p.Pod.Namespace + "/" + workload
}
