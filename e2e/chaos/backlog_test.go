package chaos

import (
	"fmt"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

const (
	slack = 3       // factor by which a busy machine may miss a target figure
	mib   = 1 << 20 // bytes

	wantCatchUp   = 20       // times the live rate
	wantReplaying = 64 * mib // bytes of memory above the level without a backlog
)

// bigBacklog starts the agent on a large queue. The agent must send the backlog while it goes on scraping.
func bigBacklog(w *world) {
	w.start()
	w.pause(pick(w.suite, warmUp, 25*time.Second)) // until the memory that the start needed is released
	steady := w.resident()
	w.terminate()
	size := pick(w.suite, 32*mib, 512*mib)
	samples := makeBacklog(w, size)

	w.set(oracle.Refuse())
	w.start()
	ready := w.ready
	w.pause(warmUp) // live samples wait behind the backlog of their lane
	idle := w.resident()
	w.set(oracle.Up().Bulk(bulk))
	begin := time.Now()
	most, took := w.replay(samples, 10*time.Minute)
	if got := w.receiver.Discarded(); got != samples {
		w.Errorf("%d samples of the backlog arrived, want %d", got, samples)
	}
	w.pause(2 * w.interval) // live samples must not wait longer than that
	late := oracle.JudgeUntil(w.fleet, w.receiver.Ledger, w.ends, begin.Add(took))
	rate := float64(samples) / took.Seconds()
	live := float64(targets*(series+perScrape)) / w.interval.Seconds()
	w.drain(20 * time.Second)

	wantReady := 2*time.Second + time.Duration(float64(time.Second)*float64(size)/1e9)
	if !w.suite.short {
		if ready > slack*wantReady {
			w.Errorf("ready after %v, want less than %v", ready, wantReady)
		}
		if more := (most - steady) * 1e6; more > wantReplaying {
			w.Errorf("memory grew by %.0f bytes over the level before the backlog, want at most %d", more,
				wantReplaying)
		}
		if rate < wantCatchUp*live/slack {
			w.Errorf("caught up with %.0f samples per second, want %v times the live rate of %.0f", rate, wantCatchUp,
				live)
		}
		if late.Ended() > 0 {
			w.Errorf("%d live scrapes from before the end of the backlog had not arrived two intervals after it",
				late.Ended())
		}
	}
	v := w.verdict(allowance{})
	w.result(v, fmt.Sprintf("%d MiB, %d samples: ready after %.2f s; caught up in %.1f s with %.0f samples per "+
		"second, %.0f times the live rate; "+
		"resident memory %.0f MB steady, %.0f MB before and at most %.0f MB during the replay; %d live scrapes late",
		size/mib, samples, ready.Seconds(), took.Seconds(), rate, rate/live, steady, idle, most, late.Ended()))
}

// replay waits until the whole backlog has arrived. It returns the agent's highest memory use meanwhile.
func (w *world) replay(samples int, within time.Duration) (most float64, took time.Duration) {
	w.Helper()
	begin := time.Now()
	for w.receiver.Discarded() < samples && time.Since(begin) < within {
		most = max(most, w.resident())
		w.pause(50 * time.Millisecond)
	}
	return most, time.Since(begin)
}
