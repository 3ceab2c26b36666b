package remotewrite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

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
		w.cfg.OpenQueue = func(_ string, lanes int, cfg queue.Config) (queue.Queue, error) {
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
		if want := pods*scrapes*10 - int(failed.Load()); r.total() != want || w.dropped("a", queueError) != int(failed.Load()) {
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
