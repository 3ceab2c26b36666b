package diagnose

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// The tests of this file are named after the reasons that people meet, one for each.

func TestReason01AllTargetsShowThePageOfOneEnvoy(t *testing.T) {
	w := newWorld(t)
	began := time.Now().Add(-time.Hour)
	captured := func(rw http.ResponseWriter, r *http.Request) {
		page(goodPage+fmt.Sprintf("envoy_server_uptime{} %d\n", int(time.Since(began).Seconds())))(rw, r)
	}
	for _, name := range []string{"cart", "web", "pay"} {
		w.serve(w.pod("shop", name), 15090, captured)
	}
	scraper := w.pod("monitoring", "envoy-scraper")
	w.serve(scraper, 15090, captured)
	w.self = scrape.Pod{Namespace: "monitoring", Name: "envoy-scraper"}
	r := w.report()
	r.row(t, "cart").want(t, Scraped, "scraped:own-page", "Job envoy-stats scrapes it", "envoy-scraper itself has "+
		"a sidecar")
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "one and the same page") {
		t.Errorf("notes = %q", r.Notes)
	}

	// Without a sidecar of its own, equal pages mean nothing.
	three := w.pods[:3]
	w.pods = three
	w.report().row(t, "cart").want(t, Scraped, "scraped", "scrapes it", "")

	// Nor do they outside of a pod.
	w.self, w.outside = scrape.Pod{}, true
	w.report().row(t, "cart").want(t, Scraped, "scraped", "scrapes it", "")
	w.outside = false

	// If it is not known where envoy-scraper runs, equal pages do, and equal starts alone do not.
	w.report().row(t, "cart").want(t, Scraped, "scraped:own-page", "", "")
	w.serve(w.pod("shop", "other"), 15090, func(rw http.ResponseWriter, r *http.Request) {
		page(strings.ReplaceAll(goodPage, `"b"`, `"other"`)+fmt.Sprintf("envoy_server_uptime{} %d\n",
			int(time.Since(began).Seconds())))(rw, r)
	})
	w.report().row(t, "cart").want(t, Scraped, "scraped", "", "")
}

func TestReason02NativeSidecarsAreInitContainers(t *testing.T) {
	w := newWorldOf(t, jobWith("", keepEnvoys+
		"  - {source_labels: [__meta_kubernetes_pod_container_init], action: drop, regex: \"true\"}\n"))
	w.pod("shop", "cart")
	row := w.report().row(t, "cart")
	row.want(t, NotATarget, "rule:envoy-stats:2",
		"Rule 2 of job envoy-stats leaves it out: "+
			`drop __meta_kubernetes_pod_container_init =~ "true", and the value is "true".`,
		"The sidecar is an init container, as native sidecars are, and rule 2 drops those.")
	if row.Reason.Rule != 2 || row.Reason.Value != "true" || row.Reason.Regex != "true" ||
		row.Workload != "ReplicaSet/cart-7f9c" {
		t.Errorf("row = %+v", row)
	}
	w.jobs = newWorldOf(t, jobWith("", keepEnvoys+
		"  - {source_labels: [__meta_kubernetes_pod_container_init], action: keep, regex: \"false\"}\n")).jobs
	w.report().row(t, "cart").want(t, NotATarget, "rule:envoy-stats:2", "leaves it out: keep", "keeps others only")
}

func TestReason03Port15020IsNotDeclared(t *testing.T) {
	w := newWorldOf(t, jobWith("",
		"  - {source_labels: [__meta_kubernetes_pod_container_port_number], action: keep, regex: \"15020\"}\n"))
	w.pod("shop", "cart")
	w.report().row(t, "cart").want(t, NotATarget, "rule:envoy-stats:1", `=~ "15020", and the value is "15090"`,
		"15020 is not a declared port of this container, and Istio never declares it")
}

func TestReason03TheMergedPageIsNamed(t *testing.T) {
	w := newWorldOf(t, annotated("envoy-stats", "15020"))
	w.serve(w.pod("shop", "cart"), 15020, page("istio_agent_scrapes_total 1\n"+goodPage))
	w.report().row(t, "cart").want(t, Scraped, "scraped:merged", "scrapes it every", "merged one of port 15020")
}

// annotated is a configuration with a job that takes the port from the pod's annotation, or sets it.
func annotated(name, port string) string {
	return "scrape_configs:\n" + annotatedJob(name, port)
}

