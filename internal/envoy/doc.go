// Package envoy knows the metrics pages of Envoys: which kinds of metrics a page has, what that says about the process
// behind it, and why Istio's metrics may be missing (signs.go); and what Istio calls things of such a pod (istio.go).
package envoy
