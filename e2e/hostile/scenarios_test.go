package hostile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

func listenAll(t *testing.T, kinds []kind) (targets []*target) {
	t.Helper()
	for _, k := range kinds {
		targets = append(targets, listen(t, "127.0.0.1:0", k))
	}
	return targets
}

// TestHostilePages scrapes every hostile page at once, with the default limits.
func TestHostilePages(t *testing.T) {
	targets := listenAll(t, kinds(t))
	w := begin(t, setting{job: "scrape_interval: 8s, scrape_timeout: 7s", targets: targets})
	w.waitForScrapes(rounds)
	w.checkTargets()
	w.checkFailures()
	w.checkUsage(limit + mb*len(targets))
	w.checkHealthy()
	w.checkStop()
}

// TestHeavyPages scrapes the most expensive pages: endless series, and pages that are read completely.
func TestHeavyPages(t *testing.T) {
	targets := listenAll(t, heavy())
	w := begin(t, setting{job: "scrape_interval: 10s, scrape_timeout: 9s", targets: targets})
	w.waitForScrapes(rounds)
	w.checkTargets()
	w.checkFailures()
	w.checkUsage(len(targets) * 2 * limit)
	w.checkHealthy()
	w.checkStop()
}

// TestT1SlowLorisByTheHundred scrapes a hundred targets that send one byte per second. They must not delay other
// targets, and each scrape must end at its timeout.
func TestT1SlowLorisByTheHundred(t *testing.T) {
	var slow []kind
	for i := range 100 {
		slow = append(slow, kind{fmt.Sprintf("T1 slow %d", i), drip(head, "x 1\n"), false, []string{"timeout"},
			"deadline"})
	}
	targets := listenAll(t, slow)
	w := begin(t, setting{job: "scrape_interval: 4s, scrape_timeout: 3s", targets: targets})
	w.waitForScrapes(3)
	w.checkTargets()
	w.checkFailures()
	w.checkUsage(mb * len(targets))
	w.write(nil)
	w.wait("connections to the slow targets are closed", patience,
		func() bool { return w.usage().files <= w.base.files+10 })
	w.checkHealthy()
	w.checkStop()
}

// TestM3NoFilesLeft lets targets hold connections until the program has no file descriptors left. Open connections must
// keep working, failures must be counted, and the program must recover when the targets are gone.
func TestM3NoFilesLeft(t *testing.T) {
	const files = 48 // a quarter of them is too few for what the program has open beside connections to targets
	script := filepath.Join(t.TempDir(), "envoy-scraper")
	text := fmt.Sprintf("#!/bin/sh\nulimit -n %d || exit 1\nexec '%s' \"$@\"\n", files, parts.Scraper(t))
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	var quiet []kind
	for i := range files {
		quiet = append(quiet, kind{fmt.Sprintf("T1 silent %d", i), silent, false, []string{"timeout", "emfile"}, ""})
	}
	w := begin(t, setting{job: "scrape_interval: 4s, scrape_timeout: 3s", targets: listenAll(t, quiet), binary: script})
	w.wait("no file descriptor is left", patience, func() bool { return w.usage().files >= files-1 })
	w.wait("scrapes fail because of open files", patience,
		func() bool { return strings.Contains(w.agent.Process.Log(), "too many open files") })
	end := time.Now().Add(3 * interval)
	w.wait("healthy targets are scraped meanwhile", patience, func() bool { return time.Now().After(end) })
	w.write(nil)
	w.wait("file descriptors are free again", patience, func() bool { return w.usage().files <= w.base.files+10 })
	failures := w.failures()
	w.Logf("failures: %v", failures)
	if failures["emfile"] == 0 {
		w.Error("no failure is counted under emfile")
	}
	if lines := strings.Count(w.agent.Process.Log(), "\n"); lines > 3*files {
		w.Errorf("%d log lines:\n%s", lines, tail(w.agent.Process.Log()))
	}
	w.checkHealthy()
	w.checkStop()
}

// TestM2StarvedOfCPU gives the program a tenth of the CPU time, at the beginning of each period, as a CPU limit of the
// kernel does. Scrapes may be late, but no target may be scraped too often and no sample may be lost.
func TestM2StarvedOfCPU(t *testing.T) {
	w := begin(t, setting{job: "scrape_interval: 4s"})
	const period, share = 500 * time.Millisecond, 50 * time.Millisecond
	const periods = 16
	signal := func(s syscall.Signal) {
		if err := w.agent.Process.Signal(s); err != nil {
			w.Fatal(err)
		}
	}
	tick := time.NewTicker(period)
	defer tick.Stop()
	for range periods {
		signal(syscall.SIGSTOP)
		resume := time.NewTimer(period - share)
		<-resume.C
		signal(syscall.SIGCONT)
		<-tick.C
	}
	starved := time.Since(w.began)
	w.wait("the program recovers", patience, func() bool { return len(w.shown()) == 0 })
	most := int(starved/interval) + 2
	for _, target := range w.fleet.Targets {
		n := 0
		for _, s := range target.Served() {
			if s.At.After(w.began) && s.At.Before(w.began.Add(starved)) {
				n++
			}
		}
		if n == 0 || n > most {
			w.Errorf("%s was scraped %d times in %v, want 1 to %d times", target.Address, n, starved, most)
		}
	}
	w.began = time.Now()
	end := w.began.Add(4 * interval)
	w.wait("scrapes are on time again", patience, func() bool { return time.Now().After(end) })
	w.checkHealthy()
	w.checkStop()
}