func annotatedJob(name, port string) string {
	return fmt.Sprintf(`- job_name: %s
  metrics_path: /stats/prometheus
  kubernetes_sd_configs: [{role: pod}]
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: "true"}
  - {source_labels: [__meta_kubernetes_pod_container_name], action: keep, regex: istio-proxy}
  - {source_labels: [__address__], regex: '(\[.+\]|[^:]+)(?::\d+)?', replacement: '$1:%s', target_label: __address__}
`, name, port)
}

func TestReason04ScrapedTwice(t *testing.T) {
	w := newWorldOf(t, "scrape_configs:\n"+annotatedJob("merged", "15020")+annotatedJob("envoy-stats", "15090"))
	p := w.pod("shop", "cart")
	w.serve(p, 15090, page(goodPage))
	w.serve(p, 15020, page("istio_agent_scrapes_total 1\n"+goodPage))
	row := w.report().row(t, "cart")
	row.want(t, Scraped, "scraped:twice", "scrapes it every", "It is scraped twice, by job merged at http://")
	if row.Targets != 2 {
		t.Errorf("targets = %d, want 2", row.Targets)
	}
}

func TestReason05FinishedPodsAndReusedAddresses(t *testing.T) {
	w := newWorldOf(t, jobWith("", keepEnvoys)) // no rule drops finished pods
	w.pod("shop", "import", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	heir := w.pod("shop", "web", func(p *corev1.Pod) { p.Status.PodIP = w.pods[0].Status.PodIP })
	w.serve(heir, 15090, page(goodPage))
	w.report().row(t, "import").want(t, Finished, "finished:still-a-target", "which pod shop/web has now",
		"Add a rule that drops finished pods")

	w = newWorld(t) // whose rules drop them
	w.pod("shop", "import", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	w.report().row(t, "import").want(t, Finished, "finished", "Its phase is Failed", "")
}

func TestReason06MutualTLSResetsPlainConnections(t *testing.T) {
	w := newWorldOf(t, annotated("envoy-stats", "8080"))
	l := w.listen(w.pod("shop", "cart"), 8080)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1))
			_ = c.(*net.TCPConn).SetLinger(0) // a reset instead of an end
			_ = c.Close()
		}
	}()
	w.report().row(t, "cart").want(t, Down, "down:reset", "port 8080 ends the connection (reset)",
		"wants mutual TLS there (PeerAuthentication STRICT)")
}

func TestReason06StatusesOfSidecars(t *testing.T) {
	for status, want := range map[int]string{
		403: "An AuthorizationPolicy forbids it (RBAC)", 503: "the application behind it does not",
		404: "Envoy's is /stats/prometheus", 401: "It wants credentials",
	} {
		w := newWorldOf(t, annotated("envoy-stats", "8080"))
		w.serve(w.pod("shop", "cart"), 8080, answer(status))
		w.report().row(t, "cart").want(t, Down, fmt.Sprintf("down:status:%d", status),
			fmt.Sprintf("port 8080 answers %d %s", status, http.StatusText(status)), want)
	}
}

func TestReason07OnlyThePodItselfMayRead(t *testing.T) {
	w := newWorldOf(t, "scrape_configs:\n"+annotatedJob("merged", "15020")+annotatedJob("envoy-stats", "15090"))
	w.serve(w.pod("shop", "cart"), 15020, answer(403)) // and nothing listens on 15090
	row := w.report().row(t, "cart")
	if row.Verdict != Down || !strings.Contains(row.Reason.Hint, "METRICS_LOCALHOST_ACCESS_ONLY") {
		t.Errorf("row = %+v", row)
	}

	w = newWorld(t) // which has no target on 15020
	w.pod("shop", "cart")
	w.report().row(t, "cart").want(t, Down, "down:refused", "nothing listens on port 15090 (connection refused)",
		"The pod is ready, so its Envoy runs. If METRICS_LOCALHOST_ACCESS_ONLY")
	w.pods[0].Status.Conditions = nil
	w.report().row(t, "cart").want(t, Down, "down:refused", "nothing listens", "The pod is not ready")
}

// down makes the targets of pods fail as they do behind a network that drops packets.
func silence(pools []scrape.PoolStatus, is func(scrape.Pod) bool) []scrape.PoolStatus {
	for i := range pools {
		for j := range pools[i].Targets {
			if t := &pools[i].Targets[j]; is(t.Pod) {
				t.Health, t.Failure, t.Failures, t.PageBytes = scrape.HealthDown, "timeout", 7, 0
				t.Err = fmt.Sprintf("Get %q: context deadline exceeded", t.URL)
			}
		}
	}
	return pools
}

