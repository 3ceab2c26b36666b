package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	promrelabel "github.com/prometheus/prometheus/model/relabel"
	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

func TestPodsWithoutASidecar(t *testing.T) {
	bare := func(p *corev1.Pod) { p.Spec.InitContainers, p.Annotations = nil, nil }
	w := newWorld(t)
	w.pod("shop", "asks", bare, func(p *corev1.Pod) { p.Labels["sidecar.istio.io/inject"] = "true" })
	w.pod("shop", "revision", bare, func(p *corev1.Pod) { p.Labels["istio.io/rev"] = "canary" })
	w.pod("shop", "host", bare, func(p *corev1.Pod) {
		p.Labels["sidecar.istio.io/inject"], p.Spec.HostNetwork = "true", true
	})
	w.pod("shop", "lost", func(p *corev1.Pod) { p.Spec.InitContainers = nil })
	w.pod("shop", "refuses", bare, func(p *corev1.Pod) {
		p.Labels["sidecar.istio.io/inject"], p.Labels["istio.io/rev"] = "false", "canary"
	})
	r := w.report()
	for name, hint := range map[string]string{"asks": "Delete it", "revision": "Delete it", "host": "network of " +
		"its node",
		"lost": "removed the container"} {
		r.row(t, name).want(t, NoSidecar, "sidecar:missing", "It asks for a sidecar", hint)
	}
	if len(r.Rows) != 4 {
		t.Errorf("%d rows, want none for the pod that refuses a sidecar", len(r.Rows))
	}
	w.asked = w.pods[4:]
	w.report().row(t, "refuses").want(t, NoSidecar, "sidecar:none", "it asks for no sidecar",
		"kubectl get namespace shop --show-labels")
}

func TestPodsThatAreNotReady(t *testing.T) {
	w := newWorld(t)
	w.pod("shop", "waits", func(p *corev1.Pod) { p.Status.PodIP, p.Spec.NodeName = "", "" })
	w.pod("shop", "starts", func(p *corev1.Pod) { p.Status.PodIP = "" })
	w.pod("shop", "fresh")
	pools := w.status()
	pools[0].Targets[0].Health, pools[0].Targets[0].Err, pools[0].Targets[0].Failure = scrape.HealthUnknown, "", ""
	r := w.reportOf(pools)
	r.row(t, "waits").want(t, NotReady, "not-ready:no-address", "It has no address yet", "not scheduled")
	r.row(t, "starts").want(t, NotReady, "not-ready:no-address", "It has no address yet", "Its node has not given")
	r.row(t, "fresh").want(t, NotReady, "not-ready:first-scrape", "not scraped it yet: the first scrape begins "+
		"within 15s", "")
	pools[0].Targets, pools[0].Dropped = nil, nil
	w.reportOf(pools).row(t, "fresh").want(t, NotReady, "not-ready:no-target-yet", "no job has a target of it yet", "")
}

func TestPodsOfOtherShards(t *testing.T) {
	w := newWorld(t)
	w.shards = shard.Map{Index: 1, Periods: []shard.Period{{Count: 2}}}
	w.self = scrape.Pod{Namespace: "monitoring", Name: "scraper-1"}
	w.ask = "/envoy-scraper why --url=http://127.0.0.1:9095"
	for i := range 20 {
		w.serve(w.pod("shop", fmt.Sprintf("cart-%02d", i)), 15090, page(goodPage))
	}
	r := w.report()
	here, there := 0, 0
	for _, row := range r.Rows {
		switch row.Verdict {
		case Scraped:
			here++
		case Elsewhere:
			there++
			row.want(t, Elsewhere, "elsewhere:shard", "Shard 0 of 2 scrapes it for job envoy-stats; this is shard 1.",
				"That is pod monitoring/scraper-0; the command asks it.")
			if want := "kubectl -n monitoring exec scraper-0 -- /envoy-scraper why --url=http://127.0.0.1:9095 shop/" +
				row.Pod; row.Reason.Command != want {
				t.Errorf("command %q, want %q", row.Reason.Command, want)
			}
		default:
			t.Errorf("row = %+v", row)
		}
	}
	if here == 0 || there == 0 {
		t.Errorf("%d here and %d elsewhere, want some of both", here, there)
	}
	steps := r.Funnels[0].Steps
	if i := slices.IndexFunc(steps, func(s FunnelStep) bool { return s.Cause == "elsewhere:shard" }); i < 0 ||
		steps[i].Out != there || steps[i].Left != here {
		t.Errorf("funnel = %+v", steps)
	}
	for self, want := range map[string]string{
		"scraper-0":   "Look at the pages of the instance with --shard.index=0.", // the index is not its ordinal
		"":            "Look at the pages of the instance with --shard.index=0.",
		"scraper-x-1": "That is pod monitoring/scraper-x-0.",
	} {
		w.self.Name, w.ask = self, ""
		rows := w.report().Rows
		i := slices.IndexFunc(rows, func(r Row) bool { return r.Verdict == Elsewhere })
		if got := rows[i].Reason; got.Hint != want || got.Command != "" {
			t.Errorf("in pod %q: %q, %q; want %q and no command", self, got.Hint, got.Command, want)
		}
	}
}

