package deliver

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// seriesOf returns the number of series in a body.
func seriesOf(t *testing.T, body []byte, p wire.Protocol) int {
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	if p == wire.V1 {
		var req prompb.WriteRequest
		if err := req.Unmarshal(plain); err != nil {
			t.Fatal(err)
		}
		return len(req.Timeseries)
	}
	var req writev2.Request
	if err := req.Unmarshal(plain); err != nil {
		t.Fatal(err)
	}
	return len(req.Timeseries)
}

// TestARejectingReceiverGetsSmallRequests: a 1.0 receiver refuses one series of each page. From then on a request has
// few series, since a search for bad ones is for one request. After ten minutes without a rejection it has many again.
func TestARejectingReceiverGetsSmallRequests(t *testing.T) {
	for _, tc := range []struct {
		protocol wire.Protocol
		bad      bool
		later    time.Duration // between the scrapes
		most     int           // series of a request of the second scrape
	}{
		{wire.V1, true, time.Minute, maxSearched},
		{wire.V1, true, rejectionTime, 6000},
		{wire.V1, false, time.Minute, 6000},
		{wire.V2, true, time.Minute, 6000},
	} {
		t.Run(fmt.Sprint(tc), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &storage{t: t, newest: map[string]point{}, arrived: map[string][]point{}}
				if tc.bad {
					badMetrics("metric_7")(s)
				}
				most := 0
				r := newTestReceiver(func(c context.Context, body []byte, p wire.Protocol, n int) Answer {
					most = max(most, seriesOf(t, body, p))
					return s.Post(c, body, p, n)
				}, tc.protocol)
				r.Replace(&Settings{RemoteWriteConfig: r.settings.RemoteWriteConfig, Client: r.settings.Client,
					SeriesPerSend: 10_500})
				lane, sum := &drawnGroups{}, fates{dropped: map[Reason]int{}}
				sender := r.NewSender(anyRandom(), lane, sum.add)
				for scrape := range 2 {
					var group []queue.Request
					for stream := range uint64(10) {
						group = append(group, scrapeOf(t, stream+1, 600, lastScrape+int64(scrape), nil, false))
					}
					lane.groups = append(lane.groups, group)
					most = 0
					sender.Run(t.Context(), nil)
					if scrape == 0 {
						pause(t.Context(), tc.later, nil, nil)
					}
				}
				if most > tc.most || most < tc.most*3/4 { // pages share a request whole
					t.Errorf("a request has up to %d series, want about %d", most, tc.most)
				}
				if got := sum.settled(); got != 12_000 {
					t.Errorf("%d samples settled, want 12000", got)
				}
			})
		})
	}
}

// TestSeriesOfARequestAreLimited: a scrape with bound and unbound series is two requests of its stream, and one target
// has a backlog of three scrapes. A request has no more series than the settings say, and full requests.
func TestSeriesOfARequestAreLimited(t *testing.T) {
	for _, backlog := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			s := &storage{t: t, newest: map[string]point{}, arrived: map[string][]point{}}
			var posts []int
			r := newTestReceiver(func(c context.Context, body []byte, p wire.Protocol, n int) Answer {
				posts = append(posts, seriesOf(t, body, p))
				return s.Post(c, body, p, n)
			}, wire.V2)
			r.Replace(&Settings{RemoteWriteConfig: r.settings.RemoteWriteConfig, Client: r.settings.Client,
				SeriesPerSend: 1000})
			var group []queue.Request
			for stream := range uint64(20) {
				for n := range backlog {
					if n > 0 && stream > 0 {
						break
					}
					bound := scrapeOf(t, stream+1, 70, lastScrape+int64(n), nil, false)
					unbound := scrapeOf(t, stream+101, 30, lastScrape+int64(n), nil, false)
					unbound.Stream = bound.Stream
					group = append(group, bound, unbound)
				}
			}
			sum := fates{dropped: map[Reason]int{}}
			r.NewSender(anyRandom(), &drawnGroups{groups: [][]queue.Request{group}}, sum.add).Run(t.Context(), nil)
			if len(posts) != 2 || posts[0] != 1000 || posts[1] != 1000 {
				t.Errorf("backlog %d: requests with %d series, want two of 1000", backlog, posts)
			}
			if want := 2000 + (backlog-1)*100; sum.accepted != want {
				t.Errorf("%d samples accepted, want %d", sum.accepted, want)
			}
		})
	}
}
