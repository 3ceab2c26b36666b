package pushdown

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
)

const (
	interval = time.Second
	scrapes  = 100                 // of each target, at least
	pause    = 3 * time.Second / 2 // between two changes of the clusters
	settled  = 3                   // scrapes after which both agents have the last values
	wire     = "envoy_scraper_scrape_wire_bytes_total"
)

// clusters are there all the time. Some have words of Istio's labels in their names.
func clusters() []string {
	names := []string{"outbound|80||my-cache.default.svc.cluster.local", "outbound|80|v1|component.tag.x;.y",
		"inbound|9080||"}
	for n := range 17 {
		names = append(names, fmt.Sprintf("outbound|9080||reviews-%d.shop.svc.cluster.local", n))
	}
	return names
}

// TestSameAsOff scrapes a real Envoy with filters and without. Its stats move, and clusters come and go.
func TestSameAsOff(t *testing.T) {
	always := clusters()
	e := startEnvoy(t, "0.0.0.0_8080", always)
	w := newWorld(t)
	jobs := []job{
		{"keeps", []string{e.address()}, fmt.Sprintf(keepRule, strings.Join([]string{
			"envoy_cluster_upstream_rq(_xx|_time.*|_total)?", "envoy_cluster_membership_.*",
			"envoy_http_downstream_rq_xx", "envoy_cluster_manager_cluster_(added|removed)"}, "|"))},
		{"drops", []string{e.address()}, fmt.Sprintf(dropRule, "envoy_http_.*") +
			fmt.Sprintf(dropRule, "(envoy_listener_.*|envoy_server_.*)") +
			fmt.Sprintf(dropRule, ".*_bucket")},
	}
	agents := map[string]*agent.Agent{}
	for _, name := range []string{auto, off} {
		agents[name] = w.start(name, name, interval, jobs...)
	}
	w.scraped(agents, 2, interval, jobs...)
	stop := e.moveStats(always, pause)
	w.scraped(agents, scrapes, interval, jobs...)
	changed := stop()
	w.scraped(agents, settled, interval, jobs...)
	w.logBytes(agents, jobs)
	w.checkFiltered(agents)
	types := familyTypes(e.page())
	for _, a := range agents {
		w.stop(a)
	}
	folder := w.snapshot()
	t.Logf("%d times other clusters", changed)
	for _, j := range jobs {
		t.Run(j.name, func(t *testing.T) {
			both := comparison{still: restsWithoutTraffic, rises: rising(types)}
			both.auto = read(t, folder, auto, j.name)[e.address()]
			both.off = read(t, folder, off, j.name)[e.address()]
			both.check(t)
		})
	}
}

// restsWithoutTraffic reports whether a series rests when there is no traffic. Scrapes are requests to Envoy's admin
// page, so they move its series, and time moves those of the server.
func restsWithoutTraffic(series string) bool {
	name := labelOf(series, "__name__")
	return !strings.HasPrefix(name, "envoy_server_") && !strings.HasPrefix(name, "envoy_listener_admin_") &&
		!strings.HasPrefix(name, "envoy_main_thread_") && !strings.Contains(series, `="admin"`)
}

// check compares the series and the report series of both agents.
func (c comparison) check(t *testing.T) {
	t.Helper()
	seen, problems := c.compare()
	t.Logf("%d scrapes, with off %d; %d series, of which %d appeared and %d ended meanwhile; %d values between two of "+
		"the other agent's, %d equal at the end", len(c.auto.scrapes()), len(c.off.scrapes()), seen.series, seen.born,
		seen.ended, seen.between, seen.equal)
	for _, p := range problems {
		t.Error(p)
	}
	if seen.series < 100 || seen.born < 20 || seen.ended < 20 || seen.between < 1000 || seen.equal < 100 {
		t.Error("that is too little to compare")
	}
	if failed := c.auto.failed() + c.off.failed(); failed > 0 {
		t.Logf("%d scrapes failed, since this machine is busy: not compared: scrape_series_added", failed)
	} else if a, o := c.auto.sum("scrape_series_added"), c.off.sum("scrape_series_added"); a != o {
		t.Errorf("%v series were added, with off %v", a, o)
	}
	c.auto.checkKept(t)
	c.off.checkKept(t)
}

// checkKept asserts that scrape_samples_post_metric_relabeling is how many series have a sample of the scrape.
func (r *record) checkKept(t *testing.T) {
	t.Helper()
	stored := map[int64]float64{}
	for _, samples := range r.series {
		for _, s := range *samples {
			if !s.stale {
				stored[s.at]++
			}
		}
	}
	for _, s := range r.report("scrape_samples_post_metric_relabeling") {
		if s.value != stored[s.at] {
			t.Errorf("at %d: %v samples after relabeling, but %v are stored", s.at, s.value, stored[s.at])
		}
	}
}

func (r *record) failed() (n int) {
	for _, s := range r.scrapes() {
		if s.failed {
			n++
		}
	}
	return n
}

// checkFiltered asserts that auto has asked for most pages with a filter, but not for all, and off for none. A scrape
// may ask for both pages: if a cluster goes right after a whole page, the next filtered page is compared with another
// whole one.
func (w *world) checkFiltered(agents map[string]*agent.Agent) {
	w.Helper()
	for name, a := range agents {
		m, err := a.Metrics(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		all := m.By("envoy_scraper_scrape_scrapes_total", "job")
		for job, n := range m.By(filtered, "job") {
			w.Logf("push_down: %s, job %s: %v of %v scrapes asked for a filtered page", name, job, n, all[job])
			if name == off && n > 0 || name == auto && (n < 0.8*all[job] || n >= all[job]) {
				w.Errorf("push_down: %s, job %s: %v filtered pages in %v scrapes", name, job, n, all[job])
			}
		}
		if len(m.By(filtered, "job")) != len(all) {
			w.Errorf("push_down: %s: not every job has %s", name, filtered)
		}
		if n := m.Sum(faults); n > 0 {
			w.Errorf("push_down: %s: %v faults of filters", name, n)
		}
	}
}

// logBytes prints how many bytes the sidecar sent to each agent for a scrape of each job.
func (w *world) logBytes(agents map[string]*agent.Agent, jobs []job) {
	w.Helper()
	each := map[string]map[string]float64{}
	for name, a := range agents {
		m, err := a.Metrics(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		each[name] = m.By(wire, "job")
		for job, n := range m.By("envoy_scraper_scrape_scrapes_total", "job") {
			each[name][job] /= n
		}
	}
	for _, j := range jobs {
		a, o := each[auto][j.name], each[off][j.name]
		w.Logf("job %s: %.0f bytes a scrape, with off %.0f: %.3f", j.name, a, o, a/o)
	}
}
