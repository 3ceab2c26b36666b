package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/golang/snappy"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// firstPageBytes is the size of the pages of BenchmarkFirstPage: just below body_size_limit, which is 64 MiB.
const firstPageBytes = 63 << 20

// firstPageLooks is how often the memory is looked at before the benchmark gives up: for about a minute and a half.
const firstPageLooks = 45_000

// BenchmarkFirstPage is the memory of the whole program, in a process of its own, while it reads one page of 63 MiB
// with nothing but new series for the first time, and until the receiver has all samples. The peak of the resident
// memory is the kernel's (VmHWM). That of the anonymous part is looked at every 2 ms. Run it with -benchtime 1x.
func BenchmarkFirstPage(b *testing.B) {
	for _, page := range []struct{ name, line string }{
		{"short", `envoy_cluster_upstream_rq_total{envoy_cluster_name=` +
			`"outbound|9080|v2|reviews.bookinfo.svc.cluster.local",id="%016x"} 17000` + "\n"},
		{"istio", `istio_requests_total{reporter="destination",source_workload="client",` +
			`source_canonical_service="client",source_canonical_revision="latest",` +
			`source_workload_namespace="default",source_principal="spiffe://` +
			`cluster.local/ns/default/sa/client",source_app="client",source_version="v1",source_cluster="Kubernetes",` +
			`destination_workload="reviews",destination_workload_namespace="default",destination_principal="spiffe://` +
			`cluster.local/ns/default/sa/default",destination_app="reviews",destination_version="v2",` +
			`destination_service="reviews.default.svc.cluster.local",destination_canonical_service="reviews",` +
			`destination_canonical_revision="v2",destination_service_name="reviews",` +
			`destination_service_namespace="default",destination_cluster="Kubernetes",request_protocol="http",` +
			`response_code="200",response_flags="-",connection_security_policy="mutual_tls",id="%016x"} 17` + "\n"},
	} {
		b.Run(page.name, func(b *testing.B) {
			var rss, anonymous float64
			for range b.N {
				r, a := readFirstPage(b, page.line)
				rss, anonymous = max(rss, r), max(anonymous, a)
			}
			b.ReportMetric(float64(firstPageBytes/len(fmt.Sprintf(page.line, 0))), "lines")
			b.ReportMetric(rss/(1<<20), "MiB-peak-RSS")
			b.ReportMetric(anonymous/(1<<20), "MiB-peak-anonymous")
		})
	}
}

// readFirstPage runs the program until a receiver has the samples of the first page of its only target. It returns the
// peaks of its memory in bytes.
func readFirstPage(b *testing.B, line string) (rss, anonymous float64) {
	lines := firstPageBytes / len(fmt.Sprintf(line, 0))
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		out, r := bufio.NewWriterSize(w, 64<<10), rand.New(rand.NewPCG(1, 2))
		for range lines {
			fmt.Fprintf(out, line, r.Uint64())
		}
		_ = out.Flush()
	}))
	defer sidecar.Close()
	var received atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var m writev2.Request
		body, err := io.ReadAll(req.Body)
		if err == nil {
			body, err = snappy.Decode(nil, body)
		}
		if err == nil {
			err = proto.Unmarshal(body, &m)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
			return
		}
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(len(m.Timeseries)))
		w.WriteHeader(http.StatusNoContent)
		received.Add(int64(len(m.Timeseries)))
	}))
	defer receiver.Close()

	dir := b.TempDir()
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
global: {scrape_interval: 30s, scrape_timeout: 30s}
scrape_configs:
- job_name: sidecars
  static_configs: [{targets: ['%s']}]
remote_write: [{url: '%s'}]
`, sidecar.Listener.Addr(), receiver.URL), 0o600); err != nil {
		b.Fatal(err)
	}
	args := []string{"run", "--config.file", config, "--storage.path", filepath.Join(dir, "queue"),
		"--web.listen-address", "127.0.0.1:0", "--scrape.allow-loopback", "--log.level", "warn"}
	cmd := exec.CommandContext(b.Context(), "envoy-scraper", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for i := 0; received.Load() < int64(lines) && i < firstPageLooks; i++ {
		<-look.C
		r, a := residentMemory(b, cmd.Process.Pid)
		rss, anonymous = max(rss, r), max(anonymous, a)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || received.Load() < int64(lines) {
		b.Fatalf("%v; %d samples received; %s", err, received.Load(), &stderr)
	}
	return rss, anonymous
}

var residentLine = regexp.MustCompile(`(?m)^(VmHWM|RssAnon):\s+(\d+) kB$`)

// residentMemory returns the highest resident memory of a process so far, and its anonymous memory now.
func residentMemory(b *testing.B, pid int) (peak, anonymous float64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, line := range residentLine.FindAllSubmatch(status, -1) {
		kib, err := strconv.Atoi(string(line[2]))
		if err != nil {
			b.Fatal(err)
		}
		if string(line[1]) == "VmHWM" {
			peak = float64(kib) * 1024
		} else {
			anonymous = float64(kib) * 1024
		}
	}
	return peak, anonymous
}
