package agent

import (
	"github.com/envoy-scraper/envoy-scraper/internal/cost"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// Each of these functions gives one part the state of another.

// ready returns the check of /-/ready: the agent is ready when every discovery has answered once.
func ready(found *discovery.Manager) func() (bool, string) {
	return func() (bool, string) {
		select {
		case <-found.Synced():
			return true, ""
		default:
			return false, "waiting for the first answer of every discovery"
		}
	}
}

// sent returns what the endpoints of remote write have sent.
func sent(writers *remotewrite.Writers) func() []cost.Sent {
	return func() (all []cost.Sent) {
		for _, e := range writers.Status() {
			all = append(all, cost.Sent{Samples: e.SentSamples, Bytes: e.SentBytes})
		}
		return all
	}
}

// Controllers returns the controller of each pod of which discovery has a record.
func Controllers(found *discovery.Manager) func() map[scrape.Pod]string {
	return func() map[scrape.Pod]string {
		all := map[scrape.Pod]string{}
		for _, p := range found.Pods() {
			all[scrape.Pod{Namespace: p.Namespace, Name: p.Name}] = p.Controller
		}
		return all
	}
}
