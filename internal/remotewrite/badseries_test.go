package remotewrite

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// picky is a 1.0 receiver that refuses each request that holds a bad series. It takes delay for an answer.
type picky struct {
	t *testing.T

	mu      sync.Mutex // guards the following
	delay   time.Duration
	bad     map[string]bool // by metric name
	posts   int
	samples int // that it stored
	scrapes int // largest number of samples of a series in a request
}

func (p *picky) Close() {}

func (p *picky) Post(ctx context.Context, body []byte, _ wire.Protocol, _ int) deliver.Answer {
	p.mu.Lock()
	delay := p.delay
	p.mu.Unlock()
	if !sleep(ctx, delay) {
		return deliver.Answer{Err: ctx.Err()}
	}
	var req prompb.WriteRequest
	plain, err := snappy.Decode(nil, body)
	if err != nil || req.Unmarshal(plain) != nil {
		p.t.Error("a body that cannot be read")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.posts++
	for _, ts := range req.Timeseries {
		p.scrapes = max(p.scrapes, len(ts.Samples))
		if p.bad[ts.Labels[0].Value] {
			return deliver.Answer{Status: 400, Header: http.Header{}, Message: "label value too long", Took: delay}
		}
	}
	p.samples += len(req.Timeseries)
	return deliver.Answer{Status: 204, Header: http.Header{}, Took: delay}
}

// counts returns the requests and the stored samples so far.
func (p *picky) counts() (posts, samples int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.posts, p.samples
}

// newPicky feeds targets of 200 series each to a picky receiver, in requests of one page, over a number of lanes.
func newPicky(t *testing.T, targets, lanes int, bad ...string) (*feed, *picky) {
	return newPickyWith(t, targets, lanes, lanes, bad...)
}

// newPickyWith is newPicky with the smallest and the largest number of lanes.
func newPickyWith(t *testing.T, targets, least, most int, bad ...string) (*feed, *picky) {
	ec := explicit(endpointConfig("a"), wire.V1)
	ec.QueueConfig.MaxSamplesPerSend = 200
	ec.QueueConfig.MinShards, ec.QueueConfig.MaxShards = least, most
	ec.MetadataConfig.Send = false
	p := &picky{t: t, delay: 50 * time.Millisecond, bad: map[string]bool{}}
	for _, name := range bad {
		p.bad[name] = true
	}
	return newFeed(t, ec, p, targets, 200), p
}

// everyTenth names n series of a page.
func everyTenth(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("metric_", i*10))
	}
	return names
}

// TestKnownOffendersDoNotStarveALane: each page has bad series, and 25 pages a lane come every 15 s to a receiver that
// takes 50 ms. Once the bad series are known, a page costs few requests and the lanes keep up.
func TestKnownOffendersDoNotStarveALane(t *testing.T) {
	for _, tc := range []struct {
		bad, targets, lanes int
		learned             time.Duration // time after which a page costs few requests
	}{
		{bad: 10, targets: 100, lanes: 4, learned: 6 * time.Minute},
		{bad: 1, targets: 25, lanes: 1, learned: 2 * time.Minute},
		{bad: 20, targets: 25, lanes: 1, learned: 11 * time.Minute},
	} {
		t.Run(fmt.Sprint(tc.bad, " bad series a page"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, p := newPicky(t, tc.targets, tc.lanes, everyTenth(tc.bad)...)
				f.run()
				f.keepScraping(15*time.Second, tc.learned)
				learned := f.writers.Status()[0].PendingSamples
				posts, before := p.counts()
				const more = 12 // scrapes
				f.keepScraping(15*time.Second, more*15*time.Second)
				later := f.writers.Status()[0].PendingSamples
				postsLater, arrived := p.counts()
				f.stop()
				scrape := tc.targets * 200
				if learned > scrape || later > scrape {
					t.Errorf("pending samples = %d, then %d; want at most a scrape, %d", learned, later, scrape)
				}
				if n, most := postsLater-posts, more*tc.targets*(1+1+min(tc.bad,
					deliver.MaxAlone)); n > most+2*tc.targets {
					t.Errorf("requests of %d scrapes = %d, want at most %d", more, n, most)
				}
				if n, least := arrived-before, (more-1)*tc.targets*(200-tc.bad); n < least {
					t.Errorf("arrived of %d scrapes = %d, want all but the bad series: %d", more, n, least)
				}
				if n := f.dropped("a", deliver.IsolationBudget); n > f.appended()/50 {
					t.Errorf("given up = %d of %d, want few", n, f.appended())
				}
				f.conserved("a", f.appended())
			})
		})
	}
}

// TestOffendersOfManyPagesAreKnown: one lane has 110 pages. Every half minute one more series of each page is bad, up
// to 2,200 in all. Once they are known, all other samples arrive, in few requests.
func TestOffendersOfManyPagesAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pages, bad, scrape = 110, 20, 15 * time.Second
		f, p := newPicky(t, pages, 1)
		p.delay = 5 * time.Millisecond
		ec := f.cfg.Endpoints[0]
		ec.SeriesPerSend = DefaultSeriesPerSend
		ec.QueueConfig.MaxSamplesPerSend = DefaultSeriesPerSend
		f.cfg.Endpoints = []EndpointConfig{ec}
		f.apply()
		f.run()
		for _, name := range everyTenth(bad) {
			p.mu.Lock()
			p.bad[name] = true
			p.mu.Unlock()
			f.keepScraping(scrape, 2*scrape)
		}
		f.keepScraping(scrape, 2*scrape)
		posts, before := p.counts()
		givenUp := f.dropped("a", deliver.IsolationBudget)
		f.keepScraping(scrape, 4*scrape)
		postsLater, arrived := p.counts()
		if n := f.dropped("a", deliver.IsolationBudget) - givenUp; n > 0 || arrived-before < 3*pages*(200-bad) {
			t.Errorf("arrived of 4 scrapes = %d, given up = %d; want all but the bad series: %d of each",
				arrived-before, n, pages*(200-bad))
		}
		if n, most := postsLater-posts, 4*(pages/10+1)*(3+deliver.MaxAlone); n > most { // ten pages a request
			t.Errorf("requests of 4 scrapes = %d, want at most %d", n, most)
		}
		f.stop()
		f.conserved("a", f.appended())
	})
}

