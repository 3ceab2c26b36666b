// Package runner measures agents: it starts a fleet and a receiver as processes
// of their own, one agent at a time between them, and reads from /proc what
// each of them used. Linux only in effect: elsewhere /proc is missing and a run
// ends with that error.
package runner
