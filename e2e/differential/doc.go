// Package differential runs a Prometheus agent and envoy-scraper side by side, with the same configuration file and the
// same scripted targets, and compares what they remote-write: labels, values, staleness markers, report series,
// histograms, exemplars, metadata. Scrapes are matched by their order, not by the clock.
package differential
