// Package reload changes the configuration of the running envoy-scraper binary under load: with bad files, a hundred
// times in a row, and with new addresses of receivers. Targets that number their scrapes and a recording receiver prove
// that unchanged jobs and endpoints lose no scrape and no sample, keep their schedule and get no staleness markers.
//
// To run it alone:
//
//	cd e2e && go test -count=1 -v ./reload
package reload

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const (
	targets  = 100
	series   = 20
	interval = time.Second
	warmUp   = 5 * time.Second
	name     = "reload" // base name of the agent's files
	dropped  = "envoy_scraper_remotewrite_samples_dropped_total"
)

// world has a hundred targets of the job steady, a few targets of another job, a receiver for the endpoint steady, and
// a receiver for another endpoint.
type world struct {
	*testing.T
	path            string // path of the program
	addresses       *oracle.AddressRange
	fleet, others   *oracle.Fleet
	receiver, aside *oracle.Receiver
	dir, file       string
	agent           *agent.Agent
	late            *parts.Lateness // lateness of the machine
}

func newWorld(t *testing.T, path string) *world {
	t.Helper()
	w := &world{T: t, path: path, dir: t.TempDir(), late: parts.MeasureLateness()}
	t.Cleanup(w.late.End)
	w.file = filepath.Join(w.dir, name+".yml")
	w.addresses = parts.Addresses(t)
	w.fleet = parts.Fleet(t, w.addresses, 10, targets, series)
	w.others = parts.Fleet(t, w.addresses, 10+targets, 5, series)
	w.receiver, w.aside = parts.Recorder(t, w.addresses, 2), parts.Recorder(t, w.addresses, 3)
	return w
}

// variant holds the parts of a configuration that tests change. Empty fields keep the default.
type variant struct {
	comment, global, steady, other, endpoint, aside, more string
	backwards                                             bool // jobs and endpoints in the other order
}

func (w *world) configuration(p variant) string {
	job := func(name string, f *oracle.Fleet, more string) string {
		return fmt.Sprintf("- job_name: %s\n  static_configs:\n  - targets: [%s]\n%s", name,
			strings.Join(f.Addresses(), ", "), more)
	}
	endpoint := func(name string, r *oracle.Receiver, more string) string {
		return fmt.Sprintf("- name: %s\n  url: %s\n%s", name, r.URL, more)
	}
	jobs := []string{job("steady", w.fleet, p.steady), job("other", w.others, p.other)}
	endpoints := []string{endpoint("steady", w.receiver, p.endpoint), endpoint("aside", w.aside, p.aside)}
	if p.backwards {
		slices.Reverse(jobs)
		slices.Reverse(endpoints)
	}
	return fmt.Sprintf("%sglobal: {scrape_interval: %v, scrape_timeout: %v%s}\nscrape_configs:\n%sremote_write:\n%s%s",
		p.comment, interval, interval, p.global, strings.Join(jobs, ""), strings.Join(endpoints, ""), p.more)
}

// write replaces the file atomically, as an editor or a ConfigMap does.
func (w *world) write(text string) {
	w.Helper()
	if err := os.WriteFile(w.file+".new", []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	if err := os.Rename(w.file+".new", w.file); err != nil {
		w.Fatal(err)
	}
}

func (w *world) start(yaml string) {
	w.Helper()
	w.agent = agent.Start(w.T, agent.Config{
		Path: w.path, Dir: w.dir, Name: name, YAML: yaml,
		Args: []string{"--web.enable-lifecycle", "--storage.path=" + filepath.Join(w.dir, "storage")},
	})
	if _, err := w.agent.WaitReady(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// reload requests a reload over HTTP and returns the answer.
func (w *world) reload() (status int, body string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.agent.URL+"/-/reload", nil)
	if err != nil {
		w.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatalf("reload: %v\n%s", err, w.agent.Process.Log())
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

var reloads = regexp.MustCompile(`configuration (reloaded|refused)`)

func (w *world) reloadsLogged() int { return len(reloads.FindAllString(w.agent.Process.Log(), -1)) }

// hangUp requests a reload by SIGHUP and waits until it is done.
func (w *world) hangUp() {
	w.Helper()
	before := w.reloadsLogged()
	if err := w.agent.Process.Signal(syscall.SIGHUP); err != nil {
		w.Fatal(err)
	}
	w.eventually("the log reports the reload by signal", 30*time.Second,
		func() bool { return w.reloadsLogged() > before })
}

// eventually waits for a condition.
func (w *world) eventually(what string, within time.Duration, ok func() bool) {
	w.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			w.Fatalf("not within %v: %s\n%s", within, what, tail(w.agent.Process.Log()))
		}
		w.pause(20 * time.Millisecond)
	}
}

func (w *world) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.agent.Process.Done():
		w.Fatalf("the agent exited by itself; log:\n%s", tail(w.agent.Process.Log()))
	}
}

