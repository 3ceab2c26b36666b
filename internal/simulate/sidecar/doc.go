// Package sidecar simulates the Envoy of a pod: a metrics page that changes, and a small HTTP/1.1 server.
//
// A page has Istio's families for some peers of the pod, and a few of Envoy's own:
//
//	# TYPE istio_requests_total counter
//	istio_requests_total{reporter="destination",source_workload="peer-7",…} 47
//	# TYPE envoy_server_uptime gauge
//	envoy_server_uptime{} 3600
//
// Counters grow from page to page, gauges move, histograms fill. Series appear and vanish with peers (Grow, Shrink,
// Churn); a peer that was gone may come back. Restart begins with zeros. Faults spoil answers, see Fault.
//
// Each answer is reported to a callback, with the samples that Prometheus' parser finds in it. So an oracle knows what
// a scraper has seen without parsing pages.
//
// A page is cheap: each line but its number is made once, when its series appears.
package sidecar
