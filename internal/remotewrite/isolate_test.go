package remotewrite

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// oneLane is a configuration whose requests go one after another, each a whole scrape.
func oneLane(p wire.Protocol, samples int) EndpointConfig {
	ec := explicit(endpointConfig("a"), p)
	ec.QueueConfig.MaxShards = 1
	ec.QueueConfig.MaxSamplesPerSend = samples
	ec.MetadataConfig.SendInterval = 0 // requests are counted
	return ec
}

// against is words against the series with these metric names.
func against(words string, metrics ...string) func(string, point) string {
	return func(series string, _ point) string {
		for _, m := range metrics {
			if strings.Contains(series, `__name__="`+m+`"`) {
				return words
			}
		}
		return ""
	}
}

func rejectedCount(w *world, c deliver.Complaint) int {
	return int(testutil.ToFloat64(w.writers.metrics.rejected.WithLabelValues("a", string(c))))
}

// TestR6BadSeriesAreIsolated has a receiver of 1.0 that refuses a request for the sake of some series.
func TestR6BadSeriesAreIsolated(t *testing.T) {
	for name, bad := range map[string][]string{
		"the first":       {"metric_0"},
		"the last":        {"metric_1999"},
		"neighbours":      {"metric_998", "metric_999", "metric_1000", "metric_1001"},
		"three far apart": {"metric_1", "metric_1000", "metric_1998"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := newTSDB(t)
				db.rules.poison = against("out of order sample", bad...)
				f := newFeed(t, oneLane(wire.V1, 2000), db, 1, 2000)
				f.run()
				f.scrapeAll()
				time.Sleep(time.Minute)
				if n := len(db.offers()); n > 1+deliver.MaxIsolationRequests {
					t.Errorf("requests = %d, want at most %d", n, 1+deliver.MaxIsolationRequests)
				}
				before := len(db.offers())
				f.keepScraping(15*time.Second, time.Minute)
				f.stop()
				if lost := f.lostAt(db, "a"); lost != len(bad)*f.scrapes || f.dropped("a", refusedSample) != lost {
					t.Errorf("lost %d, refused %d, want %d: the bad series alone", lost,
						f.dropped("a", refusedSample), len(bad)*f.scrapes)
				}
				if n := rejectedCount(f.world, deliver.OutOfOrder); n != len(bad)*f.scrapes {
					t.Errorf("out of order = %d, want %d", n, len(bad)*f.scrapes)
				}
				more := f.scrapes - 1
				each := 1 + min(len(bad), deliver.MaxAlone+1)
				if n := len(db.offers()) - before; n != more*each {
					t.Errorf("requests of %d more scrapes = %d, want %d each", more, n, each)
				}
				last := db.offered[len(db.offered)-1]
				if together := max(1, len(bad)-deliver.MaxAlone); last.samples != together || last.status != 400 {
					t.Errorf("the last request = %+v, want %d bad series", last, together)
				}
			})
		})
	}
}

func TestR6BadSeriesAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		db := newTSDB(t)
		db.rules.poison = against("duplicate sample for timestamp", "metric_5")
		f := newFeed(t, oneLane(wire.V1, 100), db, 1, 10)
		f.logTo(core)
		f.run()
		f.keepScraping(10*time.Second, 3*time.Minute)
		s := f.writers.Status()[0]
		f.stop()
		if len(s.Rejected) != 1 {
			t.Fatalf("rejected = %+v, want one series", s.Rejected)
		}
		r := s.Rejected[0]
		if r.Series.String() != `{__name__="metric_5", instance="pod-0", job="envoy"}` || r.Reason != "duplicate" ||
			r.Error != "duplicate sample for timestamp" || r.Samples < 10 || !r.Last.After(r.First) {
			t.Errorf("rejected = %+v", r)
		}
		lines := logs.FilterMessage("remote write endpoint rejects series").All()
		if len(lines) < 2 || len(lines) > 3 {
			t.Fatalf("lines in three minutes = %d, want one a minute", len(lines))
		}
		said := lines[1].ContextMap()
		if said["instance"] != "pod-0" || said["job"] != "envoy" || said["error"] != r.Error ||
			said["samples"].(int64) < 5 ||
			!strings.Contains(fmt.Sprint(said["series"]), "metric_5") {
			t.Errorf("the line says %v", said)
		}
	})
}

