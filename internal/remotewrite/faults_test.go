package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
)

// feed is a world with one endpoint whose scrapes are numbered: each sample has the number as its value.
type feed struct {
	*world
	targets []target
	size    int // series of each
	scrapes int
}

// newFeed has a number of targets with size series each, whose samples go to p.
func newFeed(t *testing.T, ec EndpointConfig, p deliver.Client, targets, size int) *feed {
	return newFeedVia(t, ec, func(EndpointConfig) (deliver.Client, error) { return p, nil }, targets, size)
}

func newFeedVia(t *testing.T, ec EndpointConfig, via clientFunc, targets, size int) *feed {
	f := &feed{world: newWorld(t), size: size}
	f.writers.newClient = via
	f.cfg.Endpoints = []EndpointConfig{ec}
	f.apply()
	for i := range targets {
		f.targets = append(f.targets, f.target("pod-"+strconv.Itoa(i), size))
	}
	return f
}

// logTo replaces the endpoint by one with another log.
func (f *feed) logTo(core zapcore.Core) {
	f.writers.log = zap.New(core)
	endpoints := f.cfg.Endpoints
	f.cfg.Endpoints = nil
	f.apply()
	f.cfg.Endpoints = endpoints
	f.apply()
}

// scrapeAll is one more scrape of every target.
func (f *feed) scrapeAll() {
	f.scrapes++
	for _, pod := range f.targets {
		b := f.scrape(pod, nowMillis())
		b.Reset(pod.id, nowMillis())
		for _, id := range pod.ids {
			b.Add(id, float64(f.scrapes))
		}
		f.append(b)
	}
}

// keepScraping scrapes at an interval for a total time.
func (f *feed) keepScraping(interval, total time.Duration) {
	for end := time.Now().Add(total); time.Now().Before(end); {
		f.scrapeAll()
		sleep(f.t.Context(), interval)
	}
}

func (f *feed) appended() int { return f.scrapes * f.size * len(f.targets) }

// lostAt is how many samples did not reach db. Each must be explained by a counter.
func (f *feed) lostAt(db *tsdb, endpoint string) int {
	f.t.Helper()
	lost, counted := f.appended()-db.distinct(), 0
	for _, r := range reasons {
		counted += f.dropped(endpoint, r)
	}
	if lost != counted {
		f.t.Errorf("lost %d samples, counters explain %d", lost, counted)
	}
	f.conserved(endpoint, f.appended())
	return lost
}

func (f *feed) wantNothingLost(db *tsdb, twice int) {
	f.t.Helper()
	if lost := f.lostAt(db, "a"); lost != 0 || db.disorder() != 0 || db.twice > twice {
		f.t.Errorf("lost %d, out of order %d, twice %d; want 0, 0, at most %d", lost, db.disorder(), db.twice, twice)
	}
}

func (f *feed) answered(kind string) int {
	return int(testutil.ToFloat64(f.writers.metrics.answers.WithLabelValues("a", kind)))
}

func (f *feed) retried() int {
	return int(testutil.ToFloat64(f.writers.metrics.retries.WithLabelValues("a")))
}

// moody is a queue that refuses records at random.
type moody struct {
	queue.Queue
	failed *atomic.Int64
}

func (q moody) Append(lane int, r queue.Record) (queue.Loss, error) {
	if rand.IntN(3) == 0 {
		q.failed.Add(int64(r.Samples))
		return queue.Loss{}, errors.New("disk full")
	}
	return q.Queue.Append(lane, r)
}

func TestQueueThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var failed atomic.Int64
		w.writers.openQueue = func(_ string, lanes int, cfg queue.Config) (queue.Queue, error) {
			return moody{queue.NewMemory(cfg, lanes), &failed}, nil
		}
		ec := endpointConfig("a")
		ec.QueueConfig.MaxSamplesPerSend = 64
		w.cfg.Endpoints = []EndpointConfig{ec}
		w.apply()
		w.run()
		const pods, scrapes = 10, 50
		var all []target
		for i := range pods {
			all = append(all, w.target(fmt.Sprintf("pod-%d", i), 10))
		}
		for range scrapes {
			for _, pod := range all {
				w.append(w.scrape(pod, nowMillis()))
			}
			time.Sleep(time.Second)
		}
		w.stop()
		r := w.receivers["a"] // has decoded every request: none leaned on a fragment that was refused
		if want := pods*scrapes*10 - int(failed.Load()); r.total() != want ||
			w.dropped("a", queueError) != int(failed.Load()) {
			t.Errorf("arrived %d, dropped %d; want %d, %d", r.total(), w.dropped("a", queueError), want, failed.Load())
		}
		w.conserved("a", pods*scrapes*10)
	})
}

// TestReloadsWhileSamplesFlow changes, removes and adds endpoints and external labels under load.
func TestReloadsWhileSamplesFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, endpointConfig("stays"))
		w.cfg.FlushDeadline = 2 * time.Second
		w.run()
		const pods, scrapes = 8, 100
		var wg sync.WaitGroup
		for i := range pods {
			pod := w.target(fmt.Sprintf("pod-%d", i), 10)
			wg.Go(func() {
				for range scrapes {
					time.Sleep(time.Duration(500+rand.IntN(1000)) * time.Millisecond)
					w.append(w.scrape(pod, nowMillis()))
				}
			})
		}
		for i := range 30 {
			time.Sleep(3 * time.Second)
			stays := endpointConfig("stays")
			stays.SendExemplars = i%3 == 0
			w.cfg.Endpoints = []EndpointConfig{stays}
			if i%2 == 0 {
				w.cfg.Endpoints = append(w.cfg.Endpoints, endpointConfig("comes and goes"))
			}
			w.cfg.ExternalLabels = labels.FromStrings("zone", fmt.Sprint(i/10))
			w.apply()
			w.writers.Status()
		}
		wg.Wait()
		w.stop()
		if r := w.receivers["stays"]; r.total() != pods*scrapes*10 || r.disorder != 0 {
			t.Errorf("samples %d, out of order %d; want %d, 0", r.total(), r.disorder, pods*scrapes*10)
		}
		w.conserved("stays", pods*scrapes*10)
	})
}

// sleep waits for d and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return ctx.Err() == nil
}
