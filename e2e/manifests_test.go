package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// scraperName is the name of all objects in deploy/manifests.
const scraperName = "envoy-scraper"

// testManifests applies deploy/manifests as a user would. It writes a kubeconfig with a token of their service account
// for the following steps.
func (w *world) testManifests(t *testing.T) {
	admin := w.writeKubeconfig(t, "admin.kubeconfig", w.cluster.AdminToken())
	out, code := w.kubectl(t, admin, "apply", "-k", "../deploy/manifests")
	if code != 0 || strings.Contains(out, "Warning") {
		t.Fatalf("kubectl apply: exit code %d:\n%s", code, out)
	}
	token, err := w.cluster.Token(t.Context(), scraperName, scraperName)
	if err != nil {
		t.Fatal(err)
	}
	w.kubeconfig = w.writeKubeconfig(t, "scraper.kubeconfig", token)

	t.Run("rights", func(t *testing.T) { w.testRights(t, token) })
	t.Run("pod is admitted", w.testAdmission)
	t.Run("flags exist", w.testFlags)
	t.Run("configuration is accepted", w.testConfiguration)
}

// testRights checks that the service account may get, list and watch pods, and otherwise has only the rights of every
// service account.
func (w *world) testRights(t *testing.T, token string) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}
	if _, err := w.cluster.Admin().CoreV1().ServiceAccounts(scraperName).Create(t.Context(), account,
		metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	plainToken, err := w.cluster.Token(t.Context(), scraperName, "nobody")
	if err != nil {
		t.Fatal(err)
	}
	defaultRights := w.rights(t, plainToken)
	rights := slices.DeleteFunc(w.rights(t, token), func(r string) bool { return slices.Contains(defaultRights, r) })
	if want := []string{"[] [pods] [get list watch] []"}; !slices.Equal(rights, want) {
		t.Errorf("rights are %q, want %q", rights, want)
	}
	for question, want := range map[string]string{
		"list pods -A": "yes", "watch pods -A": "yes", "delete pods -A": "no", "get pods --subresource=log -A": "no",
		"get secrets -A": "no", "list configmaps -A": "no", "list nodes": "no", "get nodes --subresource=proxy": "no",
	} {
		answer, _ := w.kubectl(t, w.kubeconfig, append([]string{"auth", "can-i", "--quiet=false"},
			strings.Fields(question)...)...)
		lines := strings.Split(strings.TrimSpace(answer), "\n")
		if got := lines[len(lines)-1]; got != want {
			t.Errorf("can-i %s: %q, want %q", question, answer, want)
		}
	}
}

// rights returns the rules that apply to the token.
func (w *world) rights(t *testing.T, token string) (rights []string) {
	t.Helper()
	client, err := w.cluster.Client(token)
	if err != nil {
		t.Fatal(err)
	}
	review := &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}
	got, err := client.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range got.Status.ResourceRules {
		rights = append(rights, fmt.Sprint(rule.APIGroups, rule.Resources, rule.Verbs, rule.ResourceNames))
	}
	return rights
}

// testAdmission checks that the admission accepts a pod of the DaemonSet. It must refuse a privileged pod, which shows
// that the admission works.
func (w *world) testAdmission(t *testing.T) {
	set, err := w.cluster.Admin().AppsV1().DaemonSets(scraperName).Get(t.Context(), scraperName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods := w.cluster.Admin().CoreV1().Pods(scraperName)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "from-template", Labels: set.Spec.Template.Labels},
		Spec:       set.Spec.Template.Spec,
	}
	pod.Spec.NodeName = "node-a"
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Errorf("the admission refuses a pod of the DaemonSet: %v", err)
	}

	privileged, yes := pod.DeepCopy(), true
	privileged.Name = "privileged"
	privileged.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	if _, err := pods.Create(t.Context(), privileged, metav1.CreateOptions{}); err == nil {
		t.Error("the namespace admits a privileged pod")
	}
}

// testFlags checks that the program has every flag in the DaemonSet.
func (w *world) testFlags(t *testing.T) {
	set, err := w.cluster.Admin().AppsV1().DaemonSets(scraperName).Get(t.Context(), scraperName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	help := w.help(t)
	for _, arg := range set.Spec.Template.Spec.Containers[0].Args {
		flag, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !regexp.MustCompile(`--(\[no-\])?` + regexp.QuoteMeta(flag) + `\b`).MatchString(help) {
			t.Errorf("the DaemonSet uses the flag %s, which run --help does not list:\n%s", arg, help)
		}
	}
}

// testConfiguration checks the ConfigMap's configuration with envoy-scraper check, as on a node.
func (w *world) testConfiguration(t *testing.T) {
	maps := w.cluster.Admin().CoreV1().ConfigMaps(scraperName)
	got, err := maps.Get(t.Context(), scraperName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy-scraper.yml")
	if err := os.WriteFile(file, []byte(got.Data["envoy-scraper.yml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	out, code := parts.Output(t, []string{"NODE_NAME=node-a"}, w.scraperPath, "check", file)
	if code != 0 || !strings.Contains(out, " 0 warnings") {
		t.Errorf("check: exit code %d:\n%s", code, out)
	}
}

func (w *world) writeKubeconfig(t *testing.T, name, token string) string {
	t.Helper()
	path, err := w.cluster.WriteKubeconfig(name, token)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (w *world) kubectl(t *testing.T, kubeconfig string, args ...string) (string, int) {
	t.Helper()
	args = append([]string{"--kubeconfig=" + kubeconfig, "--cache-dir=" + w.subdir(t, "kubectl-cache")}, args...)
	return parts.Output(t, nil, filepath.Join(w.tools, "kubectl"), args...)
}