// TestR6TooManyBadSeries spends the budget: most of what is good arrives all the same, and more with each scrape.
func TestR6TooManyBadSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bad []string
		for i := range 12 {
			bad = append(bad, fmt.Sprint("metric_", 83+i*160))
		}
		db := newTSDB(t)
		db.rules.poison = against("out of order sample", bad...)
		f := newFeed(t, oneLane(wire.V1, 2000), db, 1, 2000)
		f.run()
		f.scrapeAll()
		time.Sleep(10 * time.Second)
		if n := len(db.offers()); n != 1+deliver.MaxIsolationRequests {
			t.Errorf("requests = %d, want the budget", n)
		}
		if n := db.distinct(); n < 1000 {
			t.Errorf("arrived = %d of 2000, want most", n)
		}
		spent := f.dropped("a", deliver.IsolationBudget)
		if spent == 0 {
			t.Error("the budget was spent, but nothing was counted")
		}
		if r := f.writers.Status()[0].Rejected; len(r) == 0 || r[0].Reason != "isolation_budget" &&
			r[len(r)-1].Reason != "isolation_budget" {
			t.Errorf("rejected = %+v, want something under isolation_budget", r)
		}
		f.keepScraping(10*time.Second, 2*time.Minute)
		arrived, later := db.distinct(), f.dropped("a", deliver.IsolationBudget)
		f.scrapeAll()
		time.Sleep(10 * time.Second)
		f.stop()
		if n := db.distinct() - arrived; n != 2000-len(bad) || f.dropped("a", deliver.IsolationBudget) != later {
			t.Errorf("arrived of a later scrape = %d, want %d: all but the bad", n, 2000-len(bad))
		}
		f.lostAt(db, "a")
	})
}

// TestR6BudgetOfTime: a receiver that needs a second for an answer gets few of them.
func TestR6BudgetOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newTSDB(t)
		db.rules.delay = time.Second
		db.rules.poison = against("out of order sample", "metric_77")
		f := newFeed(t, oneLane(wire.V1, 1000), db, 1, 1000)
		f.run()
		f.scrapeAll()
		time.Sleep(time.Minute)
		if n := len(db.offers()); n != 6 {
			t.Errorf("requests = %d, want one and five of a second each", n)
		}
		f.keepScraping(20*time.Second, 3*time.Minute)
		f.stop()
		if n := f.dropped("a", deliver.IsolationBudget); n > 300 {
			t.Errorf("given up = %d, want less with each scrape", n)
		}
		if f.dropped("a", refusedSample) == 0 {
			t.Error("the bad series was not found")
		}
		f.lostAt(db, "a")
	})
}

// TestR6OutageWhileIsolating: answers that may pass cost nothing of the budget.
func TestR6OutageWhileIsolating(t *testing.T) {
	for name, failure := range map[string]deliver.Answer{"503": status(503), "timeout": {Err: errTimeout{}}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := newTSDB(t)
				db.rules.poison = against("out of order sample", "metric_77")
				n := 0
				db.rules.fate = func(wire.Protocol, int) *deliver.Answer {
					if n++; n > 1 && n%40 != 0 {
						return &failure
					}
					return nil
				}
				f := newFeed(t, oneLane(wire.V1, 1000), db, 1, 1000)
				f.run()
				f.scrapeAll()
				time.Sleep(2 * time.Hour)
				f.stop()
				if lost := f.lostAt(db, "a"); lost != 1 || f.dropped("a", refusedSample) != 1 {
					t.Errorf("lost %d, refused %d, want the bad sample alone", lost, f.dropped("a", refusedSample))
				}
			})
		})
	}
}

type errTimeout struct{}