// TestCommandsAreSafeToCopy: a name that is none in Kubernetes becomes no part of a command.
func TestCommandsAreSafeToCopy(t *testing.T) {
	w := newWorld(t)
	w.scopes[0].Field = "spec.nodeName=node-2"
	for _, c := range []struct{ node, self, want string }{
		{"node-1", "", "kubectl get pods -A --field-selector spec.nodeName=node-1"},
		{"node-1", "monitoring", "kubectl get pods -n monitoring --field-selector spec.nodeName=node-1"},
		{"$(reboot)", "", ""},
	} {
		w.asked = []*corev1.Pod{w.pod("shop", "cart", func(p *corev1.Pod) { p.Spec.NodeName = c.node })}
		w.pods, w.self = nil, scrape.Pod{Namespace: c.self}
		row := w.report().row(t, "cart")
		if row.Reason.Command != c.want || row.Reason.Cause != "elsewhere:node" {
			t.Errorf("node %q: %s, command %q, want %q", c.node, row.Reason.Cause, row.Reason.Command, c.want)
		}
	}
	w.asked = []*corev1.Pod{w.pod("shop", "waits", func(p *corev1.Pod) { p.Status.PodIP, p.Spec.NodeName = "", "" })}
	w.pods = nil
	w.report().row(t, "waits").want(t, NotReady, "not-ready:no-address", "It has no address yet", "not scheduled")
	if areNames("shop", "a;b") || areNames("") || !areNames("shop", "cart-0.x") {
		t.Error("names of Kubernetes have letters, digits, dots and dashes")
	}
}

func TestPodsThatNoJobSees(t *testing.T) {
	for name, c := range map[string]struct {
		scope                 discovery.PodScope
		verdict               Verdict
		cause, sentence, hint string
	}{
		"namespace": {discovery.PodScope{Namespaces: []string{"pay", "web"}}, NotSeen, "not-seen:namespace",
			"No job sees it: job envoy-stats looks in namespaces pay, web only.", "Add the namespace"},
		"selector": {discovery.PodScope{Label: "app=other"}, NotSeen, "not-seen:selector",
			"asks for pods with labels app=other only", "Change selectors"},
		"rights": {discovery.PodScope{Denied: map[string]string{"shop": "may not list pods in namespace shop (403)"}},
			NotSeen, "not-seen:rights", "job envoy-stats may not list pods in namespace shop (403)", "Grant get, list"},
		"node": {discovery.PodScope{Field: "spec.nodeName=node-2"}, Elsewhere, "elsewhere:node",
			"It runs on node node-1, whose own instance scrapes it; this one scrapes node node-2.", ""},
		"services": {discovery.PodScope{Role: "endpointslice"}, NotSeen, "not-seen:no-service",
			"No job sees it: job envoy-stats finds only pods that a Service selects.", "role: pod"},
		"not yet listed": {discovery.PodScope{}, NotReady, "not-ready:no-target-yet", "has not listed it yet",
			"Look again"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.scope.Job, c.scope.Role = "envoy-stats", cmp.Or(c.scope.Role, "pod")
			c.scope.Records = c.scope.Role == "pod"
			w.scopes = []discovery.PodScope{c.scope}
			w.asked = []*corev1.Pod{w.pod("shop", "cart")}
			w.pods = nil
			w.report().row(t, "cart").want(t, c.verdict, c.cause, c.sentence, c.hint)
		})
	}
	w := newWorld(t)
	w.scopes = []discovery.PodScope{{Job: "a", Namespaces: []string{"pay"}}, {Job: "b", Label: "app=other"},
		{Job: "c", Namespaces: []string{"web"}}} // the nearest miss counts
	w.asked = []*corev1.Pod{w.pod("shop", "cart")}
	w.pods = nil
	w.report().row(t, "cart").want(t, NotSeen, "not-seen:selector", "job b asks for pods with labels app=other only",
		"")
	w = newWorld(t)
	w.scopes = nil
	w.asked = []*corev1.Pod{w.pod("shop", "cart")}
	w.pods = nil
	w.report().row(t, "cart").want(t, NotSeen, "not-seen:no-job", "No job discovers pods", "role: pod")
}