func TestReason08ANamespaceThatNeverAnswers(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c"} {
		w.pod("pay", "pay-"+name)
		w.serve(w.pod("shop", "shop-"+name), 15090, page(goodPage))
	}
	silent := silence(w.status(), func(p scrape.Pod) bool { return p.Namespace == "pay" })
	r := w.reportOf(silent)
	r.row(t, "pay-a").want(t, Down, "down:timeout:namespace:pay", "there is no answer from port 15090 within 10s",
		"a NetworkPolicy of pay keeps port 15090 closed")
	if len(r.Causes) != 1 || r.Causes[0].Count != 3 || r.Causes[0].Example != "pay/pay-a" ||
		!strings.Contains(r.Causes[0].Words, "No pod of namespace pay answers") {
		t.Errorf("causes = %+v", r.Causes)
	}
	// One pod of many says nothing about its namespace, nor do timeouts everywhere.
	one := silence(w.status(), func(p scrape.Pod) bool { return p.Name == "shop-a" })
	w.reportOf(one).row(t, "shop-a").want(t, Down, "down:timeout", "no answer", "NetworkPolicy")
	all := silence(w.status(), func(scrape.Pod) bool { return true })
	w.reportOf(all).row(t, "shop-a").want(t, Down, "down:timeout", "no answer", "NetworkPolicy")
}

// TestReason08WhatCountsAsAnAnswer: an answer of a pod, on whichever port, and no failure before one.
func TestReason08WhatCountsAsAnAnswer(t *testing.T) {
	w := newWorldOf(t, "scrape_configs:\n"+annotatedJob("merged", "15020")+annotatedJob("envoy-stats", "15090"))
	for _, name := range []string{"shop-a", "shop-b", "pay-a"} {
		namespace, _, _ := strings.Cut(name, "-")
		p := w.pod(namespace, name)
		w.serve(p, 15090, page(goodPage))
		w.serve(p, 15020, page(goodPage))
	}
	pools := w.status()
	for i := range pools[1].Targets { // one port of shop is silent, the other is not
		if t := &pools[1].Targets[i]; t.Pod.Namespace == "shop" {
			t.Health, t.Failure, t.PageBytes = scrape.HealthDown, "timeout", 0
		}
	}
	w.reportOf(pools).row(t, "shop-a").want(t, Down, "down:timeout", "no answer", "does scrape it, at ")

	for failure, silent := range map[[2]string]bool{
		{"network", "no route to host"}: false, {"network", "no such host"}: false, {"emfile", ""}: false,
		{"forbidden_address", ""}: false, {"panic", ""}: false, {"refused", ""}: true,
		{"network", "connection reset by peer"}: true, {"status", "server returned HTTP status 403 Forbidden"}: true,
		{"page", "x"}: true, {"sample_limit", ""}: true, {"target_limit", ""}: false,
	} {
		for i := range pools {
			for j := range pools[i].Targets {
				t := &pools[i].Targets[j]
				t.Health, t.Failure, t.PageBytes, t.Err = scrape.HealthDown, "timeout", 0, ""
				if t.Pod.Namespace == "pay" {
					t.Failure, t.Err = failure[0], failure[1]
				}
			}
		}
		cause := "down:timeout"
		if silent {
			cause = "down:timeout:namespace:shop"
		}
		if got := w.reportOf(pools).row(t, "shop-a").Reason.Cause; got != cause {
			t.Errorf("the other namespace fails by %s: %s, want %s", failure, got, cause)
		}
	}
}

func TestReason09PagesThatAreTooSlowOrTooLarge(t *testing.T) {
	w := newWorld(t)
	w.serve(w.pod("shop", "cart"), 15090, answer(504))
	w.report().row(t, "cart").want(t, Down, "down:status:504", "answers 504 Gateway Timeout", "15 s in Envoy")

	for setting, c := range map[string]struct{ cause, sentence string }{
		"sample_limit: 1": {"cut:sample_limit", "sample_limit of job envoy-stats, so none of its samples are " +
			"taken"},
		"body_size_limit: 10B":       {"cut:body_size_limit", "(the limit is 10B)"},
		"label_limit: 2":             {"cut:label_limit", "label_limit exceeded"},
		"target_limit: 1":            {"cut:target_limit", "more targets than its target_limit"},
		"label_name_length_limit: 3": {"cut:label_limit", "label_name_length_limit exceeded"},
	} {
		w = newWorldOf(t, jobWith("  "+setting+"\n", keepEnvoys))
		w.serve(w.pod("shop", "cart"), 15090, page(goodPage))
		if strings.HasPrefix(setting, "target") {
			w.serve(w.pod("shop", "web"), 15090, page(goodPage))
		}
		w.report().row(t, "cart").want(t, Cut, c.cause, c.sentence, "")
	}

	w = newWorld(t)
	w.serve(w.pod("shop", "cart"), 15090, page(goodPage))
	slow := w.status()
	slow[0].Targets[0].Duration = 9 * time.Second
	w.reportOf(slow).row(t, "cart").want(t, Scraped, "scraped:slow", "scrapes it every", "took 9s of its timeout "+
		"of 10s")
	half := silence(slow, func(scrape.Pod) bool { return true })
	half[0].Targets[0].PageBytes = 1 << 20
	w.reportOf(half).row(t, "cart").want(t, Down, "down:slow", "the page does not end within 10s (1048576 bytes "+
		"were read)",
		"Raise scrape_timeout")
}

