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
// counted. In an exact run no sample is counted that is not missing, from one judgement to the next; in another one it
// compares totals, and counters may be higher.
func (w *world) judgeLosses() {
	all := map[dropped]float64{}
	for _, r := range w.agents {
		for d, n := range r.droppedSamples() {
			all[d] += n
		}
	}
	before := w.lossesBefore
	for d, n := range all {
		if n > before.dropped[d] && !w.mayDrop(d.reason) {
			w.problem("%v samples for %s are dropped as %s, and no fault is a reason for it", n-before.dropped[d],
				d.endpoint, d.reason)
		}
	}
	now := lossesBefore{map[string]oracle.Losses{}, all, maps.Clone(w.happened)}
	for _, name := range allReceivers {
		w.receivers[name].Forget(time.Now().Add(-longestAbsence).UnixMilli())
		total, _ := w.oracle.Losses(name)
		now.losses[name] = total
		counted := countedAt(name, all)
		if w.opts.Exact {
			w.judgeCounted(name, total.Minus(before.losses[name]), all)
		} else {
			w.judgeCovered(name, uncounted(total, int(all[dropped{name, alreadyDelivered}])), counted)
		}
		w.trace.add("judged %s: lost %d, counted %d", name, total.Lost, counted)
	}
	w.lossesBefore = now
}

// uncounted returns how many of the missing samples no process takes for delivered. delivered is how many they take for
// that.
func uncounted(l oracle.Losses, delivered int) int {
	return l.Lost + l.Mistaken - min(delivered, l.Mistaken+l.Overtaken)
}

// judgeCovered checks that counters explain the samples that a receiver has lost.
func (w *world) judgeCovered(name string, lost, counted int) {
	if counted < lost {
		_, examples := w.oracle.Losses(name)
		w.problem("receiver %s: %d samples are lost, counters explain %d:\n\t%s", name, lost, counted,
			strings.Join(examples[max(0, len(examples)-5):], "\n\t"))
	}
}

// countedAt returns how many samples for an endpoint are counted as dropped.
func countedAt(endpoint string, all map[dropped]float64) (n int) {
	for d, of := range all {
		if d.endpoint == endpoint && d.reason != alreadyDelivered {
			n += int(of)
		}
	}
	return n
}

// judgeCounted compares the losses of a receiver since the last judgement with what the counters have grown.
func (w *world) judgeCounted(name string, l oracle.Losses, all map[dropped]float64) {
	before, doubtful := w.lossesBefore.dropped, 0
	grown := func(reason string) int { return int(all[dropped{name, reason}] - before[dropped{name, reason}]) }
	amnesia, lateAnswers := w.amnesia(), w.happenedLately(lateAgain...)
	if amnesia { // the lost position would tell which were delivered before
		doubtful += grown("damaged")
	}
	if lateAnswers { // the answer may have come after a stop
		doubtful += grown("abandoned")
	}
	counted := countedAt(name, all) - countedAt(name, before)
	w.judgeCovered(name, uncounted(l, grown(alreadyDelivered)), counted)
	if most := l.Most(amnesia || lateAnswers) + doubtful; counted > most {
		w.problem("receiver %s: counters say that %d samples were dropped, at most %d can be: %+v, %v", name, counted,
			most, l, all)
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
	"isolation_budget": {"receiver: 400", "receiver: only 1.0"},
	"disk_full":        {"disk: "},
	"queue_error":      {"disk: "},
	"damaged":          {"disk: ", "agent: power cut", "agent: kill -9 at a call"},
	"abandoned":        {"disk: "},
}

// lateAgain are the kinds after which samples may come again although they have arrived, late: the answer to the first
// try was lost. Agents cannot tell such a refusal from one of samples that never arrived, and count both.
var lateAgain = []string{"receiver: lost answers", "receiver: silent", "receiver: slow", "network: "}

// otherRefusals are the kinds after which samples may be refused in a run that is not exact: they come again, or late
// from an agent that had a target before.
var otherRefusals = []string{"agent: ", "agents: ", "endpoints: ", "certificate: "}

// mayDrop reports whether agents may have dropped samples for a reason.
func (w *world) mayDrop(reason string) bool {
	causes := dropCauses[reason]
	if reason == alreadyDelivered {
		return true
	}
	if w.opts.Exact {
		return w.happenedLately(causes...) || reason == "refused" && (w.amnesia() || w.happenedLately(lateAgain...))
	}
	switch reason {
	case "queue_full", "too_old":
		return w.opts.SmallQueue
	case "refused":
		causes = slices.Concat(causes, lateAgain, otherRefusals)
	case "isolation_budget":
		causes = append(causes[:len(causes):len(causes)], "agents: ") // only 1.0 may also be configured
	}
	return w.happenedAny(causes)
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
