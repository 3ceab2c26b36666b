package e2e

import (
	"strings"
	"testing"
	"time"
)

// testStop ends the scrapers as Kubernetes would.
func (w *world) testStop(t *testing.T, builtIn *scraper) {
	for _, s := range append(w.scrapers, builtIn) {
		start := time.Now()
		if code := s.process.Stop(20 * time.Second); code != 0 {
			t.Errorf("%s: exit code %d, want 0", s.name, code)
		}
		t.Logf("%s: stopped after %v", s.name, time.Since(start).Round(time.Millisecond))
	}
}

// testNothingLost compares, with the scrapers gone, all that the pages showed with all that is stored. Only the
// very last showing may be missing: that scrape was cut off by the stop.
func (w *world) testNothingLost(t *testing.T) {
	for _, s := range w.scrapers {
		for pod, p := range w.pages {
			w.checkValues(t, s, pod)
			shown, _ := p.scrapes(s.header)
			if stored := len(w.samples(t, s, "istio_requests_total", pod)); stored < shown-1 {
				t.Errorf("%s: the page of %s was read %d times, %d of them are stored", s.name, pod, shown, stored)
			}
		}
	}
}

// testProtocols looks at what the receivers answered: one takes 2.0 from the first request on, the other
// refuses it at first, and nothing else is ever refused.
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
		t.Error("2.0 was never tried against the receiver that takes only 1.0")
	}
	if v1["415"] > v1["204"] {
		t.Error("2.0 is tried again and again")
	}
	for name, writes := range map[string]map[string]int{"1.0 only": v1, "both": both} {
		for code, n := range writes {
			if !strings.HasPrefix(code, "2") && (name != "1.0 only" || code != "415") {
				t.Errorf("receiver of %s answered %s %d times", name, code, n)
			}
		}
	}
}
