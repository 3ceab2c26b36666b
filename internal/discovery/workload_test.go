package discovery

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWorkloadOfAPod(t *testing.T) {
	for pod, want := range map[string]string{
		"reviews-v1-6c9f8bcb9d-mm6jd": "reviews-v1", "postgres-0": "postgres", "node-agent-x7k2p": "node-agent",
		"single": "single", "my-app": "my-app", "web-66c8d7f9b4-8jk2x": "web", "": "",
	} {
		if got := WorkloadOfPod(pod); got != want {
			t.Errorf("%s: workload %q, want %q", pod, got, want)
		}
	}
	for controller, want := range map[string]string{
		"ReplicaSet/reviews-v1-6c9f8bcb9d": "reviews-v1", "ReplicaSet/by-hand": "by-hand", "StatefulSet/db-0": "db-0",
		"DaemonSet/node-agent": "node-agent", "Job/backup-29012345": "backup", "Job/migration-2": "migration-2", "": "",
	} {
		if got := WorkloadOf(controller); got != want {
			t.Errorf("%s: workload %q, want %q", controller, got, want)
		}
	}
}

func TestOwnerOfATarget(t *testing.T) {
	const kind, name = "__meta_kubernetes_pod_controller_kind", "__meta_kubernetes_pod_controller_name"
	for _, c := range []struct {
		own, group model.LabelSet
		want       string
	}{
		{nil, model.LabelSet{kind: "ReplicaSet", name: "reviews-v1-6c9f8bcb9d"}, "ReplicaSet/reviews-v1"},
		{nil, model.LabelSet{kind: "ReplicaSet", name: "reviews-v1-7f6d8c4b5c"}, "ReplicaSet/reviews-v1"},
		{nil, model.LabelSet{kind: "StatefulSet", name: "db"}, "StatefulSet/db"},
		{model.LabelSet{kind: "DaemonSet", name: "agent"}, model.LabelSet{kind: "Job", name: "x"}, "DaemonSet/agent"},
		{model.LabelSet{kind: ""}, model.LabelSet{kind: "Job", name: "x"}, ""},
		{nil, model.LabelSet{name: "x"}, ""},
		{nil, model.LabelSet{kind: "Job"}, ""},
		{nil, nil, ""},
	} {
		if got := OwnerOf(c.own, c.group); got != c.want {
			t.Errorf("%v, %v: owner %q, want %q", c.own, c.group, got, c.want)
		}
	}
}

// TestOwnersAreKeptForJobsThatNeedThem: no rule reads the controller. As soon as a job needs the owners of its pods, it
// waits until the pods have been listed again.
func TestOwnersAreKeptForJobsThatNeedThem(t *testing.T) {
	api := newFakeAPI(t)
	pod := sidecarPod("reviews", "10.0.0.1")
	yes := true
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "reviews-v1-6c9f8bcb9d", Controller: &yes}}
	api.pods = append(api.pods, pod)
	h := newHarness(t, zap.NewNop())
	needed := ""
	h.KeepOwners(func(job string) bool { return job == needed })
	jobs := []*promconfig.ScrapeConfig{api.podJob(t, "a")}
	apply(t, h.Manager, jobs...)
	h.start(t)
	eventually(t, "groups", func() bool { return h.labelNames("a") == bare })

	needed = "other"
	if held := h.Hold(jobs); held != nil {
		t.Errorf("held %v, although another job needs owners", held)
	}
	needed = "a"
	if held := h.Hold(jobs); !slices.Equal(held, []string{"a"}) {
		t.Fatalf("held %v", held)
	}
	apply(t, h.Manager, jobs...)
	want := strings.Replace(bare, "pod_ip", "pod_controller_kind pod_controller_name pod_ip", 1)
	eventually(t, "the owner", func() bool { return h.labelNames("a") == want })
	needed = ""
	if held := h.Hold(jobs); held != nil {
		t.Errorf("held %v, although no job needs owners any more", held)
	}
}
