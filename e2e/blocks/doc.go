// Package blocks measures how many bytes a sample takes on the disk of a real Prometheus. It runs envoy-scraper and two
// Prometheus servers against the same 100 targets. One Prometheus receives from envoy-scraper, the other scrapes by
// itself. The test proves that samples from envoy-scraper compress as well as samples that Prometheus scrapes itself.
//
// To run it alone:
//
//	cd e2e && go test -count=1 -v ./blocks
package blocks