// TestNewOffendersDoNotStarveALane: at each scrape eight other series of each page are bad, so searches never end. They
// take half of the lane's time, after five minutes that it had saved.
func TestNewOffendersDoNotStarveALane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, p := newPicky(t, 25, 1)
		f.run()
		const scrape = 25 * 200
		most, last := 0, 0
		for round := range 80 {
			p.mu.Lock()
			clear(p.bad)
			for i := range 8 {
				p.bad[fmt.Sprint("metric_", (i*25+round*7)%200)] = true
			}
			p.mu.Unlock()
			f.scrapeAll()
			time.Sleep(15 * time.Second)
			last = f.writers.Status()[0].PendingSamples
			most = max(most, last)
		}
		f.stop()
		if allowed := int(2 * deliver.SavedSearch / (15 * time.Second) * scrape); most > allowed || last > 4*scrape {
			t.Errorf("pending samples = at most %d, %d at the end; want at most %d, and few at the end", most, last,
				allowed)
		}
		f.conserved("a", f.appended())
	})
}

// TestSearchesCountAsWork: an endpoint whose lanes are busy with refused requests gets more lanes.
func TestSearchesCountAsWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := newPickyWith(t, 100, 1, 50, everyTenth(20)...)
		f.run()
		f.keepScraping(15*time.Second, 2*time.Minute)
		lanes := f.writers.Status()[0].Lanes
		f.stop()
		if lanes <= 1 {
			t.Errorf("lanes = %d, want more than the one of the start", lanes)
		}
	})
}

// TestABacklogOfARejectingReceiverIsNotMerged: the scrapes of a target pile up while the receiver is slow. They are
// sent one by one if it rejected samples lately, and together if not.
func TestABacklogOfARejectingReceiverIsNotMerged(t *testing.T) {
	for _, rejects := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f, p := newPicky(t, 5, 1)
			slow := func(bad bool, delay time.Duration) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.bad["metric_7"], p.delay, p.scrapes = bad, delay, 0
			}
			slow(rejects, 50*time.Millisecond)
			f.run()
			f.keepScraping(10*time.Second, time.Minute)
			slow(rejects, 8*time.Second)
			f.keepScraping(10*time.Second, 2*time.Minute)
			pending := f.writers.Status()[0].PendingSamples
			p.mu.Lock()
			most := p.scrapes
			p.mu.Unlock()
			if (most == 1) != rejects || pending < 5*5*200 {
				t.Errorf("rejects %v: up to %d samples of a series in a request; %d wait", rejects, most, pending)
			}
			slow(rejects, 50*time.Millisecond)
			f.stop()
			f.conserved("a", f.appended())
		})
	}
}

// TestFoundBacklogLearnsOffenders: a backlog of an earlier process with one bad series costs one search.
func TestFoundBacklogLearnsOffenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := newTSDB(t)
		poisoned("label value too long", 7)(db)
		f := newFeed(t, oneLane(wire.V1, 2000), db, 1, 1000)
		f.cfg.Endpoints = nil
		f.apply()
		f.writers.openQueue = func(_ string, lanes int, cfg queue.Config) (queue.Queue, error) {
			return foundBacklog(lanes, cfg), nil
		}
		f.cfg.Endpoints = []EndpointConfig{oneLane(wire.V1, 2000)}
		f.apply()
		const requests = 50
		for range requests {
			f.scrapeAll()
			time.Sleep(10 * time.Second)
		}
		f.run()
		time.Sleep(time.Minute)
		f.stop()
		if n := len(db.offers()); n > 2*requests+deliver.MaxIsolationRequests {
			t.Errorf("POSTs = %d, want two for each of %d requests and one search", n, requests)
		}
		if lost := f.lostAt(db, "a"); lost != requests || f.dropped("a", refusedSample) != lost {
			t.Errorf("lost %d, refused %d; want %d, the bad series", lost, f.dropped("a", refusedSample), requests)
		}
	})
}

// TestOffendersThatRecover: offenders that are sent together with a bad series arrive again, one after another.
func TestOffendersThatRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range 10 {
			names = append(names, fmt.Sprint("metric_", i))
		}
		db := newTSDB(t)
		db.rules.poison = against("label value too long", names...)
		f := newFeed(t, oneLane(wire.V1, 100), db, 1, 100)
		f.run()
		f.keepScraping(15*time.Second, 2*time.Minute)
		db.set(func(r *tsdbRules) { r.poison = against("label value too long", names[0]) })
		before := db.distinct()
		f.keepScraping(15*time.Second, 2*time.Minute)
		arrived, scrapes := db.distinct()-before, 8
		before = db.distinct()
		f.keepScraping(15*time.Second, 2*time.Minute)
		f.stop()
		if arrived <= scrapes*90 {
			t.Errorf("arrived in two minutes = %d, want some of those that recovered", arrived)
		}
		if n := db.distinct() - before; n < (scrapes-1)*99 {
			t.Errorf("arrived in the next two minutes = %d, want all but the bad one", n)
		}
		f.lostAt(db, "a")
	})
}
