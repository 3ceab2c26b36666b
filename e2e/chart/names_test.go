package chart

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
)

// TestNames checks that an API server accepts all names and labels and that selectors find their pods, for unusual
// names of releases, namespaces and overrides.
func TestNames(t *testing.T) {
	tl := newTools(t, false)
	long := strings.Repeat("long-name.", 5)
	for _, c := range []struct{ release, namespace, values string }{
		{"x", "123", ""},
		{"123", "1e3", ""},
		{"true", "null", ""},
		{"a.b", "x", ""},
		{long + "x", "x", ""},
		{"x", "x", "nameOverride=" + long + long + "x"},
		{"x", "x", "nameOverride=" + strings.Repeat("a", 62) + ".b"},
		{"x", "x", "fullnameOverride=" + long + long + "x"},
		{"x", "x", "fullnameOverride=" + strings.Repeat("a", 50) + "--bc"},
	} {
		for _, mode := range []string{"daemonset", "deployment", "statefulset"} {
			t.Run(fmt.Sprintf("%.12s,%s,%.24s,%s", c.release, c.namespace, c.values, mode), func(t *testing.T) {
				args := []string{"--set", "remoteWrite[0].url=http://x.example/write", "--set", "mode=" + mode,
					"--set", "dashboards.enabled=true", "--set", "namespace.create=true",
					"--set", "networkPolicy.enabled=true", "--set", "rights.namespaces[0]=shop"}
				if c.values != "" {
					args = append(args, "--set-string", c.values)
				}
				if text, code := tl.template(t, c.release, c.namespace, args...); code != 0 && mode == "statefulset" &&
					c.release == "123" {
					if want := "fullnameOverride: "; !strings.Contains(text, want) {
						t.Errorf("the name is not valid for a Service, and the error does not contain %q:\n%s", want,
							text)
					}
					return
				}
				r := tl.render(t, c.release, c.namespace, args...)
				for _, o := range r.objects {
					checkName(t, o)
				}
				checkSelector(t, r)
			})
		}
	}
}

func checkName(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	wrong := validation.IsDNS1123Subdomain(o.GetName())
	if o.GetKind() == "Service" {
		wrong = validation.IsDNS1035Label(o.GetName())
	}
	if strings.HasPrefix(o.GetKind(), "ClusterRole") {
		wrong = nil // RBAC names are path segments
	} else if o.GetKind() != "Namespace" && o.GetNamespace() == "" {
		wrong = append(wrong, "no namespace, or one that is no text")
	}
	named, _, err := unstructured.NestedStringMap(o.Object, "metadata", "labels")
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	for _, value := range named {
		wrong = append(wrong, validation.IsValidLabelValue(value)...)
	}
	if len(wrong) > 0 {
		t.Errorf("%s %q: %q", o.GetKind(), o.GetName(), wrong)
	}
}

func checkSelector(t *testing.T, r *rendered) {
	t.Helper()
	template, kind := r.pod(t)
	var set appsv1.DaemonSet
	spec := map[string]any{"spec": map[string]any{"selector": r.find(kind).Object["spec"].(map[string]any)["selector"]}}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(spec, &set, true); err != nil {
		t.Fatal(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	if !selector.Matches(labels.Set(template.Labels)) {
		t.Errorf("the selector %s does not match pods with the labels %v", selector, template.Labels)
	}
}

// TestTwoReleasesOfOneName checks that two releases with the same name in different namespaces share no object name,
// cluster-wide or in a common namespace.
func TestTwoReleasesOfOneName(t *testing.T) {
	tl := newTools(t, false)
	values := []string{"--set", "remoteWrite[0].url=http://x.example/write", "--set", "rights.namespaces[0]=shop",
		"--set", "extraJobs[0].job_name=x",
		"--set", "extraJobs[0].kubernetes_sd_configs[0].role=node", "--set", "clusterWideJobs[0]=x"}
	seen := map[string]string{}
	for _, namespace := range []string{"a", "b"} {
		for _, o := range tl.render(t, "mesh", namespace, values...).objects {
			key := fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
			if other, taken := seen[key]; taken {
				t.Errorf("%s is rendered by the release in %s and by the release in %s", key, other, namespace)
			}
			seen[key] = namespace
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %v were rendered", seen)
	}
}
