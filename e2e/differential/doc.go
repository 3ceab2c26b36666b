// Package differential runs a real Prometheus agent and envoy-scraper side by side, with the same configuration file
// and the same scripted targets, and compares what they remote-write: labels, values, staleness markers, report series,
// histograms, exemplars and metadata. Scrapes are matched by their number, not by the clock. It proves that
// envoy-scraper writes what Prometheus would; the deliberate differences are in docs/differences.md.
//
// To run it alone:
//
//	make differential
package differential
