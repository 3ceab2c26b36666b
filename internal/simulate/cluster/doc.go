// Package cluster is the Kubernetes cluster of a simulation: nodes, and pods that an API server shows and that have
// their Envoys on a network.
//
// The life of a pod takes the steps and times that it takes in a cluster, so the API server is behind the truth:
//
//	Start    pending without an address; after some seconds it runs, and its Envoy listens
//	Delete   a deletionTimestamp; within the grace period the process ends; then the address is free, and, some time
//	         before or after that, the pod is gone from the API server
//	Evict    the process ends; the pod stays as Failed with an address that others may get
//	Complete as Evict, but Succeeded
//	Restart  the Envoy ends; after some seconds it listens again, with counters at zero
//	Move     Delete, and Start of another pod of the workload
//	Recreate the process ends; a pod with the same name and another address starts, as in a StatefulSet
//	TakeOver the process ends; another pod has its address at once
//	Relabel  a label of the pod changes
//	Lose     a node has no power: its pods stop without closing their connections; after five minutes the API
//	         server forgets them
//
// Addresses are given out again soon, last freed first, so another pod gets the address of one that the API server may
// still show.
package cluster
