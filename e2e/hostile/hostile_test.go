// Package hostile scrapes hostile targets with the real envoy-scraper binary and its default limits: slow, endless,
// oversized and malformed answers, connection resets, compression bombs. Healthy targets run beside them. The tests
// prove that each hostile target is reported as down with the right reason, that memory and file descriptors stay
// bounded, and that every healthy scrape arrives. The numbers in the names, such as T3 and M2, are rows of
// docs/reliability.md.
//
// To run it alone:
//
//	cd e2e && go test -count=1 -v ./hostile
package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const (
	healthy  = 10
	series   = 100
	interval = 2 * time.Second // interval of the healthy targets
	rounds   = 2               // scrapes of each hostile target
	patience = 75 * time.Second
)

// world is the healthy and the hostile targets, a receiver, and the program between them.
type world struct {
	*testing.T
	fleet    *oracle.Fleet
	receiver *oracle.Receiver
	agent    *agent.Agent
	targets  map[string]*target // by address
	list     string             // file_sd file with the hostile targets
	began    time.Time
	base     usage // usage before the first hostile scrape
}

// setting configures a scenario.
type setting struct {
	job     string // more keys of the hostile targets' job
	targets []*target
	binary  string // path of the program; empty: the program under test
}

func begin(t *testing.T, s setting) *world {
	t.Helper()
	if s.binary == "" {
		s.binary = parts.Scraper(t)
	}
	addresses := parts.Addresses(t)
	w := &world{T: t, fleet: parts.Fleet(t, addresses, 10, healthy, series),
		receiver: parts.Recorder(t, addresses, 2), targets: map[string]*target{}}
	for _, h := range s.targets {
		w.targets[h.address] = h
	}
	dir := t.TempDir()
	w.list = filepath.Join(dir, "hostile.json")
	w.write(nil)
	w.agent = agent.Start(t, agent.Config{
		Path: s.binary, Dir: dir, Name: "agent", Args: []string{"--storage.path=" + filepath.Join(dir, "data")},
		YAML: fmt.Sprintf(`scrape_configs:
- {job_name: chaos, scrape_interval: %v, scrape_timeout: %v, static_configs: [{targets: [%s]}]}
- {job_name: hostile, file_sd_configs: [{files: ['%s'], refresh_interval: 1s}], %s}
remote_write: [{name: chaos, url: %s}]
`, interval, interval, strings.Join(w.fleet.Addresses(), ", "), w.list, s.job, w.receiver.URL),
	})
	if _, err := w.agent.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wait("healthy targets are scraped", patience, func() bool { return w.fleet.Served() >= 2*healthy })
	w.base = w.usage()
	w.write(s.targets)
	w.began = time.Now()
	return w
}

// write writes the targets to the file of the hostile job.
func (w *world) write(targets []*target) {
	w.Helper()
	groups := []any{}
	for _, h := range targets {
		groups = append(groups, map[string]any{"targets": []string{h.address},
			"labels": map[string]string{"kind": h.name}})
	}
	text, err := json.Marshal(groups)
	if err == nil {
		err = os.WriteFile(w.list+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(w.list+".new", w.list)
	}
	if err != nil {
		w.Fatal(err)
	}
}

// wait waits for a condition. The test fails at once if the program exits.
func (w *world) wait(what string, within time.Duration, ok func() bool) {
	w.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(within)
	for !ok() {
		select {
		case <-tick.C:
		case <-w.agent.Process.Done():
			w.Fatalf("the program exited:\n%s", tail(w.agent.Process.Log()))
		case <-deadline:
			w.Errorf("not within %v: %s", within, what)
			return
		}
	}
}

// shown is a target in the answer of the targets API.
type shown struct {
	ScrapeURL string
	Health    string
	LastError string
	Labels    map[string]string
}

func (w *world) shown() []shown {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		w.agent.URL+"/api/v1/targets?state=active&scrapePool=hostile", nil)
	if err != nil {
		w.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct{ ActiveTargets []shown }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		w.Fatal(err)
	}
	return answer.Data.ActiveTargets
}

// waitForScrapes waits until every hostile target has been scraped the given number of times and has a result.
func (w *world) waitForScrapes(times int) {
	w.Helper()
	w.wait(fmt.Sprintf("every hostile target is scraped %d times", times), patience, func() bool {
		for _, h := range w.targets {
			if int(h.served.Load()) < times {
				return false
			}
		}
		return true
	})
	w.wait("every hostile target has a result", patience, func() bool {
		return !slices.ContainsFunc(w.shown(), func(s shown) bool { return s.Health == "unknown" })
	})
}

