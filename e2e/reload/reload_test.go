package reload

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const successful = "envoy_scraper_config_last_reload_successful"

// TestReload runs the scenarios in parallel, because they mostly wait.
func TestReload(t *testing.T) {
	path := parts.Scraper(t)
	for name, run := range map[string]func(*world){"F1 bad files": badFiles, "F2 a hundred reloads": hundredReloads,
		"F3 new addresses": newAddresses} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(newWorld(t, path))
		})
	}
}

// badFiles loads files that cannot run. They change nothing, and the reason is in the answer to the reload, the log and
// the metrics.
func badFiles(w *world) {
	good := w.configuration(variant{})
	w.start(good)
	w.pause(warmUp)
	for _, c := range []struct {
		what, text string
		line       int // line in the error; 0: none
		why        string
	}{
		{"not YAML", good + "scrape_configs: [\n", 1 + strings.Count(good, "\n"), "not valid YAML"},
		{"an invalid regular expression", w.configuration(
			variant{other: "  metric_relabel_configs:\n  - regex: '('\n"}), 10, "error parsing regexp"},
		{"an unknown field", w.configuration(variant{other: "  metric_path: /stats\n"}), 9, "metric_path"},
		{"a missing file of jobs", good + "scrape_config_files:\n- gone.yml\n", 3 + strings.Count(good, "\n") - 1,
			"gone.yml"},
		{"only one job, and it is invalid", "scrape_configs:\n- job_name: new\n" +
			"  scrape_interval: soon\nremote_write: [{url: 'http://127.0.0.1:1/'}]\n", 3, "soon"},
		{"no endpoint", "scrape_configs: [{job_name: new}]\n", 0, "remote_write"},
		{"a missing certificate for a job", "scrape_configs: [{job_name: new, tls_config: {ca_file: " +
			"gone.pem}}]\nremote_write: [{url: 'http://127.0.0.1:1/'}]\n", 0, "gone.pem"},
		{"a missing certificate for an endpoint", "scrape_configs: [{job_name: new}]\n" +
			"remote_write: [{url: 'http://127.0.0.1:1/', tls_config: {ca_file: gone.pem}}]\n", 0, "gone.pem"},
	} {
		w.write(c.text)
		logged := len(w.agent.Process.Log())
		status, body := w.reload()
		position := w.file + ":"
		if c.line > 0 {
			position = fmt.Sprintf("%s:%d:", w.file, c.line)
		}
		if status != 500 || !strings.Contains(body, c.why) || c.line > 0 && !strings.Contains(body, position) {
			w.Errorf("%s: answer %d %q, want 500 with %q and %q", c.what, status, body, position, c.why)
		}
		if log := w.agent.Process.Log()[logged:]; !strings.Contains(log, "configuration refused") ||
			!strings.Contains(log, c.why) || c.line > 0 && !strings.Contains(log, position) {
			w.Errorf("%s: log %q, want the same in it", c.what, log)
		}
		if v := w.metrics().Sum(successful); v != 0 {
			w.Errorf("%s: %s = %v, want 0", c.what, successful, v)
		}
		w.pause(300 * time.Millisecond)
		w.hangUp() // a reload by signal must not change anything either
	}
	if v := w.metrics().Sum("envoy_scraper_scrape_targets"); v != targets+5 {
		w.Errorf("%v targets are scraped, want %d", v, targets+5)
	}
	w.write(good)
	if status, body := w.reload(); status != 200 || w.metrics().Sum(successful) != 1 {
		w.Errorf("reload of the good file: %d %s, %s = %v", status, body, successful, w.metrics().Sum(successful))
	}
	w.pause(2 * time.Second)
	w.settle(0)
}

