package e2e

import (
	"strings"
	"testing"
	"time"
)

// testStop stops the scrapers as Kubernetes would.
func (w *world) testStop(t *testing.T, builtIn *scraper) {
	for _, s := range append(w.scrapers, builtIn) {
		start := time.Now()
		if code := s.process.Stop(20 * time.Second); code != 0 {
			t.Errorf("%s: exit code %d, want 0", s.name, code)
		}
		t.Logf("%s: stopped after %v", s.name, time.Since(start).Round(time.Millisecond))
	}
}

// testNothingLost runs after the scrapers have stopped. It compares the number of scrapes of each page with the stored
// samples. Only the last scrape may be missing, because the stop may have cut it off.
func (w *world) testNothingLost(t *testing.T) {
	for _, s := range w.scrapers {
		for pod, p := range w.pages {
			w.checkValues(t, s, pod)
			shown, _ := p.scrapes(s.header)
			if stored := len(w.samples(t, s, "istio_requests_total", pod)); stored < shown-1 {
				t.Errorf("%s: the page of %s was scraped %d times, but only %d scrapes are stored", s.name, pod, shown,
					stored)
			}
		}
	}
}

// testProtocols checks the receivers' answers. One receiver accepts 2.0 from the first request on. The other refuses
// 2.0 at first. No other request may be refused.
func (w *world) testProtocols(t *testing.T) {
	v1, err := w.v1.Writes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	both, err := w.both.Writes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("answers by status: 1.0 only %v, both %v", v1, both)
	if v1["415"] == 0 {
		t.Error("no 2.0 request was sent to the receiver that accepts only 1.0")
	}
	if v1["415"] > v1["204"] {
		t.Error("2.0 requests are repeated although the receiver refuses them")
	}
	for name, writes := range map[string]map[string]int{"1.0 only": v1, "both": both} {
		for code, n := range writes {
			if !strings.HasPrefix(code, "2") && (name != "1.0 only" || code != "415") {
				t.Errorf("receiver of %s answered %s %d times", name, code, n)
			}
		}
	}
}
