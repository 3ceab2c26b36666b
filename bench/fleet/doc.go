// Package fleet simulates the sidecars of a mesh: many loopback addresses, each
// serving a stats page with the names, labels, number formats and order that
// Envoy prints under Istio.
//
// A page is rendered once. A scrape moves the values of some rows by
// overwriting their digits in place, so the fleet costs far less than whatever
// reads it; only a number that grows by a digit makes the page be rendered
// again. Counters never fall (except where churn replaces a series), and in every
// histogram the buckets are cumulative and `+Inf` equals the count.
//
// Page makes it print as other versions do. BenchmarkServe measures what that
// costs the fleet: up to 60 ns per sample, and gzip 730.
package fleet
