package simulate

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/oracle"
)

// lossesBefore is the state of losses and counters at the last judgement. Counters of dropped samples are compared with
// losses from one judgement to the next: totals since the start would let one judgement pay for another.
type lossesBefore struct {
	losses   map[string]oracle.Losses // by receiver
	dropped  map[dropped]float64      // of all agents
	happened map[string]int           // faults by kind
}

// judgeLosses compares what is missing at each receiver with the counters of dropped samples: each missing sample is
// counted, and no sample is counted that is not missing.
func (w *world) judgeLosses() {
	all := map[dropped]float64{}
	for _, r := range w.agents {
		for d, n := range r.droppedSamples() {
			all[d] += n
		}
	}
	before, amnesia := w.lossesBefore, w.amnesia()
	for d, n := range all {
		if causes := dropCauses[d.reason]; n > before.dropped[d] && !w.happenedLately(causes...) &&
			!(amnesia && d.reason == "refused") {
			w.problem("%v samples for %s are dropped as %s, and no fault is a reason for it", n-before.dropped[d],
				d.endpoint, d.reason)
		}
	}
	w.lossesBefore = lossesBefore{map[string]oracle.Losses{}, all, maps.Clone(w.happened)}
	for _, name := range receiverNames {
		w.receivers[name].Forget(time.Now().Add(-longestAbsence).UnixMilli())
		total, examples := w.oracle.Losses(name)
		l, counted, doubtful := total.Minus(before.losses[name]), 0, 0
		for d, n := range all {
			if d.endpoint != name {
				continue
			}
			counted += int(n - before.dropped[d])
			if amnesia && d.reason == "damaged" { // the lost position would tell which of them were delivered before
				doubtful += int(n - before.dropped[d])
			}
		}
		if counted < l.Lost {
			w.problem("receiver %s: %d samples are lost, counters explain %d:\n\t%s", name, l.Lost, counted,
				strings.Join(examples[max(0, len(examples)-5):], "\n\t"))
		}
		if most := l.Most(amnesia) + doubtful; counted > most {
			w.problem("receiver %s: counters say that %d samples were dropped, at most %d can be: %+v, %v", name,
				counted, most, l, all)
		}
		w.lossesBefore.losses[name] = total
		w.trace.add("judged %s: lost %d, counted %d", name, l.Lost, counted)
	}
}

// amnesia reports whether a process may have begun since the last judgement without what the process before had written
// last: after a power cut, or after any end while the disk failed.
func (w *world) amnesia() bool {
	return w.happenedLately("agent: power cut") ||
		w.happenedLately("disk: ") && w.happenedLately("agent: kill -9", "agent: SIGTERM")
}

// dropCauses has the kinds of faults after which agents may drop samples for a reason, by the beginning of their names.
var dropCauses = map[string][]string{
	"refused":          {"receiver: 400"},
	"isolation_budget": {"receiver: 400 for some series, only 1.0", "receiver: only 1.0"},
	"disk_full":        {"disk: "},
	"queue_error":      {"disk: "},
	"damaged":          {"disk: ", "agent: power cut"},
	"abandoned":        {"disk: "},
}

// happenedLately reports whether a fault has happened since the last judgement whose kind begins with one of the names.
func (w *world) happenedLately(names ...string) bool {
	for kind, n := range w.happened {
		if n > w.lossesBefore.happened[kind] &&
			slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(kind, name) }) {
			return true
		}
	}
	return false
}