func (errTimeout) Error() string { return "deadline exceeded" }
func (errTimeout) Timeout() bool { return true }

// TestR6NothingPleases: where searches find nothing good they get shorter, and one that does makes them whole again.
func TestR6NothingPleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newTSDB(t)
		db.rules.fate = func(wire.Protocol, int) *deliver.Answer { a := status(400); return &a }
		f := newFeed(t, oneLane(wire.V1, 500), db, 1, 3000) // six requests a scrape: more series than are remembered
		f.run()
		f.scrapeAll()
		time.Sleep(10 * time.Second)
		if n := len(db.offers()); n > 6+2*deliver.MaxIsolationRequests {
			t.Errorf("requests = %d, want shorter searches", n)
		}
		db.set(func(r *tsdbRules) { r.fate, r.poison = nil, against("too old sample", "metric_2900") })
		f.scrapeAll()
		time.Sleep(10 * time.Second)
		f.scrapeAll()
		f.stop()
		if n := f.dropped("a", refusedSample) + f.dropped("a", deliver.IsolationBudget); n < 3000 || n > 3000+2*500 {
			t.Errorf("refused = %d", n)
		}
		f.lostAt(db, "a")
	})
}

// TestR6OffendersAreForgiven: after ten minutes without an offence a series travels with the others again.
func TestR6OffendersAreForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newTSDB(t)
		db.rules.poison = against("out of order sample", "metric_3")
		f := newFeed(t, oneLane(wire.V1, 100), db, 1, 10)
		f.run()
		f.scrapeAll()
		time.Sleep(6 * time.Second)
		db.set(func(r *tsdbRules) { r.poison = nil })
		begun := len(db.offers())
		f.keepScraping(time.Minute, 8*time.Minute)
		if n := len(db.offers()) - begun; n != 16 {
			t.Errorf("requests of eight scrapes = %d, want two each", n)
		}
		f.keepScraping(time.Minute, 3*time.Minute)
		begun = len(db.offers())
		f.keepScraping(time.Minute, 3*time.Minute)
		if n := len(db.offers()) - begun; n != 3 {
			t.Errorf("requests of three scrapes later = %d, want one each", n)
		}
		f.stop()
		if lost := f.lostAt(db, "a"); lost != 1 {
			t.Errorf("lost = %d, want 1", lost)
		}
	})
}

// TestR6RejectedAndTooLarge: halves of what is too large cost no budget, and nothing is sent twice as it was.
func TestR6RejectedAndTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newTSDB(t)
		db.rules.poison = against("out of order sample", "metric_150")
		db.rules.fate = func(_ wire.Protocol, n int) *deliver.Answer {
			if n > 7 {
				a := status(413)
				return &a
			}
			return nil
		}
		f := newFeed(t, oneLane(wire.V1, 2000), db, 1, 2000)
		f.run()
		f.scrapeAll()
		f.stop()
		if lost := f.lostAt(db, "a"); lost != 1 {
			t.Errorf("lost = %d, want the bad sample alone", lost)
		}
	})
}

// TestR6Of20 counts what a 2.0 receiver did not write, without a search.
func TestR6Of20(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newTSDB(t)
		db.rules.poison = against("out of order sample for series {le=\"limit\"}", "metric_3", "metric_9")
		f := newFeed(t, oneLane(wire.V2, 100), db, 1, 10)
		f.run()
		f.keepScraping(10*time.Second, time.Minute)
		f.stop()
		if lost := f.lostAt(db, "a"); lost != 2*f.scrapes || rejectedCount(f.world, deliver.OutOfOrder) != lost {
			t.Errorf("lost %d, counted as out of order %d, want %d", lost, rejectedCount(f.world, deliver.OutOfOrder),
				2*f.scrapes)
		}
		if n := len(db.offers()); n != f.scrapes {
			t.Errorf("requests = %d, want %d", n, f.scrapes)
		}
	})
}

// found is a queue whose backlog is of an earlier process: the first request of each lane may have arrived.
type found struct {
	queue.Queue
	acked *[64]bool // by lane
}