// kernelBuffers returns how many bytes the kernel may hold for one connection: the maximum send and receive buffers,
// which grow with the speed of the reader.
func kernelBuffers(t *testing.T) (bytes int64) {
	t.Helper()
	for _, name := range []string{"tcp_rmem", "tcp_wmem"} {
		var least, usual, most int64
		text, err := os.ReadFile("/proc/sys/net/ipv4/" + name)
		if err == nil {
			_, err = fmt.Sscan(string(text), &least, &usual, &most)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		bytes += most
	}
	return bytes
}

// checkTargets checks the result for each hostile target: its health, error, log lines, bytes read and connections.
func (w *world) checkTargets() {
	w.Helper()
	log := w.agent.Process.Log()
	targets, most := w.shown(), limit+kernelBuffers(w.T)
	if len(targets) != len(w.targets) {
		w.Errorf("%d hostile targets are shown, want %d", len(targets), len(w.targets))
	}
	for _, s := range targets {
		name := s.Labels["kind"]
		h := w.targets[s.Labels["instance"]]
		if h == nil {
			w.Errorf("%s: the API shows an unknown target %s", name, s.Labels["instance"])
			continue
		}
		if (s.Health == "up") != h.up || !strings.Contains(s.LastError, h.lastError) {
			w.Errorf("%s: health %s, error %q; want up %v and an error with %q", name, s.Health, s.LastError, h.up,
				h.lastError)
		}
		want := 1
		if h.up {
			want = 0
		}
		lines := regexp.MustCompile(`(?m)^.*target down.*"http://`+regexp.QuoteMeta(h.address)+
			`/.*$`).FindAllString(log, -1)
		if len(lines) != want {
			w.Errorf("%s: %d log lines, want %d: %q", name, len(lines), want, lines)
		}
		for _, line := range lines {
			if len(line) > 900 {
				w.Errorf("%s: a log line of %d bytes: %s", name, len(line), line)
			}
		}
		if sent := h.sent.Load(); sent > most {
			w.Errorf("%s: the target could send %d MB, want at most %d: the limit plus the kernel's buffers", name,
				sent/mb, most/mb)
		}
		if most := h.maxOpen.Load(); most > 2 { // one may still be closing while the next is opened
			w.Errorf("%s: %d concurrent connections, want at most 2", name, most)
		}
	}
}

// failures returns the failed scrapes of the hostile job, by reason.
func (w *world) failures() map[string]float64 {
	w.Helper()
	m, err := w.agent.Metrics(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	got := map[string]float64{}
	for _, metric := range m["envoy_scraper_scrape_failures_total"].GetMetric() {
		job, reason := "", ""
		for _, l := range metric.GetLabel() {
			switch l.GetName() {
			case "job":
				job = l.GetValue()
			case "reason":
				reason = l.GetValue()
			}
		}
		if job == "hostile" {
			got[reason] = metric.GetCounter().GetValue()
		}
	}
	return got
}

// checkFailures checks that failures are counted, and only under the reasons that the kinds name.
func (w *world) checkFailures() {
	w.Helper()
	got := w.failures()
	w.Logf("failures: %v", got)
	wanted := map[string]bool{}
	for _, h := range w.targets {
		for _, reason := range h.reasons {
			wanted[reason] = true
		}
		if len(h.reasons) > 0 && !slices.ContainsFunc(h.reasons, func(reason string) bool { return got[reason] > 0 }) {
			w.Errorf("%s: no failure is counted under %v", h.name, h.reasons)
		}
	}
	for reason := range got {
		if !wanted[reason] {
			w.Errorf("%v failures are counted under %s, which no target should cause", got[reason], reason)
		}
	}
}

// checkHealthy checks that each healthy target was scraped in each interval and that every scrape arrived.
func (w *world) checkHealthy() {
	w.Helper()
	until := time.Now().Add(-interval)
	intervals := int(until.Sub(w.began) / interval)
	w.fleet.Freeze()
	w.wait("every page of a healthy target arrives", patience, func() bool {
		v := oracle.JudgeUntil(w.fleet, w.receiver.Ledger, nil, until)
		return v.Lost == 0
	})
	v := oracle.JudgeUntil(w.fleet, w.receiver.Ledger, nil, until)
	w.Logf("%v beside %d hostile targets: %v", until.Sub(w.began).Round(time.Second), len(w.targets), v)
	if v.Lost > 0 || v.Failed > 0 || v.OutOfOrder > 0 || v.Invented > 0 {
		w.Errorf("healthy targets were disturbed: %v\n%s", v, strings.Join(v.Gaps, "\n"))
	}
	for _, t := range w.fleet.Targets {
		n := 0
		for _, s := range t.Served() {
			if s.At.After(w.began) && s.At.Before(until) {
				n++
			}
		}
		if n < intervals-1 {
			w.Errorf("%s: %d scrapes in %d intervals", t.Address, n, intervals)
		}
	}
}

// checkStop checks that the program still stops cleanly.
func (w *world) checkStop() {
	w.Helper()
	if code := w.agent.Process.Stop(30 * time.Second); code != 0 {
		w.Errorf("exit code %d:\n%s", code, tail(w.agent.Process.Log()))
	}
	if log := w.agent.Process.Log(); strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
		w.Errorf("the log contains a panic:\n%s", tail(log))
	}
}

func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// usage is the program's resource usage as the kernel reports it.
type usage struct {
	resident, peak int // bytes
	files          int
}

func (w *world) usage() (u usage) {
	w.Helper()
	dir := fmt.Sprintf("/proc/%d/", w.agent.Process.Pid())
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		w.Skipf("SKIPPED: no /proc here: %v", err)
	}
	kilobytes := func(key string) int {
		m := regexp.MustCompile(key + `:\s+(\d+) kB`).FindSubmatch(status)
		if m == nil {
			w.Fatalf("no %s in %s", key, status)
		}
		n, _ := strconv.Atoi(string(m[1]))
		return n << 10
	}
	files, err := os.ReadDir(dir + "fd")
	if err != nil {
		w.Fatal(err)
	}
	return usage{resident: kilobytes("VmRSS"), peak: kilobytes("VmHWM"), files: len(files)}
}

// checkUsage checks that memory grew by at most the given number of bytes, and open files by at most one per target,
// since the first hostile scrape.
func (w *world) checkUsage(most int) {
	w.Helper()
	u := w.usage()
	w.Logf("resident %d MB before, at most %d MB since, %d now; %d files before, %d now", w.base.resident/mb, u.peak/mb,
		u.resident/mb, w.base.files, u.files)
	if grown := u.peak - w.base.resident; grown > most {
		w.Errorf("memory grew by %d MB, want at most %d", grown/mb, most/mb)
	}
	if files := w.base.files + len(w.targets) + 20; u.files > files {
		w.Errorf("%d files are open, want at most %d", u.files, files)
	}
}
