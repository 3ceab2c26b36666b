// Package discovery finds the targets that jobs may scrape. It runs Prometheus' own discovery of Kubernetes objects,
// static lists, files and HTTP endpoints, so that rules see the labels that they see in Prometheus.
//
// The way of a discovered pod:
//
//   - Plan checks the jobs' configurations and finds or makes a discovery for each (manager.go, plan.go). Equal
//     discoveries of several jobs run once.
//   - A server asks the API server which objects we may list and watch (server.go, rights.go, needs.go, apiserver.go).
//     The discoveries of that server start after its first answer.
//   - A podDiscovery lists and watches pods (pods.go). It keeps only the fields from which rules can read a label
//     (reads.go, trim.go), in their protobuf form (stored.go).
//   - A provider receives target groups from Prometheus' discoverer, drops labels that no rule reads, shares equal
//     label sets (share.go) and remembers which groups changed (provider.go).
//   - Run gathers changes for up to one second and hands them over as an Update for each job (update.go). Jobs whose
//     new rules read labels that were not kept wait until all pods have been listed again (hold.go).
//
// Status and the metrics show which API server does not answer or refuses a right (status.go, metrics.go). Each change
// is logged once. Synced is closed when every job has its first complete set of groups.
//
// Invariants:
//   - A group is never changed after it was handed to the callback of Run. Neither side may write to it.
//   - Run hands over only changes. A group that is found again unchanged is not handed over again.
//   - Groups stay while their API server is away.
//   - Every goroutine that this package starts has ended when Run returns.
//
// Locks are taken in this order: Manager.handing, Manager.mu, provider.mu, server.mu.
// No lock of this package is taken while podDiscovery.mu or round.mu is held.
package discovery
