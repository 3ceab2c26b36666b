// Package via reads pages of pods through their API server, for people who have a kubeconfig but no route to the pods'
// addresses. Only the way of a request changes: the target's URL and labels stay those of direct scraping.
//
// The way of a request:
//
//   - scrape makes the request for http://10.0.0.7:15090/stats/prometheus, as ever, and names the pod (WithPod).
//   - Proxy.RoundTrip waits until the request may run (limits.go) and sends it as
//     GET /api/v1/namespaces/shop/pods/cart-0:15090/proxy/stats/prometheus to the API server, with the credentials of
//     the discovery that found the pod (proxy.go).
//   - An answer of the API server itself becomes a Refusal (refusal.go). Every other answer is the pod's, and its body
//     is read at the rate that the limits allow.
//
// The API server exempts such requests from its priority and fairness, so this package limits them. It needs one right
// only: get pods/proxy.
//
// Invariants:
//   - A request never carries credentials of a job or of a target to the API server, which would take them for ours.
//   - The path below /proxy has no dot segments, so that no server on the way takes it for another path of the API.
//   - A redirect is followed only within the pod.
package via

import "fmt"

// Way says how pages of pods are read.
type Way string

// The values of --via.
const (
	Direct    Way = "direct"    // from this machine to the address of the pod
	APIServer Way = "apiserver" // through the API server's proxy of the pod
	Auto      Way = "auto"      // whichever works; it is resolved to one of the others before anything is read
)

// Limits are the limits of all requests through API servers together.
type Limits struct {
	InFlight       int   // requests that run at the same time; at least 1
	BytesPerSecond int64 // read of pages as they are sent, mostly compressed; at least MinBytesPerSecond
	Targets        int   // targets that may be scraped again and again; with more, each read fails; 0: no limit
}

// Exceeds reports whether a number of targets is above the limit.
func (l Limits) Exceeds(targets int) bool { return l.Targets > 0 && targets > l.Targets }

// Notice returns a sentence for people who look at the pages of a run through the API server: whose credentials it
// gets, and which limits hold.
func (l Limits) Notice(who string) string {
	targets := "any number of targets"
	if l.Targets > 0 {
		targets = fmt.Sprintf("at most %d targets", l.Targets)
	}
	return fmt.Sprintf("Pages of pods are read through the API server (--via), as %s, which is for a look and not for "+
		"production: %d requests at the same time, %s, %s.", who, l.InFlight, l.rate(), targets)
}

// rate returns BytesPerSecond in words: 5.0 MiB per second.
func (l Limits) rate() string {
	return fmt.Sprintf("%.1f MiB per second", float64(l.BytesPerSecond)/(1<<20))
}

// MinBytesPerSecond is the lowest rate: a sidecar's page of 2,000 series takes a second.
const MinBytesPerSecond = 64 << 10

// DefaultLimits returns the limits of a run. 200 sidecars with 2,000 series each, scraped every 15 s, stay below them.
func DefaultLimits() Limits { return Limits{InFlight: 4, BytesPerSecond: 5 << 20, Targets: 200} }