func TestReason10AMergedPageDoesNotParse(t *testing.T) {
	w := newWorldOf(t, annotated("envoy-stats", "15020"))
	w.serve(w.pod("shop", "cart"), 15020, page(goodPage+"app_requests 1 2 3 four\n"))
	w.report().row(t, "cart").want(t, Down, "down:merged-page", "not in a format of Prometheus",
		"Port 15020 merges the pages")

	w = newWorld(t)
	w.serve(w.pod("shop", "cart"), 15090, page("<html>"))
	w.report().row(t, "cart").want(t, Down, "down:page", "not in a format of Prometheus", "")

	const recorded = "../../../shared/data/envoy/istio-merged-duplicates.txt"
	text, err := os.ReadFile(recorded)
	if err != nil {
		t.Skip("SKIPPED: no real pages beside the checkout (../shared/data/envoy)")
	}
	w = newWorldOf(t, annotated("envoy-stats", "15020"))
	w.serve(w.pod("shop", "cart"), 15020, page(string(text)))
	w.report().row(t, "cart").want(t, Scraped, "scraped:repeated", "scrapes it", "Its page shows 2 samples of series")
}

func TestReason11UpWithoutRequests(t *testing.T) {
	for name, c := range map[string]struct{ page, want string }{
		"tcp":   {"istio_tcp_sent_bytes_total{} 1\nenvoy_server_live{} 1\n", "Istio takes the traffic for TCP"},
		"envoy": {"envoy_server_live{} 1\n", "telemetry is off"},
		"idle":  {"istio_build{component=\"proxy\"} 1\nenvoy_server_live{} 1\n", "shows no traffic"},
		"other": {"go_goroutines 1\n", "does not look like the page of an Envoy"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.serve(w.pod("shop", "cart"), 15090, page(c.page))
			w.report().row(t, "cart").want(t, Scraped, "scraped:no-requests", "scrapes it every 15s",
				"istio_requests_total is not on its page: ")
			w.report().row(t, "cart").want(t, Scraped, "scraped:no-requests", "", c.want)
		})
	}
	text, err := os.ReadFile("../../../shared/data/envoy/envoy-front-proxy.txt")
	if err != nil {
		t.Skip("SKIPPED: no real pages beside the checkout (../shared/data/envoy)")
	}
	w := newWorld(t)
	w.serve(w.pod("shop", "cart"), 15090, page(string(bytes.TrimSpace(text))+"\n"))
	w.report().row(t, "cart").want(t, Scraped, "scraped:no-requests", "", "telemetry is off")
}

func TestReason12UnknownPeers(t *testing.T) {
	w := newWorld(t)
	w.serve(w.pod("shop", "cart"), 15090, page(strings.Replace(goodPage, `source_workload="a"`,
		`source_workload="unknown"`, 1)))
	w.report().row(t, "cart").want(t, Scraped, "scraped:unknown-peer", "scrapes it", "a workload named unknown")
}

func TestReason13ADroppedLabelMakesSeriesCollide(t *testing.T) {
	w := newWorldOf(t, jobWith("  metric_relabel_configs: [{action: labeldrop, regex: destination_.*}]\n", keepEnvoys))
	w.serve(w.pod("shop", "cart"), 15090, page(goodPage+
		`istio_requests_total{reporter="destination",source_workload="a",destination_workload="c"} 7`+"\n"))
	w.report().row(t, "cart").want(t, Scraped, "scraped:collisions", "scrapes it",
		"1 sample of its page is lost: metric_relabel_configs of job envoy-stats remove the label")
}

