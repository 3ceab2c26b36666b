package pushdown

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// Metrics of the program under test.
const (
	violations = "envoy_scraper_scrape_pushdown_violations_total"
	failures   = "envoy_scraper_scrape_failures_total"
)

// quick is the interval of tests that wait for whole pages.
const quick = 200 * time.Millisecond

// keepSome is what the jobs of these tests keep, unless they say otherwise.
var keepSome = fmt.Sprintf(keepRule, "envoy_cluster_upstream_.*")

// TestRefusals scrapes sidecars that do not answer a filter as today's Envoy does. Each must be read whole from then
// on, and no scrape may be lost.
func TestRefusals(t *testing.T) {
	w := newWorld(t)
	text := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, refuse := range map[string]http.HandlerFunc{
		"not-found": text(http.StatusNotFound, "text/plain", "invalid path. admin commands are:\n"),
		"invalid":   text(http.StatusBadRequest, "text/plain", "Invalid re2 regex"),
		"empty":     text(http.StatusOK, "text/plain; charset=UTF-8", ""),
		"garbage":   text(http.StatusOK, "text/plain; charset=UTF-8", "<html>no such page</html>\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := w.at(t)
			s := &sidecar{stats: someStats(), refuse: refuse}
			j := job{"refuses", []string{s.serve(t)}, keepSome}
			a := w.start(name, auto, quick, j)
			w.scraped(map[string]*agent.Agent{auto: a}, every+every/2, quick, j)
			m, err := a.Metrics(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			whole, filtered := s.requests()
			t.Logf("%d whole pages, %d requests with a filter", whole, filtered)
			if filtered < 1 || filtered > 3 {
				t.Errorf("%d requests with a filter, want 1 to 3", filtered)
			}
			if n := m.Sum(failures); n != 0 {
				t.Errorf("%v scrapes failed", n)
			}
			w.stop(a)
			w.nothingLost(name, j.name, 20)
		})
	}
}

// nothingLost asserts that each scrape of each target has stored all series.
func (w *world) nothingLost(name, job string, series int) {
	w.Helper()
	for target, r := range read(w.T, w.snapshot(), name, job) {
		if len(r.series) != series {
			w.Errorf("%s: %d series are stored, want %d", target, len(r.series), series)
		}
		for labels, samples := range r.series {
			all := lives(r.scrapes(), *samples)
			if n := r.failed(); n > 0 || len(all) != 1 || len(all[0].samples) != len(r.scrapes()) {
				w.Errorf("%s: %d scrapes, %d of them failed; %d samples", labels, len(r.scrapes()), n, len(*samples))
			}
		}
		r.checkKept(w.T)
	}
}

// TestMergedPort scrapes port 15020, where Istio's agent puts Envoy's page together with other pages. If Envoy refuses
// a filter, the agent answers 200 without Envoy's part. So it must never be asked with one. Port 15090 must.
func TestMergedPort(t *testing.T) {
	w := newWorld(t)
	merged, own := &sidecar{stats: someStats()}, &sidecar{stats: someStats()}
	merged.refuse = func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# TYPE istio_agent_startup_duration_seconds gauge\n"+
			"istio_agent_startup_duration_seconds 1\n")
	}
	at := parts.Addresses(t)
	j := job{"merged", []string{merged.serveAt(t, at, 15020), own.serveAt(t, at, 15090)}, keepSome}
	a := w.start("merged", auto, quick, j)
	w.scraped(map[string]*agent.Agent{auto: a}, 10, quick, j)
	if whole, filtered := merged.requests(); filtered > 0 || whole < 5 {
		t.Errorf("port 15020: %d whole pages, %d requests with a filter; want none with a filter", whole, filtered)
	}
	if _, filtered := own.requests(); filtered < 5 {
		t.Errorf("port 15090: %d requests with a filter", filtered)
	}
	w.stop(a)
	w.nothingLost("merged", j.name, 20)
}

