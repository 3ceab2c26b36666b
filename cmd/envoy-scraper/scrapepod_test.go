package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	config_util "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// podCluster is an API server with one pod, whose page it reads. It returns the path of a kubeconfig.
func podCluster(t *testing.T, spec, status string, page http.HandlerFunc) string {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/proxy/"):
			w.Header().Set("Audit-Id", "1") // as on each response of kube-apiserver
			page(w, r)
		case r.URL.Path == "/api/v1/namespaces/shop/pods/details-v1-a":
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"details-v1-a","namespace":"shop"},`+
				`"spec":%s,"status":%s}`, spec, status)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(api.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, fmt.Appendf(nil, kubeconfigText, api.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const (
	withSidecar = `{"containers":[{"name":"app"},{"name":"istio-proxy","ports":[{"containerPort":15090}]}]}`
	runningPod  = `{"phase":"Running","podIP":"192.0.2.7","containerStatuses":[{"name":"istio-proxy","ready":true}]}`
)

func showSidecarPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprint(w, sidecarPage)
}

// unreachable is what an API server says of a port where nothing listens.
func unreachable(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","message":"error trying to reach service: dial tcp 127.0.0.1:1: `+
		`connect: connection refused"}`)
}

func TestScrapeAPodByName(t *testing.T) {
	kubeconfig := podCluster(t, withSidecar, runningPod, showSidecarPage)
	code, out, errs := runCommand(t, "scrape", "--kubeconfig="+kubeconfig, "-n", "shop", "--port=1", "--output=json",
		"details-v1-a")
	var rep pageReport
	if err := json.Unmarshal([]byte(out), &rep); err != nil || code != exitOK {
		t.Fatalf("exit %d: %v, %s", code, err, errs)
	}
	if rep.URL != "http://192.0.2.7:1/stats/prometheus" || rep.Pod != "shop/details-v1-a" || rep.Via == nil ||
		rep.Via.Way != "apiserver" || rep.Via.Why != "192.0.2.7:1 showed no page directly within 2s" ||
		rep.Via.Who != `user "you" of context "small"` ||
		!rep.Istio.Shown {
		t.Errorf("report = %+v, via %+v", rep, rep.Via)
	}
}