func TestNearestMiss(t *testing.T) {
	keep := func(label, regex string) string {
		return fmt.Sprintf("  - {source_labels: [%s], action: keep, regex: '%s'}\n", label, regex)
	}
	portName, number := podPrefix+"container_port_name", podPrefix+"container_port_number"
	named := func(name string) func(*corev1.Pod) {
		return proxyPorts(corev1.ContainerPort{Name: name, ContainerPort: 15090})
	}
	noEdit := func(*corev1.Pod) {}
	for name, c := range map[string]struct {
		rules string
		edit  func(*corev1.Pod)
		want  string
	}{
		"before the hyphen": {keep(portName, ".*-envoy-prom"), named("envoy-prom"),
			"The port is named envoy-prom, the rule wants something before the hyphen."},
		"part": {keep(portName, "envoy-prom"), named("http-envoy-prom"), "It has to match the whole: .*envoy-prom.*."},
		"part of an alternative": {keep(kubePrefix+"namespace", "ho|pay"), noEdit,
			"It has to match the whole: .*(?:ho|pay).*."},
		"two labels": {keep(portName+", "+podPrefix+"label_team", "http-envoy-prom;.+"), noEdit,
			"The value is \"http-envoy-prom;\", the rule wants something after it."},
		"case": {keep(portName, "HTTP-Envoy-Prom"), noEdit, "differs from what the rule wants in upper and lower " +
			"case only."},
		"another name": {keep(portName, ".*-envoy-prom"), named("metrics"),
			"istio-proxy declares port 15090 under another name than the rule wants: 15090 (metrics)."},
		"undeclared": {keep(portName, ".*-envoy-prom"), proxyPorts(), "15090 is not a declared port of this " +
			"container"},
		"number": {keep(number, "9901"), noEdit, "another number than those that istio-proxy declares: " +
			"15090"},
		"number undeclared": {keep(number, "15090"), proxyPorts(), "15090 is not a declared port"},
		"annotation absent": {keep(podPrefix+"annotation_prometheus_io_scrape", "true"),
			func(p *corev1.Pod) { delete(p.Annotations, "prometheus.io/scrape") },
			"The pod has no annotation prometheus.io/scrape. Istio's injector sets it"},
		"annotation false": {keep(podPrefix+"annotation_prometheus_io_scrape", "true"),
			func(p *corev1.Pod) { p.Annotations["prometheus.io/scrape"] = "false" },
			"The pod's annotation prometheus.io/scrape is false."},
		"label absent": {keep(podPrefix+"label_team", "blue"), noEdit, "The pod has no label team."},
		"namespace": {keep(kubePrefix+"namespace", "ho"), noEdit, "The value is \"shop\", of which the " +
			"expression matches a part."},
		"mistyped": {keep(podPrefix+"container_port_nam", ".*-envoy-prom"), noEdit,
			"No pod has the label __meta_kubernetes_pod_container_port_nam: its name may be mistyped."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldOf(t, jobWith("", c.rules))
			w.pod("shop", "cart", c.edit)
			// Only the proxy container's targets are about the Envoy.
			row := w.report().row(t, "cart")
			row.want(t, NotATarget, "rule:envoy-stats:1", "Rule 1 of job envoy-stats leaves it out: keep ", c.want)
		})
	}
}

