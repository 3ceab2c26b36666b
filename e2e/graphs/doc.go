// Package graphs shows Grafana's dashboards on a Prometheus without Grafana. It serves vmui, the web UI of
// VictoriaMetrics (Apache-2.0), as it is in the Go module, and lets it ask the Prometheus:
//
//	/vmui/…                              vmui's files
//	/prometheus/vmui/custom-dashboards   the dashboards, converted to vmui's form
//	/prometheus/…                        the Prometheus
//
// Grafana's JSON is read from folders each time that the page is opened (grafana.go). Its variables are filled in from
// the series that the Prometheus has (variables.go). Then each panel becomes one of vmui's (convert.go). The demo and
// the tests here use it. The tests here and in e2e/mixin ask every query (queries.go).
//
// To run the tests alone:
//
//	cd e2e && go test -count=1 -v ./graphs
package graphs