func TestReason13TargetsThatAreEqual(t *testing.T) {
	w := newWorldOf(t, jobWith("", keepEnvoys)) // no label of the pod
	first := w.pod("shop", "cart")
	w.serve(first, 15090, page(goodPage))
	w.pod("shop", "web", func(p *corev1.Pod) { p.Status.PodIP = first.Status.PodIP }) // both in the node's network
	w.report().row(t, "web").want(t, Duplicate, "duplicate:envoy-stats", "equals that of pod shop/cart, which is "+
		"scraped",
		"keep a label that differs")
}

func TestReason14RulesThatBreakIPv6(t *testing.T) {
	w := newWorldOf(t, jobWith("", keepEnvoys+"  - {source_labels: [__meta_kubernetes_pod_ip], replacement: "+
		"'$1:15090', target_label: __address__}\n"))
	w.pod("shop", "cart", func(p *corev1.Pod) { p.Status.PodIP = "fd00:41::7" })
	row := w.report().row(t, "cart")
	if row.Verdict != Down && row.Verdict != NotATarget || !strings.Contains(row.Reason.Hint, "IPv6 addresses need "+
		"brackets") {
		t.Errorf("row = %+v", row)
	}
}

func TestReason15AnEnvoyThatStartedAgain(t *testing.T) {
	w := newWorld(t)
	w.serve(w.pod("shop", "cart"), 15090, page(goodPage))
	pools := w.status()
	pools[0].Targets[0].Restarted = w.now.Add(-10 * time.Minute)
	w.reportOf(pools).row(t, "cart").want(t, Scraped, "scraped:restarted", "scrapes it", "the uptime fell at")
	pools[0].Targets[0].Restarted = w.now.Add(-2 * time.Hour)
	w.reportOf(pools).row(t, "cart").want(t, Scraped, "scraped", "scrapes it", "")
}

func TestAnEnvoyThatIsAskedLessOften(t *testing.T) {
	w := newWorld(t)
	w.serve(w.pod("shop", "cart"), 15090, page(goodPage))
	pools := w.status()
	target := &pools[0].Targets[0]
	target.Turns, target.SlowedSince = 4, w.now.Add(-10*time.Minute)
	row := w.reportOf(pools).row(t, "cart")
	row.want(t, Scraped, "scraped:slowed", "every "+span(4*target.Interval), "instead of every "+
		span(target.Interval)+", because its answers begin only after more than "+span(target.Interval/10)+".")
	if after := scrape.SlowAfter(time.Second); after != 250*time.Millisecond {
		t.Errorf("with an interval of 1 s answers are slow after %v", after)
	}
	if row.Target.Every != 4*target.Interval || row.Target.SlowedSince != target.SlowedSince {
		t.Errorf("the target is asked every %v since %v", row.Target.Every, row.Target.SlowedSince)
	}
}

func TestReason16ALabelThatIsNotUTF8(t *testing.T) {
	w := newWorld(t)
	w.serve(w.pod("shop", "cart"), 15090, page(goodPage+"istio_requests_total{request_host=\"a\xff\"} 1\n"))
	w.report().row(t, "cart").want(t, Down, "down:utf-8", "is not valid UTF-8, so the whole scrape fails",
		"Remove that dimension")
}

func TestReason17AGatewayThatDeclaresNoPort(t *testing.T) {
	w := newWorld(t)
	w.pod("edge", "gateway", func(p *corev1.Pod) {
		p.Spec.InitContainers = nil
		p.Spec.Containers = []corev1.Container{{Name: "istio-proxy",
			Ports: []corev1.ContainerPort{{Name: "status-port", ContainerPort: 15021}}}}
	})
	w.report().row(t, "gateway").want(t, NotATarget, "rule:envoy-stats:1", `the value is "status-port"`,
		"15090 is not a declared port of this container (istio-proxy: it declares 15021 (status-port))")
	w.pods[0].Spec.Containers[0].Ports = nil
	w.report().row(t, "gateway").want(t, NotATarget, "rule:envoy-stats:1", `the value is ""`,
		"(istio-proxy: it declares none)")
}

// TestWhatTheWayThroughTheAPIServerAdds: its refusals and limits are not taken for those of the pod.
func TestWhatTheWayThroughTheAPIServerAdds(t *testing.T) {
	w := newWorld(t)
	w.pod("shop", "cart")
	pools := w.status()
	cart := &pools[0].Targets[0]
	for failure, cause := range map[string]string{"api_server": "down:api-server", "via_limit": "down:via-limit",
		"via_rate": "down:via-limit"} {
		cart.Failure, cart.Err = failure, fmt.Sprintf("Get %q: the API server says no", cart.URL)
		w.reportOf(pools).row(t, "cart").want(t, Down, cause, "(the API server says no).", "")
	}
}
