package pack

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// remembered returns how many times of single series are kept for targets, and of unbound series.
func (p *packing) remembered() (times, unbound int) {
	for _, l := range p.packer.Lanes() {
		l.mu.Lock()
		for _, t := range l.history.targets {
			times += len(t.perSeries) + len(t.timed)
		}
		unbound += len(l.history.unbound.all)
		l.mu.Unlock()
	}
	return times, unbound
}

// TestUnboundSeriesOfAnEndpointAreRemembered: an endpoint has one lane, which remembers as many unbound series as four.
func TestUnboundSeriesOfAnEndpointAreRemembered(t *testing.T) {
	var h history
	now := time.Now()
	const n = 1<<20 + 1
	for i := range uint64(n) {
		h.unbound.of(i*0x9e3779b97f4a7c15, unixMinutes(now), 1)
	}
	h.sweep(now)
	if got := len(h.unbound.all); got != n {
		t.Errorf("%d series are remembered, want %d", got, n)
	}
}

// TestTimesOfVanishedSeriesAreForgotten: one batch comes late, and at each scrape from then on the page has other
// series.
func TestTimesOfVanishedSeriesAreForgotten(t *testing.T) {
	for _, kind := range []string{"late batches", "timestamps of the page"} {
		t.Run(kind, func(t *testing.T) {
			w := newPacking(t)
			const size, interval = 100, 60_000
			public := labels.FromStrings("instance", "pod-1", "job", "envoy")
			pod := w.target("pod-1", 0)
			at := time.Now().UnixMilli()
			scrape := func() {
				b := w.scrape(pod, at)
				if kind == "timestamps of the page" {
					for i := range b.Series {
						b.Times = append(b.Times, series.OwnTime{Index: i, Time: at - 1})
					}
				}
				w.append(b)
				w.drain()
			}
			for i := range 200 {
				at += interval
				w.table.Release(slices.Values(pod.ids))
				pod.ids = pod.ids[:0]
				for k := range size {
					pod.ids = append(pod.ids, w.series(pod.id, public, fmt.Sprintf("metric_%d_%d", i, k)))
				}
				scrape()
				if kind == "late batches" && i%10 == 0 {
					w.append(w.scrape(pod, at-1))
				}
				most := size * 3 * int(disorderMemory.Milliseconds()) / interval
				if times, _ := w.remembered(); times > most {
					t.Fatalf("scrape %d: times of %d series are kept, %d exist, want at most %d", i, times, size, most)
				}
			}
			if times, _ := w.remembered(); times == 0 {
				t.Fatal("the test is wrong: no times are kept")
			}
		})
	}
}

// TestOrderIsTrustedAgain: a clock that was set back once must not cost memory for good.
func TestOrderIsTrustedAgain(t *testing.T) {
	w := newPacking(t)
	pod := w.target("pod-1", 100)
	at := time.Now().UnixMilli()
	w.append(w.scrape(pod, at))
	w.append(w.scrape(pod, at-1))
	for range 100 {
		at += time.Minute.Milliseconds()
		w.append(w.scrape(pod, at))
		w.drain()
	}
	if times, _ := w.remembered(); times != 0 {
		t.Errorf("times of %d series are kept after 100 minutes in order, want 0", times)
	}
	if n := w.tally.NotNewer; n != 100 {
		t.Errorf("dropped = %d, want the late batch of 100", n)
	}
}

// TestUnboundSeriesAreForgotten: a series that went its own way and vanished is forgotten, the others are still found.
func TestUnboundSeriesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPacking(t)
		pod := w.target("pod-1", 0)
		add := func(n int) {
			for i := range n {
				ls := labels.FromStrings("__name__", fmt.Sprintf("unbound_%d", len(pod.ids)+i), "job", "envoy")
				pod.ids = append(pod.ids, w.table.Add(pod.id, ls, series.Meta{}))
			}
		}
		add(40)
		w.append(w.scrape(pod, time.Now().UnixMilli()))
		pod.ids = pod.ids[20:]
		for range 30 {
			time.Sleep(10 * time.Minute)
			w.append(w.scrape(pod, time.Now().UnixMilli()))
			w.drain()
		}
		if _, unbound := w.remembered(); unbound > 20+len(pod.ids)/2 {
			t.Errorf("times of %d unbound series are kept after five hours, %d exist", unbound, len(pod.ids))
		}
		w.append(w.scrape(pod, time.Now().UnixMilli()))
		if n := w.tally.NotNewer; n != len(pod.ids) {
			t.Errorf("dropped = %d of a batch that came twice, want %d", n, len(pod.ids))
		}
	})
}
