// Package simulate runs whole agents in a world of its own: time, network, disk and chance belong to the simulation, so
// an hour of eight pods takes seconds, and a seed repeats it (up to the order of events within a millisecond). Only its
// own tests use it. To run it:
//
//	make simulate DAYS=7 SEED=42
//
// One run (run.go):
//
//  1. newWorld (world.go) makes the network, receivers (package receiver), pods with their sidecars, and the discovery
//     that lists them: in odd seeds a cluster and its API server (kubernetes.go), in even ones an HTTP discovery.
//     newRunner (agent.go) makes agents: each is internal/agent, as cmd/envoy-scraper runs it.
//  2. schedule (schedule.go) draws faults from the seed: what (faults.go), when, for how long. Episodes of faults
//     alternate with calm times.
//  3. run lets time pass from one event to the next. At the end of each calm time everything must have arrived: the
//     oracle (package oracle) compares what receivers have with what they should have, and lost samples with counters.
//  4. At the end the pods go, and nothing may be left: no series in a table, no connection, no goroutine.
//
// All of a run happens in one bubble of testing/synctest. Everything random is drawn from the seed, by name, so another
// draw in one place changes nothing elsewhere. The trace (trace.go) is what the world saw; the same seed gives the same
// trace. If a run fails, TestSeeds finds the smallest number of faults with which it still fails.
package simulate
