package chart

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testInstall installs a release, changes the number of shards up and down in the three steps of the README, and
// uninstalls it. No step may replace the pods: the shard map is in the configuration, which running pods reload.
func (w *world) testInstall(t *testing.T) {
	w.createNamespace(t, "release", "restricted")
	helm := func(args ...string) string {
		t.Helper()
		args = append(args, "--kubeconfig="+w.kubeconfig, "--namespace=release")
		out, code := w.runHelm(t, args...)
		if code != 0 {
			t.Fatalf("helm %s: exit code %d:\n%s", strings.Join(args, " "), code, out)
		}
		return out
	}
	apply := func(command, shards string) *appsv1.StatefulSet {
		t.Helper()
		out := helm(command, "mesh", chartDir, "--set", "mode=statefulset",
			"--set", "remoteWrite[0].url=http://x.example/write", "--set-json", "shards="+shards)
		if want := "port-forward statefulset/mesh-envoy-scraper 9095"; !strings.Contains(out, want) {
			t.Errorf("the output of helm %s does not contain %q:\n%s", command, want, out)
		}
		set, err := w.cluster.Admin().AppsV1().StatefulSets("release").Get(t.Context(), "mesh-envoy-scraper",
			metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	replicas := []int32{}
	first := apply("install", `[{"count":3}]`)
	for _, shards := range []string{`[{"count":3}]`, `[{"count":3},{"count":5,"from":"2026-01-31T12:00:00Z"}]`,
		`[{"count":5}]`,
		`[{"count":5},{"count":2,"from":"2026-02-28T12:00:00+02:00"}]`, `[{"count":2}]`} {
		set := apply("upgrade", shards)
		replicas = append(replicas, *set.Spec.Replicas)
		if !reflect.DeepEqual(set.Spec.Template, first.Spec.Template) {
			t.Errorf("shards=%s replaces the pods", shards)
		}
	}
	if want := []int32{3, 5, 5, 5, 2}; !slices.Equal(replicas, want) {
		t.Errorf("replicas %v, want %v", replicas, want)
	}
	helm("uninstall", "mesh")
}
