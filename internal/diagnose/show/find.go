package show

import (
	"cmp"
	"slices"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/internal/config/hint"
	"github.com/envoy-scraper/envoy-scraper/internal/podlookup"
)

// maxNearest is how many names Nearest suggests.
const maxNearest = 5

// IsGroup reports whether a name means several pods: ns/shop or deploy/reviews.
func IsGroup(name string) bool {
	kind, _, slash := strings.Cut(name, "/")
	full := podlookup.KindOf(kind)
	return slash && full != "" && full != "Pod"
}

// FullName returns namespace/pod if the name says both or namespace is not empty, or "".
func FullName(name, namespace string) string {
	kind, rest, slash := strings.Cut(name, "/")
	switch {
	case name == "" || IsGroup(name):
		return ""
	case slash && podlookup.KindOf(kind) == "Pod":
		name = rest
	case slash:
		return name
	}
	if namespace != "" {
		return namespace + "/" + name
	}
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		return name[dot+1:] + "/" + name[:dot]
	}
	return ""
}

// Find returns the pods that a person means by a name. All these mean the pod cart-0 of the namespace shop:
//
//	shop/cart-0  cart-0  cart-0.shop  pod/cart-0
//
// ns/shop means all pods of a namespace, and deploy/reviews (sts, ds, rs, job, cj …) all pods of a workload. An empty
// name means all pods. If namespace is not empty, only its pods are looked at.
func Find(pods []Pod, name, namespace string) []Pod {
	if namespace != "" {
		pods = where(pods, func(p *Pod) bool { return p.Namespace == namespace })
	}
	if name == "" {
		return pods
	}
	kind, rest, slash := strings.Cut(name, "/")
	var found []Pod
	switch full := podlookup.KindOf(kind); {
	case !slash:
		return named(pods, name)
	case rest == "":
		return nil
	case full == "Pod":
		found = named(pods, rest)
	case full == "Namespace":
		found = where(pods, func(p *Pod) bool { return p.Namespace == rest })
	case full != "":
		found = where(pods, func(p *Pod) bool { return p.belongsTo(full, rest) })
	}
	if len(found) == 0 { // a namespace may be called job, or ds
		found = where(pods, func(p *Pod) bool { return p.Namespace == kind && p.Name == rest })
	}
	return found
}

// named returns the pods called name, or pod.namespace. A pod's name may contain dots, a namespace's may not.
func named(pods []Pod, name string) []Pod {
	if found := where(pods, func(p *Pod) bool { return p.Name == name || p.FullName() == name }); len(found) > 0 {
		return found
	}
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return nil
	}
	pod, namespace := name[:dot], name[dot+1:]
	return where(pods, func(p *Pod) bool { return p.Name == pod && p.Namespace == namespace })
}

func where(pods []Pod, is func(*Pod) bool) (found []Pod) {
	for i := range pods {
		if is(&pods[i]) {
			found = append(found, pods[i])
		}
	}
	return found
}

// belongsTo reports whether the pod is of a workload. The controller of a Deployment's pod is a ReplicaSet, whose name
// has a hash at its end: ReplicaSet/reviews-v1-7f9c is of the Deployment reviews-v1. If the controller is not known,
// the name of the pod has to do.
func (p *Pod) belongsTo(kind, name string) bool {
	owner, controller, known := strings.Cut(p.Workload, "/")
	if !known {
		controller = withoutSuffix(p.Name)
		switch kind {
		case "Deployment", "CronJob":
			return withoutSuffix(controller) == name
		default:
			return controller == name
		}
	}
	switch {
	case owner == kind && controller == name:
		return true
	case kind == "Deployment" && owner == "ReplicaSet", kind == "CronJob" && owner == "Job":
		return withoutSuffix(controller) == name
	}
	return false
}

// withoutSuffix cuts the last dash and what follows: reviews-v1-7f9c becomes reviews-v1.
func withoutSuffix(name string) string {
	if dash := strings.LastIndexByte(name, '-'); dash > 0 {
		return name[:dash]
	}
	return ""
}

// Nearest returns names of pods that resemble an unknown one, the nearest first: those that contain it, and those that
// differ in few letters.
func Nearest(pods []Pod, name string) []string {
	if kind, rest, slash := strings.Cut(name, "/"); slash && podlookup.KindOf(kind) != "" {
		name = rest
	}
	name = name[:min(len(name), 253)] // the longest name of a pod; it bounds the work
	type near struct {
		name     string
		distance int
	}
	var found []near
	for i := range pods {
		p := &pods[i]
		full := p.FullName()
		distance := min(hint.Distance(name, p.Name), hint.Distance(name, full))
		if strings.Contains(full, name) {
			distance = min(distance, 1)
		}
		if distance <= max(2, len(name)/4) {
			found = append(found, near{full, distance})
		}
	}
	slices.SortFunc(found, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), strings.Compare(a.name, b.name))
	})
	names := []string{}
	for _, n := range found[:min(len(found), maxNearest)] {
		names = append(names, n.name)
	}
	return names
}
