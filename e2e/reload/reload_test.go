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

// TestReload runs the faults beside each other: each waits most of the time.
func TestReload(t *testing.T) {
	path := parts.Scraper(t)
	for name, run := range map[string]func(*world){"F1 bad files": badFiles, "F2 a hundred reloads": hundredReloads, "F3 new addresses": newAddresses} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(newWorld(t, path))
		})
	}
}

// badFiles: a file that cannot run changes nothing, and everybody is told why: who asked, the log, the metrics.
func badFiles(w *world) {
	good := w.configuration(variant{})
	w.start(good)
	w.pause(warmUp)
	for _, c := range []struct {
		what, text string
		line       int // 0: not of one line
		why        string
	}{
		{"YAML that is none", good + "scrape_configs: [\n", 1 + strings.Count(good, "\n"), "not valid YAML"},
		{"a regular expression that is none", w.configuration(variant{other: "  metric_relabel_configs:\n  - regex: '('\n"}), 10, "error parsing regexp"},
		{"an unknown field", w.configuration(variant{other: "  metric_path: /stats\n"}), 9, "metric_path"},
		{"a file of jobs that is not there", good + "scrape_config_files:\n- gone.yml\n", 3 + strings.Count(good, "\n") - 1, "gone.yml"},
		{"no job but a bad one", "scrape_configs:\n- job_name: new\n  scrape_interval: soon\nremote_write: [{url: 'http://127.0.0.1:1/'}]\n", 3, "soon"},
		{"no endpoint", "scrape_configs: [{job_name: new}]\n", 0, "remote_write"},
		{"a certificate for a job that is not there", "scrape_configs: [{job_name: new, tls_config: {ca_file: gone.pem}}]\nremote_write: [{url: 'http://127.0.0.1:1/'}]\n", 0, "gone.pem"},
		{"a certificate for an endpoint that is not there", "scrape_configs: [{job_name: new}]\nremote_write: [{url: 'http://127.0.0.1:1/', tls_config: {ca_file: gone.pem}}]\n", 0, "gone.pem"},
	} {
		w.write(c.text)
		said := len(w.agent.Process.Log())
		status, body := w.reload()
		place := w.file + ":"
		if c.line > 0 {
			place = fmt.Sprintf("%s:%d:", w.file, c.line)
		}
		if status != 500 || !strings.Contains(body, c.why) || c.line > 0 && !strings.Contains(body, place) {
			w.Errorf("%s: answer %d %q, want 500 with %q and %q", c.what, status, body, place, c.why)
		}
		if log := w.agent.Process.Log()[said:]; !strings.Contains(log, "configuration refused") || !strings.Contains(log, c.why) || c.line > 0 && !strings.Contains(log, place) {
			w.Errorf("%s: log %q, want the same in it", c.what, log)
		}
		if v := w.metrics().Sum(successful); v != 0 {
			w.Errorf("%s: %s = %v, want 0", c.what, successful, v)
		}
		w.pause(300 * time.Millisecond)
		w.hangUp() // a signal tells nobody, and changes as little
	}
	if v := w.metrics().Sum("envoy_scraper_scrape_targets"); v != targets+5 {
		w.Errorf("%v targets are scraped, want %d", v, targets+5)
	}
	w.write(good)
	if status, body := w.reload(); status != 200 || w.metrics().Sum(successful) != 1 {
		w.Errorf("the good file again: %d %s, %s = %v", status, body, successful, w.metrics().Sum(successful))
	}
	w.pause(2 * time.Second)
	w.settle(0)
}

