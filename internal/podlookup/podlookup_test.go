package podlookup

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/envoy-scraper/envoy-scraper/internal/kubeconfig"
)

func pod(name, app string, phase corev1.PodPhase, ready bool) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": app}},
		Status: corev1.PodStatus{Phase: phase, PodIP: "10.0.0.7",
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}},
	}
}

// shop returns a cluster with a deployment of three pods and a pod of its own.
func shop() (*Cluster, *fake.Clientset) {
	client := fake.NewClientset(
		pod("details-v1-a", "details", corev1.PodFailed, false),
		pod("details-v1-b", "details", corev1.PodRunning, false),
		pod("details-v1-c", "details", corev1.PodRunning, true),
		pod("postgres-0", "postgres", corev1.PodRunning, true),
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "details"},
			Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "details"}}}},
	)
	return &Cluster{
		Config: &kubeconfig.Config{Namespace: "shop"},
		core:   client.CoreV1(), apps: client.AppsV1(), batch: client.BatchV1(),
	}, client
}

func TestFind(t *testing.T) {
	c, _ := shop()
	for name, tc := range map[string]struct {
		query  Query
		want   string // name of the pod
		others int
		err    string // part of the error
	}{
		"a pod":               {query: Query{Name: "postgres-0"}, want: "postgres-0"},
		"a pod with its kind": {query: Query{Name: "pod/postgres-0"}, want: "postgres-0"},
		"the ready one":       {query: Query{Name: "deploy/details"}, want: "details-v1-c", others: 2},
		"another word":        {query: Query{Name: "Deployments.apps/details"}, want: "details-v1-c", others: 2},
		"by labels":           {query: Query{Selector: "app=details"}, want: "details-v1-c", others: 2},
		"nearest names": {query: Query{Name: "details-v1-d"},
			err: "the nearest names are details-v1-a, details-v1-b, details-v1-c"},
		"a prefix": {query: Query{Name: "postgres"}, err: "the nearest names are postgres-0, "},
		"no such namespace": {query: Query{Namespace: "shpo", Name: "postgres-0"},
			err: "namespace shpo has no pod postgres-0"},
		"no such workload": {query: Query{Name: "deploy/detail"}, err: "namespace shop has no deploy/detail"},
		"no such kind":     {query: Query{Name: "cronjob/x"}, err: `kind "cronjob" is not known`},
		"no pod has the labels": {query: Query{Selector: "app=x"},
			err: "no pod in namespace shop has the labels app=x"},
		"a bad selector": {query: Query{Selector: "app in details"}, err: "-l app in details: "},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := c.Find(t.Context(), tc.query)
			switch {
			case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
				t.Errorf("error = %v, want one with %q", err, tc.err)
			case tc.err == "" && (err != nil || found.Pod.Name != tc.want || found.Others != tc.others):
				t.Errorf("found %s and %d others, %v; want %s and %d", found.Pod.Name, found.Others, err, tc.want,
					tc.others)
			}
		})
	}
}

func TestFindWithoutRights(t *testing.T) {
	c, client := shop()
	client.PrependReactor("*", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)
	})
	// The right to get pods/proxy is enough for a pod whose name is known.
	found, err := c.Find(t.Context(), Query{Name: "postgres-0"})
	if err != nil || !found.Unseen || found.Pod.Name != "postgres-0" || found.Pod.Namespace != "shop" {
		t.Errorf("found %+v, %v", found, err)
	}
	_, err = c.Find(t.Context(), Query{Selector: "app=details"})
	if err == nil || !strings.Contains(err.Error(), "kubectl auth can-i list pods -n shop") {
		t.Errorf("error = %v", err)
	}
}

func TestKinds(t *testing.T) {
	for word, want := range map[string]string{"deploy": "Deployment", "Deployments.apps": "Deployment",
		"cronjob.v1.batch": "CronJob", "ns": "Namespace", "job.example.com": "", "details": "", "": ""} {
		if got := KindOf(word); got != want {
			t.Errorf("%q means %q, want %q", word, got, want)
		}
	}
	if !IsKind("sts") || IsKind("ns") || IsKind("cj") {
		t.Error("a query can begin with the kinds of workloads that have a selector, and no others")
	}
}
