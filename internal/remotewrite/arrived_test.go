package remotewrite

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/histogram"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

func deliveredCount(w *world) int {
	return int(testutil.ToFloat64(w.writers.metrics.delivered.WithLabelValues("a")))
}

// TestRefusedBacklogIsNoDelivery: an ordinary stop leaves a backlog that was never sent, and the receiver refuses it
// after the start. At most one request of the lane may have arrived, and only words about late samples say so.
func TestRefusedBacklogIsNoDelivery(t *testing.T) {
	const requests, size = 50, 100
	for _, tc := range []struct {
		words     string
		delivered int // at most
	}{
		{"no org id", 0},
		{"", 0},
		{"Error parsing tenant", 0},
		{"out of bounds", 0},
		{"out of order sample", size},
	} {
		for _, p := range []wire.Protocol{wire.V1, wire.V2} {
			t.Run(fmt.Sprintf("%q %v", tc.words, p), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					dir := t.TempDir()
					store := openStore(t, dir)
					w := newStoredWorld(t, store, oneLane(p, 2000))
					w.receivers["a"].set(unreachable)
					w.run()
					pod := w.target("pod-1", size)
					for range requests {
						w.append(w.scrape(pod, nowMillis()))
						pass(10 * time.Second)
					}
					w.stop()
					closeStore(t, store)

					store = openStore(t, dir)
					defer closeStore(t, store)
					w = newStoredWorld(t, store, oneLane(p, 2000))
					w.receivers["a"].set(func(*receiver, wire.Protocol, int) deliver.Answer {
						return deliver.Answer{Status: 400, Header: http.Header{}, Message: tc.words}
					})
					w.run()
					pass(time.Hour)
					w.stop()
					refused := w.dropped("a", refusedSample) + w.dropped("a", deliver.IsolationBudget)
					if n := deliveredCount(w); n > tc.delivered || n+refused != requests*size {
						t.Errorf("already delivered %d, refused %d of %d; want at most %d delivered", n, refused,
							requests*size, tc.delivered)
					}
				})
			})
		}
	}
}

// TestUnsupportedIsNoDelivery: half of a request that may have arrived cannot travel as 1.0.
func TestUnsupportedIsNoDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newTSDB(t)
		newer(0, 100)(db)
		ec := oneLane(wire.V1, 2000)
		ec.SendNativeHistograms = true
		w := newWorld(t)
		w.writers.newClient = func(EndpointConfig) (deliver.Client, error) { return db, nil }
		w.writers.openQueue = func(_ string, lanes int, cfg queue.Config) (queue.Queue, error) {
			return foundBacklog(lanes, cfg), nil
		}
		w.cfg.Endpoints = []EndpointConfig{ec}
		w.apply()
		pod := w.target("pod-0", 100)
		var b series.Batch
		b.Reset(pod.id, nowMillis())
		for i, id := range pod.ids {
			if i%2 == 0 {
				h := &histogram.Histogram{Schema: histogram.CustomBucketsSchema, Count: 1, Sum: 1,
					CustomValues:  []float64{1},
					PositiveSpans: []histogram.Span{{Length: 1}}, PositiveBuckets: []int64{1}}
				b.Histograms = append(b.Histograms, series.Histogram{Index: i, Integer: h})
			}
			b.Add(id, 1)
		}
		w.append(&b)
		w.run()
		time.Sleep(time.Minute)
		w.stop()
		if n, lost := deliveredCount(w), w.dropped("a", deliver.Unsupported); n != 50 || lost != 50 {
			t.Errorf("already delivered %d, unsupported %d; want 50 each", n, lost)
		}
		w.conserved("a", 100)
	})
}

// TestEveryFateIsCounted holds the law of delivery against receivers that answer at random: each sample arrived, was
// delivered before, or is counted under one reason, and no series comes out of order.
func TestEveryFateIsCounted(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 10
	}
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 11))
			db := newTSDB(t)
			vague := []int{404, 406, 422, 501}[rnd.IntN(4)]
			most := 1 + rnd.IntN(200)
			bad := map[int]bool{}
			for range rnd.IntN(20) {
				bad[rnd.IntN(60)] = true
			}
			if rnd.IntN(3) == 0 {
				db.rules.only = wire.V1
			}
			unfair := rnd.IntN(4) == 0 // refuses good samples, too
			db.rules.poison = func(series string, _ point) string {
				var n int
				_, _ = fmt.Sscanf(series, `{__name__="metric_%d"`, &n)
				if bad[n] && rnd.IntN(10) > 0 {
					return []string{"label value too long", "out of order sample", "duplicate sample"}[n%3]
				}
				return ""
			}
			db.rules.fate = func(p wire.Protocol, n int) *deliver.Answer {
				code := 0
				switch roll := rnd.IntN(40); {
				case n > most:
					code = 413
				case roll < 4:
					code = []int{503, 429, 401, 500}[roll]
				case roll == 4 && unfair:
					code = 400
				case roll == 5 && unfair:
					code = 409
				case db.rules.only == wire.V1 && p == wire.V2 && roll > 20:
					code = vague
				default:
					return nil
				}
				a := status(code)
				return &a
			}
			ec := oneLane(wire.Protocol(1+rnd.IntN(2)), 20+rnd.IntN(200))
			ec.Negotiate = rnd.IntN(2) == 0
			ec.QueueConfig.MaxShards = 1 + rnd.IntN(3)
			f := newFeed(t, ec, db, 3, 60)
			f.cfg.Endpoints = nil
			f.apply()
			f.writers.openQueue = func(_ string, lanes int, cfg queue.Config) (queue.Queue, error) {
				return foundBacklog(lanes, cfg), nil
			}
			f.cfg.Endpoints = []EndpointConfig{ec}
			f.apply()
			f.run()
			f.keepScraping(15*time.Second, 3*time.Minute)
			db.set(func(r *tsdbRules) { r.fate, r.poison = nil, nil })
			time.Sleep(time.Hour)
			waiting := f.writers.Status()[0].PendingSamples
			f.stop()
			f.conserved("a", f.appended())
			if waiting != 0 || db.disorder() != 0 {
				t.Errorf("pending samples %d, out of order %d", waiting, db.disorder())
			}
			if f.acceptedCount("a") != db.distinct() {
				t.Errorf("accepted %d, arrived %d", f.acceptedCount("a"), db.distinct())
			}
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
