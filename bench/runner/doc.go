// Package runner measures agents: it starts a fleet and a receiver as processes
// of their own, one agent at a time between them, and reads from /proc what
// each of them used. Linux only in effect: elsewhere /proc is missing and a run
// ends with that error.
//
// A case is measured by measure (run.go): the warm-up, in which the agent learns the fleet (learn.go); then windows,
// each from a snapshot to the next (window.go, counts.go); then the drain. Several cases can be measured at the same
// time: Diff and Scale compare them window by window.
//
// Measurements of the whole way (ways.go) have a real Prometheus as the receiver,
// the store: Whole measures agent and store together (whole.go), CatchUp how fast
// a queue drains after the store was down (catchup.go).
package runner
