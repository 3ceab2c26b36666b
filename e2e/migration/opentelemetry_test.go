package migration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/envoy-scraper/envoy-scraper/e2e/meshtest"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

// opentelemetry checks the guide's files. With MIGRATION_OTEL=1 it runs them too; the first build of the collector
// takes minutes.
func (w *world) opentelemetry() {
	file := printed(w.T, "opentelemetry.md", "new")
	w.check(file)
	jobs := file[strings.Index(file, "- job_name"):]
	if old := printed(w.T, "opentelemetry.md", "old"); !strings.Contains(old,
		indent(strings.ReplaceAll(jobs, "$1", "$$1"), 6)) {
		w.Error("the new job is not the collector's job with $ instead of $$")
	}
	if os.Getenv("MIGRATION_OTEL") != "1" {
		w.Log("THE COLLECTOR IS NOT RUN: set MIGRATION_OTEL=1 to run it")
		return
	}
	w.pods = w.ownPods("")
	w.collector()
}

// collector runs the guide's collector beside envoy-scraper.
func (w *world) collector() {
	collector := filepath.Join(parts.Script(w.T, "e2e/tools/otelcol/build.sh"), "otelcol")
	file := filepath.Join(w.dir, "otelcol.yml")
	w.write(file, printed(w.T, "opentelemetry.md", "old"))
	if said, err := exec.CommandContext(w.Context(), collector, "validate",
		"--config="+file).CombinedOutput(); err != nil {
		w.Errorf("otelcol validate: %v\n%s", err, said)
	}
	r := parts.Prometheus(w.T, receiver.Config{Bin: w.tools, Protocol: receiver.V1AndV2})
	old := w.adapt(printed(w.T, "opentelemetry.md", "old"), r)
	w.write(file, old)
	w.launch("old", collector, []string{"--config=" + file})
	series := printed(w.T, "opentelemetry.md", "series")
	w.agree(r, printed(w.T, "opentelemetry.md", "new"), series, printed(w.T, "README.md", "values"))
	w.until("the differences that the guide names", func() error { return w.rows(r, otherwise...) })
	w.plain(r, collector, old)
	w.podGoes(r)
}

// otherwise holds the guide's statements about the collector's series, as queries with the number of rows that each
// must return.
var otherwise = []any{
	// Counters get the suffix _total. A _total inside a name moves to the end.
	`count(envoy_cluster_upstream_cx_connect_fail_total{agent=""})
	  == count(envoy_cluster_upstream_cx_connect_fail{agent="envoy-scraper"})`, 1,
	`count(envoy_cluster_default_match_count_total{agent=""})
	  == count(envoy_cluster_default_total_match_count{agent="envoy-scraper"})`, 1,
	`{__name__=~"envoy_cluster_upstream_cx_connect_fail|envoy_cluster_default_total_match_count", agent=""}`, 0,
	// Two families are merged into one.
	`sum(envoy_cluster_upstream_rq_total{agent=""})
	  == sum({__name__=~"envoy_cluster_upstream_rq|envoy_cluster_upstream_rq_total", agent="envoy-scraper"})
	  > sum(envoy_cluster_upstream_rq_total{agent="envoy-scraper"})`, 1,
	// The collector adds labels and series.
	`count by (otel_scope_name) ({job="envoy-stats", agent="", __name__!="target_info"})`, 1,
	`{job="envoy-stats", agent="", __name__!="target_info", otel_scope_name=""}`, 0,
	`count(target_info{agent="", k8s_pod_name!=""}) == count(up{agent=""})`, 1,
	// Bounds are formatted differently.
	`count(istio_request_duration_milliseconds_bucket{agent="", le="1"})
	  == count(istio_request_duration_milliseconds_bucket{agent="envoy-scraper", le="1.0"})`, 1,
	`count(istio_request_duration_milliseconds_bucket{agent="", le="3600000"})
	  == count(istio_request_duration_milliseconds_bucket{agent="envoy-scraper", le="3.6e+06"})`, 1,
}

// plain runs the collector with the exporter's settings that keep names. Then the queries of the other guides find only
// different bounds. Its rules have $ instead of $$, which works too.
func (w *world) plain(r *receiver.Receiver, collector, old string) {
	settings := strings.ReplaceAll(printed(w.T, "opentelemetry.md", "plain"), writeURL, r.WriteURL())
	old = replace(w.T, old, "$$1", "$1")
	start, end := strings.Index(old, "exporters:"), strings.Index(old, "service:")
	file := filepath.Join(w.dir, "plain.yml")
	w.write(file, old[:start]+settings+"    external_labels: {agent: plain}\n"+old[end:])
	w.launch("plain", collector, []string{"--config=" + file})

	series := replace(w.T, printed(w.T, "README.md", "series"), `"}`, `", __name__!~".*_bucket"}`)
	series = strings.ReplaceAll(series, `agent=""`, `agent="plain"`)
	w.until("with plain names, the same series", func() error {
		return w.rows(r, `count(up{agent="plain"}) == count(up{agent="envoy-scraper"})`, 1, series, 0)
	})
	other := strings.NewReplacer(`"plain"`, `"envoy-scraper"`, `"envoy-scraper"`, `"plain"`).Replace(series)
	w.until("with plain names, the same series in the other direction", func() error { return w.rows(r, other, 0) })
}

// podGoes removes a pod from the file. Its series must end with a staleness marker, except those that the guide names.
func (w *world) podGoes(r *receiver.Receiver) {
	const pod = "ratings-v1-6b7f9c5d8f-t2gln"
	of := func(more string) string { return fmt.Sprintf(`{job="envoy-stats", pod_name=%q, %s}`, pod, more) }
	if err := w.rows(r, `count(`+of(`agent=""`)+`) > 100`, 1, `count(`+of(`agent="envoy-scraper"`)+`) > 100`,
		1); err != nil {
		w.Fatal(err)
	}
	if err := os.Rename(w.ownPods(pod), w.pods); err != nil {
		w.Fatal(err)
	}
	w.until("only the named series of the deleted pod stay", func() error {
		return w.rows(r, of(`agent="envoy-scraper"`), 0, of(`agent="", __name__!~".*_sum"`), 0)
	})
	if err := w.rows(r, `count(`+of(`agent="", __name__=~".*_sum"`)+`) > 1`, 1,
		fmt.Sprintf(`target_info{agent="", k8s_pod_name=%q}`, pod), 1); err != nil {
		w.Error(err)
	}
}

// ownPods writes the pods except one to a separate file and returns its path.
func (w *world) ownPods(without string) string {
	w.Helper()
	content, err := os.ReadFile(w.pods)
	if err != nil {
		w.Fatal(err)
	}
	var groups, kept []meshtest.Group
	if err := json.Unmarshal(content, &groups); err != nil {
		w.Fatal(err)
	}
	for _, g := range groups {
		if g.Labels["__meta_kubernetes_pod_name"] != without {
			kept = append(kept, g)
		}
	}
	if content, err = json.Marshal(kept); err != nil {
		w.Fatal(err)
	}
	path := filepath.Join(w.dir, "pods-without-"+without+".json")
	w.write(path, string(content))
	return path
}

func indent(s string, n int) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+pad) + "\n"
}
