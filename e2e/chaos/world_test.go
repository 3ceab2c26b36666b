package chaos

import (
	"cmp"
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
	endpoint    = "chaos" // name of the remote_write block, which identifies its queue

	targets   = 10
	series    = 100
	interval  = time.Second
	warmUp    = 5 * time.Second // by then, on an idle machine, the first requests were sent
	patience  = time.Minute     // limit for events that happen at once on an idle machine
	lanes     = 1               // per endpoint, by default
	inFlight  = 4               // requests of a group, at most: those that a kill repeats
	perScrape = 5               // samples of up and the other report series

	dropped  = "envoy_scraper_remotewrite_samples_dropped_total"
	failures = "envoy_scraper_scrape_failures_total"
)

// A world is one scenario: its targets, its receiver, and the agent between them. The agent may be restarted many
// times.
type world struct {
	*testing.T
	suite     suite
	addresses *oracle.AddressRange
	fleet     *oracle.Fleet
	receiver  *oracle.Receiver
	dir       string
	storage   string
	interval  time.Duration
	delay     time.Duration // max_delay; 0: one interval, so that a request has one scrape of a target
	jobs      string        // more YAML, after the job
	more      string        // more YAML, after the endpoint
	extension string        // more YAML of envoy_scraper
	memory    bool          // run without a durable queue
	env       []string

	agent   *agent.Agent
	ready   time.Duration // how long the last start took
	started int           // number of processes started so far
	ends    []time.Time   // when processes were stopped or killed
	slow    []time.Time   // more ends: the agent was slow then, so pages it had read were still in flight
	stalled time.Duration // how long it was slow in total before kills
	failed  float64       // failed scrapes, as the agent counts them, before the targets were frozen
	atDrain float64       // those of them that the process at that time counted
	refused float64       // failed scrapes afterwards; only their markers and report series can be lost
	frozen  bool
	cut     bool               // a stop took the whole flush deadline: requests may have been in flight
	counted map[string]float64 // dropped samples of ended processes, by reason
	began   time.Time
}

func newWorld(t *testing.T, s suite) *world {
	t.Helper()
	w := &world{T: t, suite: s, dir: t.TempDir(), interval: interval, counted: map[string]float64{}, began: time.Now()}
	w.storage = filepath.Join(w.dir, "storage")
	w.addresses = parts.Addresses(t)
	w.fleet = parts.Fleet(t, w.addresses, 10, targets, series)
	w.receiver = parts.Recorder(t, w.addresses, 2)
	return w
}

// configuration returns the content of the agent's configuration file.
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
%senvoy_scraper:
  max_delay: %v
