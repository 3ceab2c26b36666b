package blocks

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

const (
	targets  = 100
	series   = 500 // per page: every second one grows at each scrape, the others are constant
	interval = 5 * time.Second

	wantEqual = 95.0 // percentage of timestamp deltas that equal the previous delta
	mostBytes = 1.1  // bytes per sample, relative to a Prometheus that scrapes by itself
)

// TestBytesPerSample scrapes the same targets with envoy-scraper, which writes to a Prometheus, and with a Prometheus
// alone. Timestamps must be evenly spaced, because even spacing is what makes samples small, and both databases must
// have about the same size. On a machine that is too busy for even timestamps, envoy-scraper must be no worse than
// Prometheus. BLOCKS_TIME sets how long the test scrapes. With BLOCKS_TIME=11m chunks are full: 120 samples each.
func TestBytesPerSample(t *testing.T) {
	takes := 90 * time.Second
	if text := os.Getenv("BLOCKS_TIME"); text != "" {
		var err error
		if takes, err = time.ParseDuration(text); err != nil {
			t.Fatalf("BLOCKS_TIME: %v", err)
		}
	}
	binary, tools := parts.Scraper(t), parts.Tools(t, "prometheus")
	yaml := scrapeConfig(servePages(t))
	start := func(yaml string) *receiver.Receiver {
		return parts.Prometheus(t, receiver.Config{Bin: tools, Protocol: receiver.V1AndV2, YAML: yaml})
	}
	fed, alone := start(""), start(yaml)
	agent.Start(t, agent.Config{
		Path: binary, Dir: t.TempDir(), Name: "envoy-scraper",
		YAML: yaml + "remote_write: [{url: '" + fed.WriteURL() + "'}]\n",
		Args: []string{"--storage.path=" + t.TempDir()},
	})
	lateness := parts.MeasureLateness()
	defer lateness.End()
	wait := time.NewTimer(takes)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	lateness.End()

	ours, theirs := measure(t, fed), measure(t, alone)
	t.Logf("%d targets with %d series, every %v for %v\n| | timestamp deltas equal to the previous | bytes/sample, "+
		"rising series | constant series | all |\n%s\n%s", targets, series, interval, takes,
		ours.row("envoy-scraper, sent to Prometheus"), theirs.row("Prometheus, scraped by itself"))
	want := wantEqual
	if lateness.Worst > interval/100 {
		t.Logf("timers of this machine fired up to %v late", lateness.Worst)
		want = min(want, theirs.equal)
	}
	if ours.equal < want {
		t.Errorf("%.1f %% of the timestamp deltas equal the previous one, want %.1f %%", ours.equal, want)
	}
	if ours.all() > theirs.all()*mostBytes {
		t.Errorf("%.2f bytes per sample, Prometheus alone has %.2f", ours.all(), theirs.all())
	}
}

// scrapeConfig returns the configuration with the targets, for both programs.
func scrapeConfig(addresses []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global: {scrape_interval: %v, scrape_timeout: %v}\n", model.Duration(interval),
		model.Duration(interval))
	b.WriteString("scrape_configs:\n- job_name: blocks\n  static_configs:\n  - targets:\n")
	for _, address := range addresses {
		fmt.Fprintf(&b, "    - %s\n", address)
	}
	return b.String()
}

// measured describes the database of one Prometheus.
type measured struct {
	equal            float64 // percentage of timestamp deltas that equal the previous delta
	rising, constant chunkStats
}

// chunkStats is the size of a set of chunks.
type chunkStats struct{ bytes, samples int }

func (c chunkStats) perSample() float64 { return float64(c.bytes) / float64(max(c.samples, 1)) }

func (m measured) all() float64 {
	return chunkStats{m.rising.bytes + m.constant.bytes, m.rising.samples + m.constant.samples}.perSample()
}

func (m measured) row(name string) string {
	return fmt.Sprintf("| %s | %.1f %% | %.2f | %.2f | %.2f |", name, m.equal, m.rising.perSample(),
		m.constant.perSample(), m.all())
}

func measure(t *testing.T, r *receiver.Receiver) (m measured) {
	t.Helper()
	up, err := r.Samples(t.Context(), `up{job="blocks"}[1h]`)
	if err != nil {
		t.Fatal(err)
	}
	if len(up) != targets {
		t.Fatalf("%d targets were scraped, want %d", len(up), targets)
	}
	equal, all := 0, 0
	for _, stream := range up {
		for i := 2; i < len(stream.Values); i++ {
			a, b, c := stream.Values[i-2].Timestamp, stream.Values[i-1].Timestamp, stream.Values[i].Timestamp
			if all++; c-b == b-a {
				equal++
			}
		}
	}
	m.equal = 100 * float64(equal) / float64(max(all, 1))
	folder, err := r.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.rising, m.constant = readChunks(t, folder)
	if m.rising.samples < targets*series/4 || m.constant.samples < targets*series/4 {
		t.Fatalf("the blocks have %d samples of rising series and %d of constant ones", m.rising.samples,
			m.constant.samples)
	}
	return m
}