// TestHintsOfTheOtherLabel: a rule with several labels says nothing about one of them.
func TestHintsOfTheOtherLabel(t *testing.T) {
	w := newWorldOf(t, jobWith("", fmt.Sprintf("  - {source_labels: [%s, %s, %s], action: keep, regex: '%s'}\n",
		podPrefix+"annotation_note", podPrefix+"container_port_name", kubePrefix+"namespace",
		";.*-envoy-prom;pay")))
	w.pod("shop", "cart")
	row := w.report().row(t, "cart")
	row.want(t, NotATarget, "rule:envoy-stats:1", `and the value is ";http-envoy-prom;shop"`, "")
	if row.Reason.Hint != "" {
		t.Errorf("hint = %q", row.Reason.Hint)
	}
}

func TestSuggestedExpressionsMatch(t *testing.T) {
	for _, c := range []struct{ text, value string }{
		{"envoy", "http-envoy-prom"}, {"x|envoy|y", "http-envoy-prom"}, {"^http|z", "http-envoy-prom"},
		{"envoy|prom$", "http-envoy-prom"}, {`a\$`, "b-a$-b"},
	} {
		suggested, err := promrelabel.NewRegexp(matchingPart(c.text))
		if err != nil || !suggested.MatchString(c.value) {
			t.Errorf("%s does not match %s: %v", matchingPart(c.text), c.value, err)
		}
		re := promrelabel.MustNewRegexp(c.text)
		if hint := compareText(re, c.value, "the port"); !strings.Contains(hint, matchingPart(c.text)) {
			t.Errorf("%s: hint = %q", c.text, hint)
		}
	}
	for _, vague := range []string{"", "a?", "(x|)"} {
		if hint := compareText(promrelabel.MustNewRegexp(vague), "http-envoy-prom", "the port"); hint != "" {
			t.Errorf("%q: hint = %q", vague, hint)
		}
	}
}

// TestScrapedEnvoysWithoutARecord: other meshes and gateways name container and port as they like.
func TestScrapedEnvoysWithoutARecord(t *testing.T) {
	w := newWorldOf(t, jobWith("", "  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, "+
		"regex: metrics}\n"))
	gateway := func(p *corev1.Pod) {
		p.Annotations, p.Spec.InitContainers = nil, nil
		p.Spec.Containers = []corev1.Container{{Name: "envoy",
			Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 19001}}}}
	}
	w.serve(w.pod("edge", "gateway", gateway), 19001, page(goodPage))
	w.serve(w.pod("shop", "app", gateway), 19001, page("go_goroutines 1\n"))
	r := w.report()
	r.row(t, "gateway").want(t, Scraped, "scraped", "scrapes it", "")
	if len(r.Rows) != 1 {
		t.Errorf("rows = %+v", r.Rows)
	}
}

func TestLongAndSecretValuesAreNotShown(t *testing.T) {
	w := newWorldOf(t, jobWith("  params: {token: [\"secret\"]}\n",
		"  - {source_labels: [__param_token, __meta_kubernetes_pod_annotation_note], action: keep, regex: x}\n"))
	w.pod("shop", "cart", func(p *corev1.Pod) { p.Annotations["note"] = strings.Repeat("é", 100_000) })
	row := w.report().row(t, "cart")
	if r := row.Reason; strings.Contains(r.Value+r.Sentence, ";secret") || len(r.Sentence) > 1000 ||
		!strings.HasPrefix(r.Value, "<secret>;éé") || !strings.HasSuffix(r.Value, "é…") {
		t.Errorf("reason = %+v", r)
	}
}

func TestTheRuleThatGotFurthestCounts(t *testing.T) {
	w := newWorldOf(t, "scrape_configs:\n- job_name: apps\n  kubernetes_sd_configs: [{role: pod}]\n  "+
		"relabel_configs:\n"+
		"  - {source_labels: [__meta_kubernetes_pod_phase], action: drop, regex: Failed}\n"+
		"  - {source_labels: [__meta_kubernetes_pod_label_app], action: keep, regex: none}\n"+
		strings.TrimPrefix(jobWith("", keepEnvoys+
			"  - {source_labels: [__meta_kubernetes_namespace], action: keep, regex: pay}\n"), "scrape_configs:\n"))
	w.pod("shop", "cart")
	w.report().row(t, "cart").want(t, NotATarget, "rule:envoy-stats:2",
		`keep __meta_kubernetes_namespace =~ "pay", and the value is "shop".`, "")
}

