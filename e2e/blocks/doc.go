// Package blocks holds a test that measures what samples cost on the disk of a real Prometheus: those that
// envoy-scraper sends it, beside those that a Prometheus scrapes by itself.
package blocks
