package e2e

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/e2e/envoyproxy"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

const formatsAddr = "127.0.15.31:15090" // stats address of an Envoy that is scraped in every format

// formatsFile has one job per format, all with the same Envoy. Its verbs are Envoy's address and the receiver's URL.
const formatsFile = `global: {scrape_interval: 1s, scrape_timeout: 900ms}
scrape_configs:
- job_name: text
  metrics_path: /stats/prometheus
  static_configs: [{targets: ['%[1]s']}]
- job_name: protobuf
  metrics_path: /stats/prometheus
  scrape_protocols: [PrometheusProto]
  static_configs: [{targets: ['%[1]s']}]
- job_name: native
  metrics_path: /stats/prometheus
  params: {histogram_buckets: [prometheusnative]}
  scrape_native_histograms: true
  static_configs: [{targets: ['%[1]s']}]
- job_name: custom
  metrics_path: /stats/prometheus
  convert_classic_histograms_to_nhcb: true
  static_configs: [{targets: ['%[1]s']}]
remote_write:
- url: %[2]s
  protobuf_message: io.prometheus.write.v2.Request
  send_native_histograms: true
`

// TestEnvoysFormats scrapes a real Envoy as text, as protobuf, with native histograms, and with classic histograms
// converted to custom buckets. envoy-scraper writes to a real Prometheus, and the test compares what is stored.
func TestEnvoysFormats(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: needs the real parts")
	}
	w := &world{dir: t.TempDir()}
	w.envoyPath = parts.Envoy(t)
	if w.envoyPath == "" {
		t.Skip("NO REAL ENVOY: see above")
	}
	w.tools = parts.Tools(t, "prometheus")
	w.scraperPath = parts.Scraper(t)
	to := w.startReceiver(t, "receiver", receiver.V1AndV2)
	envoy, err := envoyproxy.Start(t.Context(), envoyproxy.Config{Path: w.envoyPath, Dir: w.subdir(t, "envoy"),
		Stats: formatsAddr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(envoy.Close)
	for range 40 {
		if err := envoy.Request(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.startFormats(t, to)

	parts.Eventually(t, 90*time.Second, "text and protobuf are stored as the same",
		func() error { return sameSeries(t.Context(), to) })
	t.Run("native histograms", func(t *testing.T) {
		parts.Eventually(t, time.Minute, "they count as the classic ones",
			func() error { return sameHistograms(t.Context(), to, "native") })
	})
	t.Run("custom buckets", func(t *testing.T) {
		parts.Eventually(t, time.Minute, "they count as the classic ones",
			func() error { return sameHistograms(t.Context(), to, "custom") })
	})
	t.Run("an odd label", func(t *testing.T) {
		// Envoy escapes label values in protobuf too, although protobuf needs no escapes. Prometheus stores them with
		// the escapes.
		for job, want := range map[string]string{"text": `we"ird\one`, "protobuf": `we\"ird\\one`} {
			got, err := to.Query(t.Context(), fmt.Sprintf(`envoy_cluster_membership_total{job=%q,cluster_name=~"we.*"}`,
				job))
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || string(got[0].Metric["cluster_name"]) != want {
				t.Errorf("%s: stored %v, want cluster_name %s", job, got, want)
			}
		}
	})
}

func (w *world) startFormats(t *testing.T, to *receiver.Receiver) {
	t.Helper()
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(w.dir, "formats.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, formatsFile, formatsAddr, to.WriteURL()), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	w.start(t, &scraper{name: "formats", url: "http://" + addr}, []string{
		"--config.file=" + file, "--web.listen-address=" + addr, "--storage.path=" + w.subdir(t, "data"),
	}, nil)
}

// sameSeries compares the stored series of the proxied application in two jobs. They no longer change.
func sameSeries(ctx context.Context, to *receiver.Receiver) error {
	var stored [2]map[string]float64
	for i, job := range []string{"text", "protobuf"} {
		vector, err := to.Query(ctx, fmt.Sprintf(`{cluster_name="app",job=%q}`, job))
		if err != nil {
			return err
		}
		stored[i] = map[string]float64{}
		for _, sample := range vector {
			labels := map[string]string{}
			for name, value := range sample.Metric {
				if name != "__name__" && name != "job" {
					labels[string(name)] = string(value)
				}
			}
			stored[i][seriesKey(string(sample.Metric["__name__"]), labels)] = float64(sample.Value)
		}
	}
	text, protobuf := stored[0], stored[1]
	if len(text) < 100 || len(text) != len(protobuf) {
		return fmt.Errorf("%d series of text, %d of protobuf", len(text), len(protobuf))
	}
	for series, v := range text {
		if got, ok := protobuf[series]; !ok || math.Abs(got-v) > 1e-9*math.Abs(v) {
			return fmt.Errorf("%s is %v as text, %v in protobuf (found: %v)", series, v, got, ok)
		}
	}
	return nil
}

// sameHistograms compares a job's native histograms with the classic histograms of the text job: count, sum, and the
// count in the buckets.
func sameHistograms(ctx context.Context, to *receiver.Receiver, job string) error {
	vector, err := to.Query(ctx, fmt.Sprintf(`{cluster_name="app",job=%q}`, job))
	if err != nil {
		return err
	}
	compared := 0
	for _, sample := range vector {
		name := string(sample.Metric["__name__"])
		if sample.Histogram == nil {
			if strings.HasSuffix(name, "_bucket") {
				return fmt.Errorf("the classic series %s is stored, want a native histogram", name)
			}
			continue
		}
		count, err := classic(ctx, to, name+"_count", sample.Metric)
		if err != nil {
			return err
		}
		sum, err := classic(ctx, to, name+"_sum", sample.Metric)
		if err != nil {
			return err
		}
		if float64(sample.Histogram.Count) != count || math.Abs(float64(sample.Histogram.Sum)-sum) > 1e-9*sum {
			return fmt.Errorf("%s: count %v, sum %v; the text has %v, %v", name, sample.Histogram.Count,
				sample.Histogram.Sum, count, sum)
		}
		var inBuckets float64
		for _, b := range sample.Histogram.Buckets {
			inBuckets += float64(b.Count)
		}
		if inBuckets != count {
			return fmt.Errorf("%s: %v in buckets, count %v", name, inBuckets, count)
		}
		if count > 0 {
			compared++
		}
	}
	if compared == 0 {
		return fmt.Errorf("none of %d series is a native histogram with observations", len(vector))
	}
	return nil
}

// classic returns the value of the text job's series that corresponds to a native histogram.
func classic(ctx context.Context, to *receiver.Receiver, name string, of model.Metric) (float64, error) {
	matchers := []string{`job="text"`}
	for label, value := range of {
		if label != "__name__" && label != "job" {
			matchers = append(matchers, fmt.Sprintf("%s=%q", label, value))
		}
	}
	vector, err := to.Query(ctx, name+"{"+strings.Join(matchers, ",")+"}")
	if err != nil {
		return 0, err
	}
	if len(vector) != 1 {
		return 0, fmt.Errorf("%d series %s with %v", len(vector), name, matchers)
	}
	return float64(vector[0].Value), nil
}