func TestRowsAreWorstFirst(t *testing.T) {
	w := newWorld(t)
	w.serve(w.pod("shop", "fine"), 15090, page(goodPage))
	w.pod("shop", "down-b")
	w.pod("shop", "down-a")
	w.pod("shop", "left-out", proxyPorts())
	r := w.report()
	var got []string
	for _, row := range r.Rows {
		got = append(got, row.Pod)
	}
	if want := "down-a down-b left-out fine"; strings.Join(got, " ") != want {
		t.Errorf("rows %v, want %s", got, want)
	}
	if !slices.IsSortedFunc(r.Causes, func(a, b Cause) int { return cmp.Compare(b.Count, a.Count) }) ||
		len(r.Causes) != 2 || r.Causes[0].Key != "down:refused" || r.Causes[0].Count != 2 ||
		r.Causes[0].Example != "shop/down-a" || strings.Contains(r.Causes[0].Words, "127.41") {
		t.Errorf("causes = %+v", r.Causes)
	}
	down := r.Rows[0]
	if down.Target == nil || down.Target.Failures != 1 || down.Target.FailingSince.IsZero() || down.Target.Err == "" ||
		down.Targets != 1 || down.IP == "" || down.Node != "node-1" {
		t.Errorf("row = %+v, target %+v", down, down.Target)
	}
	if fine := r.row(t, "fine").Target; fine.PageBytes != int64(len(goodPage)) || fine.WireBytes == 0 ||
		fine.Samples != 2 || fine.Kept != 2 || fine.Failures != 0 || !fine.FailingSince.IsZero() {
		t.Errorf("target = %+v", fine)
	}
}

func TestFunnel(t *testing.T) {
	w := newWorld(t)
	w.serve(w.pod("shop", "fine"), 15090, page(goodPage))
	w.pod("shop", "down")
	w.pod("shop", "left-out", proxyPorts(corev1.ContainerPort{Name: "x", ContainerPort: 1}))
	got := ""
	for _, s := range w.report().Funnels[0].Steps {
		got += fmt.Sprintf("%s | -%d | %d | %s\n", s.Words, s.Out, s.Left, s.Cause)
	}
	want := "discovered | -0 | 9 | \n" +
		"rule 1: keep __meta_kubernetes_pod_container_port_name =~ \".*-envoy-prom\" | -7 | 2 | rule:envoy-stats:1\n" +
		"scraped | -1 | 1 | \n"
	if got != want {
		t.Errorf("funnel\n%swant\n%s", got, want)
	}
}

func TestJobsWithoutRecordsShowWhatLabelsSay(t *testing.T) {
	w := newWorld(t)
	w.serve(w.pod("shop", "cart"), 15090, page(goodPage))
	w.pod("shop", "left-out", proxyPorts(corev1.ContainerPort{Name: "x", ContainerPort: 1}))
	pools := w.status()
	w.scopes[0].Role, w.scopes[0].Records = "endpointslice", false
	w.scopes = append(w.scopes, discovery.PodScope{Job: "other", Records: true, Role: "pod",
		Denied: map[string]string{"pay": "may not list pods in namespace pay (403)"}})
	w.pods = nil
	r := w.reportOf(pools)
	r.row(t, "cart").want(t, Scraped, "scraped", "scrapes it", "")
	r.row(t, "left-out").want(t, NotATarget, "rule:envoy-stats:1", "leaves it out", "")
	if row := r.row(t, "cart"); row.Node != "node-1" || row.Workload != "ReplicaSet/cart-7f9c" {
		t.Errorf("row = %+v", row)
	}
	notes := strings.Join(r.Notes, "\n")
	if !strings.Contains(notes, "role endpointslice") || !strings.Contains(notes, "Job other may not list pods in "+
		"namespace pay") {
		t.Errorf("notes = %q", r.Notes)
	}
}

func TestAnEmptyReport(t *testing.T) {
	r := New(Input{At: time.Unix(1, 0)})
	if len(r.Rows) != 0 || len(r.Causes) != 0 || len(r.Funnels) != 0 || len(r.Notes) != 1 {
		t.Errorf("report = %+v", r)
	}
}
