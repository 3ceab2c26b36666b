// Package oracle says which samples each receiver of the simulation must have, and finds what differs. It is slow and
// obvious on purpose: it keeps whole pages and maps, and shares no code with the product. Prometheus' own functions
// apply the relabeling rules.
//
// The simulation tells the oracle what is true:
//
//   - Configure (rules.go): the jobs and receivers in force from now on, as Prometheus reads them,
//   - Born, Renamed, Gone: the pods that a discovery should find (oracle.go),
//   - Started, Ended: the processes of each agent,
//   - Shared, Leaves: the number of agents that share the targets, as each of them knows it (sharing.go),
//   - Served: each page that a pod's sidecar has answered with,
//   - Disturbed: a time in which scrapes of a pod may fail,
//   - Blind, Hidden, Fragile: times in which the discovery or a disk may fail.
//
// Receivers tell it what they stored (Sink). Samples of one pod with one time are a batch. At a quiet moment, when
// everything has been delivered, Judge (judge.go) walks the batches of each pod in the order of time. The value of up
// says what each one has to be:
//
//	1      a page was served then: its samples, a marker for each series that the page before had and it has not,
//	       and the report
//	0      the scrape failed, for a reason that the simulation knows: a marker for each series, and the report
//	stale  the target is gone: a marker for each series and each series of the report
//
// A page without a batch, and a sample that is missing in its batch, are lost. Counts.Lost counts them by
// receiver; the simulation compares that with the counters of the agents. Everything else that differs is a problem.
// What has been judged is forgotten, except which series are live.
package oracle