// TestIstioLike scrapes a page of Istio's metrics, with a label of the mesh's owner that looks like another metric.
func TestIstioLike(t *testing.T) {
	w := newWorld(t)
	for name, rules := range map[string]string{
		"keep-names": fmt.Sprintf(keepRule, "istio_requests_total|istio_request_bytes_count"),
		"keep-all":   fmt.Sprintf(keepRule, "istio_.*"),
		"drop-all":   fmt.Sprintf(dropRule, "istio_tcp_.*") + fmt.Sprintf(dropRule, "envoy_cluster_.*"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := w.at(t)
			s := &sidecar{stats: istioStats()}
			address := s.serve(t)
			j := job{"istio", []string{address}, rules}
			other := name + "-off"
			agents := map[string]*agent.Agent{auto: w.start(name, auto, quick, j), off: w.start(other, off, quick, j)}
			w.scraped(agents, every+every/2, quick, j)
			for _, a := range agents {
				w.stop(a)
			}
			folder := w.snapshot()
			both := comparison{still: func(string) bool { return false }, rises: func(string) bool { return true }}
			both.auto, both.off = read(t, folder, name, j.name)[address], read(t, folder, other, j.name)[address]
			seen, problems := both.compare()
			t.Logf("%d series, %d values between two of the other agent's", seen.series, seen.between)
			for _, p := range problems {
				t.Error(p)
			}
			if seen.series < 8 || seen.between < 8*every {
				t.Error("that is too little to compare")
			}
			both.checkFiltered(t)
		})
	}
}

// TestCutInsideAWord makes the one case in which a filter misses a series: one of Istio's labels is cut out of the
// middle of a word, so that the name has a word that the raw name lacks. The second whole page shows that.
func TestCutInsideAWord(t *testing.T) {
	const family = "envoy_http_mydownstream_cx_active"
	e := startEnvoy(t, "mycache.v1", clusters()[:4])
	if !strings.Contains(e.page(), "\n"+family+"{") {
		t.Fatalf("the whole page has no %s", family)
	}
	w := newWorld(t)
	j := job{"cut", []string{e.address()}, fmt.Sprintf(keepRule, family+"|envoy_cluster_membership_.*")}
	a := w.start("cut", auto, quick, j)
	begin := time.Now()
	parts.Eventually(t, 4*every*quick+patience, "the proof fails", func() error {
		m, err := a.Metrics(t.Context())
		if err == nil && m.Sum(violations) == 0 {
			err = errors.New(violations + " is 0")
		}
		return err
	})
	t.Logf("%.1f intervals after the start", float64(time.Since(begin))/float64(quick))
	noticed := time.Now().UnixMilli()
	w.scraped(map[string]*agent.Agent{auto: a}, every+every/2, quick, j)
	log := a.Process.Log()
	if !strings.Contains(log, family) || !strings.Contains(log, "http.*mydownstream") {
		t.Errorf("the log has not both the family and the filter:\n%s", log)
	}
	w.stop(a)
	r := read(t, w.snapshot(), "cut", j.name)[e.address()]
	for series, samples := range r.series {
		for _, c := range r.scrapes() {
			if c.at > noticed && !c.failed && !hasSample(*samples, c.at) {
				t.Errorf("%s has no sample of the scrape at %d, after the filter was given up at %d", series, c.at,
					noticed)
			}
		}
	}
	t.Logf("%d scrapes until the filter was given up", r.until(noticed))
	if most := 2*every + 2; r.until(noticed) > most {
		t.Errorf("%d scrapes until the filter was given up, want at most %d", r.until(noticed), most)
	}
	all := r.values("scrape_samples_scraped")
	if first, last := all[0], all[len(all)-1]; first != last {
		t.Errorf("the last page had %v samples, and the first one, which is whole, %v", last, first)
	}
}

func hasSample(samples []sample, at int64) bool {
	for _, s := range samples {
		if s.at == at && !s.stale {
			return true
		}
	}
	return false
}

// until returns how many scrapes there were until a time.
func (r *record) until(at int64) (n int) {
	for _, c := range r.scrapes() {
		if c.at <= at {
			n++
		}
	}
	return n
}