func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

func (w *world) metrics() agent.Metrics {
	w.Helper()
	m, err := w.agent.Metrics(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return m
}

// settle ends the load. It checks that no sample of the job steady was lost, marked stale or late on its way to the
// endpoint steady, and that at most repeats requests were sent twice.
func (w *world) settle(repeats int) oracle.Verdict {
	w.Helper()
	end := time.Now()
	w.fleet.Freeze()
	judge := func() oracle.Verdict { return oracle.Judge(w.fleet, w.receiver.Ledger, nil) }
	for deadline := time.Now().Add(time.Minute); judge().Lost > 0 && time.Now().Before(deadline); {
		w.pause(100 * time.Millisecond)
	}
	v := judge()
	w.Logf("%v; answers: %v", v, w.receiver.Answers())
	if v.Lost > 0 || v.Invented > 0 || v.OutOfOrder > 0 || v.Repeats > repeats {
		w.Errorf("%v\n%s", v, strings.Join(v.Gaps, "\n"))
	}
	if n := w.metrics().By(dropped, "endpoint")["steady"]; n > 0 {
		w.Errorf("%v samples dropped: %v", n, w.metrics().By(dropped, "reason"))
	}
	w.late.End()
	w.checkSchedule(end)
	return v
}

// checkSchedule checks the scrapes of the job steady until a time. Each target must have one scrape per interval, at
// the offset that it had at first, and no staleness marker. If timers of the machine were late by a large part of an
// interval, failed scrapes are allowed, and so are their staleness markers.
func (w *world) checkSchedule(end time.Time) {
	w.Helper()
	late := w.late.Worst.Milliseconds()
	until := end.Add(-interval / 2).UnixMilli() // later scrapes may have met frozen targets
	stale, failed := 0, 0
	for _, samples := range w.receiver.Ledger.Samples(func(l oracle.Labels) bool { return l.Get("job") == "steady" }) {
		for at, v := range samples {
			if at < until && value.IsStaleNaN(v) {
				stale++
			}
		}
	}
	steadyUp := w.receiver.Ledger.Samples(func(l oracle.Labels) bool {
		return l.Get("job") == "steady" &&
			l.Get("__name__") == "up"
	})
	for _, samples := range steadyUp {
		for at, v := range samples {
			if at < until && v == 0 {
				failed++
			}
		}
	}
	if failed > 0 && w.late.Worst < interval/10 {
		w.Errorf("%d scrapes failed, but timers of the machine were late by at most %d ms", failed, late)
	}
	if stale > failed*series {
		w.Errorf("%d staleness markers of targets that existed all the time, with %d failed scrapes", stale, failed)
	}
	looked, worst := 0, 0.0
	for name, samples := range steadyUp {
		var times []int64
		for _, at := range slices.Sorted(maps.Keys(samples)) {
			if at < until {
				times = append(times, at)
			}
		}
		if len(times) < 5 {
			w.Errorf("%s: %d scrapes", name, len(times))
			continue
		}
		looked++
		for i := range times[1:] {
			// On a busy machine a scrape is sometimes late, and the next one is in time again. A missing or an
			// additional scrape changes a gap by at least half an interval.
			if gap := times[i+1] - times[i]; gap < interval.Milliseconds()/2-late ||
				gap > interval.Milliseconds()*3/2+late {
				w.Errorf("%s: %d ms between two scrapes, at %d", name, gap, times[i+1])
			}
		}
		moved := math.Abs(phase(times[:len(times)/3]) - phase(times[len(times)*2/3:]))
		// offsets wrap around at the end of the interval
		worst = max(worst, min(moved, float64(interval.Milliseconds())-moved))
	}
	if looked != targets {
		w.Errorf("checked %d targets, want %d", looked, targets)
	}
	if worst > 50+float64(late) {
		w.Errorf("a target's offset in the interval has moved by %.0f ms", worst)
	}
	w.Logf("%d targets; offsets in the interval moved by at most %.0f ms, %d scrapes failed, timers of the machine "+
		"were late by at most %d ms", looked, worst, failed, late)
}

// phase returns the offset in the interval, in ms, at which scrapes usually begin. Half of them begin within a few ms
// of it.
func phase(times []int64) float64 {
	ms := interval.Milliseconds()
	// Offsets are relative to the first scrape, so that none crosses the end of the interval.
	var offsets []int64
	for _, at := range times {
		offsets = append(offsets, (at-times[0]+ms/2)%ms-ms/2)
	}
	slices.Sort(offsets)
	return float64((times[0] + offsets[len(offsets)/2] + ms) % ms)
}
