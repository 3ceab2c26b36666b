// Package migration tests the guides of docs/migration. It takes the configurations and queries from the documents and
// runs them: the old scraper (Prometheus, vmagent, the OpenTelemetry collector) and envoy-scraper read the same
// simulated mesh and write to one real Prometheus. It proves that the guides' files work as printed and that their
// queries find differences.
//
// To run it alone:
//
//	make migration
package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
	"github.com/envoy-scraper/envoy-scraper/e2e/meshtest"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

// A world is a mesh with constant values, a file with its pods, and the programs that scrape it.
type world struct {
	*testing.T
	dir     string
	pods    string // path of a file for file_sd_configs
	scraper string // paths of the programs
	tools   string

	sidecars int // how many the mesh has
}

// TestGuides runs the old job and each new file of the guides, and the queries that compare them.
func TestGuides(t *testing.T) {
	w := newWorld(t)
	t.Run("prometheus, option A", func(t *testing.T) {
		t.Parallel()
		w.at(t).compare(printed(t, "prometheus.md", "old"), printed(t, "prometheus.md", "option-a"))
	})
	t.Run("prometheus, option B", func(t *testing.T) {
		t.Parallel()
		w.at(t).compare(printed(t, "prometheus.md", "old"), printed(t, "prometheus.md", "option-b"))
	})
	t.Run("operator", func(t *testing.T) {
		t.Parallel()
		jobs := secretJobs(t)
		w.at(t).compare("scrape_configs:\n"+jobs, jobs)
	})
	t.Run("vmagent", func(t *testing.T) { w.at(t).vmagent() })
	t.Run("opentelemetry", func(t *testing.T) { w.at(t).opentelemetry() })
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir(), scraper: parts.Scraper(t)}
	w.tools = parts.Tools(t, "prometheus")

	cfg := mesh.DefaultConfig()
	cfg.Still = true // so that scrapes at different times read the same values
	sidecars := meshtest.Start(t, cfg)
	w.pods = filepath.Join(w.dir, "pods.json")
	w.listPods(sidecars)
	w.sidecars = len(sidecars)
	return w
}

// listPods writes the file of pods with the labels of Kubernetes discovery. Each pod has two ports: the stats port and
// one that the guides' rules drop.
func (w *world) listPods(sidecars []mesh.Sidecar) {
	w.Helper()
	var groups []meshtest.Group
	for _, s := range sidecars {
		for _, port := range []string{"http-envoy-prom", "http"} {
			labels := map[string]string{
				"__meta_kubernetes_namespace":               s.Namespace,
				"__meta_kubernetes_pod_name":                s.Pod,
				"__meta_kubernetes_pod_container_port_name": port,
			}
			for name, value := range s.Labels {
				labels["__meta_kubernetes_pod_label_"+
					strings.NewReplacer("/", "_", ".", "_", "-", "_").Replace(name)] = value
			}
			if value, ok := s.Annotations["prometheus.io/port"]; ok {
				labels["__meta_kubernetes_pod_annotation_prometheus_io_port"] = value
			}
			groups = append(groups, meshtest.Group{Targets: []string{s.Addr.String()}, Labels: labels})
		}
	}
	content, err := json.Marshal(groups)
	if err != nil {
		w.Fatal(err)
	}
	w.write(w.pods, string(content))
}

// at returns the same world for a subtest, with its own folder.
func (w *world) at(t *testing.T) *world {
	sub := *w
	sub.T, sub.dir = t, t.TempDir()
	return &sub
}

func (w *world) write(path, content string) {
	w.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
}

// compare runs the old file in a Prometheus agent and the new one in envoy-scraper. Both write to one Prometheus.
func (w *world) compare(old, new string) {
	w.check(new)
	r := parts.Prometheus(w.T, receiver.Config{Bin: w.tools, Protocol: receiver.V1AndV2})
	remoteWrite := "remote_write:\n- url: " + writeURL + "\n"
	w.run("old", filepath.Join(w.tools, "prometheus"), w.adapt(old+remoteWrite, r),
		"--agent", "--storage.agent.path="+filepath.Join(w.dir, "old"))
	w.agree(r, new, printed(w.T, "README.md", "series"), printed(w.T, "README.md", "values"))
}

