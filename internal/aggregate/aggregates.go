package aggregate

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Sink takes batches: of scrapes, without the series that were summed, and of aggregates.
type Sink interface {
	Append(*series.Batch) error
	Flush()
}

// Aggregates sums the series that its blocks match. It is a scrape.Sink.
type Aggregates struct {
	table *series.Table
	next  Sink
	log   *zap.Logger

	metrics *metrics
}

// New returns aggregates without a block: every batch goes to next as it is.
func New(table *series.Table, next Sink, log *zap.Logger, reg prometheus.Registerer) *Aggregates {
	return &Aggregates{table: table, next: next, log: log, metrics: newMetrics(reg)}
}

// Apply replaces the blocks. Aggregates of a block that stays as it is go on. Those of other blocks end with staleness
// markers, and begin at 0 under the new blocks.
func (a *Aggregates) Apply(blocks []Block) {}

// Append implements scrape.Sink.
func (a *Aggregates) Append(b *series.Batch) error { return a.next.Append(b) }

// Flush implements scrape.Sink.
func (a *Aggregates) Flush() { a.next.Flush() }

// Forget takes note that a sequence of pages has ended, as scrape.Options.Forget. What its series have contributed
// stays.
func (a *Aggregates) Forget(source series.SourceID) {}

// Run writes the aggregates, until ctx ends. Then it writes them once more, since what was scraped after the last tick
// would be lost. It must outlive the scrapes.
func (a *Aggregates) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
