package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

// referenceJob is the job from the mesh's documentation, with a short interval. Its verbs are the scrape interval and
// the timeout.
const referenceJob = `additionalScrapeConfigs:
- job_name: 'envoy-stats'
  scrape_interval: %v
  scrape_timeout: %dms
  metrics_path: /stats/prometheus
  kubernetes_sd_configs:
  - role: pod
  relabel_configs:
  - source_labels: [__meta_kubernetes_pod_container_port_name]
    action: keep
    regex: '.*-envoy-prom'
  - source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port]
    action: replace
    regex: ([^:]+)(?::\d+)?;(\d+)
    replacement: $1:15090
    target_label: __address__
  - action: labeldrop
    regex: __meta_kubernetes_pod_label_(.+)
  - source_labels: [__meta_kubernetes_namespace]
    action: replace
    target_label: namespace
  - source_labels: [__meta_kubernetes_pod_name]
    action: replace
    target_label: pod_name
`

// A scraper is one running envoy-scraper and its receiver.
type scraper struct {
	name     string
	header   string // the scrape timeout in its requests, which identifies it to the pages
	receiver *receiver.Receiver
	process  *process.Process
	url      string // base URL of its own pages
}

// scraperArgs returns the flags that all scrapers have.
func (w *world) scraperArgs(t *testing.T, r *receiver.Receiver) (args []string, url string) {
	t.Helper()
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	args = []string{
		"--kubeconfig=" + w.kubeconfig, "--remote-write.url=" + r.WriteURL(), "--web.listen-address=" + addr,
		"--storage.path=" + w.subdir(t, fmt.Sprintf("data-%d", ports[0])),
	}
	if strings.Contains(w.help(t), "scrape.allow-loopback") {
		args = append(args, "--scrape.allow-loopback") // the pods have loopback addresses
	}
	return args, "http://" + addr
}

// startWithFile starts a scraper with the pasted job.
func (w *world) startWithFile(t *testing.T, name string, r *receiver.Receiver, timeout time.Duration) *scraper {
	t.Helper()
	file := filepath.Join(w.dir, name+".yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, referenceJob, interval, timeout.Milliseconds()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &scraper{name: name, header: fmt.Sprint(timeout.Seconds()), receiver: r}
	args, url := w.scraperArgs(t, r)
	s.url = url
	w.start(t, s, append(args, "--config.file="+file), nil)
	return s
}

// startBuiltIn starts a scraper without a configuration file, for one node.
func (w *world) startBuiltIn(t *testing.T, name string, r *receiver.Receiver, node string) *scraper {
	t.Helper()
	s := &scraper{name: name, receiver: r}
	args, url := w.scraperArgs(t, r)
	s.url = url
	w.start(t, s, append(args, "--external-label=run="+name), []string{"NODE_NAME=" + node})
	return s
}

func (w *world) start(t *testing.T, s *scraper, args, env []string) {
	t.Helper()
	s.process = parts.Run(t, process.Spec{
		Name: "envoy-scraper " + s.name, Path: w.scraperPath, Args: args, Env: env,
		LogFile: filepath.Join(w.dir, s.name+".log"),
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.process.WaitReady(ctx, process.Ready(s.url)); err != nil {
		t.Fatal(err)
	}
}

// help returns the output of envoy-scraper run --help.
func (w *world) help(t *testing.T) string {
	t.Helper()
	text, _ := parts.Output(t, nil, w.scraperPath, "run", "--help")
	return text
}