// TestScrapeAPodAtALoopbackAddress: it is refused with a flag to allow it, and the command has the flag.
func TestScrapeAPodAtALoopbackAddress(t *testing.T) {
	sidecar := httptest.NewServer(http.HandlerFunc(showSidecarPage))
	defer sidecar.Close()
	port := sidecar.Listener.Addr().(*net.TCPAddr).Port
	kubeconfig := podCluster(t, withSidecar, strings.Replace(runningPod, "192.0.2.7", "127.0.0.1", 1), showSidecarPage)
	args := []string{"scrape", "--kubeconfig=" + kubeconfig, "-n", "shop", "--via=direct", fmt.Sprint("--port=", port),
		"details-v1-a"}
	code, _, errs := runCommand(t, args...)
	const flag = "--scrape.allow-loopback"
	if code != exitRefused || !strings.Contains(errs, flag) {
		t.Errorf("exit %d: %s", code, errs)
	}
	if code, out, errs := runCommand(t, append(args, flag)...); code != exitOK || !strings.Contains(out, "yes: ") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

func TestScrapeAPodAsAJob(t *testing.T) {
	var asked string
	kubeconfig := podCluster(t, withSidecar, runningPod, func(w http.ResponseWriter, r *http.Request) {
		asked = r.RequestURI
		showSidecarPage(w, r)
	})
	file := writeFile(t, "- job_name: a\n  metrics_path: /stats\n  params: {filter: [istio]}\n"+
		"  static_configs: [{targets: [a]}]\n")
	code, _, errs := runCommand(t, "scrape", "--kubeconfig="+kubeconfig, "-n", "shop", "--via=apiserver",
		"--config.file="+file, "details-v1-a")
	want := "/api/v1/namespaces/shop/pods/details-v1-a:15090/proxy/stats?filter=istio"
	if code != exitOK || asked != want {
		t.Errorf("exit %d: %s; asked for %s, want %s", code, errs, asked, want)
	}
}

// TestAPageBeyondTheRateInWords: the way out is a flag that the command has.
func TestAPageBeyondTheRateInWords(t *testing.T) {
	once := &scrape.Once{Timeout: time.Second}
	once.Body.WriteString(sidecarPage)
	got := explainFailure(once, fmt.Errorf("read: %w", &via.RateError{Rate: "5.0 MiB per second"})).Error()
	if !strings.Contains(got, "the page does not end within 1s at 5.0 MiB per second") ||
		!strings.Contains(got, "--timeout") || strings.Contains(got, "--via.max-rate") {
		t.Errorf("error = %s", got)
	}
}

func TestPathOfAPodsPage(t *testing.T) {
	file := writeFile(t, "- job_name: a\n  metrics_path: /stats\n  params: {filter: [istio]}\n"+
		"  static_configs: [{targets: [a]}]\n")
	for args, want := range map[string]string{
		"":                                     "/stats/prometheus",
		"--path=stats":                         "/stats",
		"--path=/stats/prometheus?usedonly":    "/stats/prometheus?usedonly",
		"--path=/stats? --config.file=" + file: "/stats",
		"--path=/a?b=c --config.file=" + file:  "/a?b=c",
		"--config.file=" + file:                "/stats?filter=istio",
	} {
		var asked string
		kubeconfig := podCluster(t, withSidecar, runningPod, func(w http.ResponseWriter, r *http.Request) {
			asked = r.RequestURI
			showSidecarPage(w, r)
		})
		code, _, errs := runCommand(t, append([]string{"scrape", "--kubeconfig=" + kubeconfig, "-n", "shop",
			"--via=apiserver", "details-v1-a"}, strings.Fields(args)...)...)
		if want = "/api/v1/namespaces/shop/pods/details-v1-a:15090/proxy" + want; code != exitOK || asked != want {
			t.Errorf("%s: exit %d, %s; asked for %s, want %s", args, code, errs, asked, want)
		}
	}
}

// TestAPIServerThatDoesNotAnswer holds that it is not taken for the pod.
func TestAPIServerThatDoesNotAnswer(t *testing.T) {
	kubeconfig := podCluster(t, withSidecar, runningPod, func(w http.ResponseWriter, _ *http.Request) {
		panic(http.ErrAbortHandler)
	})
	code, _, errs := runCommand(t, "scrape", "--kubeconfig="+kubeconfig, "-n", "shop", "--via=apiserver",
		"details-v1-a")
	if code != exitRefused || strings.Contains(errs, "port 15090") ||
		!strings.Contains(errs, "pod shop/details-v1-a could not be asked: the API server http://127.0.0.1:") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestScrapeAPodThatDoesNotAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		spec, status string
		page         http.HandlerFunc
		want         string
	}{
		"no sidecar": {`{"containers":[{"name":"app"},{"name":"db"}]}`, runningPod, unreachable,
			"no container istio-proxy and declares no port 1, so it has no sidecar (its containers: app, db)"},
		"not ready": {withSidecar, strings.Replace(runningPod, "true", "false", 1), unreachable,
			"its container istio-proxy is not ready"},
		"another port": {withSidecar, runningPod, unreachable, "is 1 the port of its page (--port)"},
		"no address": {withSidecar, `{"phase":"Pending"}`, unreachable,
			"pod shop/details-v1-a has no address yet (Pending)"},
		"finished": {withSidecar, `{"phase":"Succeeded","podIP":"192.0.2.7"}`, unreachable,
			"pod shop/details-v1-a has finished (Succeeded)"},
		"its own error": {withSidecar, runningPod, http.NotFound,
			"pod shop/details-v1-a answers, but: the target answers 404"},
	} {
		t.Run(name, func(t *testing.T) {
			kubeconfig := podCluster(t, tc.spec, tc.status, tc.page)
			code, out, errs := runCommand(t, "scrape", "--kubeconfig="+kubeconfig, "-n", "shop", "--port=1",
				"--via=apiserver", "details-v1-a")
			if code != exitRefused || out != "" || !strings.Contains(errs, tc.want) {
				t.Errorf("exit %d, %s%s; want %q", code, out, errs, tc.want)
			}
		})
	}
}

func TestNameOfAPodOrURL(t *testing.T) {
	for target, want := range map[string]bool{
		"details-v1-a": true, "deploy/details": true, "pod/details": true, "10.0.0.7": false, "10.0.0.7:15090": false,
		"http://details": false, "localhost": false, "localhost/stats": false, "example.com/metrics": false,
		"[fd00::1]": false, "deployments.apps/details": true, "jobs.example.com/metrics": false,
	} {
		if got := (&podFlags{}).name(target); got != want {
			t.Errorf("%s is the name of a pod: %v, want %v", target, got, want)
		}
	}
	if !(&podFlags{namespace: "shop"}).name("a.b") {
		t.Error("with -n, a name with a dot is a URL")
	}
}

func TestAutoWithoutAPod(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if way, why := auto(t.Context(), nil, scrape.IsPage); way != via.APIServer {
		t.Errorf("outside of a cluster: %s, %s", way, why)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	if way, why := auto(t.Context(), nil, scrape.IsPage); way != via.Direct {
		t.Errorf("in a pod: %s, %s", way, why)
	}
}

func TestAutoSendsNoCredentials(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("asked with %v", r.Header)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	job := promconfig.DefaultScrapeConfig
	job.HTTPClientConfig.BasicAuth = &config_util.BasicAuth{Username: "u", Password: "hunter2"}
	way, why := auto(t.Context(), []*scrape.Once{{Job: &job, URL: u}}, scrape.IsPage)
	if way != via.Direct || why != "the job has basic_auth, which works only directly" {
		t.Errorf("chosen: %s, %s", way, why)
	}
}
