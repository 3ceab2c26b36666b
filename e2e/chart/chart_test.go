// Package chart renders the Helm chart deploy/helm/envoy-scraper with each values file of its tests and checks the
// result with the real parts:
//
//   - envoy-scraper checks the rendered configuration and flags, and runs as the pods of each mode would.
//   - A real kube-apiserver validates and stores the objects, its Pod Security admission judges the pods, and its RBAC
//     decides what the service account may do.
//   - promtool checks the alerting rules.
//
// It proves that every mode of the chart installs, updates and scrapes. To run it alone:
//
//	cd e2e && go test -count=1 -v ./chart
package chart

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	strict "go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const (
	chartDir = "../../deploy/helm/envoy-scraper"
	secrets  = "/run/secrets/envoy-scraper/"
)

// tools holds the programs that the tests run.
type tools struct {
	helm    string
	bin     string // folder of kubectl and kube-apiserver; empty: not needed
	scraper string
	home    string // Helm's home, so that the user's own Helm settings are not read
}

func newTools(t *testing.T, real bool) *tools {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped with -short: needs the real parts")
	}
	tl := &tools{helm: parts.Script(t, "tools/helm/build.sh"), scraper: parts.Scraper(t), home: t.TempDir()}
	if real {
		tl.bin = parts.Tools(t, "etcd", "kubectl", "kube-apiserver")
	}
	return tl
}

// runHelm runs helm with its own home folder.
func (tl *tools) runHelm(t *testing.T, args ...string) (string, int) {
	t.Helper()
	env := []string{"HELM_CONFIG_HOME=" + tl.home, "HELM_CACHE_HOME=" + tl.home, "HELM_DATA_HOME=" + tl.home}
	return parts.Output(t, env, tl.helm, args...)
}

// template runs helm template.
func (tl *tools) template(t *testing.T, release, namespace string, args ...string) (string, int) {
	t.Helper()
	return tl.runHelm(t, append([]string{"template", release, chartDir, "--namespace", namespace}, args...)...)
}

// rendered is what the chart renders from some values.
type rendered struct {
	release, namespace string
	text               string
	objects            []*unstructured.Unstructured
}

func (tl *tools) render(t *testing.T, release, namespace string, args ...string) *rendered {
	t.Helper()
	text, code := tl.template(t, release, namespace, args...)
	if code != 0 {
		t.Fatalf("helm template: exit code %d:\n%s", code, text)
	}
	r := &rendered{release: release, namespace: namespace, text: text}
	checkKeys(t, text)
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			t.Fatalf("the output of helm template is not YAML: %v\n%s", err, text)
		}
		if len(object.Object) > 0 {
			r.objects = append(r.objects, object)
		}
	}
}

// checkKeys fails the test if a mapping has a key twice. Kubernetes would silently take the last one.
func checkKeys(t *testing.T, text string) {
	t.Helper()
	decoder := strict.NewDecoder(strings.NewReader(text))
	for {
		var object any
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("%v in\n%s", err, text)
			return
		}
	}
}

// find returns the first object of a kind, or nil.
func (r *rendered) find(kind string) *unstructured.Unstructured {
	i := slices.IndexFunc(r.objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind })
	if i < 0 {
		return nil
	}
	return r.objects[i]
}

// pod returns the pod template and the kind of the object that has it.
func (r *rendered) pod(t *testing.T) (template corev1.PodTemplateSpec, kind string) {
	t.Helper()
	var set appsv1.DaemonSet // a Deployment and a StatefulSet have their template at the same path
	for _, kind := range []string{"DaemonSet", "StatefulSet", "Deployment"} {
		if o := r.find(kind); o != nil {
			spec := map[string]any{"spec": map[string]any{"template": o.Object["spec"].(map[string]any)["template"]}}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(spec, &set,
				true); err != nil {
				t.Fatalf("the template of %s: %v", kind, err)
			}
			return set.Spec.Template, kind
		}
	}
	t.Fatalf("no pods in\n%s", r.text)
	return
}

// writeConfig writes the files of the ConfigMap as a pod has them and returns the path of the configuration. Paths of
// secrets are changed to a folder of the test.
func (r *rendered) writeConfig(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	pod, _ := r.pod(t)
	mounts := pod.Spec.Containers[0].VolumeMounts
	name := pod.Spec.Volumes[slices.IndexFunc(pod.Spec.Volumes,
		func(v corev1.Volume) bool { return v.Name == "config" })].ConfigMap.Name
	i := slices.IndexFunc(r.objects, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == "ConfigMap" && o.GetName() == name
	})
	if i < 0 {
		t.Fatalf("no ConfigMap %s in\n%s", name, r.text)
	}
	data, _, err := unstructured.NestedStringMap(r.objects[i].Object, "data")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range data {
		content = strings.ReplaceAll(content, secrets, dir+"/")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, mount := range mounts {
		if name, ok := strings.CutPrefix(mount.MountPath, secrets); ok {
			writeSecret(t, filepath.Join(dir, name))
		}
	}
	return filepath.Join(dir, "envoy-scraper.yml")
}

// writeSecret writes a file for every secret key in the tests' values.
func writeSecret(t *testing.T, dir string) {
	t.Helper()
	certificate, key := selfSigned(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"token": []byte("t"), "username": []byte("u"), "password": []byte("p"),
		"ca.crt": certificate, "tls.crt": certificate, "tls.key": key,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// env returns the environment of a pod on a node.
func (r *rendered) env(t *testing.T, node, pod string) (env []string) {
	t.Helper()
	template, _ := r.pod(t)
	for _, e := range template.Spec.Containers[0].Env {
		value := e.Value
		switch from := e.ValueFrom; {
		case from == nil:
		case from.FieldRef != nil:
			value = map[string]string{"spec.nodeName": node, "metadata.name": pod}[from.FieldRef.FieldPath]
		case from.SecretKeyRef != nil:
			value = "from-a-secret"
		}
		env = append(env, e.Name+"="+value)
	}
	return env
}

// valuesFiles returns the values files in a folder of the chart's tests, by case name.
func valuesFiles(t *testing.T, folder string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chartDir, "tests", folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no values files in %s: %v", folder, err)
	}
	cases := map[string]string{}
	for _, f := range files {
		cases[strings.TrimSuffix(filepath.Base(f), ".yaml")] = f
	}
	return cases
}