// agree runs the new file beside the old scraper, until the guide's queries find no difference.
func (w *world) agree(r *receiver.Receiver, new, series, values string) {
	w.Helper()
	args := []string{"--storage.path=" + filepath.Join(w.dir, "new"), "--external-label=agent=envoy-scraper"}
	if !strings.Contains(new, "remote_write:") {
		args = append(args, "--remote-write.url="+r.WriteURL())
	}
	w.run("new", w.scraper, w.adapt(new, r), args...)

	w.until("both have sent two samples of everything", func() error {
		return w.rows(r, `count({__name__=~"istio_requests_total|up", job="envoy-stats"}) by (agent)`, 2,
			fmt.Sprintf(`(count by (agent) (count_over_time(up{job="envoy-stats"}[5m]) >= 3)) == %d`, w.sidecars), 2)
	})
	w.until("the same series", func() error { return w.rows(r, series, 0) })
	w.until("the same series in the other direction", func() error { return w.rows(r, swap(series), 0) })
	w.until("the same values", func() error {
		vector, err := r.Query(w.Context(), values)
		if err == nil && len(vector) == 0 {
			err = errors.New("no row")
		}
		for _, sample := range vector {
			if sample.Value != 0 {
				err = fmt.Errorf("%v", sample)
			}
		}
		return err
	})
	if vector, err := r.Query(w.Context(), "count("+swapIn(series, "no-such-agent")+")"); err != nil ||
		len(vector) != 1 || vector[0].Value < 1000 {
		w.Errorf("compared with an agent that does not exist, the query returns %v (%v), want more than a thousand "+
			"missing series", vector, err)
	}
	w.withoutRequests(r, new, series)
}

// withoutRequests runs the new file with a rule that drops a family. The guide's queries must find that difference.
func (w *world) withoutRequests(r *receiver.Receiver, new, series string) {
	rule := "  metric_relabel_configs:\n  - {source_labels: [__name__], regex: istio_requests_total, action: drop}\n"
	text := replace(w.T, w.adapt(new, r), "  relabel_configs:\n", rule+"  relabel_configs:\n")
	args := []string{"--storage.path=" + filepath.Join(w.dir, "partial"), "--external-label=agent=partial"}
	if !strings.Contains(new, "remote_write:") {
		args = append(args, "--remote-write.url="+r.WriteURL())
	}
	w.run("partial", w.scraper, text, args...)
	query := swapIn(series, "partial")
	w.until("only the dropped family is missing", func() error {
		return w.rows(r, fmt.Sprintf(`count by (name) (%s) == scalar(count(istio_requests_total{agent=""}))`, query), 1,
			fmt.Sprintf(`count by (name) (%s)`, query), 1)
	})
}

// swap exchanges the two sides of a comparison.
func swap(query string) string {
	return strings.NewReplacer(`agent=""`, `agent="envoy-scraper"`, `agent="envoy-scraper"`, `agent=""`).Replace(query)
}

// swapIn changes the agent that a query compares with.
func swapIn(query, agent string) string {
	return strings.ReplaceAll(query, `agent="envoy-scraper"`, `agent="`+agent+`"`)
}

// adapt replaces the addresses in a guide's file by those of this machine, and the interval by a shorter one.
func (w *world) adapt(text string, r *receiver.Receiver) string {
	w.Helper()
	text = strings.ReplaceAll(text, writeURL, r.WriteURL())
	text = replaceKey(w.T, text, `scrape_interval: 15s`, "scrape_interval: 2s", "scrape_timeout: 2s")
	return replaceKey(w.T, text, `kubernetes_sd_configs:\n *- role: pod`, "file_sd_configs:",
		fmt.Sprintf("- files: [%q]", w.pods))
}

// rows runs queries. Each query is followed by the number of rows that it must return.
func (w *world) rows(r *receiver.Receiver, queries ...any) error {
	for i := 0; i < len(queries); i += 2 {
		vector, err := r.Query(w.Context(), queries[i].(string))
		if err != nil {
			return err
		}
		if len(vector) != queries[i+1].(int) {
			return fmt.Errorf("%s: %d rows, want %d; %v", queries[i], len(vector), queries[i+1],
				vector[:min(3, len(vector))])
		}
	}
	return nil
}