// hundredReloads changes other parts of the configuration a hundred times. Jobs and endpoints that do not change must
// not be affected.
func hundredReloads(w *world) {
	secret := filepath.Join(w.dir, "secret")
	if err := os.WriteFile(secret, []byte("0"), 0o600); err != nil {
		w.Fatal(err)
	}
	// The job and the endpoint named steady read a secret from a file that changes all the time.
	steady := variant{steady: "  authorization: {credentials_file: secret}\n",
		endpoint: "  authorization: {credentials_file: secret}\n"}
	steady.other = "  metric_relabel_configs: [{target_label: n, replacement: start}]\n"
	w.start(w.configuration(steady))
	w.pause(warmUp)
	before := w.resources()
	const times = 100
	for i := range times {
		p := steady
		p.comment = fmt.Sprintf("# %d\n", i)
		// no job uses this field
		p.global = fmt.Sprintf(", evaluation_interval: %ds", 10+i)
		p.other = fmt.Sprintf("  metric_relabel_configs: [{target_label: n, replacement: '%d'}]\n", i) // other series
		// changes the other endpoint's requests too
		p.aside = fmt.Sprintf("  headers: {X-N: '%d'}\n", i)
		p.more = map[bool]string{true: "runtime: {gogc: 60}\n", false: "runtime: {gogc: 70}\n"}[i%2 == 0]
		p.backwards = i%4 > 1
		if i%10 == 5 { // a job that is added and removed
			p.other += "- job_name: guest\n  static_configs: [{targets: ['" + w.others.Targets[0].Address + "']}]\n"
		}
		if err := os.WriteFile(secret, []byte(fmt.Sprint(i)), 0o600); err != nil {
			w.Fatal(err)
		}
		w.write(w.configuration(p))
		if i%2 == 0 {
			w.hangUp()
		} else if status, body := w.reload(); status != 200 {
			w.Fatalf("reload %d: %d %s", i, status, body)
		}
		w.pause(100 * time.Millisecond)
	}
	if n := w.reloadsLogged(); n != times {
		w.Errorf("%d reloads are in the log, want %d", n, times)
	}
	w.pause(3 * time.Second)
	// Idle connections of old configurations, and series of the removed job that still need staleness markers,
	// disappear within a few intervals.
	var after resources
	for deadline := time.Now().Add(time.Minute); ; {
		if after = w.resources(); after.near(before) || time.Now().After(deadline) {
			break
		}
		w.pause(200 * time.Millisecond)
	}
	w.Logf("before: %+v; after %d reloads: %+v", before, times, after)
	if !after.near(before) {
		w.Errorf("before: %+v; after %d reloads: %+v, want the same within 5 percent", before, times, after)
	}
	if v := w.settle(0); v.Served < targets*15 {
		w.Errorf("only %d scrapes served: too few for a result", v.Served)
	}
}

// resources are the quantities that would grow if reloads leaked.
type resources struct{ goroutines, files, targets, series float64 }

func (w *world) resources() resources {
	w.Helper()
	m := w.metrics()
	return resources{m.Sum("go_goroutines"), m.Sum("process_open_fds"), m.Sum("envoy_scraper_scrape_targets"),
		m.Sum("envoy_scraper_scrape_series")}
}

func (r resources) near(o resources) bool {
	const part, few = 0.05, 2
	near := func(a, b float64) bool { return a <= b+max(few, part*b) && a >= b-max(few, part*b) }
	return near(r.goroutines, o.goroutines) && near(r.files, o.files) && r.targets == o.targets && r.series == o.series
}

const (
	outages  = 3 // outages in newAddresses
	inFlight = 4 // requests of a group, at most
)

// newAddresses changes an endpoint's address, path, query and credentials during outages. The queued samples must
// follow the endpoint's name to the new address.
func newAddresses(w *world) {
	w.start(w.configuration(variant{}))
	w.pause(warmUp)
	down := func(r *oracle.Receiver, m oracle.Mode) {
		w.Helper()
		if err := r.Set(m); err != nil {
			w.Fatal(err)
		}
	}
	moved := parts.Recorder(w.T, w.addresses, 4)
	moved.Keep()
	base := w.receiver.URL
	for _, step := range []struct{ url, more string }{
		{base + "?tenant=a", ""},
		{base + "/other/path", "  basic_auth: {username: u, password: p}\n"},
		{moved.URL + "?tenant=b", "  authorization: {credentials: c}\n"},
	} {
		down(w.receiver, oracle.Refuse())
		w.pause(3 * time.Second)
		to := w.receiver
		if strings.HasPrefix(step.url, moved.URL) {
			moved.Ledger = w.receiver.Ledger // one ledger for both receivers
			to = moved
		}
		w.write(strings.Replace(w.configuration(variant{endpoint: step.more}), base+"\n", step.url+"\n", 1))
		if status, body := w.reload(); status != 200 {
			w.Fatalf("%d %s", status, body)
		}
		if n := w.metrics().By("envoy_scraper_remotewrite_pending_samples", "endpoint")["steady"]; n < targets*series {
			w.Errorf("%v samples wait after the reload: the endpoint lost its backlog", n)
		}
		if to == w.receiver {
			down(w.receiver, oracle.Up())
		}
		w.eventually("the backlog is delivered", time.Minute, func() bool {
			return w.metrics().By("envoy_scraper_remotewrite_pending_oldest_seconds", "endpoint")["steady"] < 8
		})
	}
	w.settle(outages * inFlight) // a receiver may go down between accepting a request and answering it
	requests := moved.Requests()
	if len(requests) == 0 {
		w.Fatal("no request arrived at the new address")
	}
	for _, r := range requests {
		if got := r.Header.Get("Authorization"); got != "Bearer c" {
			w.Fatalf("Authorization is %q at the new address", got)
		}
	}
}
