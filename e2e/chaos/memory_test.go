package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

const (
	wantGCShare = 0.25
	headroom    = 1.3 // memory limit, relative to what the agent needs without an outage
)

// tightMemory runs an outage with GOMEMLIMIT only a little above what the agent needs without one. Targets and series
// come and go meanwhile. The garbage collector must not take most of the CPU time.
func tightMemory(w *world) {
	fillers, err := oracle.NewFillers(w.addresses, 100, pick(w.suite, 20, 60), 500)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = fillers.Close() })
	list := filepath.Join(w.dir, "fillers.json")
	w.list(list, fillers.Addresses())
	w.jobs = fmt.Sprintf("- job_name: filler\n  file_sd_configs: [{files: [%s]}]\n", list)
	w.extension = "  queue:\n    max_memory: 1MiB\n"

	w.start()
	w.pause(pick(w.suite, 2*warmUp, 30*time.Second))
	resident, need := w.resident(), w.goMemory()
	w.terminate()

	limit := int64(headroom * need)
	w.env = []string{fmt.Sprintf("GOMEMLIMIT=%d", limit), "GODEBUG=gctrace=1"}
	w.start()
	w.pause(warmUp)
	w.set(oracle.Refuse())
	before := w.cpu()
	secondsBefore, runsBefore := gcTime(w.agent.Process.Log())
	most, spilled, kept := 0.0, 0.0, 0.0
	outage := pick(w.suite, 20*time.Second, 3*time.Minute)
	begin := time.Now()
	lasts := func() bool {
		return time.Since(begin) < outage || spilled <= kept && time.Since(begin) < outage+patience
	}
	for turn := 0; lasts(); turn++ {
		all := fillers.Addresses()
		w.list(list, all[turn%3*len(all)/4:][:len(all)/2]) // half of the targets, a different half each time
		w.pause(3 * time.Second)
		m := w.metrics()
		most = max(most, m.Sum("process_resident_memory_bytes")/1e6)
		spilled = m.Sum("envoy_scraper_queue_disk_bytes")
		kept = max(kept, m.Sum("envoy_scraper_queue_memory_bytes"))
	}
	seconds, runs := gcTime(w.agent.Process.Log())
	share := (seconds - secondsBefore) / (w.cpu() - before)
	if runs == runsBefore {
		w.Error("the garbage collector never ran")
	}
	if spilled <= kept {
		w.Errorf("%.0f bytes on disk and up to %.0f in memory: no samples were moved to disk", spilled, kept)
	}
	if !w.suite.short && share > wantGCShare*slack {
		w.Errorf("garbage collection took %.0f %% of the CPU time, want less than %.0f %%", 100*share, 100*wantGCShare)
	}
	w.set(oracle.Up())
	w.pause(3 * time.Second)
	w.drain(time.Minute)
	v := w.verdict(allowance{repeats: inFlight}) // the receiver may go away between taking a request and answering it
	w.result(v, fmt.Sprintf("outage of %v; GOMEMLIMIT %.1f MB, %v times what Go held; resident memory %.0f MB "+
		"without it, at most %.0f MB with it; "+
		"%.1f MB on disk, at most %.1f MB of that in memory; %d collections, %.1f %% of the CPU time",
		outage, float64(limit)/1e6, headroom, resident, most, spilled/1e6, kept/1e6, runs-runsBefore, 100*share))
}

// list replaces a file of targets atomically, so the agent never reads half a file.
func (w *world) list(path string, addresses []string) {
	w.Helper()
	text := fmt.Sprintf(`[{"targets": ["%s"]}]`, strings.Join(addresses, `", "`))
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.Fatal(err)
	}
}

// cpu returns the agent's CPU time in seconds.
func (w *world) cpu() float64 {
	w.Helper()
	m := w.metrics()
	return m.Sum("process_cpu_seconds_total")
}

// goMemory returns the memory that GOMEMLIMIT counts, in bytes.
func (w *world) goMemory() float64 {
	w.Helper()
	m := w.metrics()
	return m.Sum("go_memstats_sys_bytes") - m.Sum("go_memstats_heap_released_bytes")
}

// gcLine matches a line of GODEBUG=gctrace=1. Its times are in milliseconds: sweep termination, assists, background
// marking, idle marking (not captured) and mark termination. Example:
//
//	gc 7 @1.2s 1%: 0.02+1.1+0.03 ms clock, 0.05+0.3/1.0/2.1+0.07 ms cpu, 8->9->4 MB, …
var gcLine = regexp.MustCompile(`(?m)^gc \d+ @.* ms clock, ([\d.]+)\+([\d.]+)/([\d.]+)/[\d.]+\+([\d.]+) ms cpu`)

// gcTime returns the number of garbage collections in a log and their CPU time in seconds. Marking on idle processors
// does not count.
func gcTime(log string) (seconds float64, runs int) {
	for _, line := range gcLine.FindAllStringSubmatch(log, -1) {
		runs++
		for _, ms := range line[1:] {
			v, _ := strconv.ParseFloat(ms, 64)
			seconds += v / 1000
		}
	}
	return seconds, runs
}
