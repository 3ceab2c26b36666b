package discovery

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/discovery/kubernetes"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// PodScope says at which pods one discovery of a job looks. It is a copy.
type PodScope struct {
	Job        string
	Role       string            // such as pod or endpointslice
	Namespaces []string          // empty: all
	Label      string            // selector of pods; empty: all
	Field      string            // selector of pods; empty: all
	Records    bool              // Manager.Pods has the pods of this discovery
	Denied     map[string]string // what the API server refuses, by namespace ("": all): may not list pods … (403 …)
}

const nodeField = "spec.nodeName"

// Scopes returns a scope for each Kubernetes discovery of each job whose targets are pods, in the order of the
// configuration.
func (m *Manager) Scopes() []PodScope {
	m.mu.Lock()
	defer m.mu.Unlock()
	var scopes []PodScope
	for _, j := range m.jobs {
		for _, p := range j.providers {
			if s, ok := p.scope(); ok {
				s.Job = j.name
				scopes = append(scopes, s)
			}
		}
	}
	return scopes
}

// scope returns the scope of a discovery, without the job.
func (p *provider) scope() (s PodScope, ok bool) {
	k, ok := p.config.(*kubernetes.SDConfig)
	if !ok || !slices.Contains([]kubernetes.Role{kubernetes.RolePod, kubernetes.RoleEndpoint,
		kubernetes.RoleEndpointSlice}, k.Role) {
		return s, false
	}
	_, records := p.inner.(*podDiscovery)
	s = PodScope{Role: string(k.Role), Records: records, Denied: map[string]string{}}
	for _, n := range p.needs {
		if n.resource != "pods" {
			continue
		}
		s.Label, s.Field = n.label, n.field
		if n.namespace != "" {
			s.Namespaces = append(s.Namespaces, n.namespace)
		}
		if p.server != nil {
			if denied := p.server.denied(n); denied != "" {
				s.Denied[n.namespace] = denied
			}
		}
	}
	return s, true
}

// denied returns what the API server refuses of a need; empty: nothing, or it has not answered yet.
func (s *server) denied(n need) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grants[n.question()].denied
}

// Miss is how a discovery misses a pod. A greater one is nearer to seeing it.
type Miss int

// The kinds of misses.
const (
	Sees            Miss = iota // it does not miss the pod
	MissesNamespace             // it looks in other namespaces
	MissesRights                // the API server refuses the list
	MissesSelector              // it asks for other labels or fields
	MissesNode                  // it asks for the pods of another node, and this is all that differs
)

// Misses says whether a discovery sees a pod, and if not, why: "looks in namespaces shop, pay only".
func (s PodScope) Misses(pod *corev1.Pod) (m Miss, why string) {
	if len(s.Namespaces) > 0 && !slices.Contains(s.Namespaces, pod.Namespace) {
		return MissesNamespace,
			"looks in " + plural(len(s.Namespaces), "namespace") + " " + strings.Join(s.Namespaces, ", ") + " only"
	}
	for _, namespace := range []string{pod.Namespace, ""} {
		if denied := s.Denied[namespace]; denied != "" {
			return MissesRights, denied
		}
	}
	if sel, err := labels.Parse(s.Label); err == nil && !sel.Matches(labels.Set(pod.Labels)) {
		return MissesSelector, fmt.Sprintf("asks for pods with labels %s only", s.Label)
	}
	if sel, err := fields.ParseSelector(s.Field); err == nil && !sel.Matches(fieldsOf(pod)) {
		m = MissesSelector
		there := fieldsOf(pod)
		if there[nodeField] = s.Node(); s.Node() != "" && sel.Matches(there) {
			m = MissesNode
		}
		return m, fmt.Sprintf("asks for pods with %s only", s.Field)
	}
	return Sees, ""
}

// Node returns the node whose pods alone the discovery asks for; empty: it does not ask for one node.
func (s PodScope) Node() string {
	sel, err := fields.ParseSelector(s.Field)
	if err != nil {
		return ""
	}
	node, _ := sel.RequiresExactMatch(nodeField)
	return node
}

// fieldsOf returns the fields of a pod that selectors know.
func fieldsOf(pod *corev1.Pod) fields.Set {
	return fields.Set{
		"metadata.name": pod.Name, "metadata.namespace": pod.Namespace, nodeField: pod.Spec.NodeName,
		"spec.restartPolicy": string(pod.Spec.RestartPolicy), "spec.schedulerName": pod.Spec.SchedulerName,
		"spec.serviceAccountName": pod.Spec.ServiceAccountName, "spec.hostNetwork": fmt.Sprint(pod.Spec.HostNetwork),
		"status.phase": string(pod.Status.Phase), "status.podIP": pod.Status.PodIP,
		"status.nominatedNodeName": pod.Status.NominatedNodeName,
	}
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
