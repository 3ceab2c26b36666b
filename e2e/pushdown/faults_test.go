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
	faults   = "envoy_scraper_scrape_filter_faults_total"
	filtered = "envoy_scraper_scrape_filtered_total"
	failures = "envoy_scraper_scrape_failures_total"
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
			for reason, n := range m.By(failures, "reason") {
				if n > 0 && reason != "timeout" { // a busy machine, see nothingLost
					t.Errorf("%v scrapes failed: %s", n, reason)
				}
			}
			if refused := m.By(faults, "reason")["refused"]; refused < 1 {
				t.Errorf("%s has %v for the reason refused", faults, refused)
			}
			w.stop(a)
			w.nothingLost(name, j.name, 20)
		})
	}
}

// nothingLost asserts that each scrape of each target has stored all series. On a busy machine a few scrapes take
// longer than their timeout, which is the interval of these tests. They fail, and neither begin nor end a series.
func (w *world) nothingLost(name, job string, series int) {
	w.Helper()
	for target, r := range read(w.T, w.snapshot(), name, job) {
		if len(r.series) != series {
			w.Errorf("%s: %d series are stored, want %d", target, len(r.series), series)
		}
		scrapes, failed := r.scrapes(), r.failed()
		if failed > len(scrapes)/10 {
			w.Errorf("%s: %d of %d scrapes failed", target, failed, len(scrapes))
		}
		for labels, samples := range r.series {
			all := lives(scrapes, *samples)
			if len(all) != 1 || len(all[0].samples) != len(scrapes)-failed {
				w.Errorf("%s: %d lives, %d scrapes, %d of them failed; %d samples", labels, len(all), len(scrapes),
					failed, len(*samples))
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
			w.checkFiltered(agents)
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
		})
	}
}

// TestCutInsideAWord makes the one case in which a filter misses a series: one of Istio's labels is cut out of the
// middle of a word, so that the name has a word that the raw name lacks. The first filtered pages after whole ones show
// that, and no sample is lost meanwhile.
func TestCutInsideAWord(t *testing.T) {
	const family = "envoy_http_mydownstream_cx_active"
	e := startEnvoy(t, "mycache.v1", clusters()[:4])
	if !strings.Contains(e.page(), "\n"+family+"{") {
		t.Fatalf("the whole page has no %s", family)
	}
	w := newWorld(t)
	j := job{"cut", []string{e.address()}, fmt.Sprintf(keepRule, family+"|envoy_cluster_membership_.*")}
	a := w.start("cut", auto, quick, j)
	agents := map[string]*agent.Agent{auto: a}
	parts.Eventually(t, 2*every*quick+patience, "the filter is given up", func() error {
		log := a.Process.Log()
		if !strings.Contains(log, "loses a series") || !strings.Contains(log, family) ||
			!strings.Contains(log, "http.*mydownstream") {
			return errors.New("the log has no line with the family and the filter")
		}
		return nil
	})
	given := time.Now().UnixMilli()
	m, err := a.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if lost := m.By(faults, "reason")["lost_series"]; lost < 1 || lost > 2 {
		t.Errorf("%s has %v for the reason lost_series, want 1 or 2", faults, lost)
	}
	asked := m.Sum(filtered)
	w.scraped(agents, every+every/2, quick, j)
	if m, err = a.Metrics(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := m.Sum(filtered); asked < 1 || now > asked {
		t.Errorf("%v requests with the filter until it was given up, and %v more", asked, now-asked)
	}
	w.stop(a)
	r := read(t, w.snapshot(), "cut", j.name)[e.address()]
	n := 0
	for _, c := range r.scrapes() {
		if c.at <= given {
			n++
		}
	}
	t.Logf("%d of %d scrapes until the filter was given up, %v requests with it", n, len(r.scrapes()), asked)
	if n > 2*every {
		t.Errorf("%d scrapes until the filter was given up, want at most %d", n, 2*every)
	}
	w.nothingLost("cut", j.name, len(r.series))
	if got := len(r.series); got < 8 {
		t.Errorf("%d series are stored", got)
	}
	for series := range r.series {
		if labelOf(series, "__name__") == family {
			return
		}
	}
	t.Errorf("no series of %s is stored", family)
}
