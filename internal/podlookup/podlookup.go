// Package podlookup finds a pod for a person who names it: by its name, by the name of its workload, or by labels. It
// reads the kubeconfig as kubectl does. Its errors say what to do.
package podlookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	batchclient "k8s.io/client-go/kubernetes/typed/batch/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/config/hint"
	"github.com/envoy-scraper/envoy-scraper/internal/kubeconfig"
)

const (
	maxPods    = 500 // that one look-up reads
	maxNearest = 3   // names that an error suggests
)

// Cluster is the API server that a kubeconfig names.
type Cluster struct {
	*kubeconfig.Config // its namespace is where a pod is looked up if no namespace is given

	// Clients of the groups that are used. A kubernetes.Clientset would add 8 MB to the program, for all other groups.
	core  coreclient.CoreV1Interface
	apps  appsclient.AppsV1Interface
	batch batchclient.BatchV1Interface
}

// Open opens the cluster of a kubeconfig, see kubeconfig.Read.
func Open(file, context string) (*Cluster, error) {
	cfg, err := kubeconfig.Read(file, context)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Config: cfg}
	var errs [3]error
	c.core, errs[0] = coreclient.NewForConfig(cfg.REST)
	c.apps, errs[1] = appsclient.NewForConfig(cfg.REST)
	c.batch, errs[2] = batchclient.NewForConfig(cfg.REST)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return c, nil
}

// Query says which pod is wanted.
type Query struct {
	Namespace string // empty: that of the context
	Name      string // of a pod, or KIND/NAME of a workload, such as deploy/details; empty: Selector says it
	Selector  string // label selector, such as app=details; empty: Name says it
}

// Found is the pod that a query found.
type Found struct {
	Pod    corev1.Pod
	Others int // other pods that the query found, too
	// Unseen is set if we may not read pods. Then Pod has only the names that the query gave.
	Unseen bool
}

// Find returns the pod of a query. Of several pods it takes the first by name, those that are ready before others.
func (c *Cluster) Find(ctx context.Context, q Query) (Found, error) {
	q.Namespace = cmp.Or(q.Namespace, c.Namespace)
	kind, name, isWorkload := strings.Cut(q.Name, "/")
	if isWorkload && KindOf(kind) == "Pod" {
		q.Name, isWorkload = name, false
	}
	switch {
	case isWorkload:
		selector, err := c.selector(ctx, q.Namespace, kind, name)
		if err != nil {
			return Found{}, err
		}
		return c.first(ctx, q.Namespace, selector,
			fmt.Sprintf("%s in namespace %s has no pods", q.Name, q.Namespace))
	case q.Name != "":
		return c.named(ctx, q.Namespace, q.Name)
	default:
		if _, err := labels.Parse(q.Selector); err != nil {
			return Found{}, fmt.Errorf("-l %s: %w", q.Selector, err)
		}
		return c.first(ctx, q.Namespace, q.Selector,
			fmt.Sprintf("no pod in namespace %s has the labels %s", q.Namespace, q.Selector))
	}
}

// named returns the pod of a name, or an error with the nearest names.
func (c *Cluster) named(ctx context.Context, namespace, name string) (Found, error) {
	pod, err := c.core.Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil:
		return Found{Pod: *pod}, nil
	case apierrors.IsForbidden(err):
		named := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		return Found{Pod: named, Unseen: true}, nil
	case !apierrors.IsNotFound(err):
		return Found{}, explain(err, "get", "pods", namespace)
	}
	pods, err := c.pods(ctx, namespace, "")
	if err != nil || len(pods) == 0 {
		return Found{}, fmt.Errorf("namespace %s has no pod %s: is it the right namespace (-n) and cluster?", namespace,
			name)
	}
	return Found{}, fmt.Errorf("namespace %s has no pod %s; the nearest names are %s", namespace, name,
		strings.Join(nearest(name, pods), ", "))
}

