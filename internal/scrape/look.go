package scrape

import (
	"context"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// concurrentLooks is how many scrapes of Look run at the same time.
const concurrentLooks = 32

// Look makes the targets of the jobs from what discovery has found, scrapes once each one for which choose returns
// true, and returns FullStatus. It sends nothing and keeps nothing. The targets of other instances by the map of
// shards are not scraped. If ctx ends, the targets that are left stay unscraped. The error names a job that cannot run.
func Look(ctx context.Context, jobs []*promconfig.ScrapeConfig, found map[string]discovery.Update, opts Options,
	shards shard.Map, choose func(TargetStatus) bool) ([]PoolStatus, error) {
	own := make([]*promconfig.ScrapeConfig, len(jobs))
	for i, job := range jobs {
		cfg := *job
		cfg.ScrapeFailureLogFile = "" // the log is of real scrapes
		own[i] = &cfg
	}
	opts.Sharded = shards.On()
	ps := New(series.NewTable(), dropSink{}, opts, zap.NewNop(), prometheus.NewRegistry())
	if err := ps.Apply(own); err != nil {
		return nil, err
	}
	if shards.On() {
		ps.Shard(shards)
	}
	ps.Update(found)
	defer ps.closeJobs()
	ps.scrapeEach(ctx, choose)
	return ps.FullStatus(), nil
}

// scrapeEach scrapes chosen targets once. The schedule does not run.
func (ps *Pools) scrapeEach(ctx context.Context, choose func(TargetStatus) bool) {
	var chosen []*loop
	for _, j := range ps.statusJobs(false) {
		chosen = append(chosen, slices.DeleteFunc(j.loops, func(l *loop) bool { return !choose(l.asStatus()) })...)
	}
	next := make(chan *loop)
	var scraping sync.WaitGroup
	for range min(concurrentLooks, len(chosen)) {
		scraping.Go(func() {
			for l := range next {
				l.scrape(ctx, l.pool.targetLimitError())
				l.page.Forget()
				l.live.Release()
			}
		})
	}
	for _, l := range chosen {
		if ctx.Err() != nil {
			break
		}
		next <- l
	}
	close(next)
	scraping.Wait()
}

// dropSink takes batches and drops them.
type dropSink struct{}

// Append implements Sink.
func (dropSink) Append(*series.Batch) error { return nil }

// Flush implements Sink.
func (dropSink) Flush() {}
