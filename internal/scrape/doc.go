// Package scrape decides which targets run and when, reads their pages, and hands each scrape on as one batch. The
// steps, in the order in which data passes:
//
//  1. Pools.Update takes changed groups from discovery, Pools.Adopt a changed configuration (pool.go).
//  2. relabel makes targets of the groups that changed (wanted.go, target.go).
//  3. sync starts a loop for each new target and has loops without a target leave (sync.go, departing.go). If several
//     instances share the targets, share.go says which of them are this instance's.
//  4. schedule runs each loop at its due times; life.go says in which state a loop is and what it does next. waves.go
//     says where in its interval a target is due, and pace.go whether it is asked less often because it is slow to
//     answer.
//  5. loop.scrape fetches the page (readpage.go, fetch.go, plainclient.go), the whole one or a filtered one
//     (pageturns.go), decompresses it (encoding.go) or takes its chunks apart where they were read (rawio_linux.go,
//     inbuf.go, framing.go), and reads it into a batch (exposition). It adds staleness markers (stale.go) and report
//     series such as up (report.go), under the time that stamps.go gives.
//  6. Sink.Append takes the batch.
//
// A loop is the state of one target between two scrapes. It owns no goroutine: the schedule runs each scrape in a
// goroutine of its own, one at a time for each loop, and one at a time for each host and port.
//
// Which samples, markers and report series a scrape yields, and at which time, is what Prometheus' scrape loop does;
// docs/differences.md lists the exceptions.
//
// Locks are taken in this order, and none is taken while a later one is held:
//
//	Pools.changing   during a change of jobs, targets or shards; held for seconds
//	Pools.mu         pages and ends of loops wait for it; held for milliseconds
//	schedule.mu      the heap of due times and the life of every loop; scrapes that begin and end wait for it
//	loop.mu, releaser.mu, pool.limit and the lock of series.Table, each by itself
package scrape

import "github.com/envoy-scraper/envoy-scraper/internal/series"

// Sink takes what a scrape yields. It must not keep the batch after Append returned.
type Sink interface {
	Append(*series.Batch) error
	// Flush sends what waits for later scrapes, since targets have moved to another instance.
	Flush()
}
