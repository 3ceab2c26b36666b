package chaos

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const (
	storageFlag = "storage.path"
	endpoint    = "chaos" // name of the remote_write block: what a queue is known by

	targets   = 10
	series    = 100
	interval  = time.Second
	warmUp    = 5 * time.Second // after which, on an idle machine, the first requests have gone out
	patience  = time.Minute     // for what comes at once where the machine has nothing else to do
	lanes     = 4               // of an endpoint with default settings
	perScrape = 5               // samples that a scrape adds to those of its page

	dropped  = "envoy_scraper_remotewrite_samples_dropped_total"
	failures = "envoy_scraper_scrape_failures_total"
)

// A world is one scenario: its targets, its receiver, and the agent in between, process after process.
type world struct {
	*testing.T
	suite     suite
	addresses *oracle.AddressRange
	fleet     *oracle.Fleet
	receiver  *oracle.Receiver
	dir       string
	storage   string
	interval  time.Duration
	jobs      string // further YAML, after the job
	more      string // further YAML, after the endpoint
	memory    bool   // no durable queue
	env       []string

	agent   *agent.Agent
	ready   time.Duration // how long its start took
	started int           // processes so far
	ends    []time.Time   // when they were told to end
	slow    []time.Time   // more of these: the agent was so slow to answer then that what it read before was still on its way
	stalled time.Duration // how long it was, in all, before it was killed
	failed  float64       // scrapes that the agent says have failed before the targets were frozen
	frozen  bool
	cut     bool               // a stop took the whole flush deadline: requests may have been on their way
	counted map[string]float64 // samples dropped, by reason, of processes that have ended
	began   time.Time
}

func newWorld(t *testing.T, s suite) *world {
	t.Helper()
	w := &world{T: t, suite: s, dir: t.TempDir(), interval: interval, counted: map[string]float64{}, began: time.Now()}
	w.storage = filepath.Join(w.dir, "storage")
	w.addresses = newAddressRange(t)
	w.fleet = newFleet(t, w.addresses, 10, targets)
	w.receiver = newReceiver(t, w.addresses, 2)
	return w
}

func newAddressRange(t *testing.T) *oracle.AddressRange {
	t.Helper()
	addresses, err := oracle.NewAddressRange()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(addresses.Close)
	return addresses
}

func newFleet(t *testing.T, at *oracle.AddressRange, first, n int) *oracle.Fleet {
	t.Helper()
	fleet, err := oracle.NewFleet(at, first, n, series)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fleet.Close(); err != nil {
			t.Errorf("targets: %v", err)
		}
	})
	return fleet
}

func newReceiver(t *testing.T, at *oracle.AddressRange, host int) *oracle.Receiver {
	t.Helper()
	receiver, err := oracle.NewReceiver(at, host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = receiver.Close() })
	return receiver
}

// configuration is the agent's file.
func (w *world) configuration() string {
	return fmt.Sprintf(`global:
  scrape_interval: %v
  scrape_timeout: %v
scrape_configs:
- job_name: chaos
  static_configs:
  - targets: [%s]
%sremote_write:
- name: %s
  url: %s
%s`, w.interval, w.interval, strings.Join(w.fleet.Addresses(), ", "), w.jobs, endpoint, w.receiver.URL, w.more)
}

// startOnly starts a process and does not wait for it.
func (w *world) startOnly() *agent.Agent {
	w.Helper()
	w.started++
	var args []string
	switch {
	case !w.suite.durable:
	case w.memory:
		args = append(args, "--"+storageFlag+"=")
	default:
		args = append(args, "--"+storageFlag+"="+w.storage)
	}
	return agent.Start(w.T, agent.Config{
		Path: w.suite.binary, Dir: w.dir, Name: fmt.Sprintf("agent-%d", w.started), YAML: w.configuration(), Args: args, Env: w.env,
	})
}

