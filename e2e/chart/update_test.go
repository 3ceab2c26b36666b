package chart

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// TestUpdateWithKeptQueue checks that, on a volume that outlives the pod, the next pod delivers the samples that the
// old pod could not. The package chaos tests kills, full disks and long outages sample by sample.
func TestUpdateWithKeptQueue(t *testing.T) {
	page, sink := servePage(t, "127.0.47.9"), newSink(t)
	tl := newTools(t, false)
	r := tl.render(t, "kept", "kept", fixedTarget(sink,
		"--set", "podSecurityLevel=privileged", "--set", "queue.volume.hostPath.path=/x")...)
	storage := filepath.Join(t.TempDir(), "data")

	sink.down.Store(true)
	old := tl.start(t, r, "node-1", "old", storage)
	waitForScrapes(t, page, 3)
	if code := old.Stop(time.Minute); code != 0 {
		t.Errorf("the old pod exits with code %d, want 0", code)
	}
	scrapes, began := page.scrapes.Load(), time.Now()
	sink.down.Store(false)
	tl.start(t, r, "node-1", "new", storage)
	waitForArrival(t, sink, scrapes, began)
}

// TestUpdateWithEmptyDir checks that, on a volume that ends with the pod, the stopping pod waits for its receiver.
func TestUpdateWithEmptyDir(t *testing.T) {
	page, sink := servePage(t, "127.0.47.9"), newSink(t)
	tl := newTools(t, false)
	r := tl.render(t, "lost", "lost", fixedTarget(sink)...)

	sink.down.Store(true)
	old := tl.start(t, r, "node-1", "old", filepath.Join(t.TempDir(), "data"))
	waitForScrapes(t, page, 3)
	ended := make(chan int)
	go func() { ended <- old.Stop(time.Minute) }()
	tried := sink.tried.Load()
	parts.Eventually(t, time.Minute, "an attempt of the pod that ends", func() error {
		if sink.tried.Load() < tried+3 { // at most the requests in flight are older than the end of the pod
			return errors.New("no request yet")
		}
		return nil
	})
	sink.down.Store(false)
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	waitForArrival(t, sink, page.scrapes.Load(), time.Now())
}

// fixedTarget returns the values of a pod with one job with a static target, which needs no API server.
func fixedTarget(s *sink, values ...string) []string {
	return append(append(s.to(),
		"--set", "sidecarJob.enabled=false", "--set", "clusterWideJobs[0]=fixed",
		"--set", "extraJobs[0].job_name=fixed",
		"--set", "extraJobs[0].static_configs[0].targets[0]=127.0.47.9:15090"), values...)
}

func waitForScrapes(t *testing.T, p *page, n int64) {
	t.Helper()
	parts.Eventually(t, time.Minute, "scrapes", func() error {
		if got := p.scrapes.Load(); got < n {
			return fmt.Errorf("%d so far, want %d", got, n)
		}
		return nil
	})
}

// waitForArrival waits until every scrape has arrived, except one that the end of the process may have cut off.
func waitForArrival(t *testing.T, s *sink, scrapes int64, before time.Time) {
	t.Helper()
	parts.Eventually(t, time.Minute, "scrapes of the old pod that arrive", func() error {
		if got := s.before(before); got < scrapes-1 || got == 0 {
			return fmt.Errorf("%d of %d so far", got, scrapes)
		}
		return nil
	})
}
