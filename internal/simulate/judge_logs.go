package simulate

import (
	"maps"
	"slices"
	"strings"
)

// errorCauses has the messages of level error that agents may log, and the kinds of faults that explain each, by the
// beginning of their names.
var errorCauses = map[string][]string{
	"remote write endpoint rejects series":  {"receiver: 400", "agent: power cut", "disk: "},
	"remote write endpoint refuses samples": {"receiver: 400", "agent: power cut", "disk: "},
	"remote write queue lost samples":       {"disk: ", "agent: power cut"},
	"remote write queue refuses samples":    {"disk: "},
	"damaged data skipped":                  {"disk: ", "agent: power cut"},
	"close queue":                           {"disk: "},
	"read segment fails":                    {"disk: "},
	"write segment fails":                   {"disk: "},
	"write position fails":                  {"disk: "},
	"sync segment fails":                    {"disk: "},
	"sync directory or position fails":      {"disk: "},
	"remove segment fails":                  {"disk: "},
	"Unable to refresh target groups":       {"discovery: "},

	"a part of a segment cannot be read, and is not in its new file":                            {"disk: "},
	"segment cannot be read: what follows goes on without it, and the file is kept aside":       {"disk: "},
	"segments cannot be read at the start: they stay, and are read again when their turn comes": {"disk: "},
}

// judgeLogs checks that no agent logs an error without a fault since the start of the run that explains it.
func (w *world) judgeLogs() {
	_, failed := w.logs.messages()
	for _, message := range slices.Sorted(maps.Keys(failed)) {
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
