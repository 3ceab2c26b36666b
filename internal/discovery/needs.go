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

// need is one kind of object that a Kubernetes discovery lists and watches.
type need struct {
	group     string // of the API; empty: the core group
	version   string
	resource  string
	namespace string // empty: all, or an object that belongs to none
	label     string // selectors
	field     string
	primary   bool // the role's own objects: without any there are no targets
}

// kubernetesNeeds lists what Prometheus' discovery of that configuration reads.
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

// roleNeeds lists what a role reads, its own objects first.
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

// selected adds the selectors that the configuration has for these objects.
func (n need) selected(selectors []kubernetes.SelectorConfig) need {
	resources := map[kubernetes.Role]string{
		kubernetes.RolePod: "pods", kubernetes.RoleService: "services", kubernetes.RoleEndpoint: "endpoints",
		kubernetes.RoleEndpointSlice: "endpointslices", kubernetes.RoleIngress: "ingresses", kubernetes.RoleNode: "nodes",
	}
	for _, s := range selectors {
		if resources[s.Role] == n.resource {
			n.label, n.field = s.Label, s.Field
		}
	}
	return n
}

// url is where the objects are listed, without parameters.
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

// listQuery asks for one object at most: are there any?
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

// watchQuery asks whether watching is allowed, of an object that cannot exist, so that the answer has no body.
func (n need) watchQuery() url.Values {
	return url.Values{
		"watch": {"true"}, "resourceVersion": {"0"}, "timeoutSeconds": {"1"}, "fieldSelector": {"metadata.name=envoy-scraper.none"},
	}
}

// String says the objects as an administrator would: pods, replicasets.apps in namespace shop.
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

// ownNamespace is the namespace of the pod that we run in; empty outside of one, which Prometheus' discovery refuses.
func ownNamespace() string {
	b, err := os.ReadFile(serviceAccountNamespace)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
