package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// columns returns the number of scrapes of a target in one request of the delayed scenarios: CHAOS_SCRAPES, or 3.
func columns(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CHAOS_SCRAPES")
	if text == "" {
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 2 || n > 8 {
		t.Fatalf("CHAOS_SCRAPES=%s: write a number from 2 to 8", text)
	}
	return n
}

// delayed runs a scenario with a delay into which several scrapes fit.
func delayed(scenario func(*world)) func(*world) {
	return func(w *world) {
		w.delay = time.Duration(columns(w.T)) * w.interval
		scenario(w)
	}
}

// mostSamples returns the most samples that a series has in one of the requests.
func mostSamples(t *testing.T, requests []oracle.Request) (most int) {
	t.Helper()
	for _, r := range requests {
		samples, err := r.Message.Samples()
		if err != nil {
			t.Fatal(err)
		}
		perSeries := map[string]int{}
		for _, s := range samples {
			perSeries[s.Labels.String()]++
			most = max(most, perSeries[s.Labels.String()])
		}
	}
	return most
}

// killWhileWaiting kills the agent while most scrapes wait for later ones. The delay is longer than the scenario, so
// that only the start and the stop can make them due: both deliver all that waits.
func killWhileWaiting(w *world) {
	w.delay = 5 * time.Minute
	w.start()
	const each = 4
	w.until("the targets were scraped", func() bool { return w.fleet.Served() >= each*targets })
	w.pause(2 * oracle.InFlight)
	waiting := w.judge().Ended()
	if waiting < (each-1)*targets {
		w.Errorf("%d scrapes wait before the kill, want nearly all of %d", waiting, w.fleet.Served())
	}
	w.kill()
	killed := time.Now()
	w.start()
	missing := func() int { return oracle.JudgeUntil(w.fleet, w.receiver.Ledger, w.ends, killed).Ended() }
	w.until("the scrapes that waited at the kill arrive", func() bool { return missing() == 0 })
	before := w.fleet.Served()
	w.until("more scrapes wait", func() bool { return w.fleet.Served() >= before+2*targets })
	v := w.verdict(allowance{repeats: inFlight})
	w.result(v, fmt.Sprintf("delay of %v: %d scrapes waited at the kill", w.delay, waiting))
}

// catchUp ends an outage while scrapes of many intervals wait. They must arrive in groups of more scrapes than without
// an outage.
func catchUp(w *world) {
	w.start()
	w.warm()
	w.set(oracle.Refuse())
	w.pause(pick(w.suite, 10*time.Second, time.Minute))
	w.receiver.Keep()
	w.set(oracle.Up())
	w.pause(3 * time.Second)
	w.drain(30 * time.Second)
	requests := w.receiver.Requests()
	most := mostSamples(w.T, requests)
	if usual := columns(w.T); most <= usual {
		w.Errorf("after the outage, a series had at most %d samples in a request, want more than %d", most, usual)
	}
	v := w.verdict(allowance{repeats: inFlight})
	w.result(v, fmt.Sprintf("%d requests afterwards, with at most %d samples of a series", len(requests), most))
}

// reload changes the delay of the running agent.
func (w *world) reload(delay time.Duration) {
	w.Helper()
	w.delay = delay
	file := filepath.Join(w.dir, fmt.Sprintf("agent-%d.yml", w.started))
	if err := os.WriteFile(file, []byte(w.configuration()), 0o600); err != nil {
		w.Fatal(err)
	}
	if err := w.agent.Process.Signal(syscall.SIGHUP); err != nil {
		w.Fatal(err)
	}
}

// sameLabels is a rule that may change labels, for all the program knows, so that series go through other lanes. It
// changes none.
const sameLabels = "  write_relabel_configs: [{source_labels: [job], target_label: job}]\n"

// changedDelay reloads with other delays while samples flow, and with and without a rule while scrapes wait.
func changedDelay(w *world) {
	w.receiver.Keep()
	w.start()
	w.warm()
	rounds := pick(w.suite, 3, 20)
	for range rounds {
		for _, to := range []struct {
			scrapes int
			more    string
		}{{columns(w.T), ""}, {columns(w.T), sameLabels}, {1, ""}} {
			scrapes := to.scrapes
			w.more = to.more
			w.reload(time.Duration(scrapes) * w.interval)
			before := len(w.receiver.Requests())
			w.until(fmt.Sprintf("requests have %d scrapes", scrapes), func() bool {
				last := w.receiver.Requests()[before:]
				last = last[max(0, len(last)-2*lanes):] // those before may be of the previous delay
				return len(last) == 2*lanes && mostSamples(w.T, last) == scrapes
			})
		}
	}
	w.drain(20 * time.Second)
	v := w.verdict(allowance{})
	w.result(v, fmt.Sprintf("%d reloads", 3*rounds))
}

// twoDelays has an endpoint with a delay and one without. A kill, and an outage of the first one, must cost neither of
// them a sample.
func twoDelays(w *world) {
	const name = "fresh"
	fresh := parts.Recorder(w.T, w.addresses, 3)
	w.delay = time.Duration(columns(w.T)) * w.interval
	w.more = fmt.Sprintf("- name: %s\n  url: %s\n", name, fresh.URL)
	w.extension = fmt.Sprintf("  endpoints: [{name: %s, max_delay: %v}]\n", name, w.interval)
	w.receiver.Keep()
	fresh.Keep()
	w.start()
	w.warm()
	w.until("requests have several scrapes", func() bool {
		return mostSamples(w.T, w.receiver.Requests()) == columns(w.T)
	})
	w.kill()
	fresh.Ledger.NextEpoch()
	w.start()
	w.warm()
	w.set(oracle.Refuse())
	w.pause(pick(w.suite, 5*time.Second, 30*time.Second))
	w.kill()
	fresh.Ledger.NextEpoch()
	w.start()
	w.set(oracle.Up())
	w.pause(3 * time.Second)
	w.drain(30 * time.Second)
	v := w.verdict(allowance{repeats: inFlight})
	other := oracle.Judge(w.fleet, fresh.Ledger, w.ends)
	if other.Ended() > 0 || other.OutOfOrder > 0 || other.Old > 0 || other.Invented > 0 ||
		other.MostRepeats > inFlight {
		w.Errorf("the endpoint without a delay: %v, want no loss, and at most %d requests twice", other, inFlight)
	}
	if most := mostSamples(w.T, fresh.Requests()); most != 1 {
		w.Errorf("the endpoint without a delay had requests with %d samples of a series", most)
	}
	w.result(v, fmt.Sprintf("the endpoint with a delay; %d and %d requests", len(w.receiver.Requests()),
		len(fresh.Requests())))
}
