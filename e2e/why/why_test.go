package why

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// want is what must be said of a pod.
type want struct {
	verdict, cause string
	sentence, hint string // parts
}

// configuration has the job of the mesh's documentation with the rule that loses native sidecars, a second job for the
// same pods by annotation, and one whose rule breaks IPv6 addresses.
func (w *world) configuration() string {
	return fmt.Sprintf(`%[1]s- job_name: envoy-stats
  metrics_path: /stats/prometheus
  sample_limit: 100
  kubernetes_sd_configs: [{role: pod, kubeconfig_file: %[2]s, namespaces: {names: [%[3]s]}}]
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_container_init], action: drop, regex: 'true'}
  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: '.*-envoy-prom'}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod_name}
- job_name: second
  metrics_path: /stats/prometheus
  kubernetes_sd_configs: [{role: pod, kubeconfig_file: %[2]s, namespaces: {names: [%[3]s]}}]
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: 'true'}
  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: '.*-envoy-prom'}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod_name}
- job_name: broken-six
  metrics_path: /stats/prometheus
  kubernetes_sd_configs: [{role: pod, kubeconfig_file: %[2]s, namespaces: {names: [%[4]s]}}]
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: '.*-envoy-prom'}
  - {source_labels: [__meta_kubernetes_pod_ip], regex: '(.*)', replacement: '$1:15090', target_label: __address__}
%[5]s`, quick, w.kubeconfig, shop, six, receiver)
}

// createPods creates one pod for each reason, and returns what must be said of each.
func (w *world) createPods() map[string]want {
	const job = "envoy-stats"
	only := func(c corev1.Container) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers[:1], c) }
	}
	w.pod(shop, "good", w.serve(sidecarPage), nil)
	w.pod(shop, "native", w.serve(sidecarPage), func(p *corev1.Pod) {
		always := corev1.ContainerRestartPolicyAlways
		c := proxy("http-envoy-prom")
		c.RestartPolicy = &always
		p.Spec.Containers, p.Spec.InitContainers = p.Spec.Containers[:1], []corev1.Container{c}
	})
	w.pod(shop, "undeclared", w.serve(sidecarPage), only(proxy("")))
	w.pod(shop, "misnamed", w.serve(sidecarPage), only(proxy("envoy-prom")))
	w.pod(shop, "finished", w.unused(), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	w.pod(shop, "pending", "", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending })
	w.pod(shop, "refused", w.unused(), nil)
	w.pod(shop, "silent", w.silent(), nil)
	w.pod(shop, "answers-403", w.serve(status(http.StatusForbidden, "RBAC: access denied")), nil)
	w.pod(shop, "answers-503", w.serve(status(http.StatusServiceUnavailable, "upstream connect error")), nil)
	w.pod(shop, "answers-504", w.serve(status(http.StatusGatewayTimeout, "upstream request timeout")), nil)
	w.pod(shop, "garbage", w.serve(page("envoy_server_live{} 1\nthis is {no page\n")), nil)
	w.pod(shop, "large", w.serve(page(large(200))), nil)
	w.pod(shop, "twice", w.serve(sidecarPage), func(p *corev1.Pod) {
		p.Annotations = map[string]string{"prometheus.io/scrape": "true"}
	})
	w.pod(shop, "uninjected", w.unused(), func(p *corev1.Pod) {
		p.Spec.Containers, p.Labels = p.Spec.Containers[:1], map[string]string{"sidecar.istio.io/inject": "true"}
	})
	w.pod(six, "ipv6", "fd00::17", nil)
	w.pod(dark, "unwatched", w.serve(sidecarPage), nil)
	w.pod(secret, "hidden", w.serve(sidecarPage), nil)
	return map[string]want{
		"shop/good": {"SCRAPED", "scraped", "Job envoy-stats scrapes it every 2s", ""},
		"shop/native": {"NOT A TARGET", "rule:" + job + ":1", "Rule 1 of job envoy-stats leaves it out",
			"is an init container"},
		"shop/undeclared": {"NOT A TARGET", "rule:" + job + ":2", `the value is ""`,
			"15090 is not a declared port of this container"},
		"shop/misnamed": {"NOT A TARGET", "rule:" + job + ":2", `the value is "envoy-prom"`,
			"the rule wants something before the hyphen"},
		"shop/finished": {"FINISHED", "finished:still-a-target", "Its phase is Succeeded", "drops finished pods"},
		"shop/pending":  {"NOT READY", "not-ready:no-address", "It has no address yet", ""},
		"shop/refused":  {"DOWN", "down:refused", "nothing listens on port 15090", "METRICS_LOCALHOST_ACCESS_ONLY"},
		"shop/silent": {"DOWN", "down:timeout", "there is no answer from port 15090 within 2s",
			"NetworkPolicy"},
		"shop/answers-403": {"DOWN", "down:status:403", "port 15090 answers 403 Forbidden", "AuthorizationPolicy"},
		"shop/answers-503": {"DOWN", "down:status:503", "port 15090 answers 503 Service Unavailable", ""},
		"shop/answers-504": {"DOWN", "down:status:504", "port 15090 answers 504 Gateway Timeout",
			"Raise scrape_timeout"},
		"shop/garbage": {"DOWN", "down:page", "its page is not in a format of Prometheus", ""},
		"shop/large":   {"CUT", "cut:sample_limit", "the limit is 100", "Raise sample_limit"},
		"shop/twice": {"SCRAPED", "scraped:twice", "scrapes it every 2s",
			"It is scraped twice, by job envoy-stats"},
		"shop/uninjected": {"NO SIDECAR", "sidecar:missing", "It asks for a sidecar, and has no container istio-proxy",
			""},
		"six/ipv6": {"DOWN", "down:address", "its address is not valid", "IPv6 addresses need brackets"},
	}
}

