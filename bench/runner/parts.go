package runner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// part is what a piece of our program's CPU profile was spent on: the first part of which a function is on the stack.
type part struct {
	name      string
	functions []string // how their names begin, without the path of the module
}

func parts() []part {
	const wire, pack, deliver = "remotewrite/wire.", "remotewrite/pack.", "remotewrite/deliver."
	return []part{
		{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge",
			"runtime.gcAssistAlloc", "runtime.gcStart", "runtime.gcMarkDone", "runtime.deductAssistCredit"}},
		{"stacks of new goroutines", []string{"runtime.newstack", "runtime.morestack"}},
		{"queue: syncs", []string{"queue.(*FIFO).syncLoop"}},
		{"queue: writes and the rest", []string{"queue."}},
		{"POST by net/http", []string{"net/http.(*persistConn)", "net/http.(*Transport)", "net/http.(*Client)"}},
		{"sending requests", []string{deliver}},
		{"packing: snappy", []string{"github.com/golang/snappy.", "github.com/klauspost/compress/"}},
		{"packing", []string{wire, pack, "remotewrite."}},
		{"reading pages", []string{"exposition."}},
		{"asking for pages", []string{"scrape.(*fetcher)", "scrape.(*plainClient)", "scrape.(*exchange)"}},
		{"schedule of scrapes", []string{"scrape.(*schedule)", "scrape.(*dueTimes)"}},
		{"scraping, the rest", []string{"scrape.", "aggregate.", "series."}},
		{"Go's sysmon", []string{"runtime.sysmon"}},
		{"Go's scheduler", []string{"runtime.mcall", "runtime.mstart", "runtime.schedule", "runtime.park_m",
			"runtime.goexit0", "runtime.findRunnable"}},
	}
}

const restOfProfile = "anything else"

// partsTable reads what `go tool pprof -traces` says of a CPU profile, and returns the share of each part, with the
// share that it spent in system calls. A stack is as
//
//	-----------+-------------------------------------------------------
//	      10ms   internal/runtime/syscall/linux.Syscall6
//	             os.(*File).Write
func partsTable(traces string) (string, error) {
	var total time.Duration
	spent, inCalls := map[string]time.Duration{}, map[string]time.Duration{}
	for stack := range strings.SplitSeq(traces, "-----------+---") {
		took, frames := cutStack(stack)
		if took == 0 {
			continue
		}
		name := partOf(frames)
		total += took
		spent[name] += took
		if strings.Contains(frames[0], "/syscall") {
			inCalls[name] += took
		}
	}
	if total == 0 {
		return "", fmt.Errorf("no stacks in %q", traces[:min(len(traces), 200)])
	}
	names := slices.SortedFunc(maps.Keys(spent), func(a, b string) int { return int(spent[b] - spent[a]) })
	text := &strings.Builder{}
	cells := [][]string{{"part", "share, %", "of it in system calls"}}
	for _, name := range names {
		percent := func(d time.Duration) string { return digits(1)(100 * ratio(float64(d), float64(total))) }
		cells = append(cells, []string{name, percent(spent[name]), percent(inCalls[name])})
	}
	err := writeTextTable(text, []string{fmt.Sprintf("%v by part", total)}, cells)
	return text.String(), err
}

// cutStack returns how long the program was seen in a stack, and its functions, the running one first.
func cutStack(text string) (took time.Duration, frames []string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 0 && len(frames) == 0 {
			d, err := time.ParseDuration(fields[0])
			if err != nil {
				continue // the rest of a rule, or what pprof says of the profile
			}
			took, fields = d, fields[1:]
		}
		if len(fields) > 0 {
			frames = append(frames, fields[0])
		}
	}
	return took, frames
}

func partOf(frames []string) string {
	const ours = "github.com/envoy-scraper/envoy-scraper/internal/"
	for _, p := range parts() {
		for _, f := range frames {
			f = strings.TrimPrefix(f, ours)
			if slices.ContainsFunc(p.functions, func(begin string) bool { return strings.HasPrefix(f, begin) }) {
				return p.name
			}
		}
	}
	return restOfProfile
}