// run starts a program with a configuration and waits until it is ready.
func (w *world) run(name, path, config string, args ...string) {
	w.Helper()
	file := filepath.Join(w.dir, name+".yml")
	w.write(file, config)
	w.start(name, path, "--web.listen-address=", append([]string{"--config.file=" + file}, args...))
}

// start starts a program and waits until it is ready. listen is its flag for the listen address.
func (w *world) start(name, path, listen string, args []string) {
	w.Helper()
	ports, err := process.FreePorts(1)
	if err != nil {
		w.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	p := w.launch(name, path, append([]string{listen + addr}, args...))
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	if err := p.WaitReady(ctx, process.Ready("http://"+addr)); err != nil {
		w.Fatal(err)
	}
}

// launch starts a program that runs until the end of the test.
func (w *world) launch(name, path string, args []string) *process.Process {
	w.Helper()
	return parts.Run(w.T, process.Spec{Name: name, Path: path, LogFile: filepath.Join(w.dir, name+".log"), Args: args})
}

// until waits for a condition.
func (w *world) until(what string, reached func() error) {
	w.Helper()
	parts.Eventually(w.T, time.Minute, what, reached)
}

// check runs envoy-scraper's check on a file exactly as printed.
func (w *world) check(text string) {
	w.Helper()
	file := filepath.Join(w.dir, "printed.yml")
	w.write(file, text)
	if out, err := exec.CommandContext(w.Context(), w.scraper, "check", file).CombinedOutput(); err != nil {
		w.Errorf("check: %v\n%s", err, out)
	}
}

// vmagent checks and runs the guide's files in vmagent and in envoy-scraper.
func (w *world) vmagent() {
	w.check(printed(w.T, "vmagent.md", "new"))
	file := filepath.Join(w.dir, "vmagent.yml")
	w.write(file, printed(w.T, "vmagent.md", "old"))
	vmagent := filepath.Join(parts.Script(w.T, "bench/peers/build.sh", "vmagent"), "vmagent")
	dry := exec.CommandContext(w.Context(), vmagent, "-dryRun", "-promscrape.config="+file,
		"-promscrape.config.strictParse",
		"-remoteWrite.url="+writeURL, "-remoteWrite.tmpDataPath="+w.dir)
	if said, err := dry.CombinedOutput(); err != nil {
		w.Errorf("vmagent -dryRun: %v\n%s", err, said)
	}
	// As the guide says, a key that only vmagent has must be an error.
	own := replace(w.T, printed(w.T, "vmagent.md", "new"), "  metrics_path:", "  stream_parse: true\n  metrics_path:")
	w.write(file, own)
	if said, err := exec.CommandContext(w.Context(), w.scraper, "check", file).CombinedOutput(); err == nil ||
		!strings.Contains(string(said), "stream_parse") {
		w.Errorf("check of stream_parse: %v\n%s", err, said)
	}

	r := parts.Prometheus(w.T, receiver.Config{Bin: w.tools, Protocol: receiver.V1AndV2})
	w.write(file, w.adapt(printed(w.T, "vmagent.md", "old"), r))
	w.start("old", vmagent, "-httpListenAddr=", []string{
		"-promscrape.config=" + file, "-remoteWrite.url=" + r.WriteURL(), "-remoteWrite.tmpDataPath=" +
			filepath.Join(w.dir, "old"),
	})
	w.agree(r, printed(w.T, "vmagent.md", "new"), printed(w.T, "vmagent.md", "series"),
		printed(w.T, "vmagent.md", "values"))
	for theirs, ours := range map[string]string{"1": "1.0", "3600000": "3.6e+06"} { // as the guide says
		w.until("bounds are spelled otherwise", func() error {
			const of = `count(istio_request_duration_milliseconds_bucket{agent=%q, le=%q})`
			return w.rows(r, fmt.Sprintf(of+" == "+of, "", theirs, "envoy-scraper", ours), 1)
		})
	}
}