// unseen are the pods that no job lists. They are known only if somebody asks for them.
var unseen = map[string]want{
	"dark/unwatched": {"NOT SEEN", "not-seen:namespace", "looks in namespace shop only", "Add the namespace"},
	"secret/hidden":  {"NOT SEEN", "not-seen:namespace", "looks in namespace shop only", "Add the namespace"},
}

// check compares a row with what must be said of the pod.
func (want want) check(r row) error {
	switch {
	case r.Verdict != want.verdict:
		return fmt.Errorf("verdict %s, want %s", r.Verdict, want.verdict)
	case r.Reason.Cause != want.cause:
		return fmt.Errorf("cause %s, want %s", r.Reason.Cause, want.cause)
	case !strings.Contains(r.Reason.Sentence, want.sentence):
		return fmt.Errorf("sentence %q, want %q", r.Reason.Sentence, want.sentence)
	case !strings.Contains(r.Reason.Hint, want.hint):
		return fmt.Errorf("hint %q, want %q", r.Reason.Hint, want.hint)
	}
	return nil
}

// checkAll compares all rows.
func checkAll(wants map[string]want, a answer) error {
	var errs []error
	for name, want := range wants {
		r, err := a.of(name)
		if err == nil {
			err = want.check(r)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	if len(a.Pods) != len(wants) {
		errs = append(errs, fmt.Errorf("%d rows, want %d", len(a.Pods), len(wants)))
	}
	return errors.Join(errs...)
}

func TestWhy(t *testing.T) {
	w := newWorld(t)
	all := []string{"get", "list", "watch"}
	w.grant(map[string][]string{shop: all, six: all, dark: {"get"}, secret: {"get"}})
	wants := w.createPods()
	a := w.start("whole", w.configuration())
	parts.Eventually(t, patience, "the process says of all pods what it should", func() error {
		got, err := w.ask(a, "")
		if err != nil {
			return err
		}
		return checkAll(wants, got)
	})
	file := w.file("whole-once.yml", w.configuration())
	local := []string{"--config.file=" + file, "--scrape.allow-loopback"}

	t.Run("beside a process", func(t *testing.T) {
		got, code := w.whyJSON("--url", a.URL)
		if err := checkAll(wants, got); err != nil || code != 1 {
			t.Errorf("exit %d: %v", code, err)
		}
		text, _ := w.why("--url", a.URL)
		checkText(t, "why --url", text, got)
	})
	t.Run("without a process", func(t *testing.T) {
		got, code := w.whyJSON(local...)
		if err := checkAll(wants, got); err != nil || code != 1 {
			t.Errorf("exit %d: %v", code, err)
		}
	})
	t.Run("page", func(t *testing.T) {
		got, err := w.ask(a, "")
		if err != nil {
			t.Fatal(err)
		}
		text, err := get(t.Context(), a.URL+"/pods", "text/plain")
		if err != nil {
			t.Fatal(err)
		}
		checkText(t, "/pods as text", text, got)
		for _, query := range []string{"?rows=500", "?search=shop/&verdict=DOWN", "?namespace=six"} {
			body, err := get(t.Context(), a.URL+"/pods"+query, "text/html")
			if err != nil {
				t.Fatal(err)
			}
			chosen, err := w.ask(a, query)
			if err != nil || len(chosen.Pods) == 0 {
				t.Fatalf("%s: %v, %v", query, chosen.Pods, err)
			}
			checkText(t, "/pods"+query, html.UnescapeString(body), chosen)
		}
	})
	t.Run("one pod", func(t *testing.T) { w.testOnePod(t, a, local) })
	t.Run("groups of pods", func(t *testing.T) {
		for _, c := range []struct {
			args []string
			code int
			pods int
		}{
			{[]string{"ns/six"}, 1, 1}, {[]string{"-n", "shop"}, 1, len(wants) - 1}, {[]string{"-n", "shop", "good"}, 0,
				1},
		} {
			for _, from := range [][]string{{"--url", a.URL}, local} {
				got, code := w.whyJSON(append(slices.Clone(from), c.args...)...)
				if code != c.code || len(got.Pods) != c.pods {
					t.Errorf("why %v: exit %d with %d pods, want %d and %d", c.args, code, len(got.Pods), c.code,
						c.pods)
				}
			}
		}
	})
	t.Run("unknown pod", func(t *testing.T) {
		for _, from := range [][]string{{"--url", a.URL}, local} {
			text, code := w.why(append(slices.Clone(from), "shop/goof")...)
			if code != 1 || !strings.Contains(text, "there is no pod shop/goof; the nearest names: shop/good") {
				t.Errorf("%v: exit %d: %s", from, code, text)
			}
			text, code = w.why(append(slices.Clone(from), "kube-system/dns")...)
			if code != 1 || !strings.Contains(text, "may not get pod kube-system/dns") {
				t.Errorf("%v: exit %d: %s", from, code, text)
			}
		}
	})
}

// checkText checks that a text has the verdict, the sentence and the hint of every pod.
func checkText(t *testing.T, what, text string, a answer) {
	t.Helper()
	for _, r := range a.Pods {
		for _, part := range []string{r.Namespace + "/" + r.Pod, r.Verdict, r.Reason.Sentence, r.Reason.Hint} {
			// Tables show the sizes and times of now, so a sentence that has them may differ in its end.
			if part = strings.TrimSpace(part); len(part) > 80 {
				part = part[:80]
			}
			if !strings.Contains(text, part) {
				t.Errorf("%s: no %q of %s", what, part, r.Pod)
			}
		}
	}
}

// testOnePod asks for single pods, and reads their evidence.
func (w *world) testOnePod(t *testing.T, a *agent.Agent, local []string) {
	wants := map[string]want{"shop/good": {"SCRAPED", "scraped", "", ""},
		"shop/native":      {"NOT A TARGET", "rule:envoy-stats:1", "", "is an init container"},
		"shop/answers-403": {"DOWN", "down:status:403", "", ""}}
	for name, want := range unseen {
		wants[name] = want
	}
	for name, want := range wants {
		for _, from := range [][]string{{"--url", a.URL}, local} {
			got, code := w.whyJSON(append(slices.Clone(from), name)...)
			r, err := got.of(name)
			if err == nil {
				err = want.check(r)
			}
			if scraped := want.verdict == "SCRAPED"; err != nil || (code == 0) != scraped {
				t.Errorf("why %s %s: exit %d, %v", from[0], name, code, err)
				continue
			}
			if e := got.Evidence; e == nil || len(e.APIServer) == 0 || e.Err != "" || len(e.Kubectl) != 1 {
				t.Errorf("why %s %s: evidence %+v", from[0], name, e)
			}
			text, _ := w.why(append(slices.Clone(from), name)...)
			checkText(t, "why "+name, text, got)
		}
		body, err := get(t.Context(), a.URL+"/pods?pod="+name, "text/html")
		if err != nil || !strings.Contains(html.UnescapeString(body), want.sentence) {
			t.Errorf("/pods?pod=%s: no %q: %v", name, want.sentence, err)
		}
	}
	got, _ := w.whyJSON("--url", a.URL, "shop/answers-403")
	if p := got.Evidence.Page; p == nil || p.Status != "403 Forbidden" || !strings.Contains(p.Body,
		"RBAC: access denied") {
		t.Errorf("the page of answers-403 is %+v", p)
	}
	got, _ = w.whyJSON("--url", a.URL, "shop/native")
	if e := got.Evidence; e.Page != nil || len(e.Relabeling) < 2 || e.Relabeling[0].Kept {
		t.Errorf("the evidence of native is %+v", e)
	}
}

// TestMissingRights: an account that may not list the pods of a job says so, of each pod and without one.
func TestMissingRights(t *testing.T) {
	w := newWorld(t)
	w.grant(map[string][]string{secret: {"get"}})
	w.pod(secret, "hidden", w.serve(sidecarPage), nil)
	yaml := quick + w.job("envoy-stats", "", secret) + receiver
	a := w.start("secret", yaml)
	want := want{"NOT SEEN", "not-seen:rights", "may not list pods", "Grant get, list and watch on pods"}
	parts.Eventually(t, patience, "the process says which right is missing", func() error {
		got, err := w.ask(a, "?pod="+secret+"/hidden")
		if err != nil {
			return err
		}
		r, err := got.of(secret + "/hidden")
		if err != nil {
			return err
		}
		return want.check(r)
	})
	if text, code := w.why("--url", a.URL, "hidden."+secret); code != 1 || !strings.Contains(text, want.hint) {
		t.Errorf("exit %d: %s", code, text)
	}
	if text, code := w.why("--config.file="+w.file("secret-once.yml", yaml), "hidden."+secret); code != 1 ||
		!strings.Contains(text, "may not list pods") {
		t.Errorf("without a process: exit %d: %s", code, text)
	}
}

// TestInstances: of two shards one scrapes a pod, and the other says which. An instance of a node says so, too.
func TestInstances(t *testing.T) {
	w := newWorld(t)
	w.grant(map[string][]string{shop: {"get", "list", "watch"}})
	names := []string{"a", "b", "c", "d", "e", "f"}
	for _, name := range names {
		w.pod(shop, name, w.serve(sidecarPage), func(p *corev1.Pod) { p.Spec.NodeName = "node-" + name })
	}
	yaml := quick + w.job("envoy-stats", "", shop) + receiver
	var shards []*agent.Agent
	for i := range 2 {
		shards = append(shards, w.start(fmt.Sprint("shard-", i), yaml, fmt.Sprint("--shard.index=", i),
			"--shard.count=2"))
	}
	parts.Eventually(t, patience, "each pod is scraped by one shard, and the other says by which", func() error {
		for _, name := range names {
			scraped := 0
			for i, a := range shards {
				got, err := w.ask(a, "")
				if err != nil {
					return err
				}
				r, err := got.of(shop + "/" + name)
				if err != nil {
					return err
				}
				if r.Verdict == "SCRAPED" {
					scraped++
					continue
				}
				want := want{"ELSEWHERE", "elsewhere:shard",
					fmt.Sprintf("Shard %d of 2 scrapes it for job envoy-stats; this is shard %d", 1-i, i),
					fmt.Sprintf("the instance with --shard.index=%d", 1-i)}
				if err := want.check(r); err != nil {
					return fmt.Errorf("shard %d, pod %s: %w", i, name, err)
				}
			}
			if scraped != 1 {
				return fmt.Errorf("pod %s is scraped by %d shards", name, scraped)
			}
		}
		return nil
	})
	if _, code := w.why("--url", shards[0].URL); code != 0 {
		t.Errorf("exit %d, though every pod that shard 0 should scrape is scraped", code)
	}
	node := w.start("node", yaml, "--node-name=node-a")
	parts.Eventually(t, patience, "the instance of node-a says that another scrapes b", func() error {
		got, err := w.ask(node, "?pod=shop/b")
		if err != nil {
			return err
		}
		r, err := got.of("shop/b")
		if err != nil {
			return err
		}
		const line = "kubectl get pods -A --field-selector spec.nodeName=node-b"
		if r.Reason.Command != line {
			return fmt.Errorf("command %q, want %q", r.Reason.Command, line)
		}
		return want{"ELSEWHERE", "elsewhere:node", "It runs on node node-b, whose own instance scrapes it; this one " +
			"scrapes node node-a", "The command lists the pods of that node"}.check(r)
	})
	parts.Eventually(t, patience, "the instance of node-a lists its own pod", func() error {
		got, err := w.ask(node, "")
		if err == nil && len(got.Pods) != 1 {
			err = fmt.Errorf("%d rows", len(got.Pods))
		}
		return err
	})
	for _, place := range []string{"/pods?pod=shop/b", "/pods?pod=shop/b&format=text"} {
		body, err := get(t.Context(), node.URL+place, "")
		if err != nil || !strings.Contains(body, "kubectl get pods -A --field-selector spec.nodeName=node-b") {
			t.Errorf("%s has no command, %v:\n%s", place, err, body)
		}
	}
}