// hundredReloads: what a reload does not change it does not touch.
func hundredReloads(w *world) {
	secret := filepath.Join(w.dir, "secret")
	if err := os.WriteFile(secret, []byte("0"), 0o600); err != nil {
		w.Fatal(err)
	}
	// The job and the endpoint steady have a secret in a file, which changes all the time.
	steady := variant{steady: "  authorization: {credentials_file: secret}\n", endpoint: "  authorization: {credentials_file: secret}\n"}
	steady.other = "  metric_relabel_configs: [{target_label: n, replacement: start}]\n"
	w.start(w.configuration(steady))
	w.pause(warmUp)
	before := w.resources()
	const times = 100
	for i := range times {
		p := steady
		p.comment = fmt.Sprintf("# %d\n", i)
		p.global = fmt.Sprintf(", evaluation_interval: %ds", 10+i)                                     // of no job's interest
		p.other = fmt.Sprintf("  metric_relabel_configs: [{target_label: n, replacement: '%d'}]\n", i) // other series
		p.aside = fmt.Sprintf("  headers: {X-N: '%d'}\n", i)                                           // another request there too
		p.more = map[bool]string{true: "runtime: {gogc: 60}\n", false: "runtime: {gogc: 70}\n"}[i%2 == 0]
		p.backwards = i%4 > 1
		if i%10 == 5 { // a job that comes and goes
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
	if n := w.reloadsSaid(); n != times {
		w.Errorf("%d reloads are in the log, want %d", n, times)
	}
	w.pause(3 * time.Second)
	// Connections that a reload left idle, and what waits for the markers of a guest, go within a few intervals.
	var after resources
	for deadline := time.Now().Add(time.Minute); ; {
		if after = w.resources(); after.near(before) || time.Now().After(deadline) {
			break
		}
		w.pause(200 * time.Millisecond)
	}
	w.Logf("before: %+v; after %d reloads: %+v", before, times, after)
	if !after.near(before) {
		w.Errorf("before: %+v; after %d reloads: %+v, want the same, by 5 in 100", before, times, after)
	}
	if v := w.settle(0); v.Served < targets*15 {
		w.Errorf("%d scrapes served: too few to tell", v.Served)
	}
}

// resources are what a leak would be of.
type resources struct{ goroutines, files, targets, series float64 }

func (w *world) resources() resources {
	w.Helper()
	m := w.metrics()
	return resources{m.Sum("go_goroutines"), m.Sum("process_open_fds"), m.Sum("envoy_scraper_scrape_targets"), m.Sum("envoy_scraper_scrape_series")}
}

func (r resources) near(o resources) bool {
	const part, few = 0.05, 2
	near := func(a, b float64) bool { return a <= b+max(few, part*b) && a >= b-max(few, part*b) }
	return near(r.goroutines, o.goroutines) && near(r.files, o.files) && r.targets == o.targets && r.series == o.series
}

const (
	outages = 3 // of newAddresses
	lanes   = 4 // min_shards, each with one request on its way
)

// newAddresses: what waits for an endpoint follows its name to a new address, path, query and credential.
func newAddresses(w *world) {
	w.start(w.configuration(variant{}))
	w.pause(warmUp)
	down := func(r *oracle.Receiver, m oracle.Mode) {
		w.Helper()
		if err := r.Set(m); err != nil {
			w.Fatal(err)
		}
	}
	moved := w.newReceiver(4)
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
			moved.Ledger = w.receiver.Ledger // one book of what arrived, wherever
			to = moved
		}
		w.write(strings.Replace(w.configuration(variant{endpoint: step.more}), base+"\n", step.url+"\n", 1))
		if status, body := w.reload(); status != 200 {
			w.Fatalf("%d %s", status, body)
		}
		if n := w.metrics().By("envoy_scraper_remotewrite_pending_samples", "endpoint")["steady"]; n < targets*series {
			w.Errorf("%v samples wait after the reload: the backlog did not come along", n)
		}
		if to == w.receiver {
			down(w.receiver, oracle.Up())
		}
		w.eventually("the backlog is delivered", time.Minute, func() bool {
			return w.metrics().By("envoy_scraper_remotewrite_pending_oldest_seconds", "endpoint")["steady"] < 8
		})
	}
	w.settle(outages * lanes) // a receiver can go between taking a request and its answer
	requests := moved.Requests()
	if len(requests) == 0 {
		w.Fatal("nothing came to the new address")
	}
	for _, r := range requests {
		if got := r.Header.Get("Authorization"); got != "Bearer c" {
			w.Fatalf("Authorization %q at the new address", got)
		}
	}
}
