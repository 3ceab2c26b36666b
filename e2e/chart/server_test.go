package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/envoy-scraper/envoy-scraper/e2e/cluster"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// enforce is the namespace label that selects a Pod Security level.
const enforce = "pod-security.kubernetes.io/enforce"

// world is a running kube-apiserver and the programs that talk to it.
type world struct {
	*tools
	cluster    *cluster.Cluster
	dir        string
	kubeconfig string // the administrator's
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{tools: newTools(t, true), dir: t.TempDir()}
	var err error
	if w.cluster, err = cluster.Start(t.Context(), cluster.Config{Bin: w.bin, Dir: w.dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cluster.Close)
	w.kubeconfig = w.writeKubeconfig(t, "admin.kubeconfig", w.cluster.AdminToken())
	return w
}

func (w *world) writeKubeconfig(t *testing.T, name, token string) string {
	t.Helper()
	path, err := w.cluster.WriteKubeconfig(name, token)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// kubectl runs kubectl with a kubeconfig. The test fails if kubectl fails or warns.
func (w *world) kubectl(t *testing.T, kubeconfig string, args ...string) string {
	t.Helper()
	args = append([]string{"--kubeconfig=" + kubeconfig, "--cache-dir=" + filepath.Join(w.dir, "kubectl-cache")},
		args...)
	out, code := parts.Output(t, nil, filepath.Join(w.bin, "kubectl"), args...)
	if code != 0 || strings.Contains(out, "Warning") {
		t.Fatalf("kubectl %s: exit code %d:\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (w *world) createNamespace(t *testing.T, name, level string) {
	t.Helper()
	if err := w.cluster.CreateNamespace(t.Context(), name, map[string]string{enforce: level}); err != nil {
		t.Fatal(err)
	}
}

// apply applies the rendered objects with strict validation and returns the file with them.
func (w *world) apply(t *testing.T, r *rendered) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rendered.yaml")
	if err := os.WriteFile(file, []byte(r.text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.kubectl(t, w.kubeconfig, "apply", "--server-side", "--validate=strict", "-f", file)
	return file
}

// token returns a kubeconfig with a token of the pods' service account.
func (w *world) token(t *testing.T, namespace, account string) string {
	t.Helper()
	token, err := w.cluster.Token(t.Context(), namespace, account)
	if err != nil {
		t.Fatal(err)
	}
	return w.writeKubeconfig(t, namespace+"-"+account+".kubeconfig", token)
}

// rights returns the resources that kubectl auth can-i --list prints, each as "resources [verbs]".
func (w *world) rights(t *testing.T, kubeconfig, namespace string) (rights []string) {
	t.Helper()
	for line := range strings.Lines(w.kubectl(t, kubeconfig, "auth", "can-i", "--list", "--no-headers", "-n",
		namespace)) {
		// columns: resources, [URLs], [names], [verbs]
		resources, rest, _ := strings.Cut(line, " ")
		columns := strings.SplitN(rest, "]", 3)
		if len(columns) < 3 {
			t.Fatalf("kubectl auth can-i --list: %q", line)
		}
		if strings.TrimSpace(columns[1]) != "[" {
			resources += "/" + strings.TrimSpace(columns[1]) // only these names
		}
		if resources == "" {
			resources = strings.TrimSpace(columns[0]) // a URL
		}
		rights = append(rights, resources+" "+strings.TrimSpace(columns[2]))
	}
	slices.Sort(rights)
	return rights
}

// admit creates a pod from the template, as the controller would, and returns the error of the admission.
func (w *world) admit(t *testing.T, r *rendered, namespace string) error {
	t.Helper()
	template, kind := r.pod(t)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: r.release + "-", Labels: template.Labels,
			Annotations: template.Annotations},
		Spec: template.Spec,
	}
	if mounts := pod.Spec.Containers[0].VolumeMounts; kind == "StatefulSet" && r.hasClaims() && len(mounts) > 0 {
		claim := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-0"}
		pod.Spec.Volumes = append(pod.Spec.Volumes,
			corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: claim}})
	}
	_, err := w.cluster.Admin().CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	return err
}

func (r *rendered) hasClaims() bool {
	_, has := r.find("StatefulSet").Object["spec"].(map[string]any)["volumeClaimTemplates"]
	return has
}

// defaultRights returns the rights that every service account has without any role.
func (w *world) defaultRights(t *testing.T) []string {
	t.Helper()
	w.createNamespace(t, "nobodys", "restricted")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}
	if _, err := w.cluster.Admin().CoreV1().ServiceAccounts("nobodys").Create(t.Context(), account,
		metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return w.rights(t, w.token(t, "nobodys", "nobody"), "default")
}

// reading returns the line of rights for resources that may be read.
func reading(resources ...string) (rights []string) {
	for _, r := range resources {
		rights = append(rights, r+" [get list watch]")
	}
	return rights
}

// wantRights holds, by case, what the service account may do beyond defaultRights. By default it may read pods.
var wantRights = map[string][]string{
	"static": nil,
	"pasted": reading("nodes", "pods"), // attach_metadata
	"roles": reading("endpointslices.discovery.k8s.io", "ingresses.networking.k8s.io", "namespaces", "nodes", "pods",
		"services"),
	"namespaced": nil, // this namespace is not in rights.namespaces
	"sizes":      nil, // the same
	"no-ports":   append(reading("pods"), "services [get]"),
}

// TestServer runs the tests that need an API server. They share one.
func TestServer(t *testing.T) {
	w := newWorld(t)
	t.Run("values", w.testValues)
	t.Run("modes", w.testModes)
	t.Run("install", w.testInstall)
}

// testValues applies the objects of every good values file and reads them back.
func (w *world) testValues(t *testing.T) {
	definitions := parts.Script(t, "e2e/tools/operator/definitions.sh")
	for _, kind := range []string{"podmonitors", "prometheusrules"} {
		w.kubectl(t, w.kubeconfig, "apply", "--server-side", "-f",
			filepath.Join(definitions, "monitoring.coreos.com_"+kind+".yaml"))
		w.kubectl(t, w.kubeconfig, "wait", "--for=condition=Established", "--timeout=60s",
			"crd/"+kind+".monitoring.coreos.com")
	}
	for _, name := range []string{"shop", "bank"} {
		w.createNamespace(t, name, "restricted")
	}
	defaultRights := w.defaultRights(t)
	for name, file := range valuesFiles(t, "good") {
		t.Run(name, func(t *testing.T) {
			r := w.render(t, name, name, "-f", file)
			level := "restricted"
			if strings.Contains(name, "hostpath") {
				level = "privileged"
			}
			w.createNamespace(t, name, level)
			w.testReadBack(t, r, w.apply(t, r))
			w.testPod(t, r)
			w.testRights(t, r, defaultRights)
		})
	}
}

// testPod checks that the admission accepts the pods in their namespace, which enforces restricted. A pod with a
// hostPath needs the level privileged: a namespace that enforces restricted must refuse it.
func (w *world) testPod(t *testing.T, r *rendered) {
	if err := w.admit(t, r, r.namespace); err != nil {
		t.Errorf("the admission refuses the pods: %v", err)
	}
	if !strings.Contains(r.release, "hostpath") {
		return
	}
	w.createNamespace(t, r.namespace+"-restricted", "restricted")
	if err := w.admit(t, r, r.namespace+"-restricted"); !apierrors.IsForbidden(err) ||
		!strings.Contains(err.Error(), "hostPath") {
		t.Errorf("a namespace that enforces restricted answers %v to a hostPath, want a refusal", err)
	}
}

func (w *world) testRights(t *testing.T, r *rendered, defaultRights []string) {
	template, _ := r.pod(t)
	kubeconfig := w.token(t, r.namespace, template.Spec.ServiceAccountName)
	beyond := func(namespace string) []string {
		return slices.DeleteFunc(w.rights(t, kubeconfig, namespace),
			func(right string) bool { return slices.Contains(defaultRights, right) })
	}
	want, special := wantRights[r.release]
	if !special {
		want = reading("pods")
	}
	if got := beyond("default"); !slices.Equal(got, want) {
		t.Errorf("the service account may %q, want %q", got, want)
	}
	if r.release == "namespaced" {
		if got, want := beyond("bank"), reading("pods"); !slices.Equal(got, want) {
			t.Errorf("in a namespace of rights.namespaces the service account may %q, want %q", got, want)
		}
	}
	wantToken := r.release != "static"
	if has := template.Spec.AutomountServiceAccountToken; has == nil || *has != wantToken {
		t.Errorf("automountServiceAccountToken is %s, want %t", fmt.Sprint(has), wantToken)
	}
}
