package simulate

import (
	"slices"
	"strings"
)

// inexactKinds are kinds of faults, by the beginning of their names, after which it is open what agents must count:
// two agents scrape a target, or none does; an endpoint does not get everything; a disk loses what is not known. Runs
// that are exact have none of them, one agent and one job, and pods of the HTTP discovery.
var inexactKinds = []string{
	"agents: ", "endpoints: ", "certificate: ",
	"agent: stopped for a while", "agent: little memory", "agent: reload of a bad file",
	"agent: kill -9 at a call", "agent: power cut at a call",
	"disk: quota", "disk: slow", "disk: directory is read-only", "disk: read-only", "disk: a ",
}

// isExact reports whether a run with a kind of fault is exact.
func (k kind) isExact() bool {
	return !slices.ContainsFunc(inexactKinds, func(name string) bool { return strings.HasPrefix(k.name, name) })
}
