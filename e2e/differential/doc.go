// Package differential runs a real Prometheus agent and envoy-scraper side by side, with the same configuration file
// and the same scripted targets, and compares what they remote-write: labels, values, staleness markers, report series,
// histograms, exemplars, metadata, and the order in which all of that arrives. Scrapes are matched by their number, not
// by the clock. It proves that envoy-scraper writes what Prometheus would, with one or several scrapes of a target in a
// request; the deliberate differences are in docs/differences.md.
//
// To run it alone:
//
//	make differential
package differential