// start starts the next process and waits until it is ready.
func (w *world) start() {
	w.Helper()
	w.agent = w.startOnly()
	took, err := w.agent.WaitReady(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	w.ready = took
	w.Logf("process %d: ready after %v", w.started, took.Round(time.Millisecond))
}

// warm waits until the agent has delivered something.
func (w *world) warm() {
	w.Helper()
	w.pause(warmUp)
	w.until("a request was taken", func() bool { one, two := w.receiver.Messages(); return one+two > 0 })
}

// until waits for what must come, however busy the machine is.
func (w *world) until(what string, is func() bool) {
	w.Helper()
	for begin := time.Now(); !is(); w.pause(100 * time.Millisecond) {
		if time.Since(begin) > patience {
			w.Errorf("waited %v in vain until %s", patience, what)
			return
		}
	}
}

// keepCounters keeps the counters of the process that is about to end.
func (w *world) keepCounters() {
	w.Helper()
	m := w.metrics()
	for reason, n := range m.By(dropped, "reason") {
		if n > 0 {
			w.counted[reason] += n
		}
	}
	if !w.frozen {
		w.failed += m.Sum(failures)
	}
}

// metrics reads the agent's own.
func (w *world) metrics() agent.Metrics {
	w.Helper()
	m, err := w.agent.Metrics(w.Context())
	if err != nil {
		w.Fatalf("read the agent's metrics: %v", err)
	}
	return m
}

// kill ends the process as kill -9 does.
func (w *world) kill() {
	w.Helper()
	begin := time.Now()
	w.keepCounters()
	end := time.Now()
	w.stalled += end.Sub(begin)
	// What kept an answer waiting kept pages waiting, too.
	for at := begin; end.Sub(begin) > oracle.InFlight/5 && at.Before(end); at = at.Add(oracle.InFlight) {
		w.slow = append(w.slow, at)
	}
	w.ends = append(w.ends, time.Now())
	w.agent.Process.Kill()
	w.receiver.Ledger.NextEpoch()
}

// terminate asks the process to end, and checks that it does: soon, and content with itself.
func (w *world) terminate() {
	w.Helper()
	w.keepCounters()
	machine := parts.MeasureLateness()
	begin := time.Now()
	w.ends = append(w.ends, begin)
	code := w.agent.Process.Stop(patience)
	took := time.Since(begin)
	machine.End()
	late := machine.Total + syncTime(w.T, w.dir)
	w.receiver.Ledger.NextEpoch()
	w.Logf("process %d: exit code %d after %v; the machine was late by %v", w.started, code, took.Round(time.Millisecond), late.Round(time.Millisecond))
	w.cut = w.cut || took > agentFlush
	if code != 0 {
		w.Errorf("exit code %d after SIGTERM, want 0; log:\n%s", code, tail(w.agent.Process.Log()))
	}
	if longest := w.longestStop(); took > longest+late {
		w.Errorf("the stop took %v, want less than %v and the %v by which the machine was late", took, longest, late)
	}
}

// agentFlush is the agent's flush deadline.
const agentFlush = 4 * time.Second

// longestStop bounds a stop, whatever the receiver does. Without a durable queue the whole flush deadline is used.
func (w *world) longestStop() time.Duration {
	const flushDeadline = 5 * time.Second
	if w.memory || !w.suite.durable {
		return flushDeadline + time.Second
	}
	return flushDeadline
}

// set changes the receiver.
func (w *world) set(m oracle.Mode) {
	w.Helper()
	if err := w.receiver.Set(m); err != nil {
		w.Fatal(err)
	}
}

func (w *world) pause(d time.Duration) {
	w.Helper()
	pause(w.T, d)
	if w.agent != nil && gone(w.agent) {
		w.Fatalf("the agent ended by itself; log:\n%s", tail(w.agent.Process.Log()))
	}
}

func gone(a *agent.Agent) bool {
	select {
	case <-a.Process.Done():
		return true
	default:
		return false
	}
}

// drain freezes the targets and waits until everything has arrived that was served and not in flight at an end, but
// not longer than within after the last time that something did.
func (w *world) drain(within time.Duration) {
	w.Helper()
	if !w.frozen {
		w.failed += w.metrics().Sum(failures)
		w.frozen = true
	}
	w.fleet.Freeze()
	begin := time.Now()
	w.arrive(within, func() int { return w.judge().Ended() })
	w.Logf("drained after %v", time.Since(begin).Round(100*time.Millisecond))
}

// arrive waits until nothing is missing, or nothing has come for so long.
func (w *world) arrive(within time.Duration, missing func() int) {
	w.Helper()
	least, since := missing(), time.Now()
	for least > 0 && time.Since(since) < within {
		w.pause(200 * time.Millisecond)
		if n := missing(); n < least {
			least, since = n, time.Now()
		}
	}
}

func (w *world) judge() oracle.Verdict {
	return oracle.Judge(w.fleet, w.receiver.Ledger, slices.Concat(w.ends, w.slow))
}

// allowance is what a scenario may cost.
type allowance struct {
	ended   int     // scrapes that had ended before the process did
	perKill float64 // scrapes for each target and end of a process; 0: any that was in flight
	repeats int     // requests that come twice after an end
	unknown int     // lost samples that no counter has
}

// verdict stops the agent, judges, and checks the figures that hold in every scenario.
func (w *world) verdict(may allowance) oracle.Verdict {
	w.Helper()
	w.terminate()
	v := w.judge()
	w.Logf("%v; counted as dropped: %v; scrapes that the agent says failed: %v; answers: %v", v, w.counted, w.failed, w.receiver.Answers())
	if v.Served < targets || v.Arrived == 0 {
		w.Errorf("%d scrapes served, %d arrived: nothing was tried", v.Served, v.Arrived)
	}
	if v.Ended() > may.ended {
		w.Errorf("%d scrapes lost that had ended, want at most %d:\n%s", v.Ended(), may.ended, strings.Join(v.Gaps, "\n"))
	}
	if most := max(1, len(w.ends)+len(w.slow)) * targets; v.InFlight > most {
		w.Errorf("%d scrapes lost in flight, want at most one a target and end: %d", v.InFlight, most)
	}
	// What was in flight grows with the time that a page takes to be read: as an answer of the agent's does.
	most := may.perKill + w.stalled.Seconds()/w.interval.Seconds()/float64(len(w.ends))
	if got := v.PerKill(len(w.ends)); may.perKill > 0 && got > most {
		w.Errorf("%.2f scrapes lost a target and end, want at most %v, %v on an idle machine", got, most, may.perKill)
	}
	if v.OutOfOrder > 0 || v.Old > 0 {
		w.Errorf("%d samples out of order, as %s; %d old ones again", v.OutOfOrder, v.Example, v.Old)
	}
	if v.Invented > 0 {
		w.Errorf("%d scrapes arrived that were never served", v.Invented)
	}
	if v.MostRepeats > may.repeats {
		w.Errorf("%d requests came twice after one end, want at most %d", v.MostRepeats, may.repeats)
	}
	w.checkExplained(v, may.unknown)
	return v
}

// checkExplained checks that counters explain every lost sample but those of scrapes in flight, and nothing else.
func (w *world) checkExplained(v oracle.Verdict, unknown int) {
	w.Helper()
	lost := v.Samples - v.InFlight*series
	unknown += int(w.failed) * series // of a scrape that failed late, what says so may be lost with the page
	if missing := lost - int(w.dropped()); missing > unknown {
		w.Errorf("%d lost samples that no counter explains (lost %d, counted %v), want at most %d", missing, lost, w.counted, unknown)
	}
	// A scrape that failed has been served nothing, or nothing in time; what says so of it may be lost as well.
	if most := (v.Lost + int(w.failed)) * (series + perScrape); int(w.dropped()) > most {
		w.Errorf("counted as dropped: %v; but %d scrapes lost and %v failed are at most %d samples", w.counted, v.Lost, w.failed, most)
	}
}

// dropped is what all processes counted.
func (w *world) dropped() float64 {
	sum := 0.0
	for _, n := range w.counted {
		sum += n
	}
	return sum
}

// result prints a row for the tables of docs/reliability-runs.md.
func (w *world) result(v oracle.Verdict, note string) {
	w.Helper()
	name := strings.TrimPrefix(w.Name(), "TestChaos/")
	w.Logf("| %s | %d | %d | %d | %d | %d | %d | %s |", strings.ReplaceAll(name, "_", " "), v.Served, v.Ended(), v.InFlight,
		v.OutOfOrder, v.Repeats, int(w.dropped()), note)
}

// tail is the end of a log.
func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// segments lists the files of a queue that hold samples, the biggest first.
func segments(t *testing.T, dir string) []string { return filesBySize(t, dir, ".seg") }

// positions lists the files of a queue that tell how far it is delivered.
func positions(t *testing.T, dir string) []string { return filesBySize(t, dir, ".pos") }

func filesBySize(t *testing.T, dir, suffix string) []string {
	t.Helper()
	sizes := map[string]int64{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) != suffix {
			return err
		}
		if info, err := d.Info(); err == nil { // else it is gone by now
			sizes[path] = info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	files := slices.Sorted(maps.Keys(sizes))
	slices.SortStableFunc(files, func(a, b string) int { return int(sizes[b] - sizes[a]) })
	return files
}