// first returns the first pod that a selector chooses. none is the error if there is no pod.
func (c *Cluster) first(ctx context.Context, namespace, selector, none string) (Found, error) {
	pods, err := c.pods(ctx, namespace, selector)
	if err != nil {
		return Found{}, err
	}
	if len(pods) == 0 {
		return Found{}, errors.New(none)
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.Name, b.Name))
	})
	return Found{Pod: pods[0], Others: len(pods) - 1}, nil
}

func (c *Cluster) pods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list, err := c.core.Pods(namespace).List(ctx,
		metav1.ListOptions{LabelSelector: selector, Limit: maxPods})
	if err != nil {
		return nil, explain(err, "list", "pods", namespace)
	}
	return list.Items, nil
}

// rank orders pods: ready, running, others, finished or going.
func rank(p *corev1.Pod) int {
	ready := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	switch {
	case p.DeletionTimestamp != nil, p.Status.Phase == corev1.PodSucceeded, p.Status.Phase == corev1.PodFailed:
		return 3
	case ready:
		return 0
	case p.Status.Phase == corev1.PodRunning:
		return 1
	default:
		return 2
	}
}

// selector returns the label selector of a workload.
func (c *Cluster) selector(ctx context.Context, namespace, kind, name string) (string, error) {
	var selector *metav1.LabelSelector
	var plural string
	var err error
	switch KindOf(kind) {
	case "Deployment":
		plural = "deployments.apps"
		d, e := c.apps.Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		selector, err = d.Spec.Selector, e
	case "StatefulSet":
		plural = "statefulsets.apps"
		s, e := c.apps.StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
		selector, err = s.Spec.Selector, e
	case "DaemonSet":
		plural = "daemonsets.apps"
		d, e := c.apps.DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
		selector, err = d.Spec.Selector, e
	case "ReplicaSet":
		plural = "replicasets.apps"
		r, e := c.apps.ReplicaSets(namespace).Get(ctx, name, metav1.GetOptions{})
		selector, err = r.Spec.Selector, e
	case "Job":
		plural = "jobs.batch"
		j, e := c.batch.Jobs(namespace).Get(ctx, name, metav1.GetOptions{})
		selector, err = j.Spec.Selector, e
	default:
		return "", fmt.Errorf("kind %q is not known: give pod, deploy, sts, ds, rs or job, or -l with labels", kind)
	}
	switch {
	case apierrors.IsNotFound(err):
		return "", fmt.Errorf("namespace %s has no %s/%s: is it the right namespace (-n) and cluster?", namespace, kind,
			name)
	case err != nil:
		return "", explain(err, "get", plural, namespace)
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return "", err
	}
	return s.String(), nil
}

// explain says in words why the API server does not answer a question about objects.
func explain(err error, verb, objects, namespace string) error {
	switch {
	case apierrors.IsUnauthorized(err):
		return errors.New("the API server does not accept your credentials (401): log in again; kubectl auth whoami " +
			"asks it who you are")
	case apierrors.IsForbidden(err):
		return fmt.Errorf("the API server does not let you %s %s in namespace %s (403): check with kubectl auth can-i "+
			"%s %s -n %s", verb, objects, namespace, verb, objects, namespace)
	default:
		return fmt.Errorf("%s %s in namespace %s: %w", verb, objects, namespace, err)
	}
}

// nearest returns the names that resemble name most: those that begin with it, then those with the fewest different
// letters.
func nearest(name string, pods []corev1.Pod) []string {
	distance := func(other string) int {
		if strings.HasPrefix(other, name) || strings.HasPrefix(name, other) {
			return 0
		}
		return hint.Distance(name, other)
	}
	names := make([]string, len(pods))
	for i := range pods {
		names[i] = pods[i].Name
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(distance(a), distance(b)), cmp.Compare(a, b))
	})
	return names[:min(len(names), maxNearest)]
}
