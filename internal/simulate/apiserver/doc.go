// Package apiserver stands in for kube-apiserver in simulations: pods, listed and watched over HTTP as client-go's
// reflector and Prometheus' discovery do it, by label and field selectors, by pages, from a resource version, with
// bookmarks, or as a stream that begins with all pods.
//
// Each change of a pod has the next resource version. The last ones are the history from which watches begin; the next
// line is an event of a watch:
//
//	{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"name":"cart-0","resourceVersion":"17",…},…}}
//
// Compact forgets the history: the next page of an older list gets status 410, an older watch either status 410 or an
// ERROR event in a 200 answer. Rewind lets the resource version go back, as after a restored backup. Faults spoil
// answers, see Fault. Watches are cut after some minutes in any case.
package apiserver
