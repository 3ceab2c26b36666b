package discovery

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/discovery/kubernetes"
)

// serviceAccountNamespace holds the namespace of the pod that we run in.
const serviceAccountNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// need is one kind of object that a Kubernetes discovery lists and watches: pods in namespace shop, for example.
type need struct {
	group     string // of the API; empty: the core group
	version   string
	resource  string
	namespace string // empty: all namespaces, or an object without a namespace
	label     string // selectors
	field     string
	primary   bool // the objects of the role itself: if there are none, there are no targets
}

// kubernetesNeeds lists the objects that Prometheus' discovery reads for a configuration.
func kubernetesNeeds(c *kubernetes.SDConfig) []need {
	namespaces := slices.Clone(c.NamespaceDiscovery.Names)
	if c.NamespaceDiscovery.IncludeOwnNamespace {
		if own := ownNamespace(); own != "" {
			namespaces = append(namespaces, own)
		}
	}
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	var needs []need
	for _, ns := range namespaces {
		for i, n := range roleNeeds(c.Role) {
			n.primary = i == 0
			if n.resource != "nodes" {
				n.namespace = ns
			}
			needs = append(needs, n.selected(c.Selectors))
		}
		if c.AttachMetadata.Deployment {
			needs = append(needs, need{group: "apps", version: "v1", resource: "replicasets", namespace: ns})
		}
		if c.AttachMetadata.Job || c.AttachMetadata.CronJob {
			needs = append(needs, need{group: "batch", version: "v1", resource: "jobs", namespace: ns})
		}
	}
	if c.AttachMetadata.Node && c.Role != kubernetes.RoleNode {
		needs = append(needs, need{version: "v1", resource: "nodes"}.selected(c.Selectors))
	}
	if c.AttachMetadata.Namespace {
		needs = append(needs, need{version: "v1", resource: "namespaces"})
	}
	return needs
}

// roleNeeds lists the objects that a role reads, its own objects first.
func roleNeeds(role kubernetes.Role) []need {
	pods := need{version: "v1", resource: "pods"}
	services := need{version: "v1", resource: "services"}
	switch role {
	case kubernetes.RolePod:
		return []need{pods}
	case kubernetes.RoleService:
		return []need{services}
	case kubernetes.RoleEndpoint:
		return []need{{version: "v1", resource: "endpoints"}, services, pods}
	case kubernetes.RoleEndpointSlice:
		return []need{{group: "discovery.k8s.io", version: "v1", resource: "endpointslices"}, services, pods}
	case kubernetes.RoleIngress:
		return []need{{group: "networking.k8s.io", version: "v1", resource: "ingresses"}}
	case kubernetes.RoleNode:
		return []need{{version: "v1", resource: "nodes"}}
	}
	return nil
}

// selected adds the configured selectors for these objects.
func (n need) selected(selectors []kubernetes.SelectorConfig) need {
	resources := map[kubernetes.Role]string{
		kubernetes.RolePod: "pods", kubernetes.RoleService: "services", kubernetes.RoleEndpoint: "endpoints",
		kubernetes.RoleEndpointSlice: "endpointslices", kubernetes.RoleIngress: "ingresses",
		kubernetes.RoleNode: "nodes",
	}
	for _, s := range selectors {
		if resources[s.Role] == n.resource {
			n.label, n.field = s.Label, s.Field
		}
	}
	return n
}

// url returns the path where the objects are listed: /api/v1/namespaces/shop/pods.
func (n need) url() string {
	root := path.Join("/api", n.version)
	if n.group != "" {
		root = path.Join("/apis", n.group, n.version)
	}
	if n.namespace != "" {
		return path.Join(root, "namespaces", url.PathEscape(n.namespace), n.resource)
	}
	return path.Join(root, n.resource)
}

// listQuery asks for at most one object: enough to learn whether there are any. This is a question about rights; the
// list of pods is in pods.go.
func (n need) listQuery() url.Values {
	q := url.Values{"limit": {"1"}}
	if n.label != "" {
		q.Set("labelSelector", n.label)
	}
	if n.field != "" {
		q.Set("fieldSelector", n.field)
	}
	return q
}

// watchQuery watches an object that cannot exist. The status tells whether watching is allowed; the answer has no body.
func (n need) watchQuery() url.Values {
	return url.Values{
		"watch": {"true"}, "resourceVersion": {"0"}, "timeoutSeconds": {"1"}, "fieldSelector": {
			"metadata.name=envoy-scraper.none"},
	}
}

// String names the objects for error messages: "replicasets.apps in namespace shop".
func (n need) String() string {
	s := n.resource
	if n.group != "" {
		s += "." + n.group
	}
	switch {
	case n.namespace != "":
		return fmt.Sprintf("%s in namespace %s", s, n.namespace)
	case n.resource == "nodes" || n.resource == "namespaces":
		return s
	default:
		return s + " in all namespaces"
	}
}

// ownNamespace returns the namespace of the pod that we run in. It is empty outside of a pod, where Prometheus'
// discovery refuses own_namespace.
func ownNamespace() string {
	b, err := os.ReadFile(serviceAccountNamespace)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
