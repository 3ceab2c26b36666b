// Package scrape decides which targets run and when, reads their pages, and hands each scrape on as one batch.
//
//	changed groups ─► wanted (relabeled) ─► sync (targets become loops)
//	               ─► schedule (next turn)  ─► loop (fetch, page, batch) ─► Sink
//
// A loop is one target's state between two scrapes; it owns no goroutine. The schedule runs each loop's scrape
// in a goroutine of its own, one at a time, and never two at once against one host and port.
//
// What a scrape yields (which samples, markers, report series, at which time) is what Prometheus' scrape loop
// yields; docs/differences.md lists the exceptions.
package scrape

import "github.com/envoy-scraper/envoy-scraper/internal/series"

// Sink takes what a scrape yields. It must not keep the batch after Append returned.
type Sink interface {
	Append(*series.Batch) error
}