func foundBacklog(lanes int, cfg queue.Config) queue.Queue {
	return found{queue.NewMemory(cfg, lanes), &[64]bool{}}
}

func (q found) Next(lane int, most queue.Limit) ([]queue.Request, queue.State, time.Duration) {
	group, state, wait := q.Queue.Next(lane, most)
	for i := range group {
		group[i].MayHaveArrived = !q.acked[lane]
	}
	return group, state, wait
}

func (q found) Ack(lane int) {
	q.acked[lane] = true
	q.Queue.Ack(lane)
}

// TestRequestsThatMayHaveArrived: a sample that the receiver refuses because it has it is no loss; one that it refuses
// for another reason is.
func TestRequestsThatMayHaveArrived(t *testing.T) {
	for name, tc := range map[string]struct {
		protocol  wire.Protocol
		size      int
		before    func(db *tsdb) // what the receiver has
		delivered int
		refused   int
		requests  int // 0: as many as it takes
	}{
		"1.0, delivered":                    {wire.V1, 100, newer(0, 100), 100, 0, 5},
		"1.0, delivered, some series ended": {wire.V1, 100, newer(0, 20), 20, 0, 0},
		"1.0, the newest":                   {wire.V1, 100, nil, 0, 0, 1},
		"1.0, a bad series":                 {wire.V1, 100, poisoned("something bad", 7), 0, 1, 0},
		"1.0, bad series in all quarters":   {wire.V1, 100, poisoned("label value too long", 7, 27, 57, 77), 0, 4, 0},
		"1.0, of one series":                {wire.V1, 1, newer(0, 1), 1, 0, 1},
		"1.0, of three series":              {wire.V1, 3, newer(0, 3), 3, 0, 4},
		"2.0, delivered":                    {wire.V2, 100, newer(0, 100), 100, 0, 1},
		"2.0, some series ended":            {wire.V2, 100, newer(0, 60), 60, 0, 1},
		"2.0, a bad series":                 {wire.V2, 100, poisoned("invalid label", 7), 0, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := newTSDB(t)
				if tc.before != nil {
					tc.before(db)
				}
				f := newFeed(t, oneLane(tc.protocol, 2000), db, 1, tc.size)
				f.cfg.Endpoints = nil
				f.apply()
				f.writers.openQueue = func(_ string, lanes int, cfg queue.Config) (queue.Queue, error) {
					return foundBacklog(lanes, cfg), nil
				}
				f.cfg.Endpoints = []EndpointConfig{oneLane(tc.protocol, 2000)}
				f.apply()
				f.run()
				f.scrapeAll()
				f.stop()
				delivered := int(testutil.ToFloat64(f.writers.metrics.delivered.WithLabelValues("a")))
				refused := f.dropped("a", refusedSample) + f.dropped("a", deliver.IsolationBudget)
				if delivered != tc.delivered || refused != tc.refused {
					t.Errorf("already delivered %d, refused %d; want %d, %d", delivered, refused, tc.delivered,
						tc.refused)
				}
				if n := len(db.offers()); tc.requests != 0 && n != tc.requests {
					t.Errorf("requests = %d, want %d", n, tc.requests)
				}
				f.conserved("a", tc.size)
				for series, n := range db.late {
					if n > 0 && tc.refused == 0 && tc.delivered == 0 {
						t.Errorf("%s came late", series)
					}
				}
			})
		})
	}
}

// newer gives series from to to a sample that is newer than any that will come.
func newer(from, to int) func(db *tsdb) {
	return func(db *tsdb) {
		for i := from; i < to; i++ {
			db.newest[fmt.Sprintf(`{__name__="metric_%d", instance="pod-0", job="envoy"}`, i)] = point{at: 1 << 50}
		}
	}
}

func poisoned(words string, series ...int) func(db *tsdb) {
	var names []string
	for _, i := range series {
		names = append(names, fmt.Sprint("metric_", i))
	}
	return func(db *tsdb) { db.rules.poison = against(words, names...) }
}
