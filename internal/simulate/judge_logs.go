package simulate

import (
	"maps"
	"slices"
	"strings"
)

// errorCauses has the messages of level error that agents may log, and the kinds of faults that explain each, by the
// beginning of their names.
var errorCauses = map[string][]string{
	"remote write endpoint rejects series":       slices.Concat(refusals, lateAgain, otherRefusals),
	"remote write endpoint refuses samples":      slices.Concat(refusals, lateAgain, otherRefusals),
	lostInQueue:                                  damages,
	"damaged data skipped":                       damages,
	"remote write queue refuses samples":         {"disk: "},
	"close queue":                                damages,
	"read segment fails":                         damages,
	"write segment fails":                        damages,
	"write position fails":                       damages,
	"sync segment fails":                         damages,
	"sync directory or position fails":           damages,
	"remove segment fails":                       damages,
	"look for queues without remote_write entry": damages,
	"a part of a segment cannot be read, and is not in its new file":                            {"disk: "},
	"segment cannot be read: what follows goes on without it, and the file is kept aside":       {"disk: "},
	"segments cannot be read at the start: they stay, and are read again when their turn comes": {"disk: "},

	"configuration refused; the previous one stays in force": {"agent: reload of a bad file", "endpoints: "},

	"Unable to refresh target groups": {"discovery: "},
	"Kubernetes API server refuses rights that discovery needs: grant get, list and watch":          {"API server: "},
	"Kubernetes API server does not accept our credentials: known targets stay, changes are missed": {"API server: "},
}

// Causes of several messages. A process that ends at a call of the disk logs what this call returns.
var (
	refusals = []string{"receiver: 400", "agent: power cut", "disk: "}
	damages  = []string{"disk: ", "agent: power cut", "agent: kill -9 at a call"}
)

const lostInQueue = "remote write queue lost samples"

// judgeLogs checks that no agent logs an error without a fault since the start of the run that explains it.
func (w *world) judgeLogs() {
	_, failed := w.logs.messages()
	for _, message := range slices.Sorted(maps.Keys(failed)) {
		if message == lostInQueue && w.opts.SmallQueue {
			continue
		}
		if !w.happenedAny(errorCauses[message]) {
			w.problem("agents log %q, and no fault explains it", message)
		}
	}
}

// happenedAny reports whether a fault has happened whose kind begins with one of the names.
func (w *world) happenedAny(names []string) bool {
	for kind, n := range w.happened {
		if n > 0 && slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(kind, name) }) {
			return true
		}
	}
	return false
}