%s`, w.interval, w.interval, strings.Join(w.fleet.Addresses(), ", "), w.jobs, endpoint, w.receiver.URL, w.more,
		cmp.Or(w.delay, w.interval), w.extension)
}

// startOnly starts the next process and does not wait for it.
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
		Path: w.suite.binary, Dir: w.dir, Name: fmt.Sprintf("agent-%d",
			w.started), YAML: w.configuration(), Args: args, Env: w.env,
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

// warm waits until the agent has delivered a request.
func (w *world) warm() {
	w.Helper()
	w.pause(warmUp)
	w.until("a request was taken", func() bool { one, two := w.receiver.Messages(); return one+two > 0 })
}

// until waits for a condition. Its limit, patience, allows for a busy machine.
func (w *world) until(what string, is func() bool) {
	w.Helper()
	for begin := time.Now(); !is(); w.pause(100 * time.Millisecond) {
		if time.Since(begin) > patience {
			w.Errorf("not within %v: %s", patience, what)
			return
		}
	}
}

// keepCounters saves the counters of the process that is about to end.
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
	} else {
		w.refused += m.Sum(failures) - w.atDrain
		w.atDrain = 0
	}
}

// metrics reads the agent's own metrics.
func (w *world) metrics() agent.Metrics {
	w.Helper()
	m, err := w.agent.Metrics(w.Context())
	if err != nil {
		w.Fatalf("read the agent's metrics: %v", err)
	}
	return m
}

// kill kills the process as kill -9 does.
func (w *world) kill() {
	w.Helper()
	begin := time.Now()
	w.keepCounters()
	end := time.Now()
	w.stalled += end.Sub(begin)
	// If the agent was slow to answer this request, it was slow to process pages too.
	for at := begin; end.Sub(begin) > oracle.InFlight/5 && at.Before(end); at = at.Add(oracle.InFlight) {
		w.slow = append(w.slow, at)
	}
	w.ends = append(w.ends, time.Now())
	w.agent.Process.Kill()
	w.receiver.Ledger.NextEpoch()
}

// terminate stops the process with SIGTERM. The process must exit in time with code 0.
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
	w.Logf("process %d: exit code %d after %v; timers of the machine were late by %v", w.started, code,
		took.Round(time.Millisecond), late.Round(time.Millisecond))
	w.cut = w.cut || took > agentFlush
	if code != 0 {
		w.Errorf("exit code %d after SIGTERM, want 0; log:\n%s", code, tail(w.agent.Process.Log()))
	}
	if longest := w.longestStop(); took > longest+late {
		w.Errorf("the stop took %v, want less than %v plus the %v by which the machine was late", took, longest, late)
	}
}

// agentFlush is the agent's flush deadline.
const agentFlush = 4 * time.Second

// longestStop returns the limit for a stop, whatever the receiver does. Without a durable queue a stop may use the
// whole flush deadline.
func (w *world) longestStop() time.Duration {
	const flushDeadline = 5 * time.Second
	if w.memory || !w.suite.durable {
		return flushDeadline + time.Second
	}
	return flushDeadline
}

// set changes how the receiver behaves.
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
		w.Fatalf("the agent exited by itself; log:\n%s", tail(w.agent.Process.Log()))
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

// drain freezes the targets. Then it waits until every served scrape has arrived, except those in flight when a process
// ended. It gives up when nothing has arrived for within.
func (w *world) drain(within time.Duration) {
	w.Helper()
	if !w.frozen {
		w.atDrain = w.metrics().Sum(failures)
		w.failed += w.atDrain
		w.frozen = true
	}
	w.fleet.Freeze()
	begin := time.Now()
	w.arrive(within, func() int { return w.judge().Ended() })
	w.Logf("drained after %v", time.Since(begin).Round(100*time.Millisecond))
}

// arrive waits until nothing is missing, or until nothing has arrived for within.
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

// allowance is what a scenario may lose or repeat.
type allowance struct {
	ended   int     // lost scrapes that had ended before the process did
	perKill float64 // lost scrapes per target and end of a process; 0: every scrape in flight may be lost
	repeats int     // requests sent twice after one end of a process
	unknown int     // lost samples that are not counted
}

// verdict stops the agent, judges, and checks the figures that hold in every scenario.
func (w *world) verdict(may allowance) oracle.Verdict {
	w.Helper()
	w.terminate()
	v := w.judge()
	w.Logf("%v; counted as dropped: %v; failed scrapes as the agent counts them: %v; answers: %v", v, w.counted,
		w.failed, w.receiver.Answers())
	if v.Served < targets || v.Arrived == 0 {
		w.Errorf("%d scrapes served, %d arrived: the scenario tested nothing", v.Served, v.Arrived)
	}
	if v.Ended() > may.ended {
		w.Errorf("%d scrapes lost that had ended, want at most %d:\n%s", v.Ended(), may.ended,
			strings.Join(v.Gaps, "\n"))
	}
	if most := max(1, len(w.ends)+len(w.slow)) * targets; v.InFlight > most {
		w.Errorf("%d scrapes lost in flight, want at most one per target and end: %d", v.InFlight, most)
	}
	// A slow agent has more scrapes in flight. How slow it was shows in how late it answered.
	most := may.perKill + w.stalled.Seconds()/w.interval.Seconds()/float64(len(w.ends))
	if got := v.PerKill(len(w.ends)); may.perKill > 0 && got > most {
		w.Errorf("%.2f scrapes lost per target and end, want at most %v, or %v on an idle machine", got, most,
			may.perKill)
	}
	if v.OutOfOrder > 0 || v.Old > 0 {
		w.Errorf("%d samples out of order, such as %s; %d duplicates of old samples", v.OutOfOrder, v.Example, v.Old)
	}
	if v.Invented > 0 {
		w.Errorf("%d scrapes arrived that were never served", v.Invented)
	}
	if v.MostRepeats > may.repeats {
		w.Errorf("%d requests were sent twice after one end, want at most %d", v.MostRepeats, may.repeats)
	}
	w.checkExplained(v, may.unknown)
	return v
}

// checkExplained checks that the drop counters match the lost samples. Scrapes in flight are the only losses that are
// not counted.
func (w *world) checkExplained(v oracle.Verdict, unknown int) {
	w.Helper()
	lost := v.Samples - v.InFlight*series
	unknown += int(w.failed) * series // a scrape that failed late may lose its report series too
	if missing := lost - int(w.dropped()); missing > unknown {
		w.Errorf("%d lost samples that no counter explains (lost %d, counted %v), want at most %d", missing, lost,
			w.counted, unknown)
	}
	// A failed scrape was served nothing, or was served too late. Its report series may be lost too.
	most := (v.Lost+int(w.failed))*(series+perScrape) + int(w.refused)*perScrape
	if w.refused > 0 {
		most += len(w.fleet.Targets) * series // markers, once for each target
	}
	if int(w.dropped()) > most {
		w.Errorf("counted as dropped: %v; but %d scrapes lost, %v failed and %v failed at the end are at most "+
			"%d samples",
			w.counted, v.Lost, w.failed, w.refused, most)
	}
}

// dropped returns the number of dropped samples that all processes counted.
func (w *world) dropped() float64 {
	sum := 0.0
	for _, n := range w.counted {
		sum += n
	}
	return sum
}

// result logs a row of the tables in docs/reliability-runs.md.
func (w *world) result(v oracle.Verdict, note string) {
	w.Helper()
	name := strings.TrimPrefix(w.Name(), "TestChaos/")
	w.Logf("| %s | %d | %d | %d | %d | %d | %d | %s |", strings.ReplaceAll(name, "_", " "), v.Served, v.Ended(),
		v.InFlight,
		v.OutOfOrder, v.Repeats, int(w.dropped()), note)
}

// tail returns the end of a log.
func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// segments returns the segment files of a queue, the largest first.
func segments(t *testing.T, dir string) []string { return filesBySize(t, dir, ".seg") }

// positions returns the files that record how far a queue is delivered.
func positions(t *testing.T, dir string) []string { return filesBySize(t, dir, ".pos") }

func filesBySize(t *testing.T, dir, suffix string) []string {
	t.Helper()
	sizes := map[string]int64{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) != suffix {
			return err
		}
		if info, err := d.Info(); err == nil { // on error the file was just deleted
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
